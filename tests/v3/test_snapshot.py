"""Snapshots: whole, verified, accepted by etcd's own tools, or not there at all."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import subprocess
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Self

import pytest

from etcd_recipes import (
    Cancelled,
    Client,
    ClusterError,
    Context,
    DeadlineExceeded,
    EtcdRecipesError,
    InvalidResponse,
)
from etcd_recipes.core.v3 import Snapshot
from etcd_recipes.testing import EtcdProcess, find_etcdctl
from etcd_recipes.testing.ports import free_ports
from tests.core.calls import SOON, within
from tests.core.servers import HANG, Handler, Peer, Server, answer, chunked, script
from tests.tools import QUICK, child, eventually
from tests.versions import SERVERS, binary_of

PATIENT = 5.0
LARGE = 20_000_000
"""More than fits into the buffers between a member and us."""


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "backup.db"


@pytest.fixture(params=list(SERVERS))
def own_server(request: pytest.FixtureRequest) -> Iterator[EtcdProcess]:
    with EtcdProcess(binary=binary_of(request.param), **QUICK) as server:
        yield server


@pytest.fixture(scope="module", params=list(SERVERS))
def large(request: pytest.FixtureRequest) -> Iterator[EtcdProcess]:
    """A server with much in it; leave it as it is."""
    with EtcdProcess(binary=binary_of(request.param), **QUICK) as server:
        fill(server)
        yield server


def fill(server: EtcdProcess, size: int = LARGE) -> None:
    value = os.urandom(500_000).hex()
    with Client(server.endpoint, header_timeout=30.0, default_timeout=60.0) as client:
        for number in range(size // len(value)):
            client.v3.kv.put(f"large/{number}", value)


def etcdctl(*arguments: str | Path) -> str:
    done = subprocess.run(
        [find_etcdctl(), *arguments],
        env={"ETCDCTL_API": "3"},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def remains(target: Path) -> set[str]:
    return {path.name for path in target.parent.iterdir()}


# -- what is saved -----------------------------------------------------------------------------------------


def test_a_snapshot_is_whole_and_etcd_takes_it(own_server: EtcdProcess, target: Path) -> None:
    told: list[tuple[int, int]] = []
    with Client(own_server.endpoint, header_timeout=PATIENT) as client:
        for number in range(5):
            revision = client.v3.kv.put(f"k{number}", "x" * 50_000).revision
        status = client.v3.maintenance.status()
        saved = client.v3.maintenance.snapshot(
            str(target), progress=lambda done, total: told.append((done, total))
        )
    whole = target.read_bytes()
    assert saved == Snapshot(
        target,
        len(whole),
        hashlib.sha256(whole).hexdigest(),
        revision,
        status.version,
        own_server.endpoint,
    )
    assert whole[-32:] == hashlib.sha256(whole[:-32]).digest()
    assert remains(target) == {target.name}
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert [done for done, _ in told] == sorted({done for done, _ in told})
    assert {total for _, total in told} == {len(whole)}
    assert told[-1][0] == len(whole)
    shown = json.loads(etcdctl("snapshot", "status", target, "--write-out=json"))
    assert shown["revision"] == revision


def test_a_snapshot_can_be_restored(own_server: EtcdProcess, target: Path) -> None:
    with Client(own_server.endpoint, header_timeout=PATIENT) as client:
        client.v3.kv.put("kept", "through the fire")
        client.v3.maintenance.snapshot(target)
    for number in range(3):  # somebody else may have taken a port by then
        if found := restored_value(own_server.binary, target, target.parent / f"restored-{number}"):
            break
    assert found == "through the fire"


def restored_value(binary: Path, target: Path, data: Path) -> str:
    """Give what a server says that was made of the snapshot; nothing if it has ended."""
    (port,) = free_ports(1)
    peer = f"http://127.0.0.1:{port}"
    cluster = (f"--initial-cluster=m0={peer}", f"--initial-advertise-peer-urls={peer}")
    etcdctl("snapshot", "restore", target, f"--data-dir={data}", "--name=m0", *cluster)
    again = (*cluster, f"--listen-peer-urls={peer}", f"--data-dir={data}")
    server = EtcdProcess(binary=binary, extra_args=again)
    found = ""

    def is_decided() -> bool:
        nonlocal found
        found = value_of(client, "kept")
        return found != "" or not server.alive

    try:
        server.start(wait=False)  # it is another cluster than the one that it would wait for
        with Client(server.endpoint, header_timeout=PATIENT) as client:
            eventually(is_decided, 20.0, f"the restored server, which said {server.log_tail()}")
    finally:
        server.close()
    return found


def value_of(client: Client, key: str) -> str:
    try:
        found = client.v3.kv.get(key)
    except ClusterError:
        return ""
    assert found is not None
    return found.text


def test_an_older_snapshot_is_replaced_and_a_failed_one_leaves_it(
    own_server: EtcdProcess, target: Path
) -> None:
    target.write_bytes(b"yesterday's")
    with Client(own_server.endpoint, header_timeout=PATIENT) as client:

        def fail(_done: int, _total: int) -> None:
            assert target.read_bytes() == b"yesterday's"
            assert len(remains(target)) == 2
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            client.v3.maintenance.snapshot(target, progress=fail)
        assert target.read_bytes() == b"yesterday's"
        assert remains(target) == {target.name}
        size = client.v3.maintenance.snapshot(target).size
        assert target.stat().st_size == size
        assert client.v3.kv.put("k", "the client goes on").revision


SAVE = """
    import json, resource, sys
    from etcd_recipes import Client
    with Client(sys.argv[1], header_timeout=5.0) as client:
        client.v3.kv.get("warm")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        size = client.v3.maintenance.snapshot(sys.argv[2]).size
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps([size, (after - before) * 1024]), flush=True)
"""


def test_memory_stays_flat(target: Path) -> None:
    with EtcdProcess(**QUICK) as server:
        fill(server, 51_000_000)
        with child(SAVE, server.endpoint, str(target)) as saving:
            size, grown = saving.read()
    assert size > 50_000_000
    assert grown < 10_000_000


# -- what goes wrong ---------------------------------------------------------------------------------------


def test_a_member_that_is_killed_leaves_nothing(own_server: EtcdProcess, target: Path) -> None:
    fill(own_server)
    with (
        Client(own_server.endpoint, header_timeout=PATIENT) as client,
        pytest.raises(ClusterError, match="take a snapshot"),
    ):
        client.v3.maintenance.snapshot(target, progress=lambda *_: own_server.kill())
    assert remains(target) == set()


def test_the_deadline_ends_it(large: EtcdProcess, target: Path) -> None:
    with (
        Client(large.endpoint, header_timeout=PATIENT) as client,
        Pausing(large) as pause,
        within(1.0 + SOON),
        pytest.raises(DeadlineExceeded),
    ):
        client.v3.maintenance.snapshot(target, progress=pause, timeout=1.0)
    assert remains(target) == set()


def test_a_member_that_stalls_is_given_up(
    large: EtcdProcess, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("etcd_recipes.core.v3.admin.snapshot.STALL", 0.3)
    with (
        Client(large.endpoint, header_timeout=PATIENT) as client,
        Pausing(large) as pause,
        pytest.raises(ClusterError, match=r"stalled for 0\.3 s"),
    ):
        client.v3.maintenance.snapshot(target, progress=pause)
    assert remains(target) == set()


class Pausing:
    """Give what pauses the server, once; it goes on when the body has ended."""

    def __init__(self, server: EtcdProcess) -> None:
        self._server = server

    def __enter__(self) -> Self:
        return self

    def __call__(self, _done: int, _total: int) -> None:
        if not self._server.paused:
            self._server.pause()

    def __exit__(self, *_: object) -> None:
        self._server.resume()


def test_a_cancel_ends_it_at_once(large: EtcdProcess, target: Path) -> None:
    ctx = Context()
    calls: list[int] = []

    def cancel(done: int, _total: int) -> None:
        calls.append(done)
        ctx.cancel()

    with Client(large.endpoint, header_timeout=PATIENT) as client:
        with pytest.raises(Cancelled):
            client.v3.maintenance.snapshot(target, progress=cancel, ctx=ctx)
        assert len(calls) == 1
        assert remains(target) == set()
        client.v3.maintenance.status()


FULL = """
    import json, resource, sys
    from etcd_recipes import Client
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
    with Client(sys.argv[1], header_timeout=5.0) as client:
        try:
            client.v3.maintenance.snapshot(sys.argv[2])
        except OSError as error:
            print(json.dumps(type(error).__name__ + ": " + str(error)), flush=True)
