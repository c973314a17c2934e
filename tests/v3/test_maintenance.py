"""Status, alarms, defragmentation, hashes and leadership of real members of both versions."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest

from etcd_recipes import (
    Client,
    ClusterError,
    Context,
    DeadlineExceeded,
    EtcdError,
    InvalidResponse,
)
from etcd_recipes.core.http.action import Action
from etcd_recipes.core.v3 import Alarm, StoreHash
from etcd_recipes.core.v3.api import V3
from etcd_recipes.testing import EtcdCluster, EtcdProcess
from tests.core.calls import FOREVER, SOON, within
from tests.core.clusters import cluster_of
from tests.core.servers import Handler, Peer, Server, always, answer, black_hole, refusing, silent
from tests.testing.gateway import call
from tests.tools import QUICK, eventually
from tests.versions import SERVERS, binary_of

PATIENT = 5.0
NOBODY = 123
"""The id of a member that there is not: alarms may be set off for it."""


@pytest.fixture(params=list(SERVERS))
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def own_server(version: str) -> Iterator[EtcdProcess]:
    with EtcdProcess(binary=binary_of(version), **QUICK) as server:
        yield server


# -- status ------------------------------------------------------------------------------------------------


def test_the_status_of_a_member(server: EtcdProcess, v3: V3) -> None:
    revision = v3.kv.put("status", "x").revision
    status = v3.maintenance.status()
    assert status.endpoint == server.endpoint
    assert status.version == ".".join(map(str, server.version))
    assert status.is_leader
    assert status.member_id == v3.cluster.members()[0].id
    assert 0 < status.db_size_in_use <= status.db_size
    assert status.raft_index >= status.raft_applied_index > 0
    assert status.raft_term >= 2
    assert status.revision >= revision
    assert (status.errors, status.is_learner) == ((), False)
    assert v3.maintenance.status(server.endpoint).member_id == status.member_id
    with Client("http://127.0.0.1:1") as elsewhere:
        there = server.endpoint.removeprefix("http://")
        assert elsewhere.v3.maintenance.status(there).endpoint == server.endpoint


@pytest.mark.parametrize("endpoint", ["", "ftp://a", "http://a:1,http://b:1"])
def test_what_is_no_endpoint_is_refused(endpoint: str) -> None:
    maintenance = Client().v3.maintenance
    for ask in (maintenance.status, maintenance.defragment, maintenance.hash, maintenance.hash_kv):
        with pytest.raises(ValueError, match=r"endpoint|URL"):
            ask(endpoint)
    with pytest.raises(TypeError):
        maintenance.defragment(7)  # type: ignore[arg-type]


def test_a_member_without_a_leader_says_so_and_can_be_saved(version: str, tmp_path) -> None:
    with EtcdCluster(3, binary=binary_of(version)) as servers:
        last, *others = servers.members
        with Client(servers.endpoints, header_timeout=PATIENT) as client:
            statuses = [client.v3.maintenance.status(each) for each in servers.endpoints]
            assert [status.is_leader for status in statuses].count(True) == 1
            assert len({status.leader for status in statuses}) == 1
            for member in others:
                member.kill()
            maintenance = client.v3.maintenance
            eventually(lambda: maintenance.status(last.endpoint).leader == 0, 10.0, "no leader")
            status = maintenance.status()
            assert status.endpoint == last.endpoint
            assert status.errors == ("etcdserver: no leader",)
            assert not status.is_leader
            with pytest.raises(ClusterError, match="no leader"):
                maintenance.snapshot(tmp_path / "any.db")
            assert maintenance.snapshot(tmp_path / "one.db", endpoint=last.endpoint).size > 0
            maintenance.hash(last.endpoint)
            maintenance.defragment(last.endpoint)


# -- alarms, and the way out of them -----------------------------------------------------------------------


def test_out_of_a_full_store(version: str) -> None:
    small = ("--quota-backend-bytes=2000000",)
    with (
        EtcdProcess(binary=binary_of(version), extra_args=small, **QUICK) as server,
        Client(server.endpoint, header_timeout=PATIENT) as client,
    ):
        kv, maintenance = client.v3.kv, client.v3.maintenance
        with pytest.raises(EtcdError, match="space exceeded"):
            for number in range(100):
                kv.put(f"k{number}", "x" * 100_000)
        full = maintenance.status()
        alarm = Alarm(full.member_id, "NOSPACE")
        assert maintenance.alarms() == (alarm,)
        assert any("NOSPACE" in error for error in full.errors)
        revision = kv.delete("k", prefix=True).revision
        kv.compact(revision, physical=True)
        maintenance.defragment(server.endpoint)
        assert maintenance.status().db_size < full.db_size / 2
        with pytest.raises(EtcdError, match="space exceeded"):
            kv.put("k", "x")
        assert maintenance.disarm() == (alarm,)
        assert maintenance.alarms() == ()
        assert maintenance.disarm() == ()
        kv.put("k", "x")


def test_alarms_are_disarmed_by_kind_and_by_member(own_server: EtcdProcess) -> None:
    with Client(own_server.endpoint, header_timeout=PATIENT) as client:
        maintenance = client.v3.maintenance
        here = maintenance.status().member_id
        for member, kind in ((NOBODY, "CORRUPT"), (NOBODY, "NOSPACE"), (here, "NOSPACE")):
            body = {"action": "ACTIVATE", "memberID": str(member), "alarm": kind}
            call(own_server.endpoint, "/v3/maintenance/alarm", body)
        assert len(maintenance.alarms()) == 3
        assert maintenance.disarm("CORRUPT", member_id=here) == ()
        assert maintenance.disarm(member_id=here) == (Alarm(here, "NOSPACE"),)
        assert maintenance.disarm("CORRUPT") == (Alarm(NOBODY, "CORRUPT"),)
        assert maintenance.alarms() == (Alarm(NOBODY, "NOSPACE"),)
        assert maintenance.disarm("NOSPACE", member_id=NOBODY) == (Alarm(NOBODY, "NOSPACE"),)
        assert maintenance.alarms() == ()


# -- hashes ------------------------------------------------------------------------------------------------


def test_hashes(own_server: EtcdProcess) -> None:
    with Client(own_server.endpoint, header_timeout=PATIENT) as client:
        kv, maintenance = client.v3.kv, client.v3.maintenance
        revision = kv.put("k", "1").revision
        first = maintenance.hash(own_server.endpoint)
        assert first == StoreHash(own_server.endpoint, first.hash, revision)
        assert maintenance.hash(own_server.endpoint) == first
        kv.put("k", "2")
        assert maintenance.hash(own_server.endpoint).hash != first.hash
        if own_server.version >= (3, 5, 10):
            assert maintenance.hash_kv(own_server.endpoint, revision).hash
        else:
            with pytest.raises(EtcdError, match=r"3\.5\.10") as raised:
                maintenance.hash_kv(own_server.endpoint)
            assert raised.value.code == 12
            assert raised.value.endpoint == own_server.endpoint


STATUS = b'{"header":{"member_id":"7","revision":"9"},"version":"3.6.5","dbSize":"1000000000"}'


def by_path(**handlers: Handler | bytes) -> Handler:
    """Answer by the last part of the path, the status as a member does."""

    def handle(peer: Peer) -> None:
        while request := peer.request():
            what = handlers.get(request.path.rpartition("/")[2], STATUS)
            if isinstance(what, bytes):
                peer.send(answer(what))
            else:
                what(peer)

    return handle


def test_the_hash_of_the_keys_where_there_is_one() -> None:
    reply = b'{"header": {"revision": "9"}, "hash": 3305255506, "compact_revision": "2"}'
    with Server(by_path(hashkv=reply)) as server, Client(server.endpoint) as client:
        found = client.v3.maintenance.hash_kv(server.endpoint, 8)
        assert found == StoreHash(server.endpoint, 3305255506, 9, 2)
        assert server.requests[-1].body == b'{"revision":"8"}'


def test_a_gateway_that_is_off_is_not_an_old_one() -> None:
    with (
        Server(always(answer(b"404 page not found\n", status=404))) as server,
        Client(server.endpoint) as client,
        pytest.raises(InvalidResponse, match="gateway"),
    ):
        client.v3.maintenance.hash_kv(server.endpoint)


# -- long calls --------------------------------------------------------------------------------------------


def slow(reply: bytes) -> Handler:
    """Begin to answer long after the client's header timeout."""

    def handle(peer: Peer) -> None:
        peer.pause(0.7)
        peer.send(answer(reply))

    return handle


