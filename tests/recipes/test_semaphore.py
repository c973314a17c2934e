"""The semaphore's promises, against a real server, on both stores."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable

import pytest

from etcd_recipes import Client, Hold, LockLost, NotAcquired, Semaphore
from etcd_recipes.testing import EtcdProcess
from tests.recipes.operator import remove
from tests.requests_seen import requests_seen
from tests.tools import Job, child, eventually

MakeClient = Callable[..., Client]


def waits(semaphore: Semaphore, timeout: float = 10.0, weight: int = 1) -> Job:
    """Acquire on a thread, and wait until it stands in the line."""
    before = len(semaphore.waiters())
    job = Job(lambda: semaphore.acquire(timeout=timeout, weight=weight))
    eventually(lambda: len(semaphore.waiters()) > before)
    return job


def acquired(semaphore: Semaphore, weight: int = 1) -> Hold:
    hold = semaphore.acquire(timeout=5, weight=weight)
    assert hold is not None
    return hold


def test_as_many_are_in_as_there_are_permits_and_no_more(
    make_client: MakeClient, name: str
) -> None:
    clients = [make_client() for _ in range(3)]
    lock, inside, most = threading.Lock(), 0, 0

    def work(client: Client) -> None:
        nonlocal inside, most
        semaphore = client.semaphore(name, permits=3)
        for _ in range(5):
            with semaphore as hold:
                with lock:
                    inside += 1
                    most = max(most, inside)
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
def test_a_departure_wakes_only_the_one_who_can_go_in(
    make_client: MakeClient, etcd: EtcdProcess, name: str
) -> None:
    semaphore = make_client(session_ttl=60).semaphore(name, permits=3)
    holds = [acquired(semaphore) for _ in range(3)]
    joined = requests_seen(etcd.endpoint)["Txn"]
    waiters = [waits(make_client(session_ttl=60).semaphore(name, permits=3)) for _ in range(6)]
    # Each has joined and, with its watch confirmed, looked once more.
    eventually(lambda: requests_seen(etcd.endpoint)["Txn"] == joined + 12)
    # The newest leaves first: whoever watched the oldest only, or everybody, would show.
    for number, hold in enumerate(reversed(holds)):
        before = requests_seen(etcd.endpoint)
        hold.release()
        waiters[number].result(5)
        threading.Event().wait(0.2)  # whoever else was woken has asked by then
        seen = requests_seen(etcd.endpoint) - before
        assert (seen["Txn"], seen["Range"]) == (2, 0), f"a release and one look, but {seen}"


def test_different_limits_the_smallest_in_the_line_decides(
    client: Client, other: Client, name: str
) -> None:
    small, large = client.semaphore(name, permits=2), other.semaphore(name, permits=4)
    first, second = acquired(large), acquired(small)
    third = waits(large)  # more than the second one's limit
    assert small.acquire(blocking=False) is None
    second.release()
    third.result().release()
    rest = [acquired(large) for _ in range(3)]
    assert large.acquire(blocking=False) is None
    fifth = waits(small)  # waits until one beside it is all
    for hold in [first, *rest[:2]]:
        assert fifth.running
        hold.release()
    fifth.result().release()
    rest[2].release()


def test_the_limit_can_be_changed_from_the_next_acquire_on(client: Client, name: str) -> None:
    semaphore = client.semaphore(name, permits=1)
    hold = acquired(semaphore)
    semaphore.permits = 2
    assert semaphore.acquire(blocking=False) is None, "the holder came with a limit of 1"
    hold.release()
    holds = [acquired(semaphore), acquired(semaphore)]
    assert semaphore.acquire(blocking=False) is None
    for hold in holds:
        hold.release()


def test_a_wait_given_up_frees_those_behind(client: Client, other: Client, name: str) -> None:
    semaphore = client.semaphore(name, permits=2)
    with semaphore:
        heavy = waits(other.semaphore(name, permits=2), timeout=0.7, weight=2)
        light = waits(semaphore)
        assert heavy.result() is None
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
    ],
)
def test_bad_numbers_are_refused(
    client: Client, name: str, options: dict[str, int], error: type[Exception]
) -> None:
    with pytest.raises(error, match=r"permits|weight"):
        client.semaphore(name, **options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="2 permits"):
        client.semaphore(name, permits=2).acquire(weight=3)
