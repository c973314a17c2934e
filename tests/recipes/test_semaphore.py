"""The semaphore's promises, against a real server, on both stores."""

from __future__ import annotations

import json
import logging
import queue
import signal
import threading
import urllib.request
from collections.abc import Callable

import pytest

from etcd_recipes import (
    Cancelled,
    Client,
    Context,
    Hold,
    LimitMismatch,
    LockLost,
    NotAcquired,
    Semaphore,
)
from etcd_recipes.core.errors import CompareFailed
from etcd_recipes.testing import EtcdProcess, FaultProxy
from tests.recipes.operator import remove, write
from tests.requests_seen import requests_seen
from tests.tools import Job, child, eventually

MakeClient = Callable[..., Client]


def waits(semaphore: Semaphore, weight: int = 1, ctx: Context | None = None) -> Job:
    """Acquire on a thread, and wait until it stands in the line."""
    before = len(semaphore.waiters())
    job = Job(lambda: semaphore.acquire(timeout=20, weight=weight, ctx=ctx))
    eventually(lambda: len(semaphore.waiters()) > before)
    return job


def acquired(semaphore: Semaphore, weight: int = 1) -> Hold:
    hold = semaphore.acquire(timeout=20, weight=weight)
    assert hold is not None
    return hold


def test_as_many_are_in_as_there_are_permits_and_no_more(
    make_client: MakeClient, name: str
) -> None:
    clients = [make_client() for _ in range(3)]
    lock, inside, most, full = threading.Lock(), 0, 0, threading.Event()

    def work(client: Client) -> None:
        nonlocal inside, most
        semaphore = client.semaphore(name, permits=3)
        for _ in range(5):
            with semaphore as hold:
                with lock:
                    inside += 1
                    most = max(most, inside)
                    if most == 3:
                        full.set()
                assert full.wait(10), "permits lie idle"
                hold.sleep(0.005)
                with lock:
                    inside -= 1

    for job in [Job(lambda c=client: work(c)) for client in clients * 3]:
        job.result(30)
    assert most == 3


def test_threads_of_one_client_hold_permits_at_the_same_time(client: Client, name: str) -> None:
    semaphore = client.semaphore(name, permits=3)
    together = threading.Barrier(3)

    def work() -> str:
        with semaphore as hold:
            together.wait(5)
            return hold.key

    assert len({job.result() for job in [Job(work) for _ in range(3)]}) == 3
    assert semaphore.holders() == ()


def test_a_small_request_does_not_overtake_a_heavy_one(
    client: Client, other: Client, name: str
) -> None:
    semaphore, theirs = client.semaphore(name, permits=3), other.semaphore(name, permits=3)
    first, second = acquired(semaphore, weight=2), acquired(theirs)
    heavy = waits(theirs, weight=3)
    light = waits(semaphore)
    assert semaphore.acquire(blocking=False) is None
    second.release()
    assert heavy.running
    assert light.running, "there is a permit, but it is the heavy one's turn"
    first.release()
    hold = heavy.result()
    assert light.running
    hold.release()
    light.result().release()


@pytest.mark.only_v3
def test_a_release_lets_one_in_and_asks_for_nothing_else_however_many_wait(
    make_client: MakeClient, etcd: EtcdProcess, name: str
) -> None:
    # Long ttls, so that no renewal is among the requests that are counted.
    clients = [make_client(session_ttl=60, header_timeout=20) for _ in range(3)]
    semaphores = [client.semaphore(name, permits=3) for client in clients]
    leaving = [acquired(semaphores[0]) for _ in range(3)][::-1]
    came: queue.SimpleQueue[Hold] = queue.SimpleQueue()
    before = requests_seen(etcd.endpoint)["Range"]
    jobs = [Job(lambda s=each: came.put(acquired(s))) for each in semaphores * 4]
    # Each has joined and, with its watch confirmed, looked once more: at the line, and at the limit beside it.
    eventually(lambda: requests_seen(etcd.endpoint)["Range"] == before + 2 * len(jobs), 20)
    begun = requests_seen(etcd.endpoint)
    # The newest leaves first: whoever watched the oldest only, or everybody, would show.
    for _ in jobs:
        leaving.pop(0).release()
        leaving.append(came.get(timeout=20))
    # Whoever was woken in vain has asked before it was let in, so by now all is counted.
    seen = requests_seen(etcd.endpoint) - begun
    assert (seen["Txn"], seen["Range"]) == (12, 2 * 12), (
        f"a release and a look for each, but {seen}"
    )
    assert len(semaphores[0].holders()) == 3
    for hold in leaving:
        hold.release()


