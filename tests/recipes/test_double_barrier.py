"""The double barrier's promises, against a real server; its parties are threads, clients and processes."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from etcd_recipes import (
    BrokenBarrier,
    Cancelled,
    Client,
    Context,
    DeadlineExceeded,
    DoubleBarrier,
    NotHeld,
    RecipeError,
    SessionLost,
)
from etcd_recipes.testing import EtcdCluster, EtcdProcess, FaultProxy
from tests.recipes.below import below, naming
from tests.recipes.operator import remove, revoke
from tests.recipes.strikes import Interrupted, struck
from tests.tools import Job, child, eventually, in_time

MakeClient = Callable[..., Client]


class Part:
    """A party on a thread of its own, which does what it is told."""

    def __init__(self, barrier: DoubleBarrier) -> None:
        self.barrier = barrier
        self._orders: list[Callable[[], object]] = []
        self._more = threading.Semaphore(0)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while True:
            self._more.acquire()
            self._orders.pop(0)()

    def tell(self, what: Callable[[], object]) -> Job:
        done = threading.Event()
        answer: list[object] = []
        errors: list[BaseException] = []

        def order() -> None:
            try:
                answer.append(what())
            except BaseException as error:
                errors.append(error)
            done.set()

        def wait() -> object:
            assert done.wait(60)
            if errors:
                raise errors[0]
            return answer[0]

        self._orders.append(order)
        self._more.release()
        return Job(wait)

    def enter(self, timeout: float | None = 20, **options: object) -> Job:
        return self.tell(lambda: self.barrier.enter(timeout, **options))  # type: ignore[arg-type]

    def leave(self, timeout: float | None = 20, **options: object) -> Job:
        return self.tell(lambda: self.barrier.leave(timeout, **options))  # type: ignore[arg-type]


def parts(name: str, *clients: Client, parties: int | None = None, ttl: float = 3) -> list[Part]:
    number = parties or len(clients)
    return [Part(client.double_barrier(name, parties=number, ttl=ttl)) for client in clients]


def waiters(client: Client, name: str, number: int, timeout: float = 5.0) -> None:
    """Wait until so many parties are there."""
    eventually(lambda: sum("parties/" in key for key in below(client, name)) == number, timeout)


def inside(who: list[Part]) -> None:
    for job in [part.enter() for part in who]:
        job.result()


# -- together in, together out ------------------------------------------------------------------------


def test_nobody_is_in_before_all_are_there_and_nobody_out_before_all_leave(
    client: Client, other: Client, name: str
) -> None:
    a, b, c = parts(name, client, client, other)
    first, second = a.enter(), b.enter()
    waiters(client, name, 2)
    assert first.running
    assert second.running
    c.enter().result()
    first.result()
    second.result()
    first, second = a.leave(), b.leave()
    eventually(lambda: sum("left/" in key for key in below(client, name)) == 2)
    assert first.running
    assert second.running
    c.leave().result()
    first.result()
    second.result()
    eventually(lambda: below(client, name) == [], what="leaving nothing behind")


def test_generations_of_many_processes_never_overlap(
    etcd: EtcdProcess, client: Client, name: str, api: str
) -> None:
    source = """
        import json, sys, threading, time
        from etcd_recipes import Client
        client = Client(sys.argv[1], api=sys.argv[-1])
        double = client.double_barrier(sys.argv[2], parties=6)
        client.session()
        seen = []
        def work():
            for round in range(5):
                asked = time.monotonic(); double.enter(20); entered = time.monotonic()
                asked_out = time.monotonic(); double.leave(20); left = time.monotonic()
                seen.append([round, asked, entered, asked_out, left])
        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        print(json.dumps(seen), flush=True)
        sys.stdin.readline()
    """
    with ExitStack() as stack:
        processes = [stack.enter_context(child(source, etcd.endpoint, name, api)) for _ in range(3)]
        seen = [row for process in processes for row in process.read()]
    for number in range(5):
        rows = [row for row in seen if row[0] == number]
        assert len(rows) == 6
        assert max(row[1] for row in rows) <= min(row[2] for row in rows), (
            "in before all were there"
        )
        assert max(row[3] for row in rows) <= min(row[4] for row in rows), "out before all left"
    eventually(lambda: below(client, name) == [])


def test_no_meeting_waits_for_etcds_100_ms_loop(client: Client, other: Client, name: str) -> None:
    a, b = parts(name, client, other)
    took = []
    for _ in range(8):
        for go in (lambda part: part.enter(), lambda part: part.leave()):
            first = go(a)
            Context(
                0.03
            ).wait()  # until it sleeps over its feed; if it does not yet, nothing is shown
            began = time.monotonic()
            for job in (go(b), first):
                job.result()
            took.append(time.monotonic() - began)
    # In that loop each of them would be told at the next tick, some 70 ms later.
    in_time(sorted(took)[len(took) // 4], 0.06)


def test_with_enters_and_leaves(client: Client, name: str) -> None:
    double = client.double_barrier(name, parties=2, timeout=20)
    together = threading.Barrier(2)

    def work() -> bool:
        with double:
            together.wait(5)  # both are inside at once
        return True

    assert all(job.result() for job in [Job(work), Job(work)])


def test_one_party_alone_goes_in_and_out(client: Client, name: str) -> None:
    with client.double_barrier(name, parties=1, timeout=5):
        pass
    assert below(client, name) == []


def test_more_than_the_parties_make_the_next_round_and_never_join_the_present_one(
    client: Client, other: Client, name: str
) -> None:
    a, b, late, later = parts(name, client, other, client, other, parties=2)
    inside([a, b])
    third = late.enter()
    waiters(client, name, 3)
    fourth = later.enter()
    waiters(client, name, 4)
    leaving = a.leave()
    eventually(lambda: any("left/" in key for key in below(client, name)))
    assert third.running
    assert fourth.running
    assert leaving.running
    for job in (b.leave(), leaving, third, fourth, late.leave(), later.leave()):
        job.result()
    eventually(lambda: below(client, name) == [])


# -- giving up -----------------------------------------------------------------------------------------


def test_a_party_that_times_out_leaves_no_trace_and_another_takes_its_place(
    client: Client, other: Client, name: str
) -> None:
    a, b, c = parts(name, client, other, other, parties=2)
    began = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        a.enter(0.3).result()
    in_time(time.monotonic() - began, 0.8, at_least=0.3)
    assert below(client, name) == []
    inside([b, c])
    for job in (b.leave(), c.leave()):
        job.result()
    ctx = Context()
    job = a.enter(None, ctx=ctx)
    waiters(client, name, 1)
    ctx.cancel()
    with pytest.raises(Cancelled):
        job.result(1)
    assert below(client, name) == []


def test_parties_that_give_up_again_and_again_never_tear_the_others_apart(
    make_client: MakeClient, name: str
) -> None:
    # Timeouts that fall into every moment of the opening: all of a round are in, or none.
    one, two = make_client(), make_client()
    a, b = parts(name, one, two, ttl=10)
    both = neither = 0
    began = time.monotonic()
    inside([a, b])
    meeting = time.monotonic() - began
    for job in (a.leave(), b.leave()):
        job.result()
    for step in range(30):
        steady = a.enter()
        waiters(one, name, 1)
        hasty = b.enter(max(0.03, 2 * meeting) * step / 30)
        try:
            hasty.result()
        except DeadlineExceeded:
            neither += 1
            assert steady.running or b.enter().result() is None  # it must not have gone in alone
            if steady.running:
                b.enter().result()
        else:
            both += 1
        steady.result()
        for job in (a.leave(), b.leave()):
            job.result()
    assert neither
    assert both


def test_a_leave_that_times_out_has_left_and_the_others_do_not_wait_for_it(
    client: Client, other: Client, name: str
) -> None:
    a, b = parts(name, client, other)
    inside([a, b])
    with pytest.raises(DeadlineExceeded):
        a.leave(0.2).result()
    with pytest.raises(NotHeld):
        a.leave().result()
    b.leave(5).result()
    eventually(lambda: below(client, name) == [])
    inside([a, b])


def test_an_interrupt_while_entering_leaves_no_trace(
    client: Client, etcd: EtcdProcess, name: str, api: str
) -> None:
    source = """
        import json, sys
        from etcd_recipes import Client
        client = Client(sys.argv[1], api=sys.argv[-1])
        try:
            client.double_barrier(sys.argv[2], parties=2).enter()
        except KeyboardInterrupt:
            print(json.dumps("interrupted"), flush=True)
        sys.stdin.readline()
    """
    with child(source, etcd.endpoint, name, api) as party:
        waiters(client, name, 1, timeout=20)  # a process, which has yet to begin
        party.signal(signal.SIGINT)
        assert party.read() == "interrupted"
        assert below(client, name) == []


# -- dying ---------------------------------------------------------------------------------------------

PARTY = """
    import json, sys
    from etcd_recipes import Client
    client = Client(sys.argv[1], api=sys.argv[-1])
    double = client.double_barrier(sys.argv[2], parties=int(sys.argv[3]), ttl=2)
    client.session(2)
    print(json.dumps("ready"), flush=True)
    double.enter(30)
    print(json.dumps("in"), flush=True)
    sys.stdin.readline()
    try:
        double.leave(30)
        print(json.dumps("out"), flush=True)
    except Exception as error:
        print(json.dumps(type(error).__name__), flush=True)
    sys.stdin.readline()