def test_a_long_call_is_waited_for_beyond_the_header_timeout() -> None:
    done = slow(b'{"hash":1}')
    handler = by_path(defragment=done, hash=done, hashkv=done)
    with Server(handler) as server, Client(server.endpoint, header_timeout=0.4) as client:
        maintenance = client.v3.maintenance
        maintenance.defragment(server.endpoint)
        assert maintenance.hash(server.endpoint).hash == 1
        assert maintenance.hash_kv(server.endpoint).hash == 1


def test_a_long_call_ends_with_its_limit_or_one_that_suits_the_store(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("etcd_recipes.core.v3.admin.maintenance._AT_LEAST", 0.4)
    monkeypatch.setattr("etcd_recipes.core.v3.admin.maintenance._BYTES_PER_SECOND", 2_500_000_000)
    with (
        Server(by_path(defragment=silent)) as server,
        Client(server.endpoint, header_timeout=0.5, default_timeout=0.5) as client,
    ):
        defragment = client.v3.maintenance.defragment
        with within(0.8 + 2 * SOON, at_least=0.79), pytest.raises(DeadlineExceeded) as raised:
            defragment(server.endpoint)
        assert raised.value.maybe_applied
        with within(1.0 + 2 * SOON, at_least=0.99), pytest.raises(DeadlineExceeded):
            defragment(server.endpoint, timeout=1.0)
        with within(1.0 + 2 * SOON, at_least=0.99), pytest.raises(DeadlineExceeded):
            defragment(server.endpoint, ctx=Context(1.0))


@pytest.mark.parametrize("where", ["refuses", "swallows"])
def test_a_member_that_is_gone_is_noticed_at_once_by_a_long_call(where: str) -> None:
    with (refusing if where == "refuses" else black_hole)() as endpoint:
        client = Client(endpoint, header_timeout=0.2)
        with within(0.2 + SOON), pytest.raises(ClusterError) as raised:
            client.v3.maintenance.defragment(endpoint)
        assert not raised.value.maybe_applied


def test_a_paused_member_is_noticed_before_it_is_asked_to_defragment(
    own_server: EtcdProcess,
) -> None:
    with Client(own_server.endpoint, header_timeout=0.3) as client:
        own_server.pause()
        with within(0.3 + SOON), pytest.raises(ClusterError, match="status"):
            client.v3.maintenance.defragment(own_server.endpoint)
        own_server.resume()


@pytest.mark.parametrize("verb", ["send", "open"])
def test_an_action_may_have_a_header_timeout_of_its_own(verb: str) -> None:
    actions = {
        0.2: Action("/x", replay=True, header_timeout=0.2),
        math.inf: Action("/x", replay=True, header_timeout=math.inf),
        None: Action("/x", replay=True),
    }
    begin = (lambda stream: stream,) if verb == "open" else ()
    with Server(silent) as server, cluster_of(server.endpoint, header_timeout=0.6) as cluster:
        for own, expected in ((0.2, 0.2), (None, 0.6)):
            with within(expected + SOON, at_least=expected - 0.01), pytest.raises(ClusterError):
                getattr(cluster, verb)(actions[own], Context(FOREVER), lambda _: None, *begin)
        with within(0.8 + SOON, at_least=0.79), pytest.raises(DeadlineExceeded):
            getattr(cluster, verb)(actions[math.inf], Context(0.8), lambda _: None, *begin)


# -- leadership --------------------------------------------------------------------------------------------


def test_the_leadership_moves_whoever_is_asked_first(version: str) -> None:
    with EtcdCluster(3, binary=binary_of(version)) as servers:
        before = servers.leader()
        followers = [member for member in servers.members if member is not before]
        with Client(servers.endpoints, header_timeout=PATIENT) as client:
            maintenance = client.v3.maintenance
            target = maintenance.status(followers[0].endpoint).member_id
            client._cluster.pin(followers[1].endpoint)
            maintenance.move_leader(target)
            eventually(lambda: maintenance.status().leader == target, 10.0, "the move")
            eventually(lambda: servers.leader() is followers[0], 10.0, "the move")
            maintenance.move_leader(target)  # it leads: that is what was wanted
            with pytest.raises(EtcdError, match="bad leader transferee"):
                maintenance.move_leader(NOBODY)
        with Client(before.endpoint, header_timeout=PATIENT) as client:
            with pytest.raises(ClusterError, match="not leader") as raised:
                client.v3.maintenance.move_leader(target)
            assert not raised.value.maybe_applied
