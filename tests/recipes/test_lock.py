"""The lock's promises, against a real server; each test is named after the promise or the hazard."""

from __future__ import annotations

import gc
import json
import signal
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import ExitStack
from itertools import pairwise
from typing import Any

import pytest

from etcd_recipes import (
    Cancelled,
    Client,
    Context,
    DeadlineExceeded,
    Hold,
    LockLost,
    NotAcquired,
    NotHeld,
    SessionLost,
)
from etcd_recipes.core import runtime
from etcd_recipes.testing import EtcdCluster, EtcdProcess, FaultProxy
from tests.recipes.below import below
from tests.recipes.operator import TAKES_A_PLACE, remove, revoke
from tests.recipes.strikes import Interrupted, SoftTimeLimit, struck
from tests.requests_seen import requests_seen
from tests.tools import Job, child, eventually, in_time

MakeClient = Callable[..., Client]


def attempt(client: Client, name: str, timeout: float = 5.0, **options: object) -> Job:
    """Acquire on a thread, and wait until the place in the line is taken."""
    lock = client.lock(name, **options)  # type: ignore[arg-type]
    before = len(lock._line.contenders(Context(5.0)))
    job = Job(lambda: lock.acquire(timeout=timeout))
    eventually(lambda: not job.running or len(lock._line.contenders(Context(5.0))) > before)
    return job


# -- what it is for -------------------------------------------------------------------------------


def test_one_holder_at_a_time_and_the_next_one_after_release(
    client: Client, other: Client, name: str
) -> None:
    first = client.lock(name).acquire()
    assert first is not None
    waiting = attempt(other, name)
    assert waiting.running
    first.release()
    second = waiting.result()
    assert second.is_held
    assert second.token > first.token
    second.release()


@pytest.mark.only_v3
def test_acquire_and_release_are_two_requests_and_leave_no_lease(
    make_client: MakeClient, etcd: EtcdProcess, name: str
) -> None:
    client = make_client()
    lock = client.lock(name)
    with lock:
        pass  # opens the session
    before = requests_seen(etcd.endpoint)
    for _ in range(20):
        with lock:
            pass
    seen = requests_seen(etcd.endpoint) - before
    assert sum(seen.values()) - seen["LeaseKeepAlive"] - seen["LeaseTimeToLive"] == 40
    lease = client.session().id
    client.close()
    assert lease not in make_client().v3.lease.list()


@pytest.mark.only_v3
def test_a_try_on_a_busy_lock_writes_nothing_and_is_one_request(
    client: Client, other: Client, etcd: EtcdProcess, name: str
) -> None:
    other.session()
    with client.lock(name):
        revision = client.v3.kv.range(name, prefix=True).revision
        before = requests_seen(etcd.endpoint)
        assert other.lock(name).acquire(blocking=False) is None
        seen = requests_seen(etcd.endpoint) - before
        assert (seen["Txn"], sum(seen.values())) == (1, 1)
        assert client.v3.kv.range(name, prefix=True).revision == revision


def test_waiters_go_in_by_order_of_arrival(make_client: MakeClient, name: str) -> None:
    holder = make_client().lock(name).acquire()
    order: list[int] = []

    def wait(number: int, lock: object) -> None:
        with lock:  # type: ignore[attr-defined]
            order.append(number)

    jobs = []
    for number in range(6):
        client = make_client()
        lock = client.lock(name)
        jobs.append(Job(lambda n=number, it=lock: wait(n, it)))
        eventually(lambda n=number, it=lock: len(it.waiters()) == n + 1)
    holder.release()  # type: ignore[union-attr]
    for job in jobs:
        job.result()
    assert order == list(range(6))


def test_two_threads_of_one_client_exclude_each_other(client: Client, name: str) -> None:
    lock = client.lock(name)
    inside = threading.Semaphore(1)

    def work() -> int:
        for _ in range(15):
            with lock:
                assert inside.acquire(blocking=False), "two threads inside"
                inside.release()
        return 15

    assert sum(job.result(30) for job in [Job(work) for _ in range(6)]) == 90