"""


def test_a_party_killed_inside_breaks_the_barrier_for_those_who_leave_and_the_name_lives_on(
    client: Client, other: Client, etcd: EtcdProcess, name: str, api: str
) -> None:
    a, b = parts(name, client, other, parties=3)
    with child(PARTY, etcd.endpoint, name, "3", api) as victim:
        assert victim.read() == "ready"
        entering = [a.enter(), b.enter()]
        assert victim.read() == "in"
        for job in entering:
            job.result()
        leaving = a.leave(None)
        victim.signal(signal.SIGKILL)
        began = time.monotonic()
        with pytest.raises(BrokenBarrier, match="died inside"):
            leaving.result(15)
        in_time(time.monotonic() - began, 2 + 1.5)
        with pytest.raises(BrokenBarrier):
            b.leave(5).result()
        eventually(lambda: below(client, name) == [])
    again = parts(name, client, other, client)
    inside(again)
    for job in [part.leave() for part in again]:
        job.result()


def test_a_party_killed_while_it_waits_is_not_taken_for_one_that_goes_in(
    client: Client, other: Client, etcd: EtcdProcess, name: str, api: str
) -> None:
    a, b, c = parts(name, client, other, other, parties=3)
    with child(PARTY, etcd.endpoint, name, "3", api) as victim:
        assert victim.read() == "ready"
        waiters(client, name, 1)
        victim.signal(signal.SIGKILL)
        victim.wait()
        first, second = a.enter(), b.enter()  # three keys are there, one of them a dead one's
        waiters(client, name, 3)
        waiters(client, name, 2)  # its lease ended
        assert first.running
        assert second.running
        c.enter().result()
        first.result()
        second.result()
    for job in (a.leave(), b.leave(), c.leave()):
        job.result()
    eventually(lambda: below(client, name) == [])


def test_a_party_stopped_past_its_ttl_breaks_the_barrier_and_knows_it_on_waking(
    client: Client, etcd: EtcdProcess, name: str, api: str
) -> None:
    (a,) = parts(name, client, parties=2)
    with child(PARTY, etcd.endpoint, name, "2", api) as sleeper:
        assert sleeper.read() == "ready"
        entering = a.enter()
        assert sleeper.read() == "in"
        entering.result()
        sleeper.signal(signal.SIGSTOP)
        with pytest.raises(BrokenBarrier):
            a.leave(15).result(15)
        sleeper.signal(signal.SIGCONT)
        sleeper.say()
        assert sleeper.read() == "BrokenBarrier"


def test_a_lease_that_is_revoked_ends_an_enter_and_breaks_a_leave(
    client: Client, other: Client, name: str, api: str
) -> None:
    a, b = parts(name, client, other)
    job = a.enter()
    waiters(client, name, 1)
    revoke(other, client.session(3), api)
    with pytest.raises((SessionLost, BrokenBarrier)):
        job.result()
    inside([a, b])
    leaving = b.leave()
    revoke(other, client.session(3), api)
    with pytest.raises(BrokenBarrier):
        leaving.result()
    with pytest.raises(BrokenBarrier):
        a.leave().result()


def test_a_body_that_raises_breaks_the_barrier_at_once(
    client: Client, other: Client, name: str
) -> None:
    (b,) = parts(name, other, parties=2, ttl=60)
    double = client.double_barrier(name, parties=2, ttl=60, timeout=20)

    def fail() -> None:
        with double:
            _ = 1 / 0

    failing, entering = Job(fail), b.enter()
    with pytest.raises(ZeroDivisionError):
        failing.result()
    entering.result()
    with pytest.raises(BrokenBarrier):
        b.leave(5).result()
    eventually(lambda: below(client, name) == [])


def test_a_party_whose_key_is_deleted_hears_of_it_and_so_do_the_others(
    client: Client, other: Client, name: str, api: str
) -> None:
    a, b = parts(name, client, other)
    job = a.enter()
    waiters(client, name, 1)
    remove(client, f"{name}/{below(client, name)[0]}", api)
    with pytest.raises(BrokenBarrier, match="removed"):
        job.result()
    inside([a, b])
    remove(client, f"{name}/round", api)
    for job in (a.leave(), b.leave()):
        with pytest.raises(BrokenBarrier, match="removed"):
            job.result()


def test_a_forked_child_is_no_party_and_harms_none(
    client: Client, etcd: EtcdProcess, name: str, api: str
) -> None:
    source = """
        import json, os, sys
        from etcd_recipes import BrokenBarrier, Client
        client = Client(sys.argv[1], api=sys.argv[-1])
        double = client.double_barrier(sys.argv[2], parties=2, ttl=3)
        double.enter(30)
        if (pid := os.fork()) == 0:
            try:
                double.leave(5)
            except BrokenBarrier:
                os._exit(7)
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        print(json.dumps(status), flush=True)
        double.leave(30)
        print(json.dumps("out"), flush=True)
    """
    (a,) = parts(name, client, parties=2)
    with child(source, etcd.endpoint, name, api) as party:
        a.enter(30).result(30)  # the other party is a process that has yet to begin
        assert party.read() == 7
        leaving = a.leave()
        assert party.read() == "out"
        leaving.result()


# -- lost replies, late copies, lost members -------------------------------------------------------------


def through(proxy: FaultProxy, make_client: MakeClient, etcd: EtcdProcess) -> Client:
    """Give a client whose requests go through the proxy first, and past it when that is silent."""
    client = make_client([proxy.endpoint, etcd.endpoint], header_timeout=0.3)
    client.session(3)
    client._cluster._ring = client._cluster._ring.pin(proxy.endpoint)
    return client


def test_a_late_copy_of_an_arrival_is_not_taken_for_a_party(
    make_client: MakeClient, etcd: EtcdProcess, name: str, api: str
) -> None:
    with FaultProxy(etcd.endpoint) as proxy:
        client = through(proxy, make_client, etcd)
        proxy.hold(only=naming(f"{name}/parties/", api))
        (gone,) = parts(name, client, parties=2)
        with pytest.raises(DeadlineExceeded):
            gone.enter(1.0).result()
        assert proxy.hits >= 1
        assert below(client, name) == []
        (a,) = parts(name, make_client(), parties=2)
        alone = a.enter()
        waiters(client, name, 1)
        proxy.heal()  # the server now carries out what it was sent long ago
        waiters(client, name, 2)
        eventually(lambda: len(below(client, name)) <= 1, 8, "the sweeping")
        assert alone.running
        (b,) = parts(name, make_client(), parties=2)
        b.enter().result()
        alone.result()
        for job in (a.leave(), b.leave()):
            job.result()


@pytest.mark.parametrize("mark", ["in", "left"])
def test_a_mark_that_was_carried_out_twice_does_no_harm(
    make_client: MakeClient, etcd: EtcdProcess, name: str, api: str, mark: str
) -> None:
    with FaultProxy(etcd.endpoint) as proxy:
        client = through(proxy, make_client, etcd)
        a, b = parts(name, client, make_client())
        if mark == "left":
            inside([a, b])
        proxy.hold(only=b"request_put" if api == "v3" else b"PUT /v2")
        if mark == "in":
            inside([a, b])
        for job in (a.leave(), b.leave()):
            job.result()
        assert proxy.hits >= 1
        proxy.heal()
        for _ in range(2):
            inside([a, b])
            for job in (a.leave(), b.leave()):
                job.result()
        eventually(lambda: not [k for k in below(client, name) if "round" in k or "part" in k])


def test_it_goes_on_through_the_death_of_the_member_that_leads(
    make_client: MakeClient, name: str, cluster: EtcdCluster
) -> None:
    one, two = (make_client(cluster.endpoints) for _ in range(2))
    a, b = parts(name, one, two, ttl=8)
    job = a.enter(30)
    waiters(one, name, 1)
    cluster.leader().kill()
    cluster.leader()
    b.enter(30).result(40)
    job.result(40)
    leaving = b.leave(30)
    a.leave(30).result(40)
    leaving.result(40)


@pytest.mark.only_v3
def test_a_compaction_during_the_wait_does_no_harm(
    client: Client, other: Client, name: str
) -> None:
    a, b = parts(name, client, other)
    job = a.enter()
    waiters(client, name, 1)
    client.v3.kv.compact(client.v3.kv.put(f"{name}-other", "x").revision)
    b.enter().result()
    job.result()


# -- bad input -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("bad", "error"), [(0, ValueError), (-2, ValueError), (2.0, TypeError)])
def test_bad_numbers_of_parties_are_refused(
    client: Client, name: str, bad: int, error: type
) -> None:
    with pytest.raises(error, match="parties"):
        client.double_barrier(name, parties=bad)


@pytest.mark.parametrize("bad", ["", "a/", "a\0b"])
def test_bad_names_are_refused_with_a_reason(client: Client, bad: str) -> None:
    with pytest.raises(ValueError, match="double barrier name"):
        client.double_barrier(bad, parties=2)


def test_another_number_of_parties_is_an_error_for_who_came_later(
    client: Client, other: Client, name: str
) -> None:
    (a,) = parts(name, client, parties=2)
    job = a.enter()
    waiters(client, name, 1)
    with pytest.raises(ValueError, match=r"parties=2 by .*parties=3"):
        other.double_barrier(name, parties=3).enter(5)
    assert job.running
    (b,) = parts(name, other, parties=2)
    b.enter().result()
    job.result()


def test_entering_twice_and_leaving_without_entering_say_what_to_do(
    client: Client, name: str
) -> None:
    double = client.double_barrier(name, parties=1)
    with pytest.raises(NotHeld, match="enter"):
        double.leave()
    with pytest.raises(NotHeld, match="enter"):
        double.abort()
    double.enter(5)
    with pytest.raises(RecipeError, match="inside"):
        double.enter(5)
    double.leave(5)


def test_what_others_write_below_the_name_does_no_harm(client: Client, name: str) -> None:
    with client.lock(f"{name}/deeper"), client.double_barrier(name, parties=1, timeout=5):
        pass


def test_a_signal_while_a_barrier_is_given_up_leaves_no_party_behind(
    client: Client, other: Client, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # `_remove` likewise: a party that nobody is stays, and the next round counts on it.
    struck(monkeypatch, client._sessions.store, "delete", Interrupted())
    with pytest.raises(Interrupted):
        client.double_barrier(name, parties=2).enter(timeout=0.2)
    eventually(lambda: below(other, f"{name}/parties") == [], 3, "the removal of the party")


def test_leaving_with_a_bad_timeout_leaves_nobody_stranded(client: Client, name: str) -> None:
    barrier = client.double_barrier(name, parties=1)
    barrier.enter(timeout=5)
    with pytest.raises(ValueError, match="timeout"):
        barrier.leave(timeout=-1)
    assert barrier.is_inside()
    barrier.leave(timeout=5)
    assert below(client, name) == []
