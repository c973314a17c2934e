"""The election's promises, against a real server."""

from __future__ import annotations

import json
import signal
import threading
import time
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest

from etcd_recipes import (
    Cancelled,
    Client,
    Contender,
    Context,
    DeadlineExceeded,
    Leadership,
    LockLost,
    SessionLost,
)
from etcd_recipes.testing import EtcdProcess, FaultProxy
from tests.recipes.below import naming
from tests.recipes.operator import TAKES_A_PLACE, remove, revoke, write
from tests.requests_seen import requests_seen
from tests.tools import Job, child, eventually, in_time

MakeClient = Callable[..., Client]

CANDIDATE = """
    import json, sys
    from etcd_recipes import Client
    with Client(sys.argv[1], api=sys.argv[-1]) as client:
        with client.election(sys.argv[2], ttl=float(sys.argv[3])).campaign("child") as term:
            print(json.dumps(term.token), flush=True)
            sys.stdin.readline()
"""


def values(candidates: tuple[Contender, ...]) -> list[str]:
    return [candidate.value for candidate in candidates]


def test_the_oldest_candidate_leads_and_the_next_follows_on_resignation(
    client: Client, other: Client, name: str
) -> None:
    first = client.election(name, value="a").campaign(timeout=5)
    election = other.election(name)
    job = Job(lambda: election.campaign("b", timeout=10))
    eventually(lambda: values(election.candidates()) == ["a", "b"])
    leader = election.leader()
    assert leader is not None
    assert (leader.value, leader.key) == ("a", first.key)
    first.resign()
    second = job.result()
    assert second.value == "b"
    assert second.token > first.token
    assert not first.is_held
    second.resign()
    assert election.leader() is None


@pytest.mark.only_v3
def test_the_key_holds_the_proposal_and_nothing_else(client: Client, name: str) -> None:
    with client.election(name).campaign("10.0.0.7:80", timeout=5) as term:
        kv = client.v3.kv.get(term.key)
        assert kv is not None
        assert kv.value == b"10.0.0.7:80"
        assert term.key == f"{name}/{term.session.id:x}"


def test_a_killed_leader_is_followed_within_its_ttl_and_a_polite_one_at_once(
    client: Client, etcd: EtcdProcess, name: str, api: str
) -> None:
    with child(CANDIDATE, etcd.endpoint, name, "2", api) as leader:
        leader.read()
        job = Job(lambda: client.election(name).campaign("next", timeout=10))
        eventually(lambda: len(client.election(name).candidates()) == 2)
        leader.signal(signal.SIGKILL)
        killed = time.monotonic()
        term = job.result()
        in_time(time.monotonic() - killed, 2 + 1.5)
    with child(CANDIDATE, etcd.endpoint, name, "2", api) as polite:
        # A process of its own: on a busy machine it takes its time to begin.
        eventually(lambda: len(client.election(name).candidates()) == 2, 15, "the candidate")
        term.resign()
        polite.read()
        job = Job(lambda: client.election(name).campaign("last", timeout=10))
        eventually(lambda: len(client.election(name).candidates()) == 2)
        asked = time.monotonic()
        polite.say()
        job.result().resign()
        assert job.ended_at is not None
        in_time(job.ended_at - asked, 0.2)


def test_time_up_raises_and_leaves_no_candidate(client: Client, other: Client, name: str) -> None:
    with client.election(name).campaign(timeout=5):
        with pytest.raises(DeadlineExceeded):
            other.election(name).campaign("late", timeout=0.3)
        eventually(lambda: len(other.election(name).candidates()) == 1)  # within a blink, or swept


def test_a_candidate_whose_lease_ended_is_never_elected(
    client: Client, other: Client, name: str, api: str
) -> None:
    term = client.election(name).campaign(timeout=5)
    job = Job(lambda: other.election(name, ttl=3).campaign("zombie", timeout=30))
    eventually(lambda: len(client.election(name).candidates()) == 2)
    revoke(client, other.session(3), api)
    term.resign()
    with pytest.raises((SessionLost, LockLost)):
        job.result()
    assert client.election(name).leader() is None, "a phantom leader"


def test_a_proclamation_changes_the_value_and_is_fenced(
    client: Client, other: Client, name: str, api: str
) -> None:
    term = client.election(name).campaign("one", timeout=5)
    waiting = Job(lambda: other.election(name).campaign("next", timeout=10))
    eventually(lambda: len(client.election(name).candidates()) == 2)
    term.proclaim("two")
    assert values(client.election(name).candidates()) == ["two", "next"]
    assert waiting.running, "a new value is not a departure"
    remove(client, term.key, api)
    with pytest.raises(LockLost):
        term.proclaim("three")
    assert not term.is_held
    waiting.result().resign()


def swaps(etcd: EtcdProcess, api: str) -> int:
    """Give how many writes that compare something the server has carried out or refused."""
    if api == "v3":
        return requests_seen(etcd.endpoint)["Txn"]
    with urllib.request.urlopen(f"{etcd.endpoint}/v2/stats/store", timeout=5) as answer:
        seen = json.load(answer)
    return int(seen["compareAndSwapSuccess"]) + int(seen["compareAndSwapFail"])


def test_a_late_copy_of_a_proclamation_does_not_write_over_a_later_one(
    make_client: MakeClient, etcd: EtcdProcess, name: str, api: str
) -> None:
    with FaultProxy(etcd.endpoint) as proxy:
        client = make_client([proxy.endpoint, etcd.endpoint], header_timeout=0.2)
        term = client.election(name).campaign("one", timeout=5)
        client._cluster._ring = client._cluster._ring.pin(proxy.endpoint)
        writes = naming(term.key, api)
        proxy.hold(only=b"PUT " + writes if api == "v2" else writes, times=1)
        term.proclaim("early")
        assert proxy.hits == 1
        term.proclaim("late")
        before = swaps(etcd, api)
        proxy.heal()
        eventually(lambda: swaps(etcd, api) > before)
        assert values(client.election(name).candidates()) == ["late"]
        term.proclaim("last")
        assert values(client.election(name).candidates()) == ["last"]
        assert term.resign()


