"""What a long line costs those who stand in it, and etcd, by its own counters."""

from __future__ import annotations

import re
import urllib.request
from contextlib import suppress
from functools import partial

import pytest

from etcd_recipes import Client, Hold, LimitMismatch, Semaphore, SessionLost
from etcd_recipes.testing import EtcdProcess, NoEtcd
from tests.growth.work import steps
from tests.requests_seen import requests_seen
from tests.tools import Job, eventually, long

_SENT = re.compile(r"etcd_network_client_grpc_sent_bytes_total (\d\S*)")
PATIENCE = 60.0


def bytes_sent(etcd: EtcdProcess) -> int:
    """Give how many bytes the server has sent to its clients."""
    with urllib.request.urlopen(f"{etcd.endpoint}/metrics", timeout=5) as answer:
        found = _SENT.search(answer.read().decode())
    assert found is not None
    return int(float(found[1]))


def fill(etcd: EtcdProcess, semaphore: Semaphore, waiters: int) -> tuple[list[Hold], list[Job]]:
    """Take all permits, and have so many wait behind, until each has joined, watches, and has looked again."""
    holds = [semaphore.acquire(timeout=PATIENCE) for _ in range(semaphore.permits)]
    before = requests_seen(etcd.endpoint)["Range"]
    jobs = [Job(partial(semaphore.acquire, timeout=PATIENCE)) for _ in range(waiters)]
    eventually(lambda: requests_seen(etcd.endpoint)["Range"] >= before + 2 * waiters, 60)
    return [hold for hold in holds if hold is not None], jobs


def test_who_joins_a_long_line_is_sent_no_more_than_who_joins_a_short_one(
    etcd: EtcdProcess, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reads those near to it, and not the whole line, when it joins, and whenever it looks."""
    monkeypatch.setattr(
        "etcd_recipes.coordination.line.QUIET", 600.0
    )  # nobody else looks again meanwhile
    # Patient, so that nothing is sent twice, and with a long ttl, so that no renewal is among what is counted.
    client = Client(etcd.endpoint, session_ttl=60, header_timeout=20)

    def cost(waiters: int) -> tuple[int, int]:
        semaphore = client.semaphore(f"{name}/{waiters}", permits=2)
        _, jobs = fill(etcd, semaphore, waiters)
        sent, seen = bytes_sent(etcd), requests_seen(etcd.endpoint)
        jobs.append(Job(partial(semaphore.acquire, timeout=PATIENCE)))
        eventually(lambda: (requests_seen(etcd.endpoint) - seen)["Range"] == 2, 30)
        asked = sum((requests_seen(etcd.endpoint) - seen).values())
        sent = bytes_sent(etcd) - sent
        client.session().close()  # the rest of the line goes with it
        for job in jobs:
            with suppress(SessionLost):
                job.result(30)
        return sent, asked

    with client:
        short, long_ = cost(10), cost(long(40, 300))
    assert long_[1] == short[1] == 3, "join, and a look"
    assert long_[0] <= 1.2 * short[0]


@pytest.mark.parametrize("api", ["v3", "v2"])
def test_a_part_of_the_line_lets_nobody_in_by_itself(
    etcd: EtcdProcess, name: str, api: str
) -> None:
    """Where the limit has grown, the few that are seen at first are not enough to say who waits."""
    with Client(etcd.endpoint, api=api) as client, Client(etcd.endpoint, api=api) as other:
        new, old = client.semaphore(name, permits=9), other.semaphore(name, permits=2)
        old.resize(2)
        old.resize(9)
        holds = [new.acquire(timeout=PATIENCE) for _ in range(8)]
        last = old.acquire(timeout=PATIENCE)  # it sees four of the eight at first
        assert last is not None
        assert all(holds)
        seen = requests_seen(etcd.endpoint)
        assert old.acquire(blocking=False) is None
        assert (requests_seen(etcd.endpoint) - seen)["Txn"] == 0, (
            "it is taken, and nothing is written"
        )
        assert old.acquire(timeout=0.3) is None, "ten hold nine permits"
        waiter = Job(partial(old.acquire, timeout=PATIENCE))
        eventually(lambda: len(new.waiters()) == 1)
        assert waiter.running
        assert holds[0] is not None
        holds[0].release()
        assert waiter.result() is not None


def test_a_mismatch_behind_those_that_are_seen_is_met_before_the_turn(
    client: Client, name: str
) -> None:
    first = [client.semaphore(name, permits=3).acquire() for _ in range(3)]
    assert all(first)
    with pytest.raises(LimitMismatch):
        client.semaphore(name, permits=1).acquire(timeout=PATIENCE)
    # Seen at first are the two that are nearest, and those belong to locks, who say nothing of permits.
    with Client(client.endpoints[0]) as one, Client(client.endpoints[0]) as two:
        locks = [Job(partial(each.lock(name).acquire, timeout=PATIENCE)) for each in (one, two)]
        eventually(lambda: len(client.semaphore(name, permits=3).waiters()) == 2)
        late = Job(partial(client.semaphore(name, permits=1).acquire, timeout=PATIENCE))
        eventually(lambda: len(client.semaphore(name, permits=3).waiters()) == 3)
        for each in (one, two):
            each.session().close()
        with pytest.raises(LimitMismatch):
            late.result()
        for job in locks:
            with pytest.raises(Exception, match=r"gone|closed|lost"):
                job.result()


def test_what_one_more_permit_costs_does_not_grow_with_those_held_through_the_same_object() -> None:
    few, many = 10, long(100, 1000)

    def cost(held: int) -> int:
        with NoEtcd() as client:
            semaphore = client.semaphore("held", permits=100_000)
            for _ in range(held):
                semaphore.acquire()

            def once_more() -> None:
                for _ in range(10):
                    semaphore.acquire()
                for _ in range(10):
                    semaphore.release()

            # Of what is said here, not of the line, of which one who goes in has to see everybody.
            below = ["/coordination/door.py", "/coordination/session.py", "/coordination/queue.py"]
            return sum(steps(once_more, each) for each in below)

    # The first free seat is found by drawing: about two draws, a few more or less.
    assert cost(many) <= 1.5 * cost(few)


@pytest.mark.parametrize("kind", ["lock", "semaphore"])
def test_who_looks_at_a_line_sends_no_transaction_that_only_reads(
    client: Client, etcd: EtcdProcess, name: str, kind: str
) -> None:
    """Such a one takes a member of etcd before 3.5.7 down when its sender goes away: here, 512 who waited did."""
    with Client(etcd.endpoint) as other:
        lock, rival = (
            each.lock(name) if kind == "lock" else each.semaphore(name, permits=1)
            for each in (client, other)
        )
        hold = lock.acquire()
        assert hold is not None
        other.session()
        before = requests_seen(etcd.endpoint)
        waiter = Job(partial(rival.acquire, timeout=PATIENCE))
        looks = 1 if kind == "lock" else 2  # at the line, and at the limit beside it
        eventually(lambda: (requests_seen(etcd.endpoint) - before)["Range"] == looks)
        hold.release()
        waiter.result().release()
        seen = requests_seen(etcd.endpoint) - before
        rival.waiters()
        assert rival.acquire(blocking=False) is not None
        assert (seen["Txn"], seen["Range"]) == (3, 2 * looks), "join, two releases; two looks"
        tried = requests_seen(etcd.endpoint) - before - seen
        assert tried["Txn"] == 1, "the place that was taken"