# -- the limit -----------------------------------------------------------------------------------------------


def limit_key(name: str, api: str) -> str:
    return f"{name}.limit" if api == "v3" else f"{name}/.limit"


def stored(client: Client, name: str, api: str) -> object:
    entry = client._sessions.store.get(limit_key(name, api), Context(5))
    return None if entry is None else json.loads(entry.value)


def test_another_number_of_permits_is_an_error_that_leaves_nothing_in_the_line(
    client: Client, other: Client, name: str
) -> None:
    three, five = client.semaphore(name, permits=3), other.semaphore(name, permits=5)
    with three as hold:
        (holder,) = three.holders()
        for options in [{"blocking": False}, {"timeout": 5}, {}]:
            with pytest.raises(LimitMismatch, match=r"permits=5.*permits=3.*resize") as caught:
                five.acquire(**options)  # type: ignore[arg-type]
            assert holder.identity in str(caught.value)
            assert f"semaphore {name!r}" in str(caught.value)
            assert (three.holders(), three.waiters()) == ((holder,), ())
        with pytest.raises(LimitMismatch), five:
            pytest.fail("the body ran without permits")
        with three:  # those who agree go on
            assert hold.is_held
    with five:  # nobody is there to disagree with
        assert five.limit() == 5


def test_a_larger_limit_lets_those_in_at_once_who_wait(
    client: Client, other: Client, name: str, api: str
) -> None:
    one, three = client.semaphore(name, permits=1), other.semaphore(name, permits=3)
    holds = [acquired(one)]
    jobs = [waits(one), waits(one), waits(one)]
    assert (one.limit(), three.limit(), stored(other, name, api)) == (1, 3, None)
    three.resize(3)  # what the line was made with counted before, whatever this object says
    eventually(lambda: sum(not job.running for job in jobs) == 2)
    assert (len(one.holders()), len(one.waiters())) == (3, 1)
    assert (one.limit(), one.permits, three.permits) == (3, 1, 3)
    for _ in range(2):  # the second one must not forget what was before the first
        three.resize(3)
        assert stored(other, name, api) == {"permits": 3, "was": 1}
    with pytest.raises(LimitMismatch, match=r"is 3 \(it was 1\).*permits=2.*resize\(2\)"):
        other.semaphore(name, permits=2).acquire(blocking=False)
    holds += [job.result() for job in jobs if not job.running]
    last = next(job for job in jobs if job.running)
    behind = waits(three)  # made with the new number, among those made with the old
    holds[0].release()
    holds += [last.result()]
    holds[1].release()
    for hold in [*holds[2:], behind.result()]:
        hold.release()


def test_a_smaller_limit_takes_a_permit_from_nobody_and_lets_in_nobody_until_enough_have_left(
    client: Client, other: Client, name: str
) -> None:
    semaphore, theirs = client.semaphore(name, permits=3), other.semaphore(name, permits=3)
    holds = [acquired(semaphore), acquired(theirs), acquired(semaphore)]
    waiter = waits(theirs)
    semaphore.resize(1)
    holds[0].release()
    holds[2].release()
    assert holds[1].is_held
    assert theirs.acquire(blocking=False) is None
    assert waiter.running
    assert (len(theirs.holders()), len(theirs.waiters())) == (1, 1)
    holds[1].release()
    waiter.result().release()
    semaphore.resize(3)
    with semaphore, theirs, semaphore:
        assert semaphore.acquire(blocking=False) is None


def test_one_for_whom_the_limit_leaves_no_room_is_told_instead_of_waiting_for_ever(
    client: Client, other: Client, name: str
) -> None:
    semaphore = client.semaphore(name, permits=3)
    hold = acquired(semaphore)
    heavy, light = waits(semaphore, weight=3), waits(semaphore)
    other.semaphore(name, permits=3).resize(2)
    with pytest.raises(LimitMismatch, match=r"3 permits can never .* is 2 "):
        heavy.result()
    light.result().release()  # it was behind the heavy one
    for options in [{"blocking": False}, {"timeout": 5}]:
        with pytest.raises(LimitMismatch, match="less"):
            semaphore.acquire(weight=3, **options)  # type: ignore[arg-type]
    old = waits(semaphore, weight=2)
    other.semaphore(name, permits=2).resize(4)
    with pytest.raises(LimitMismatch, match=r"is 4 \(it was 2\).*permits=3"):
        old.result()
    assert hold.is_held, "who holds is not asked again"
    assert len(semaphore.holders()) == 1
    assert semaphore.waiters() == ()
    hold.release()