def test_the_value_of_a_term_is_what_was_proclaimed_last(
    client: Client, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Two threads proclaim: the first to write is the last to say what `term.value` is.
    term = client.election(name).campaign("0")
    store, written, go = client._sessions.store, threading.Event(), threading.Event()
    real = store.replace

    def replace(entry: Any, value: str, ctx: Context) -> Any:
        changed = real(entry, value, ctx)
        if value == "slow":
            written.set()
            go.wait(5)
        return changed

    monkeypatch.setattr(store, "replace", replace)
    job = Job(lambda: term.proclaim("slow"))
    assert written.wait(5)
    second = Job(lambda: term.proclaim("quick"))
    Context(0.2).wait()
    go.set()
    job.result()
    second.result()
    leader = client.election(name).leader()
    assert leader is not None
    assert term.value == leader.value


def test_an_observer_sees_every_leader_every_value_and_nobody(
    client: Client, other: Client, name: str, api: str
) -> None:
    seen: list[str | None] = []
    ctx = Context()

    def observe() -> None:
        leaders = other.election(name).observe(ctx=ctx)
        seen.extend(None if leader is None else leader.value for leader in leaders)

    job = Job(observe)
    eventually(lambda: seen == [None])
    first = client.election(name).campaign("a", timeout=5)
    eventually(lambda: seen == [None, "a"])
    first.proclaim("a2")
    eventually(lambda: seen == [None, "a", "a2"])
    first.resign()
    eventually(lambda: seen == [None, "a", "a2", None])
    write(client, f"{name}/not a contender", "x", api)
    second = client.election(name).campaign("b", timeout=5)
    eventually(lambda: seen == [None, "a", "a2", None, "b"])
    second.resign()
    eventually(lambda: seen[-1] is None)
    ctx.cancel()
    with pytest.raises(Cancelled):
        job.result()


def test_run_goes_on_after_a_lost_term_with_a_new_one(client: Client, name: str, api: str) -> None:
    terms: list[Leadership] = []
    ctx = Context()

    def lead(term: Leadership) -> None:
        terms.append(term)
        if len(terms) == 1:
            revoke(client, term.session, api)
        if len(terms) == 3:
            ctx.cancel()
            return
        term.sleep(30 if len(terms) == 1 else 0)

    with pytest.raises(Cancelled):
        client.election(name, ttl=2).run(lead, ctx=ctx)
    first, second, third = terms
    assert first.session is not second.session or api == "v2"  # there a key ends alone
    assert first.token < second.token < third.token
    assert not any(term.is_held for term in terms)
    assert client.election(name).leader() is None


def test_run_resigns_when_the_work_fails(client: Client, name: str) -> None:
    def lead(_term: Leadership) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        client.election(name).run(lead)
    assert client.election(name).leader() is None


def test_background_calls_back_at_both_ends_of_a_term(
    client: Client, other: Client, name: str, api: str
) -> None:
    calls: list[str] = []
    lost = threading.Event()

    def on_lost() -> None:
        calls.append("lost")
        lost.set()

    election = client.election(name, value="web", ttl=2)
    with election.background(on_elected=lambda: calls.append("elected"), on_lost=on_lost) as state:
        eventually(lambda: state.is_leader and calls == ["elected"])
        assert state.term is not None
        revoke(client, state.term.session, api)
        assert lost.wait(5)
        eventually(lambda: state.is_leader and calls == ["elected", "lost", "elected"])
        follower = Job(lambda: other.election(name).campaign("next", timeout=10))
        eventually(lambda: len(other.election(name).candidates()) == 2)
    assert calls == ["elected", "lost", "elected", "lost"]
    assert not state.is_leader
    follower.result().resign()


def test_many_terms_never_overlap_and_tokens_grow(make_client: MakeClient, name: str) -> None:
    leading = threading.Semaphore(1)
    tokens: list[int] = []

    def work(election_of: Client) -> None:
        for _ in range(8):
            with election_of.election(name).campaign(timeout=30) as term:
                assert leading.acquire(blocking=False), "two leaders"
                tokens.append(term.token)
                leading.release()

    clients = [make_client() for _ in range(4)]
    for job in [Job(lambda c=c: work(c)) for c in clients]:
        job.result(40)
    assert len(tokens) == 32
    assert tokens == sorted(set(tokens))


@pytest.mark.parametrize("reply", ["lost", "late"])
def test_a_place_is_held_no_longer_than_its_key_lives(
    make_client: MakeClient, other: Client, etcd: EtcdProcess, name: str, api: str, reply: str
) -> None:
    # v2: while the place is asked for, a renewal refreshes nothing, and yet it moves the deadline: the key ends
    # before that, and two lead.
    with FaultProxy(etcd.endpoint) as proxy:
        client = make_client(proxy.endpoint, header_timeout=2.4)
        election = client.election(name, value="same", ttl=3)
        if reply == "lost":
            proxy.blackhole(requests=False, only=TAKES_A_PLACE[api], times=1)
        else:
            proxy.delay(1.6, only=TAKES_A_PLACE[api], times=1)
        term = election.campaign(timeout=10)
        assert proxy.hits == 1
        proxy.blackhole()
        second = other.election(name).campaign(timeout=10)
        overlap = term.remaining()
        assert second.is_held
        assert overlap == 0.0, f"two leaders, for {overlap:.1f} s more"