def test_what_has_ended_is_gone_without_a_search_for_garbage(client: Client, name: str) -> None:
    # A circle would stay until Python looks for circles, which costs a busy worker a pause now and then.
    gc.disable()
    try:
        lock = client.lock(name)
        with lock as hold:
            ended, line = weakref.ref(hold), weakref.ref(lock)
            event = hold.lost
        del hold, lock
        assert (ended(), line()) == (None, None)
        assert event.is_set()
        assert event.wait(0)
    finally:
        gc.enable()


def test_the_threads_of_one_process_do_not_starve_another(
    client: Client, other: Client, name: str
) -> None:
    # Each thread goes to the end of the line in etcd, so the other waits for one of them, not for six.
    mine, theirs = client.lock(name), other.lock(name)
    turns: list[tuple[int, str]] = []
    ours, lease, done = client.session().id, other.session().id, threading.Event()

    def crowd() -> None:
        while not done.is_set() and crowded() < 50:  # it ends even if the other never gets in
            with mine as hold:
                eventually(lambda: done.is_set() or lease in in_line(), what="the other's arrival")
                turns.append((hold.token, "crowd"))

    def in_line() -> set[int]:
        return {entry.lease for entry in mine._line.contenders(Context(5))}

    def crowded() -> int:
        return sum(owner == "crowd" for _, owner in list(turns))

    jobs = [Job(crowd) for _ in range(6)]
    eventually(lambda: turns or mine.locked())
    while crowded() < 8:
        with theirs as hold:
            eventually(lambda: ours in in_line(), what="the arrival of one of the crowd")
            turns.append((hold.token, "other"))
    done.set()
    for job in jobs:
        job.result()
    owners = [owner for _, owner in sorted(turns)]
    last = len(owners) - owners[::-1].index("other")
    assert ("crowd", "crowd") not in pairwise(owners[:last]), (
        "a thread went in ahead of one that waited"
    )


def test_locks_with_nested_names_do_not_meet(client: Client, other: Client, name: str) -> None:
    with other.lock(f"{name}/deeper"), other.lock(f"{name}x"):
        assert (hold := client.lock(name).acquire(blocking=False)) is not None
        hold.release()
        assert (hold := client.lock(name).acquire(timeout=2)) is not None
        assert other.lock(name).acquire(blocking=False) is None
        hold.release()


def test_32_contenders_in_8_processes_hand_over_without_two_holders(
    etcd: EtcdProcess, name: str, api: str
) -> None:
    source = """
        import json, sys, threading, time
        from etcd_recipes import Client
        held = []
        def contend():
            with Client(sys.argv[1], api=sys.argv[-1]) as client:
                lock = client.lock(sys.argv[2])
                client.session()
                begin.wait()
                for _ in range(4):
                    with lock as hold:
                        begun = time.monotonic()
                        held.append((hold.token, begun, time.monotonic()))
        begin = threading.Barrier(5)
        threads = [threading.Thread(target=contend) for _ in range(4)]
        for thread in threads: thread.start()
        print(json.dumps("ready"), flush=True); sys.stdin.readline()
        begin.wait()
        for thread in threads: thread.join()
        print(json.dumps(held), flush=True)
    """
    with ExitStack() as stack:
        entered = [stack.enter_context(child(source, etcd.endpoint, name, api)) for _ in range(8)]
        assert all(process.read() == "ready" for process in entered)
        for process in entered:
            process.say()
        spans = sorted(tuple(span) for process in entered for span in process.read())
    assert len(spans) == 8 * 4 * 4
    assert len({token for token, _, _ in spans}) == len(spans)
    for before, after in pairwise(spans):
        assert before[2] <= after[1], "the order of the tokens is not the order of the holds"


