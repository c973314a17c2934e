"""The read-write lock's promises, against a real server, on both stores."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable

import pytest

from etcd_recipes import (
    Client,
    Context,
    LockLost,
    NotAcquired,
    NotHeld,
    ReadLock,
    RWLock,
    WriteLock,
)
from etcd_recipes.testing import EtcdProcess, FaultProxy
from tests.recipes.operator import TAKES_A_PLACE, remove
from tests.requests_seen import requests_seen
from tests.tools import Job, child, eventually

MakeClient = Callable[..., Client]


def waits(side: ReadLock | WriteLock, rw: RWLock, timeout: float = 10.0) -> Job:
    """Acquire on a thread, and wait until it stands in the line."""
    before = len(rw.waiters())
    job = Job(lambda: side.acquire(timeout=timeout))
    eventually(lambda: len(rw.waiters()) > before)
    return job


def kinds(contenders: tuple[object, ...]) -> list[str]:
    return [json.loads(c.value)["kind"] for c in contenders]  # type: ignore[attr-defined]


def test_threads_of_one_client_read_at_the_same_time(client: Client, name: str) -> None:
    rw = client.rwlock(name)
    together = threading.Barrier(5)

    def read() -> str:
        with rw.read() as hold:
            together.wait(5)  # passes only when all five are in
            return hold.key

    assert len({job.result() for job in [Job(read) for _ in range(5)]}) == 5
    assert (rw.holders(), rw.waiters()) == ((), ())


def test_a_writer_waits_for_the_readers_and_readers_for_the_writer(
    client: Client, other: Client, name: str
) -> None:
    rw, theirs = client.rwlock(name), other.rwlock(name)
    first, second = rw.read().acquire(), theirs.read().acquire()
    assert first
    assert second
    writer = waits(theirs.write(), rw)
    late = waits(rw.read(), rw)
    assert kinds(rw.holders()) == ["read", "read"]
    assert kinds(rw.waiters()) == ["write", "read"]
    first.release()
    assert writer.running
    second.release()
    written = writer.result()
    assert written.token > first.token
    assert late.running, "a reader is in beside a writer"
    written.release()
    assert late.result().token > written.token


def test_nobody_is_ever_in_beside_a_writer(make_client: MakeClient, name: str) -> None:
    clients = [make_client() for _ in range(3)]
    lock, inside = threading.Lock(), {"read": 0, "write": 0}
    most_readers = 0

    def visit(kind: str, client: Client) -> None:
        nonlocal most_readers
        rw = client.rwlock(name)
        for _ in range(6):
            with rw.read() if kind == "read" else rw.write() as hold:
                with lock:
                    inside[kind] += 1
                    most_readers = max(most_readers, inside["read"])
                    assert inside["write"] == 0 or sum(inside.values()) == 1, inside
                hold.sleep(0.002)
                with lock:
                    inside[kind] -= 1

    kinds = ["read", "read", "write"]
    for job in [Job(lambda k=k, c=c: visit(k, c)) for k in kinds for c in clients]:
        job.result(30)
    assert most_readers > 1


def test_a_downgrade_lets_readers_in_and_keeps_writers_out(
    client: Client, other: Client, name: str
) -> None:
    rw, theirs = client.rwlock(name), other.rwlock(name)
    hold = rw.write().acquire()
    assert hold
    reader = waits(theirs.read(), rw)
    writer = waits(theirs.write(), rw)
    late = waits(theirs.read(), rw)
    hold.downgrade()
    hold.downgrade()
    reader_hold = reader.result(3)
    assert hold.is_held
    assert hold.kind == "read"
    assert kinds(rw.holders()) == ["read", "read"]
    reader_hold.release()
    assert writer.running
    assert late.running
    assert hold.release()
    writer.result().release()
    late.result().release()
    with pytest.raises(LockLost):
        hold.downgrade()
    assert (rw.holders(), rw.waiters()) == ((), ())


def test_a_downgrade_lives_on_and_is_still_looked_after(
    client: Client, name: str, api: str
) -> None:
    rw = client.rwlock(name, ttl=2)
    hold = rw.write().acquire()
    assert hold
    (before,) = rw._line.contenders(Context(5))
    hold.downgrade()
    (after,) = rw._line.contenders(Context(5))
    assert (after.created, after.lease, after.seat) == (before.created, before.lease, before.seat)
    hold.sleep(2.5)  # longer than the ttl
    remove(client, hold.key, api)
    assert hold.lost.wait(2 / 3 + 0.5)


def test_a_downgrade_of_a_removed_key_is_a_loss(
    client: Client, other: Client, name: str, api: str
) -> None:
    hold = client.rwlock(name).write().acquire()
    assert hold
    remove(other, hold.key, api)
    with pytest.raises(LockLost, match="removed"):
        hold.downgrade()
    assert client.rwlock(name).holders() == ()


def test_a_try_goes_in_where_it_may_and_writes_nothing_where_not(
    client: Client, other: Client, name: str
) -> None:
    rw, theirs = client.rwlock(name), other.rwlock(name)
    with rw.read():
        assert (hold := theirs.read().acquire(blocking=False)) is not None
        hold.release()
        assert theirs.write().acquire(blocking=False) is None
        writer = waits(rw.write(), rw)
        assert theirs.read().acquire(timeout=0) is None, "overtook a waiting writer"
        assert len(rw.waiters()) == 1
    with writer.result():
        assert theirs.read().acquire(blocking=False) is None
        assert rw.waiters() == ()


def test_a_wait_given_up_leaves_the_line_and_frees_those_behind(
    client: Client, other: Client, name: str
) -> None:
    rw = client.rwlock(name)
    with rw.read():
        writer = waits(other.rwlock(name).write(), rw, timeout=0.7)
        reader = waits(rw.read(), rw)
        assert writer.result() is None
        reader.result(3).release()
        with pytest.raises(NotAcquired, match="to write"), other.rwlock(name, timeout=0.1).write():
            pytest.fail("the body ran without the lock")
        eventually(lambda: rw.waiters() == ())  # what did not end in time goes on behind


def test_each_thread_releases_what_it_acquired_itself(client: Client, name: str) -> None:
    rw = client.rwlock(name)
    mine = rw.read().acquire()
    theirs = Job(lambda: rw.read().acquire()).result()
    assert mine
    rw.read().release()
    assert not mine.is_held
    assert theirs.is_held
    rw.read().release()
    assert not theirs.is_held
    with pytest.raises(NotHeld):
        rw.read().release()


def test_a_lock_of_the_same_name_is_a_writer(client: Client, other: Client, name: str) -> None:
    rw = client.rwlock(name)
    with other.lock(name):
        assert rw.read().acquire(blocking=False) is None
        reader = waits(rw.read(), rw)
    with reader.result():
        assert other.lock(name).acquire(timeout=0.1) is None


def test_a_killed_writer_makes_way_within_its_ttl(
    client: Client, etcd: EtcdProcess, name: str, api: str
) -> None:
    source = """
        import json, sys
        from etcd_recipes import Client
        hold = Client(sys.argv[1], api=sys.argv[-1]).rwlock(sys.argv[2], ttl=2).write().acquire()
        print(json.dumps(hold.token), flush=True)
        sys.stdin.readline()
    """
    rw = client.rwlock(name)
    with child(source, etcd.endpoint, name, api) as writer:
        token = writer.read()
        readers = [waits(rw.read(), rw) for _ in range(2)]
        writer.signal(signal.SIGKILL)
        for reader in readers:
            assert reader.result(2 + 3).token > token


def test_a_join_whose_reply_was_lost_finds_its_own_seat(
    make_client: MakeClient, etcd: EtcdProcess, name: str, api: str
) -> None:
    with FaultProxy(etcd.endpoint) as proxy:
        client = make_client(proxy.endpoint)
        rw = client.rwlock(name)
        with rw.read():  # so that it is the second seat that is in doubt
            proxy.lose_reply(only=TAKES_A_PLACE[api])
            job = Job(lambda: rw.read().acquire(timeout=10))
            eventually(lambda: proxy.hits >= 1)
            proxy.heal()
            hold = job.result()
            assert hold
            assert len(rw.holders()) == 2
            assert hold.release()
        assert rw.holders() == ()


@pytest.mark.only_v3
def test_a_late_copy_of_a_read_is_never_turned_into_a_write(
    client: Client, other: Client, name: str
) -> None:
    # What a copy of an earlier join of ours, carried out late, leaves behind: our seat, as a reader.
    lease = client.session().id
    client.v3.kv.put(f"{name}/{lease:x}-0", '{"kind":"read"}', lease=lease)
    theirs = other.rwlock(name)
    reader = theirs.read().acquire(timeout=2)  # in, for only a reader is ahead
    assert reader
    writer = waits(client.rwlock(name).write(), theirs)
    assert kinds(theirs.holders()) == ["read"]
    assert writer.running, "a writer stands where it has no right to, ahead of a reader that is in"
    reader.release()
    writer.result().release()


@pytest.mark.only_v3
def test_what_it_costs(client: Client, other: Client, etcd: EtcdProcess, name: str) -> None:
    rw = client.rwlock(name)
    client.session()

    def cost(act: Callable[[], object]) -> int:
        before = requests_seen(etcd.endpoint)
        act()
        seen = requests_seen(etcd.endpoint) - before
        return sum(n for what, n in seen.items() if not what.startswith("Lease"))

    assert cost(lambda: rw.write().acquire()) == 1
    assert cost(next(iter(rw._write._held)).downgrade) == 1
    assert cost(lambda: rw.read().acquire(blocking=False)) == 2
    assert cost(lambda: rw.write().acquire(blocking=False)) == 1
    assert cost(lambda: rw.read().release()) == 1