"""


def test_a_disk_that_takes_no_more_is_an_os_error(large: EtcdProcess, target: Path) -> None:
    with child(FULL, large.endpoint, str(target)) as saving:
        assert "File too large" in saving.read()
    assert remains(target) == set()


def test_a_path_that_cannot_be_is_told_before_anything_is_sent(target: Path) -> None:
    sent = Server(member(b""))
    with sent, Client(sent.endpoint) as client:
        with pytest.raises(IsADirectoryError):
            client.v3.maintenance.snapshot(target.parent)
        assert sent.requests == []
        with pytest.raises(FileNotFoundError):
            client.v3.maintenance.snapshot(target.parent / "nowhere" / "b.db")
        assert [path.rpartition("/")[2] for path in sent.paths()] == ["status"]


# -- scripted members: what comes is not a snapshot --------------------------------------------------------

DATA = Random(7).randbytes(4096)
DIGEST = hashlib.sha256(DATA).digest()


def piece(blob: bytes, left: int = 0, **more: str) -> bytes:
    body = {"blob": b64encode(blob).decode()} | more
    if left:
        body["remaining_bytes"] = str(left)
    return json.dumps({"result": body}).encode() + b"\n"


def member(stream: bytes | Handler) -> Handler:
    """Tell the status, and answer all else with `stream`."""

    def handle(peer: Peer) -> None:
        while request := peer.request():
            if request.path.endswith("/status"):
                peer.send(answer(b'{"header":{"member_id":"7","revision":"9"},"version":"3.6.5"}'))
            elif isinstance(stream, bytes):
                peer.send(stream)
            else:
                stream(peer)
                return

    return handle


def saved(stream: bytes | Handler, target: Path) -> Snapshot:
    with Server(member(stream)) as server, Client(server.endpoint, header_timeout=1.0) as client:
        return client.v3.maintenance.snapshot(target)


GOOD = [piece(DATA[:1024], 3072), piece(DATA[1024:], version="3.6.5"), piece(DIGEST)]


def test_it_may_come_in_pieces_of_any_size(target: Path) -> None:
    assert saved(chunked(*GOOD), target).revision == 9
    assert target.read_bytes() == DATA + DIGEST
    torn = [piece(DATA + DIGEST[:7]), piece(DIGEST[7:8]), piece(b""), piece(DIGEST[8:])]
    assert saved(chunked(*torn), target).size == len(DATA) + 32
    assert target.read_bytes() == DATA + DIGEST


NOT_SNAPSHOTS = {
    "nothing": [],
    "an empty piece": [piece(b"")],
    "no checksum": GOOD[:2],
    "half a checksum": [*GOOD[:2], piece(DIGEST[:16])],
    "a wrong checksum": [*GOOD[:2], piece(DIGEST[::-1])],
    "another byte": [piece(b"x" + DATA[1:]), piece(DIGEST)],
    "a missing piece": [GOOD[0], GOOD[2]],
    "a piece twice": [GOOD[0], *GOOD],
    "pieces in another order": [GOOD[1], GOOD[0], GOOD[2]],
    "a checksum alone": [piece(DIGEST)],
    "the checksum of nothing": [piece(hashlib.sha256().digest())],
    "no database, but its checksum": [piece(b"abc" + hashlib.sha256(b"abc").digest())],
    "no base64": [b'{"result":{"blob":7}}\n'],
    "no number": [b'{"result":{"remaining_bytes":"much"}}\n'],
    "no JSON": [b"<html>\n"],
}


@pytest.mark.parametrize("pieces", NOT_SNAPSHOTS.values(), ids=NOT_SNAPSHOTS.keys())
def test_what_is_not_a_snapshot_is_not_kept(pieces: list[bytes], target: Path) -> None:
    with pytest.raises(InvalidResponse):
        saved(chunked(*pieces), target)
    assert remains(target) == set()


END = b'{"error":{"grpc_code":%d,"http_code":500,"message":"%s"}}'
CUT = {
    "cut": chunked(*GOOD[:2], end=False),
    "cut in a piece": chunked(GOOD[0], GOOD[1][:100], end=False),
    "the member leaves": chunked(GOOD[0], END % (14, b"error reading from server: EOF")),
    "a token ends": chunked(GOOD[0], END % (16, b"etcdserver: invalid auth token")),
}


@pytest.mark.parametrize("stream", CUT.values(), ids=CUT.keys())
def test_a_stream_that_ends_too_soon_leaves_nothing(stream: bytes, target: Path) -> None:
    with pytest.raises(EtcdRecipesError) as raised:
        saved(script(stream) if stream.endswith(b"}\n") else stream_once(stream), target)
    assert not isinstance(raised.value, InvalidResponse)
    assert remains(target) == set()


def stream_once(stream: bytes) -> Handler:
    def handle(peer: Peer) -> None:
        peer.send(stream)

    return handle


def test_it_is_the_member_that_was_named(target: Path) -> None:
    with (
        Server(member(chunked(piece(b"")))) as pinned,
        Server(member(chunked(*GOOD))) as named,
        Client([pinned.endpoint, named.endpoint]) as client,
    ):
        client._cluster.pin(pinned.endpoint)
        found = client.v3.maintenance.snapshot(target, endpoint=named.endpoint)
        assert found.endpoint == named.endpoint
        assert pinned.requests == []


def test_a_stopped_member_costs_a_header_timeout_and_the_next_one_is_saved(
    own_server: EtcdProcess, target: Path
) -> None:
    with EtcdProcess(**QUICK) as stopped:
        endpoints = [stopped.endpoint, own_server.endpoint]
        with Client(endpoints) as client:
            client._cluster.pin(stopped.endpoint)
            stopped.pause()
            assert client.v3.maintenance.snapshot(target).endpoint == own_server.endpoint
            stopped.resume()


def test_a_snapshot_that_is_slow_to_begin_is_waited_for(target: Path) -> None:
    def late(peer: Peer) -> None:
        peer.pause(0.7)
        peer.send(chunked(*GOOD))

    with Server(member(late)) as server, Client(server.endpoint, header_timeout=0.4) as client:
        assert client.v3.maintenance.snapshot(target).size == len(DATA) + 32


def test_a_member_that_never_begins_is_given_up_even_without_a_header_timeout(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("etcd_recipes.core.v3.admin.requests.STALL", 0.3)
    with (
        Server(member(script(HANG))) as server,
        Client(server.endpoint, header_timeout=None) as client,
        within(0.3 + 2 * SOON),
        pytest.raises(ClusterError, match=r"no answer within 0\.3 s"),
    ):
        client.v3.maintenance.snapshot(target)
    assert remains(target) == set()


def test_progress_may_be_slow(target: Path) -> None:
    """What the callback takes is not the member's silence."""
    seen = []
    with Server(member(chunked(*GOOD))) as server, Client(server.endpoint) as client:
        client.v3.maintenance.snapshot(target, progress=lambda *each: seen.append(each))
    assert seen == [(1024, 4128), (4096, 4128), (4128, 4128)]
    assert eventually(target.exists)