def test_a_wait_watches_from_now(
    client: Client, other: Client, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A watch that begins at a revision which is there already is served by a loop that runs every 100 ms.
    begun: list[int | None] = []
    store = other._sessions.store
    watch = store.watch

    def noting(*args: Any, after: int | None = None, **how: Any) -> Any:
        begun.append(after)
        return watch(*args, after=after, **how)

    monkeypatch.setattr(store, "watch", noting)
    hold = client.lock(name).acquire()
    assert hold is not None
    job = Job(lambda: other.lock(name).acquire(timeout=10))
    eventually(lambda: begun)
    hold.release()
    job.result().release()
    assert set(begun) == {None}


def test_no_handoff_waits_for_etcds_100_ms_loop(etcd: EtcdProcess, name: str, api: str) -> None:
    # Each holds for 20 ms, so that the other sleeps over its feed when it leaves. In etcd's loop it would
    # be told of that at the next tick, some 75 ms later. A busy machine delays many, not all.
    source = """
        import json, sys, time
        from etcd_recipes import Client
        with Client(sys.argv[1], api=sys.argv[-1]) as client:
            lock = client.lock(sys.argv[2])
            print(json.dumps("ready"), flush=True); sys.stdin.readline()
            held = []
            for _ in range(30):
                with lock as hold:
                    began = time.monotonic()
                    hold.sleep(0.02)
                    held.append((hold.token, began, time.monotonic()))
            print(json.dumps(held), flush=True)
    """
    with child(source, etcd.endpoint, name, api) as a, child(source, etcd.endpoint, name, api) as b:
        assert a.read() == b.read() == "ready"
        a.say()
        b.say()
        held = sorted((*each, who) for who, process in enumerate((a, b)) for each in process.read())
    handoffs = sorted(
        after[1] - before[2] for before, after in pairwise(held) if before[3] != after[3]
    )
    assert len(handoffs) > 50
    in_time(handoffs[len(handoffs) // 4], 0.04)


# -- leaving the line ------------------------------------------------------------------------------


def test_a_timeout_gives_none_and_leaves_the_line(client: Client, other: Client, name: str) -> None:
    with client.lock(name):
        begun = time.monotonic()
        assert other.lock(name).acquire(timeout=0.3) is None
        in_time(time.monotonic() - begun, 0.8, at_least=0.3)
        eventually(lambda: client.lock(name).waiters() == ())


def test_with_never_runs_unlocked(client: Client, other: Client, name: str) -> None:
    with client.lock(name):
        with pytest.raises(NotAcquired, match=name), other.lock(name, timeout=0.2):
            pytest.fail("the body ran without the lock")
        eventually(lambda: client.lock(name).waiters() == ())


def test_a_cancel_ends_a_wait_at_once_and_leaves_the_line(
    client: Client, other: Client, name: str
) -> None:
    with client.lock(name):
        ctx = Context()
        lock = other.lock(name)
        job = Job(lambda: lock.acquire(ctx=ctx))
        eventually(lambda: client.lock(name).waiters())
        cancelled = time.monotonic()
        ctx.cancel()
        with pytest.raises(Cancelled):
            job.result()
        assert job.ended_at is not None
        in_time(job.ended_at - cancelled, 0.3)
        eventually(lambda: client.lock(name).waiters() == ())


def test_the_callers_deadline_raises_where_a_timeout_gives_none(
    client: Client, other: Client, name: str
) -> None:
    with client.lock(name), pytest.raises(DeadlineExceeded):
        other.lock(name).acquire(timeout=5, ctx=Context(0.2))


def test_a_wait_given_up_while_etcd_is_away_leaves_the_line_when_it_is_back(
    make_client: MakeClient, name: str, server: EtcdProcess
) -> None:
    holder = make_client(server.endpoint).lock(name).acquire()
    waiter = make_client(server.endpoint)
    job = attempt(waiter, name, timeout=1.0)
    server.pause()
    assert job.result() is None
    server.resume()
    lock = make_client(server.endpoint).lock(name)
    eventually(lambda: not lock.waiters(), 5, "leaving the line")
    assert waiter.session().is_alive, "it left by itself, not with its lease"
    assert holder is not None
    holder.release()


def test_an_interrupt_in_the_wait_leaves_the_line(
    client: Client, etcd: EtcdProcess, name: str, api: str
) -> None:
    source = """
        import json, sys
        from etcd_recipes import Client
        client = Client(sys.argv[1], api=sys.argv[-1])
        try:
            client.lock(sys.argv[2]).acquire()
        except KeyboardInterrupt:
            print(json.dumps("interrupted"), flush=True)
        sys.stdin.readline()
    """
    with client.lock(name) as _, child(source, etcd.endpoint, name, api) as waiter:
        eventually(client.lock(name).waiters)
        waiter.signal(signal.SIGINT)
        assert waiter.read() == "interrupted"
        eventually(lambda: client.lock(name).waiters() == ())


# -- losing what was held, or the place ------------------------------------------------------------


def test_a_waiter_whose_lease_is_revoked_raises_and_never_holds(
    client: Client, other: Client, name: str, api: str
) -> None:
    hold = client.lock(name).acquire()
    job = attempt(other, name, ttl=3)
    revoke(client, other.session(3), api)
    with pytest.raises((SessionLost, LockLost)):
        job.result()
    assert hold is not None
    hold.release()
    assert not client.lock(name).locked(), "a phantom holder"


def test_a_waiter_cut_off_from_etcd_raises_when_its_lease_may_have_ended(
    make_client: MakeClient, name: str, server: EtcdProcess
) -> None:
    holder = make_client(server.endpoint).lock(name, ttl=60).acquire()
    job = attempt(make_client(server.endpoint, header_timeout=0.3), name, timeout=30, ttl=2)
    server.pause()
    stopped = time.monotonic()
    with pytest.raises(SessionLost, match="renewed in time"):
        job.result(10)
    in_time(time.monotonic() - stopped, 2 + 0.5)
    server.resume()
    assert holder is not None


def test_a_waiter_whose_place_is_deleted_raises_at_once(
    client: Client, other: Client, name: str, api: str
) -> None:
    with client.lock(name):
        job = attempt(other, name, timeout=30, ttl=3)
        (waiting,) = client.lock(name).waiters()
        remove(client, waiting.key, api)
        with pytest.raises(LockLost, match="removed"):
            job.result(2)


def test_a_revoked_lease_is_noticed_while_the_body_runs(
    client: Client,
    other: Client,
    name: str,
    api: str,
    record_property: Callable[[str, object], None],
) -> None:
    reasons: list[str] = []
    with pytest.raises(LockLost, match="lost while the body ran"), client.lock(name, ttl=3) as hold:
        hold.on_lost(reasons.append)
        begun = time.monotonic()
        revoke(other, hold.session, api)  # right after a renewal: the longest way to the next one
        assert hold.lost.wait(5)
        took = time.monotonic() - begun
        record_property(f"seconds until a revoked lease was noticed on {api}", took)
        in_time(took, 3 / 3 + 0.5)
        with pytest.raises(LockLost):
            hold.check()
        with pytest.raises(LockLost):
            hold.sleep(10)
    assert eventually(lambda: reasons)
    assert ("lease" if api == "v3" else "removed") in reasons[0]


def test_a_key_deleted_by_somebody_else_is_noticed_within_a_third_of_the_ttl(
    client: Client, other: Client, name: str, api: str
) -> None:
    hold = client.lock(name, ttl=3).acquire()
    assert hold is not None
    remove(other, hold.key, api)
    assert hold.lost.wait(3 / 3 + 0.5)
    assert client.session(3).is_alive, "only the hold is lost, not the session"
    with pytest.raises(LockLost, match="removed from etcd"):
        hold.check()


def test_a_loss_in_the_body_does_not_hide_the_bodys_own_error(
    client: Client, name: str, api: str
) -> None:
    with pytest.raises(ZeroDivisionError), client.lock(name, ttl=2) as hold:
        revoke(client, hold.session, api)
        assert hold.lost.wait(5)
        _ = 1 / 0


def test_a_release_never_removes_a_successors_hold(
    client: Client, other: Client, name: str, api: str
) -> None:
    stale = client.lock(name).acquire()
    assert stale is not None
    remove(client, stale.key, api)
    successor = other.lock(name).acquire(timeout=2)
    again = attempt(client, name) if not stale.is_held else None
    stale.release()
    stale.release()
    assert successor is not None
    assert successor.is_held
    assert client.lock(name).locked()
    successor.release()
    if again is not None:
        again.result().release()


def test_a_killed_holder_makes_way_within_its_ttl(
    client: Client, etcd: EtcdProcess, name: str, api: str
) -> None:
    source = """
        import json, sys
        from etcd_recipes import Client
        client = Client(sys.argv[1], api=sys.argv[-1])
        hold = client.lock(sys.argv[2], ttl=2).acquire()
        print(json.dumps(hold.token), flush=True)
        sys.stdin.readline()
    """
    with child(source, etcd.endpoint, name, api) as holder:
        holder.read()
        holder.signal(signal.SIGKILL)
        begun = time.monotonic()
        hold = client.lock(name).acquire(timeout=10)
        assert hold is not None
        in_time(time.monotonic() - begun, 2 + 1.5)
        hold.release()


def test_a_process_that_ends_without_a_word_releases_at_once(
    client: Client, etcd: EtcdProcess, name: str, api: str
) -> None:
    source = """
        import json, sys
        from etcd_recipes import Client
        hold = Client(sys.argv[1], api=sys.argv[-1]).lock(sys.argv[2], ttl=60).acquire()
        print(json.dumps(hold.token), flush=True)
    """
    with child(source, etcd.endpoint, name, api) as holder:
        holder.read()
        assert holder.wait() == 0
        assert not client.lock(name).locked()


# -- lost replies, late copies, lost members ---------------------------------------------------------


def test_an_acquire_whose_reply_was_lost_finds_its_own_place(
    make_client: MakeClient, etcd: EtcdProcess, name: str, api: str
) -> None:
    with FaultProxy(etcd.endpoint) as proxy:
        client = make_client(proxy.endpoint)
        client.session()
        proxy.lose_reply(only=TAKES_A_PLACE[api])
        job = Job(lambda: client.lock(name).acquire(timeout=10))
        eventually(lambda: proxy.hits >= 1)
        proxy.heal()
        hold = job.result()
        assert hold.is_held
        assert len(client.lock(name)._line.contenders(Context(5))) == 1
        assert hold.release()
        assert not client.lock(name).locked()


@pytest.mark.only_v3
def test_a_try_whose_reply_was_lost_does_not_call_itself_busy(
    make_client: MakeClient, etcd: EtcdProcess, name: str, api: str
) -> None:
    with FaultProxy(etcd.endpoint) as proxy:
        client = make_client([proxy.endpoint, etcd.endpoint])
        client.session()
        client._cluster._ring = client._cluster._ring.pin(proxy.endpoint)
        proxy.lose_reply(only=TAKES_A_PLACE[api])
        hold = client.lock(name).acquire(blocking=False)
        assert proxy.hits == 1
        assert hold is not None
        assert hold.is_held
        hold.release()


def test_a_late_copy_of_a_join_does_not_block_the_line(
    make_client: MakeClient, etcd: EtcdProcess, name: str, api: str
) -> None:
    with FaultProxy(etcd.endpoint) as proxy:
        client = make_client([proxy.endpoint, etcd.endpoint], header_timeout=0.3, session_ttl=3)
        client.session()
        client._cluster._ring = client._cluster._ring.pin(proxy.endpoint)
        proxy.hold(only=TAKES_A_PLACE[api])
        hold = client.lock(name).acquire(timeout=5)
        assert proxy.hits == 1
        assert hold is not None
        assert hold.release()
        assert not client.lock(name).locked()
        proxy.heal()  # the server now carries out what it was sent long ago
        eventually(lambda: client.lock(name).locked(), 5, "the late copy")
        begun = time.monotonic()
        eventually(lambda: not client.lock(name).locked(), 8, "the sweeping")
        # On v2 nobody can know of it; nobody refreshes it either, so it ends with its ttl.
        in_time(time.monotonic() - begun, 3 / 3 + 1.0 if api == "v3" else 3 + 1.5)
        assert client.session().is_alive, "swept, not expired"


def test_a_late_copy_of_a_leaving_does_not_remove_a_later_hold(
    make_client: MakeClient, other: Client, etcd: EtcdProcess, name: str, api: str
) -> None:
    # v3: `withdraw` compares the lease and names no incarnation: a copy that a stopped member carries out late
    # takes the key of a hold that the same session has made since, and two hold for up to ttl/3.
    leaves = b"request_delete_range" if api == "v3" else b"DELETE /v2"
    with FaultProxy(etcd.endpoint) as late, FaultProxy(late.endpoint) as deaf:
        client = make_client(deaf.endpoint)
        client.session()
        deaf.blackhole(requests=False, only=TAKES_A_PLACE[api], times=1)
        late.hold(only=leaves, times=1)
        assert client.lock(name).acquire(timeout=0.2) is None
        eventually(lambda: late.hits == 1 and below(other, name) == [], 10, "the leaving")
        hold = client.lock(name).acquire(timeout=5)
        assert hold is not None
        late.heal()
        second = other.lock(name).acquire(timeout=1)
        assert second is None or not hold.is_held, "two hold"


def test_a_release_that_etcd_does_not_confirm_is_completed_later(
    make_client: MakeClient, name: str, server: EtcdProcess
) -> None:
    client = make_client(server.endpoint, header_timeout=0.3)
    hold = client.lock(name).acquire()
    assert hold is not None
    server.pause()
    begun = time.monotonic()
    assert hold.release(timeout=0.5) is False
    in_time(time.monotonic() - begun, 0.8)
    assert not hold.is_held
    server.resume()
    eventually(lambda: not client.lock(name).locked(), 5, "the release")


def test_holds_and_waits_survive_the_death_of_the_member_that_leads(
    make_client: MakeClient, name: str, cluster: EtcdCluster
) -> None:
    client = make_client(cluster.endpoints, session_ttl=6)
    waiter = make_client(cluster.endpoints, session_ttl=6)
    hold = client.lock(name).acquire()
    assert hold is not None
    job = attempt(waiter, name, timeout=30)
    cluster.leader().kill()
    cluster.leader()
    eventually(lambda: client.lock(name).waiters(), 10, "an answer of the new leader")
    assert hold.is_held
    assert job.running
    hold.release()
    second = job.result()
    assert second.token > hold.token
    second.release()


def test_a_waiter_on_a_stopped_member_gets_its_turn(
    make_client: MakeClient, name: str, cluster: EtcdCluster
) -> None:
    leader = cluster.leader()
    stopped = next(m for m in cluster.members if m is not leader)
    rest = [m.endpoint for m in cluster.members if m is not stopped]
    holder = make_client(rest)
    waiter = make_client(cluster.endpoints, session_ttl=3)
    waiter._cluster._ring = waiter._cluster._ring.pin(stopped.endpoint)
    hold = holder.lock(name).acquire()
    job = attempt(waiter, name, timeout=30)
    assert waiter._cluster.pinned == stopped.endpoint
    stopped.pause()
    assert hold is not None
    hold.release()
    released = time.monotonic()
    second = job.result(20)
    # Its renewals find the member silent within ttl/3 and a header timeout, and free its watch.
    in_time(time.monotonic() - released, 3 / 3 + 1.0 + 1.5)
    stopped.resume()
    second.release()


def test_a_wait_goes_on_through_a_restart_of_the_only_server(
    make_client: MakeClient, name: str, server: EtcdProcess
) -> None:
    client, waiter = make_client(server.endpoint), make_client(server.endpoint)
    hold = client.lock(name).acquire()
    job = attempt(waiter, name, timeout=30)
    server.kill()
    server.start()
    assert hold is not None
    assert hold.is_held
    hold.release()
    job.result().release()


# -- fork -------------------------------------------------------------------------------------------


def test_a_forked_child_holds_nothing_and_can_work_while_the_parent_holds_on(
    client: Client, etcd: EtcdProcess, name: str, api: str
) -> None:
    source = """
        import json, os, sys
        from etcd_recipes import Client
        client = Client(sys.argv[1], api=sys.argv[-1])
        lock = client.lock(sys.argv[2], ttl=3)
        hold = lock.acquire()
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            said = [hold.is_held, hold.lost.is_set(), hold.release()]
            said.append(lock.acquire(blocking=False) is None)
            with client.lock(sys.argv[2] + "-child") as mine:
                said.append(mine.is_held)
            client.close()
            os.write(write, json.dumps(said).encode())
            os._exit(0)
        os.waitpid(pid, 0)
        hold.sleep(3.5)                    # longer than the ttl: renewed by the parent's own thread
        print(json.dumps([json.loads(os.read(read, 1000)), hold.is_held]), flush=True)
        sys.stdin.readline()
    """
    with child(source, etcd.endpoint, name, api) as parent:
        said, held = parent.read()
        assert said == [False, True, True, True, True]
        assert held
        holder = client.lock(name).holder()
        assert holder is not None
        assert json.loads(holder.value)["pid"] == parent.pid


# -- the rest of the contract -----------------------------------------------------------------------


def test_who_holds_and_who_waits_can_be_asked(client: Client, other: Client, name: str) -> None:
    lock = client.lock(name)
    assert (lock.locked(), lock.holder(), lock.waiters()) == (False, None, ())
    with lock as hold:
        job = attempt(other, name)
        holder = lock.holder()
        assert holder is not None
        assert (holder.key, holder.identity.count("/")) == (hold.key, 2)
        assert {"host", "pid", "since", "id"} <= json.loads(holder.value).keys()
        assert len(lock.waiters()) == 1
    job.result().release()


def test_acquire_works_as_with_threading_lock(client: Client, name: str) -> None:
    lock = client.lock(name)
    assert lock.acquire(timeout=3)
    assert not lock.acquire(False)
    assert not lock.acquire(timeout=0)
    with pytest.raises(ValueError, match="blocking"):
        lock.acquire(False, 1.0)
    lock.release()
    with pytest.raises(NotHeld):
        lock.release()
    assert lock.acquire(timeout=-1)
    lock.release()


@pytest.mark.parametrize(("busy", "ran"), [("skip", None), ("wait", "ran"), ("raise", NotAcquired)])
def test_exclusive_skips_waits_or_raises_when_busy(
    client: Client, other: Client, name: str, busy: str, ran: object
) -> None:
    @other.exclusive(name, on_busy=busy)  # type: ignore[arg-type]
    def work() -> str:
        return "ran"

    assert work() == "ran"
    hold: Hold | None = client.lock(name).acquire()
    assert hold is not None
    job = Job(work)
    if busy == "wait":
        eventually(client.lock(name).waiters)
        hold.release()
    if ran is NotAcquired:
        with pytest.raises(NotAcquired):
            job.result()
    else:
        assert job.result() == ran
    hold.release()


@pytest.mark.parametrize("bad", ["", "a/", "a\0b"])
def test_bad_names_are_refused_with_a_reason(client: Client, bad: str) -> None:
    with pytest.raises(ValueError, match="name"):
        client.lock(bad)


@pytest.mark.parametrize("ttl", [0, -1, float("nan")])
def test_bad_ttls_are_refused(client: Client, name: str, ttl: float) -> None:
    with pytest.raises(ValueError, match="ttl"):
        client.lock(name, ttl=ttl)


def test_a_namespace_is_put_in_front_of_the_name(make_client: MakeClient, name: str) -> None:
    with make_client(namespace=f"{name}-team/").lock("job") as hold:
        assert hold.key.startswith(f"{name}-team/job/")


def test_a_closed_client_lets_go_at_once(make_client: MakeClient, name: str) -> None:
    client = make_client()
    hold = client.lock(name, ttl=60).acquire()
    client.close()
    assert hold is not None
    assert not hold.is_held
    assert not make_client().lock(name).locked()


# -- signals that a program survives ---------------------------------------------------------------


@pytest.mark.parametrize("error", [Interrupted(), SoftTimeLimit()], ids=repr)
def test_a_signal_while_the_line_is_left_leaves_nobody_in_it(
    client: Client,
    other: Client,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
) -> None:
    # `_leave` goes on in the background after errors of the library only: the place stands, renewed, for ever.
    with other.lock(name):
        struck(monkeypatch, client._sessions.store, "delete", error)
        with pytest.raises(type(error)):
            client.lock(name).acquire(timeout=0.1)
        eventually(lambda: other.lock(name).waiters() == (), 3, "the leaving")


@pytest.mark.parametrize("error", [Interrupted(), RuntimeError("no thread")], ids=repr)
def test_a_hold_that_could_not_be_made_is_held_by_nobody(
    client: Client,
    other: Client,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
) -> None:
    # What strikes between the turn and the hold (a signal, a thread that cannot be started) leaves the key.
    client.session()
    struck(monkeypatch, runtime, "spawn_native", error)
    with pytest.raises(type(error)):
        client.lock(name, max_hold=60).acquire()
    assert other.lock(name).acquire(timeout=3) is not None


def test_a_signal_in_a_release_releases_all_the_same(
    client: Client, other: Client, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Between the end of the hold and the request: it says that it was released, and the key stands for ever.
    hold = client.lock(name).acquire()
    assert hold is not None
    struck(monkeypatch, hold.session, "forget", Interrupted())
    with pytest.raises(Interrupted):
        hold.release()
    hold.release()
    assert other.lock(name).acquire(timeout=3) is not None


@pytest.mark.parametrize("where", ["before", "after"])
def test_a_signal_about_the_delete_leaves_neither_key_nor_claim(
    client: Client, name: str, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    lock = client.lock(name)
    hold = lock.acquire()
    assert hold is not None
    if where == "before":
        struck(monkeypatch, client._sessions.store, "delete", Interrupted())
    else:
        struck(monkeypatch, hold.session, "release", Interrupted())  # of the claim
    with pytest.raises(Interrupted):
        hold.release()
    assert hold.lost._event.is_set()
    assert lock.acquire(timeout=3) is not None, "the same process stands in the same key's queue"


def test_a_signal_in_the_end_of_a_hold_reaches_those_who_wait_for_it(
    client: Client, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold = client.lock(name, max_hold=60).acquire()
    assert hold is not None
    dog = hold._watchdog
    struck(monkeypatch, dog, "forget", Interrupted())
    with pytest.raises(Interrupted):
        hold.release()
    assert hold.lost._event.is_set()
    eventually(lambda: not dog._running, what="the end of the watch over a hold that has ended")


def test_a_release_with_a_bad_timeout_releases_nothing(client: Client, name: str) -> None:
    hold = client.lock(name).acquire()
    assert hold is not None
    with pytest.raises(ValueError, match="timeout"):
        hold.release(timeout=-1)
    assert hold.is_held
    assert hold.release()
