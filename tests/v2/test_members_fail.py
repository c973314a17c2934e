"""Three members, one of which dies or stops: what it costs a reader, a writer and a watcher."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import count

import pytest

from etcd_recipes import Client, ClusterError, KeyExists
from etcd_recipes.testing import EtcdCluster, EtcdProcess
from tests.tools import Job, eventually, in_time
from tests.v2.figures import say
from tests.v2.watching import waiting
from tests.versions import SERVERS, binary_of

HEADER_TIMEOUT = 0.5
SLACK = 0.4
"""Where 50 ms are promised: two processors are shared by six servers."""

_numbers = count(1)


@pytest.fixture(scope="module", params=list(SERVERS))
def members(request: pytest.FixtureRequest) -> Iterator[EtcdCluster]:
    with EtcdCluster(3, enable_v2=True, binary=binary_of(request.param)) as cluster:
        yield cluster


@pytest.fixture
def follower(members: EtcdCluster) -> Iterator[EtcdProcess]:
    """A member that does not lead; back in its place at the end."""
    leader = members.leader()
    member = next(each for each in members.members if each is not leader)
    yield member
    if member.paused:
        member.resume()
    if not member.alive:
        member.start()
    member.wait_ready()


@pytest.fixture
def client(members: EtcdCluster, follower: EtcdProcess) -> Iterator[Client]:
    """A client that asks the follower first."""
    with Client(members.endpoints, header_timeout=HEADER_TIMEOUT) as client:
        client.v2.keys.set("ready", "yes")
        for endpoint in (*members.endpoints, follower.endpoint):  # each has applied it, then
            client._cluster.pin(endpoint)
            client.v2.keys.get("ready", quorum=True)
        yield client


@pytest.fixture
def key() -> str:
    return f"fault-{next(_numbers)}"


def cost(call: Callable[[], object]) -> float:
    start = time.monotonic()
    call()
    return time.monotonic() - start


def test_a_killed_member_costs_a_reader_next_to_nothing(
    client: Client, follower: EtcdProcess
) -> None:
    follower.kill()
    took = cost(lambda: client.v2.keys.get("ready"))
    say(f"kill -9 of the pinned member cost a reader {took * 1000:.1f} ms")
    in_time(took, 0.05 + SLACK)


def test_a_killed_member_costs_a_watcher_no_event(
    client: Client, follower: EtcdProcess, key: str
) -> None:
    with client.v2.keys.watcher(key) as watcher:
        call = waiting(watcher)
        follower.kill()
        for number in range(3):
            client.v2.keys.set(key, str(number))
        assert call.result().node.value == "0"
        assert watcher.next(timeout=5.0).node.value == "1"
        assert watcher.next(timeout=5.0).node.value == "2"


READS_AND_WRITES: dict[str, Callable[[Client, str], object]] = {
    "get": lambda client, key: client.v2.keys.get(key),
    "quorum get": lambda client, key: client.v2.keys.get(key, quorum=True),
    "set": lambda client, key: client.v2.keys.set(key, "x"),
    "update": lambda client, key: client.v2.keys.update(key, "x"),
    "refresh": lambda client, key: client.v2.keys.set(key, ttl=60, refresh=True, prev_exist=True),
    "watch": lambda client, key: client.v2.keys.watcher(key, after_index=1).next(timeout=9.0),
    "members": lambda client, key: client.v2.members.list(),
    "leader": lambda client, key: client.v2.members.leader(),
    "users": lambda client, key: client.v2.users.list(),
    "version": lambda client, key: client.version(),
}


@pytest.mark.parametrize("what", READS_AND_WRITES)
def test_a_stopped_member_costs_a_call_the_header_timeout(
    client: Client, follower: EtcdProcess, key: str, what: str
) -> None:
    client.v2.keys.set(key, "0")
    follower.pause()
    took = cost(lambda: READS_AND_WRITES[what](client, key))
    again = cost(lambda: READS_AND_WRITES[what](client, key))
    say(f"SIGSTOP cost {what} {took * 1000:.1f} ms; the next call {again * 1000:.1f} ms")
    in_time(took, HEADER_TIMEOUT + 0.05 + SLACK, at_least=HEADER_TIMEOUT)
    in_time(again, 0.05 + SLACK)


def test_a_stopped_member_costs_a_write_that_must_not_be_repeated_one_error(
    client: Client, follower: EtcdProcess, key: str
) -> None:
    follower.pause()
    with pytest.raises(ClusterError) as raised:
        client.v2.keys.create(key, "mine")
    assert raised.value.maybe_applied
    assert len(raised.value.errors) == 1
    took = cost(lambda: client.v2.keys.create(key, "again"))
    in_time(took, 0.05 + SLACK)
    follower.resume()
    with pytest.raises(KeyExists):
        client.v2.keys.create(key, "third")
    assert client.v2.keys.get(key, quorum=True).node.value == "again"


def test_a_stopped_member_costs_a_watcher_no_event_and_no_error(
    client: Client, follower: EtcdProcess, key: str
) -> None:
    """Its poll is open when the member stops; the calls beside it find that out."""
    with client.v2.keys.watcher(key) as watcher:
        call = Job(watcher.next)
        eventually(lambda: watcher._poll, what="the poll")
        follower.pause()
        start = time.monotonic()
        client.v2.keys.set(key, "0")
        written = time.monotonic()
        client.v2.keys.set(key, "1")
        client.v2.keys.set(key, "2")
        assert call.result().node.value == "0"
        assert watcher.next(timeout=5.0).node.value == "1"
        assert watcher.next(timeout=5.0).node.value == "2"
    assert call.ended_at is not None
    took = call.ended_at - start
    say(f"SIGSTOP under an open poll cost the watcher {took * 1000:.1f} ms")
    # The write itself cost the header timeout; should the cluster elect meanwhile, that is its own.
    in_time(call.ended_at - written, 0.05 + SLACK)


def test_a_stopped_member_is_left_by_a_lone_watcher_too(
    client: Client,
    members: EtcdCluster,
    follower: EtcdProcess,
    key: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No other call finds out; the quiet limit (10 s, here less) does."""
    monkeypatch.setattr("etcd_recipes.core.v2.watcher.QUIET", 0.5)
    with (
        client.v2.keys.watcher(key) as watcher,
        Client(members.leader().endpoint) as writer,
    ):
        call = waiting(watcher)
        follower.pause()
        writer.v2.keys.set(key, "x")
        took = cost(call.result)
        say(f"a lone watcher left a stopped member after {took:.2f} s, with a quiet limit of 0.5 s")
        in_time(took, 0.5 + SLACK)