def test_a_resize_in_between_is_seen_and_not_overwritten_by_one_that_read_before_it(
    client: Client, other: Client, name: str, api: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    semaphore, theirs = client.semaphore(name, permits=1), other.semaphore(name, permits=1)
    store = client._sessions.store
    read, in_between = store.get, [2, 4]

    def slow(key: str, ctx: Context) -> object:
        there = read(key, ctx)
        if in_between:
            theirs.resize(in_between.pop(0))
        return there

    monkeypatch.setattr(store, "get", slow)
    semaphore.resize(3)  # reads nothing, then 2, and then 4 is stored
    assert stored(other, name, api) == {"permits": 3, "was": 4}
    for job in [Job(lambda n=n: theirs.resize(n)) for n in range(5, 11)]:
        job.result()
    assert stored(other, name, api) in [
        {"permits": n, "was": m} for n in range(5, 11) for m in [3, *range(5, 11)] if n != m
    ]
    entry = read(limit_key(name, api), Context(5))
    assert entry is not None
    remove(other, entry.key, api)
    with pytest.raises(CompareFailed):
        store.swap(entry, entry.value, Context(5))
    assert theirs.limit() == 1


CHANGES_A_KEY = {"v3": b"request_put", "v2": b"PUT /v2"}


def test_a_resize_whose_reply_is_lost_is_done_once(
    make_client: MakeClient, other: Client, etcd: EtcdProcess, name: str, api: str
) -> None:
    with FaultProxy(etcd.endpoint) as proxy:
        semaphore = make_client(proxy.endpoint).semaphore(name, permits=2)
        for permits, was in [(3, 2), (4, 3)]:
            proxy.lose_reply(only=CHANGES_A_KEY[api], times=1)
            semaphore.resize(permits)
            assert stored(other, name, api) == {"permits": permits, "was": was}
        assert proxy.hits == 2


def changes_tried(etcd: EtcdProcess, api: str) -> int:
    if api == "v3":
        return requests_seen(etcd.endpoint)["Txn"]
    with urllib.request.urlopen(f"{etcd.endpoint}/v2/stats/store", timeout=5) as answer:
        return int(json.load(answer)["compareAndSwapFail"])


def test_a_resize_that_is_carried_out_late_does_not_undo_a_later_one(
    make_client: MakeClient, other: Client, etcd: EtcdProcess, name: str, api: str
) -> None:
    with FaultProxy(etcd.endpoint) as proxy:
        client = make_client([proxy.endpoint, etcd.endpoint], header_timeout=0.3)
        semaphore, theirs = client.semaphore(name, permits=2), other.semaphore(name, permits=2)
        semaphore.resize(3)
        client._cluster._ring = client._cluster._ring.pin(proxy.endpoint)
        proxy.hold(only=CHANGES_A_KEY[api])
        semaphore.resize(4)
        assert proxy.hits == 1
        theirs.resize(5)
        before = changes_tried(etcd, api)
        proxy.heal()  # the server now gets what it was sent long ago
        eventually(lambda: changes_tried(etcd, api) > before)
        assert stored(other, name, api) == {"permits": 5, "was": 4}


def test_a_limit_that_cannot_be_read_is_told_to_the_log_and_counts_for_nothing(
    client: Client, other: Client, name: str, api: str, caplog: pytest.LogCaptureFixture
) -> None:
    semaphore = client.semaphore(name, permits=2)
    write(other, limit_key(name, api), "five", api)
    with caplog.at_level(logging.WARNING, "etcd_recipes.semaphore"):
        with semaphore, semaphore:
            assert semaphore.acquire(blocking=False) is None
        assert semaphore.limit() == 2
        (told,) = [r for r in caplog.records if r.msg == "semaphore.limit_unreadable"]
    assert told.key == limit_key(name, api)  # type: ignore[attr-defined]
    semaphore.resize(3)
    assert stored(other, name, api) == {"permits": 3, "was": 2}


@pytest.mark.parametrize("limited", [False, True])
def test_what_it_costs(
    make_client: MakeClient, etcd: EtcdProcess, name: str, api: str, limited: bool
) -> None:
    with FaultProxy(etcd.endpoint) as proxy:
        client = make_client(proxy.endpoint, session_ttl=60)
        semaphore = client.semaphore(name, permits=1)
        client.session()

        def cost(of: Callable[[], object]) -> int:
            before = sum(proxy.requests.values())
            of()
            return sum(proxy.requests.values()) - before

        acquire, look = (1, 2) if api == "v3" else (2, 1)
        if limited:
            assert cost(lambda: semaphore.resize(1)) == 3
            assert cost(lambda: semaphore.resize(2)) == 2
            assert cost(lambda: semaphore.resize(2)) == 1
        assert cost(semaphore.limit) == 1
        assert cost(semaphore.acquire) == acquire
        assert cost(semaphore.holders) == look
        assert cost(semaphore.waiters) == look
        try_one = cost(lambda: semaphore.acquire(blocking=False))
        assert try_one == (look + acquire if limited else look)
        assert cost(semaphore.release) == 1


def test_a_wait_given_up_frees_those_behind(client: Client, other: Client, name: str) -> None:
    semaphore = client.semaphore(name, permits=2)
    with semaphore:
        ctx = Context()
        heavy = waits(other.semaphore(name, permits=2), weight=2, ctx=ctx)
        light = waits(semaphore)
        ctx.cancel()
        with pytest.raises(Cancelled):
            heavy.result()
        light.result(3).release()
        with (
            pytest.raises(NotAcquired, match="semaphore"),
            other.semaphore(name, permits=2, weight=2, timeout=0.1),
        ):
            pytest.fail("the body ran without permits")
        assert len(semaphore.holders()) == 1
        assert semaphore.waiters() == ()


def test_a_removed_permit_is_a_loss_of_that_one_only(
    client: Client, other: Client, name: str, api: str
) -> None:
    semaphore = client.semaphore(name, permits=2, ttl=3)
    lost, kept = acquired(semaphore), acquired(semaphore)
    remove(other, lost.key, api)
    assert lost.lost.wait(3 / 3 + 0.5)
    with pytest.raises(LockLost, match="removed"):
        lost.check()
    assert kept.is_held
    kept.release()


def test_a_killed_holders_permits_are_free_within_its_ttl(
    client: Client, etcd: EtcdProcess, name: str, api: str
) -> None:
    source = """
        import json, sys
        from etcd_recipes import Client
        semaphore = Client(sys.argv[1], api=sys.argv[-1]).semaphore(sys.argv[2], permits=2, ttl=2)
        holds = [semaphore.acquire(), semaphore.acquire()]
        print(json.dumps(len(holds)), flush=True)
        sys.stdin.readline()
    """
    semaphore = client.semaphore(name, permits=2)
    with child(source, etcd.endpoint, name, api) as holder:
        assert holder.read() == 2
        jobs = [waits(semaphore), waits(semaphore)]
        holder.signal(signal.SIGKILL)
        for job in jobs:
            job.result(2 + 3).release()


def test_who_holds_can_be_asked(client: Client, name: str) -> None:
    semaphore = client.semaphore(name, permits=2)
    with semaphore as hold:
        (holder,) = semaphore.holders()
        assert (holder.key, holder.identity.count("/")) == (hold.key, 2)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"permits": 0}, ValueError),
        ({"permits": -1}, ValueError),
        ({"permits": 1.5}, TypeError),
        ({"permits": True}, TypeError),
        ({"permits": 2, "weight": 3}, ValueError),
        ({"permits": 2, "weight": 0}, ValueError),
        ({"permits": 2, "weight": -1}, ValueError),
        ({"permits": 2, "weight": 1.5}, TypeError),
    ],
)
def test_bad_numbers_are_refused(
    client: Client, name: str, options: dict[str, int], error: type[Exception]
) -> None:
    with pytest.raises(error, match=r"permits|weight"):
        client.semaphore(name, **options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="2 permits"):
        client.semaphore(name, permits=2).acquire(weight=3)


@pytest.mark.parametrize(
    ("permits", "error"), [(0, ValueError), (-1, ValueError), (1.5, TypeError), (True, TypeError)]
)
def test_a_bad_limit_is_refused(
    client: Client, name: str, permits: int, error: type[Exception]
) -> None:
    semaphore = client.semaphore(name, permits=2)
    with pytest.raises(error, match="permits"):
        semaphore.resize(permits)
    with pytest.raises(AttributeError):
        semaphore.permits = 3  # type: ignore[misc]
    assert semaphore.limit() == 2
