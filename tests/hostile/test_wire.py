"""A whole client against a socket that answers with nonsense: an error of the library's own, in time.

Each server here answers every request in the same way; what the wire itself does with broken answers is in
`tests/core/http/test_wire.py`.
"""

# ruff: noqa: PT017 (most of what is tried does not raise)

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etcd_recipes import Client, ClusterError, Context, EtcdRecipesError, InvalidResponse
from tests.core.servers import Peer, Request, Server, always, answer, chunked, each, script
from tests.hostile.mutations import spoilt
from tests.hostile.parsers import V2_SEEDS, V3_ADMIN_SEEDS, V3_SEEDS, WATCH_SEEDS
from tests.tools import Job, in_time, long

CALLS: dict[str, Callable[[Client], object]] = {
    "get": lambda c: c.v3.kv.get("k"),
    "put": lambda c: c.v3.kv.put("k", "v"),
    "status": lambda c: c.v3.maintenance.status(),
    "watch": lambda c: c.v3.watch("k").next_batch(timeout=0.05),
    "v2 get": lambda c: c.v2.keys.get("k"),
    "v2 watch": lambda c: c.v2.keys.watcher("k").next(timeout=0.05),
    "v2 members": lambda c: c.v2.members.list(),
    "version": lambda c: c.version(),
}
RECIPES: dict[str, Callable[[Client], object]] = {
    "lock": lambda c: c.lock("l").acquire(timeout=0.05),
    "lock now": lambda c: c.lock("l").acquire(blocking=False, ctx=Context(0.05)),
    "leader": lambda c: c.election("e").leader(timeout=0.05),
    "observe": lambda c: next(c.election("e").observe(timeout=0.05)),
    "registry": lambda c: c.registry("r").instances("s", timeout=0.05),
    "follow": lambda c: c.registry("r").follow("s", timeout=0.05).close(),
    "barrier": lambda c: c.barrier("b").wait(0.05),
    "double barrier": lambda c: c.double_barrier("d", parties=1).enter(0.05),
    "sync": lambda c: c.sync(timeout=0.05),
}


def client_of(server: Server, patience: float = 2.0, **options: Any) -> Client:
    return Client(server.endpoint, header_timeout=patience, default_timeout=2 * patience, **options)


HURRY = 0.05
"""Seconds for calls whose end is looked at, and not what comes of them."""


def tried(call: Callable[[Client], object], client: Client) -> None:
    try:
        call(client)
    except EtcdRecipesError as error:
        assert len(str(error)) < 20_000


def all_tried(calls: dict[str, Callable[[Client], object]], client: Client) -> None:
    """Make all calls at once, each on a thread: none hangs, and none raises anything foreign."""
    jobs = {name: Job(lambda call=call: tried(call, client)) for name, call in calls.items()}
    for job in jobs.values():
        job.result(5.0)


OK = b"HTTP/1.1 200 OK\r\n"
WIRE: dict[str, bytes] = {
    "a header of 1 MB": OK + b"X: " + b"a" * 2**20 + b"\r\n\r\n{}",
    "1000 headers": OK + b"".join(b"X-%d: y\r\n" % n for n in range(1000)) + b"\r\n{}",
    "a length that is too long": OK + b"Content-Length: 100\r\n\r\n{}",
    "a length that is too short": OK + b'Content-Length: 1\r\n\r\n{"header":{}}',
    "a negative length": OK + b"Content-Length: -5\r\n\r\n{}",
    "a length beyond memory": OK + b"Content-Length: 99999999999999999999\r\n\r\n{}",
    "two lengths": OK + b"Content-Length: 2\r\nContent-Length: 9\r\n\r\n{}",
    "a length and chunks": OK
    + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "gzip that is none": OK
    + b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x08\x00",
    "gzip as a transfer": OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "chunk extensions": OK + b'Transfer-Encoding: chunked\r\n\r\n2;a="\xff";b\r\n{}\r\n0;c\r\n\r\n',
    "a chunk of no size": OK + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n{}\r\n0\r\n\r\n",
    "a chunk of negative size": OK + b"Transfer-Encoding: chunked\r\n\r\n-2\r\n{}\r\n0\r\n\r\n",
    "a chunk beyond memory": OK + b"Transfer-Encoding: chunked\r\n\r\n7fffffffffffffff\r\n{}",
    "an endless line of a chunk": OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"0" * 70_000,
    "trailers": chunked(b"{}", trailers=("X-Etcd-Index: -1", "A: b")),
    "an index that is none": OK + b"X-Etcd-Index: 1e99\r\nContent-Length: 2\r\n\r\n{}",
    "an index on two lines": OK + b"X-Etcd-Index: 1\r\n 2\r\nContent-Length: 2\r\n\r\n{}",
    "101": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\nPRI",
    "status 999": b"HTTP/1.1 999 \x1b[31m\r\nContent-Length: 2\r\n\r\n{}",
    "status 000": b"HTTP/1.1 000 x\r\n\r\n",
    "HTTP/2": b"HTTP/2 200\r\n\r\n{}",
    "frames of HTTP/2": b"\x00\x00\x12\x04\x00\x00\x00\x00\x00",
    "no headers, no end": b"HTTP/1.1 200 OK\r\n",
    "headers without colons": OK + b"abc\r\n: x\r\n\xff\xfe: y\r\n\r\n{}",
    "a redirect to nowhere": b"HTTP/1.1 307 x\r\nLocation: http://[::1\r\nContent-Length: 0\r\n\r\n",
    "a redirect to a file": b"HTTP/1.1 307 x\r\nLocation: file:///etc/passwd\r\nContent-Length: 0\r\n\r\n",
    "a redirect in a loop": b"HTTP/1.1 307 x\r\nLocation: /v2/keys/k\r\nContent-Length: 0\r\n\r\n",
}


@pytest.mark.parametrize("raw", list(WIRE.values()), ids=list(WIRE))
def test_http_that_is_none(raw: bytes) -> None:
    with Server(script(raw)) as server, client_of(server, HURRY) as client:
        all_tried(CALLS, client)


def test_an_answer_that_only_announces_another_one_is_never_given_to_the_next_call() -> None:
    def twice(peer: Peer) -> None:
        while request := peer.request():
            if request.path == "/v3/kv/range":
                peer.send(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
            else:
                peer.send(answer(b'{"etcdserver":"9.9.9"}'))

    with Server(twice) as server, client_of(server) as client:
        with pytest.raises(ClusterError, match="103"):
            client.v3.kv.get("k")
        assert client.version().server == "9.9.9"
        assert server.accepted == 2  # the rest of the first answer comes to nobody


def test_100_continue_for_ever_ends_by_the_header_timeout() -> None:
    def flood(peer: Peer) -> None:
        peer.request()
        while True:
            peer.send(b"HTTP/1.1 100 Continue\r\n\r\n" * 50)

    with Server(flood) as server, client_of(server, 0.2) as client:
        began = time.monotonic()
        with pytest.raises(ClusterError, match=r"within 0\.2 s"):
            client.v3.kv.get("k")
        in_time(time.monotonic() - began, 5)


@given(
    spoilt([*V3_SEEDS, *V3_ADMIN_SEEDS, *V2_SEEDS, *WATCH_SEEDS]), st.sampled_from([200, 400, 503])
)
@settings(max_examples=long(4, 500), database=None)
def test_json_that_is_none(body: bytes, status: int) -> None:
    with Server(always(answer(body, status=status))) as server, client_of(server, HURRY) as client:
        all_tried(CALLS, client)


HUGE = b'{"header":{"revision":"9223372036854775807"},"ID":"7","TTL":"9223372036854775807","succeeded":true}'


@pytest.mark.parametrize("api", ["v3", "v2"])
@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        HUGE,
        HUGE.replace(b"9223372036854775807", b"9" * 4000),
        V3_SEEDS[3],
        V2_SEEDS[0],
        WATCH_SEEDS[0],
    ],
    ids=["nothing", "huge", "too huge", "txn", "v2", "watch"],
)
def test_recipes_on_a_server_that_always_says_the_same(body: bytes, api: Any) -> None:
    with Server(always(answer(body))) as server, client_of(server, HURRY, api=api) as client:
        all_tried(RECIPES, client)


def test_a_true_that_is_text_is_no_lock() -> None:
    """ "succeeded": "false" was once true enough to hold a lock."""
    body = b'{"header":{"revision":"5"},"ID":"7","TTL":"15","succeeded":"false"}'
    with Server(always(answer(body))) as server, client_of(server) as client:
        with pytest.raises(InvalidResponse, match="not true or false"):
            client.v3.kv.txn([], [])


def test_a_token_that_is_more_than_a_header_goes_to_nobody() -> None:
    """A member could otherwise put headers and requests of its own into what is sent to the others."""
    for token in ("x\\r\\nEvil: 1", "x\\u00e9", "\\ud800", "x\\u0000"):
        body = f'{{"header":{{"revision":"5"}},"token":"{token}"}}'.encode()
        with (
            Server(always(answer(body))) as server,
            client_of(server, username="u", password="p") as client,
        ):
            with pytest.raises(InvalidResponse) as raised:
                client.v3.kv.get("k")
            assert "Evil" not in str(raised.value)
            assert server.paths() == ["/v3/auth/authenticate"]


def test_a_server_that_invents_hosts_takes_no_more_connections_than_some() -> None:
    """Each host that a redirect names has connections of its own, and would keep them for ever."""
    goals = [Server(always(answer(b'{"etcdserver":"1","etcdcluster":"1"}'))) for _ in range(34)]
    there = iter(goals)

    def away(_request: Request) -> bytes:
        return answer(b"", f"Location: {next(there).endpoint}/version", status=307)

    try:
        with Server(each(away)) as server, client_of(server) as client:
            for _ in goals:
                tried(lambda c: c.v2.keys.get("k"), client)
            assert sum(goal.accepted for goal in goals) == len(goals)
            assert len(client._cluster.wire._foreign_routes) <= 32
    finally:
        for goal in goals:
            goal.close()


def test_a_watch_of_white_space_is_not_kept() -> None:
    from etcd_recipes.core.v3.frames import Frames

    frames = Frames()
    for _ in range(20):
        assert list(frames.feed(b" " * 65536)) == []
        assert len(frames._buffer) == 0  # it would be read again with each piece
    assert list(frames.feed(b' {"result":{}}\n')) == [{"result": {}}]


def test_an_object_without_an_end_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    from etcd_recipes.core.v3 import frames as module

    monkeypatch.setattr(module, "_LONGEST", 100_000)
    frames = module.Frames()
    with pytest.raises(InvalidResponse):
        for _ in range(3):
            assert list(frames.feed(b'{"a":"' + b"x" * 50_000)) == []
