"""Hand-over: who leads next, and that a hand-over which fails costs nothing else."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from etcd_recipes import (
    Cancelled,
    Client,
    Contender,
    Context,
    DeadlineExceeded,
    Leadership,
    LockLost,
    RecipeError,
)
from etcd_recipes.core.store import Entry
from etcd_recipes.recipes.election.handover import Place, choose, read_note
from etcd_recipes.testing import EtcdProcess, FaultProxy
from tests.recipes.below import naming
from tests.recipes.operator import TAKES_A_PLACE, remove, revoke, write
from tests.recipes.strikes import Interrupted, struck
from tests.recipes.test_interop import etcdctl, line
from tests.requests_seen import requests_seen
from tests.tools import Job, child, eventually

MakeClient = Callable[..., Client]

CANDIDATE = """
    import sys
    from etcd_recipes import Client
    Client(sys.argv[1], api=sys.argv[-1]).election(sys.argv[2], ttl=2).campaign("child")
"""

LEADER = """
    import json, sys, time
    from etcd_recipes import Client
    calls = []
    client = Client(sys.argv[1], api=sys.argv[-1])
    election = client.election(sys.argv[2], ttl=2)
    with election.background(lambda: calls.append("on"), lambda: calls.append("off")) as state:
        while not state.is_leader:
            time.sleep(0.01)
        last = time.monotonic()           # before it is said: it may be stopped right after
        print(json.dumps("leading"), flush=True)
        while (now := time.monotonic()) - last < 1.2:
            last = now                    # nothing in this loop waits for a thread of the library
        print(json.dumps([state.is_leader, state.term is None]), flush=True)
        while len(calls) < 2:
            time.sleep(0.01)
        print(json.dumps(calls), flush=True)
"""


def values(client: Client, name: str) -> list[str]:
    return [candidate.value for candidate in client.election(name).candidates()]


def note(client: Client, name: str) -> Entry | None:
    return client._sessions.store.get(f"{name}.transfer", Context(5))


def no_note(client: Client, name: str) -> bool:
    return note(client, name) is None


def attempt(client: Client, name: str, value: str, **options: float) -> Job:
    """Campaign on a thread, and wait until the place in the line is taken."""
    job = Job(lambda: client.election(name, **options).campaign(value, timeout=20))
    eventually(lambda: value in values(client, name))
    return job


@contextmanager
def resigning(*jobs: Job) -> Iterator[None]:
    """At the end, let all who still wait lead and resign."""
    yield
    for job in jobs:
        job.result().resign()


@contextmanager
def observed(client: Client, name: str) -> Iterator[list[str | None]]:
    """Collect who leads while the body runs."""
    seen: list[str | None] = []
    ctx = Context()

    def observe() -> None:
        leaders = client.election(name).observe(ctx=ctx)
        seen.extend(leader.value if leader else None for leader in leaders)

    job = Job(observe)
    eventually(lambda: seen)
    yield seen
    ctx.cancel()
    with pytest.raises(Exception, match="cancelled"):
        job.result()


def test_the_named_one_leads_next_whatever_its_place_in_the_line(
    make_client: MakeClient, client: Client, name: str
) -> None:
    term = client.election(name).campaign("a", timeout=5)
    b, c, d = (attempt(make_client(), name, value) for value in "bcd")
    with observed(client, name) as seen:
        assert term.transfer("d", timeout=10)
        assert not term.is_held
        second = d.result()
        assert second.token > term.token
        assert b.running
        assert c.running
        eventually(lambda: sorted(values(client, name)) == ["b", "c", "d"])
        assert seen[0] == "a"
        eventually(lambda: seen[-1] == "d")
        assert no_note(client, name)
        # And by what `candidates` gives; the one that stands behind the leader takes over directly.
        to = client.election(name).candidates()[-1]
        assert second.transfer(to, timeout=10)
        eventually(lambda: seen[-1] == to.value)
    with pytest.raises(LockLost, match="released"):
        second.transfer("b")
    first, last = (b, c) if to.value == "b" else (c, b)
    first.result().resign()
    last.result().resign()
    assert client.election(name).leader() is None


def test_neither_a_killed_candidate_is_waited_for_nor_does_a_stopped_leader_think_it_leads(
    make_client: MakeClient, client: Client, etcd: EtcdProcess, name: str, api: str
) -> None:
    # Two things that both take a ttl: at the same time.
    term = client.election(name).campaign("a", timeout=5)
    b = attempt(make_client(), name, "b")
    with (
        child(CANDIDATE, etcd.endpoint, name, api) as doomed,
        child(LEADER, etcd.endpoint, f"{name}-stopped", api) as leader,
    ):
        assert leader.read() == "leading"
        eventually(lambda: "child" in values(client, name), 15, "the candidate")
        [_, _, last] = client.election(name).candidates()
        assert last.value == "child"
        leader.signal(signal.SIGSTOP)
        doomed.signal(signal.SIGKILL)
        doomed.wait()
        handed = Job(lambda: term.transfer("child", timeout=15))
        with client.election(f"{name}-stopped").campaign(timeout=8):
            leader.signal(signal.SIGCONT)
            assert leader.read() == [False, True]
            assert leader.read() == ["on", "off"]
            assert leader.wait() == 0
        assert handed.result() is False
    with resigning(b):
        assert b.result()._entry.created > last.token  # it had stepped aside
        assert no_note(client, name)


def test_what_cannot_be_named_is_refused_and_the_term_goes_on(
    client: Client, other: Client, name: str, api: str
) -> None:
    term = client.election(name).campaign("a", timeout=5)
    with pytest.raises(RecipeError, match="nobody waits"):
        term.transfer("b")
    b = attempt(other, name, "b")
    gone = make_candidate(client, name, api)
    mine = client.election(name).candidates()[0]
    with pytest.raises(ValueError, match="leads already"):
        term.transfer(mine)
    with pytest.raises(ValueError, match="leads already"):
        term.transfer("a")
    with pytest.raises(RecipeError, match=r"no candidate.*'b', .operator's"):
        term.transfer("nobody")
    with pytest.raises(TypeError, match="Contender"):
        term.transfer(7)  # type: ignore[arg-type]
    remove(client, gone.key, api)
    again = make_candidate(client, name, api)  # on v3 with the same key
    with pytest.raises(RecipeError, match="no candidate"):
        term.transfer(gone)
    remove(client, again.key, api)
    assert term.is_held
    assert values(client, name) == ["a", "b"]
    assert no_note(client, name)
    term.resign()
    b.result().resign()


def test_a_note_that_means_nobody_is_taken_away_by_the_next_leader(
    client: Client, other: Client, name: str, api: str
) -> None:
    for text in ("{", '["x"]', '{"key":1,"token":2}', '{"key":"%s","token":1}'):
        term = client.election(name).campaign("a", timeout=5)
        b = attempt(other, name, "b")
        third = make_candidate(client, name, api)
        write(client, f"{name}.transfer", text.replace("%s", third.key), api)
        term.resign()
        b.result().resign()
        assert no_note(client, name)
        remove(client, third.key, api)


def make_candidate(client: Client, name: str, api: str) -> Contender:
    """Put somebody at the end of the line, as an operator would."""
    before = len(client.election(name).candidates())
    if api == "v3":
        client.v3.kv.put(f"{name}/1", "operator's")
    else:
        client.v2.keys.create_in_order(name, "operator's")
    return client.election(name).candidates()[before]


@pytest.mark.only_v3
def test_the_note_of_a_leader_that_dies_is_not_obeyed(
    make_client: MakeClient, client: Client, name: str, api: str
) -> None:
    term = client.election(name).campaign("a", timeout=5)
    b, c = (attempt(make_client(), name, value) for value in "bc")
    place = term._handover.find("c", term._entry, Context(5))
    with term._handover.noted(place, term.session, Context(5)):
        written = note(client, name)
        assert written is not None
        assert (written.lease, read_note(written.value)) == (term.session.id, place)
        revoke(client, term.session, api)
        b.result().resign()
    c.result().resign()


@pytest.mark.only_v3
def test_only_who_has_waited_asks_for_a_note(
    client: Client, other: Client, etcd: EtcdProcess, name: str
) -> None:
    client.session()
    before = requests_seen(etcd.endpoint)
    term = client.election(name).campaign("a", timeout=5)
    seen = requests_seen(etcd.endpoint) - before
    assert (seen["Txn"], seen["Range"]) == (1, 0)
    other.session()
    before = requests_seen(etcd.endpoint)
    b = Job(lambda: other.election(name).campaign("b", timeout=20))
    eventually(lambda: (requests_seen(etcd.endpoint) - before)["Range"] == 1, what="its first look")
    term.resign()
    b.result().resign()
    assert (requests_seen(etcd.endpoint) - before)["Range"] == 3, "the line again, and the note"


def test_one_that_learns_late_that_it_has_a_place_obeys_the_note(
    make_client: MakeClient, client: Client, etcd: EtcdProcess, name: str, api: str
) -> None:
    # On v2 a place is taken by one request and the line is read by the next; on v3 the answer to both may be lost.
    with FaultProxy(etcd.endpoint) as proxy:
        term = client.election(name).campaign("a", timeout=5)
        late = make_client(proxy.endpoint, header_timeout=None)
        late.session()
        if api == "v3":
            proxy.lose_reply(only=TAKES_A_PLACE[api])
        else:
            proxy.hold(only=f"GET /v2/keys/{name}?".encode())
        b = Job(lambda: late.election(name).campaign("b", timeout=20))
        eventually(lambda: proxy.hits and "b" in values(client, name))
        c = attempt(make_client(), name, "c")
        handed = Job(lambda: term.transfer("c", timeout=10))
        eventually(lambda: values(client, name) == ["b", "c"])
        proxy.heal()
        assert handed.result()
        with resigning(c, b):
            eventually(lambda: values(client, name) == ["c", "b"])
            assert b.running


@pytest.mark.only_v3
def test_a_go_candidate_in_between_leads_first_and_keeps_its_key(
    client: Client, other: Client, etcd: EtcdProcess, name: str
) -> None:
    term = client.election(name).campaign("a", timeout=5)
    with etcdctl(etcd.endpoint, "elect", name, "go") as foreign:
        eventually(lambda: values(client, name) == ["a", "go"])
        b = attempt(other, name, "b")
        assert term.transfer("b", timeout=0.3) is False
        assert line(foreign).startswith(f"{name}/")
        assert values(client, name) == ["go", "b"]
        foreign.send_signal(signal.SIGINT)
        b.result().resign()
    eventually(lambda: no_note(client, name))


def test_a_note_whose_reply_is_lost_is_written_all_the_same(
    make_client: MakeClient, other: Client, etcd: EtcdProcess, name: str, api: str
) -> None:
    with FaultProxy(etcd.endpoint) as proxy:
        client = make_client([proxy.endpoint, etcd.endpoint], header_timeout=0.3)
        term = client.election(name).campaign("a", timeout=5)
        b, c = (attempt(make, name, value) for make, value in ((other, "b"), (make_client(), "c")))
        client._cluster._ring = client._cluster._ring.pin(proxy.endpoint)
        proxy.lose_reply(only=naming(f"{name}.transfer", api), times=1)
        assert term.transfer("c", timeout=10)
        assert proxy.hits == 1
        with resigning(c, b):
            eventually(lambda: no_note(other, name))


def test_when_the_note_cannot_be_written_the_term_goes_on_and_no_note_stays(
    make_client: MakeClient, other: Client, etcd: EtcdProcess, name: str, api: str
) -> None:
    with FaultProxy(etcd.endpoint) as proxy:
        client = make_client(proxy.endpoint, header_timeout=None, session_ttl=2)
        term = client.election(name).campaign("a", timeout=5)
        b = attempt(other, name, "b")
        proxy.hold(only=naming(f"{name}.transfer", api), times=1)
        with pytest.raises(DeadlineExceeded):
            term.transfer("b", timeout=0.2)
        assert term.is_held
        assert proxy.hits == 1
        eventually(lambda: not term.session._queue.busy(f"{name}.transfer"))  # swept, for now
        proxy.heal()
        eventually(lambda: not no_note(other, name), 5, "the late copy")
        # On v2 nobody can know of it; nobody refreshes it either, so it ends with its ttl.
        eventually(lambda: no_note(other, name), 2 / 3 + 1.0 if api == "v3" else 2 + 1.5)
        assert term.is_held
        assert values(other, name) == ["a", "b"]
        term.resign()
        b.result().resign()


def test_a_note_that_cannot_be_read_does_not_hold_up_the_next_leader(
    client: Client,
    make_client: MakeClient,
    etcd: EtcdProcess,
    name: str,
    api: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with FaultProxy(etcd.endpoint) as proxy, caplog.at_level(logging.WARNING, "etcd_recipes"):
        term = client.election(name).campaign("a", timeout=5)
        b = attempt(make_client(proxy.endpoint), name, "b")
        proxy.reset(only=naming(f"{name}.transfer", api))
        term.resign()
        eventually(lambda: "election.trouble" in caplog.text)  # and it goes on asking
        proxy.garbage("body", only=naming(f"{name}.transfer", api), times=1)
        b.result().resign()
    assert "election.note_unreadable" in caplog.text


def test_a_note_that_an_earlier_leader_left_is_replaced(
    make_client: MakeClient, client: Client, name: str, api: str
) -> None:
    term = client.election(name).campaign("a", timeout=5)
    b, c = (attempt(make_client(), name, value) for value in "bc")
    second = client.election(name).candidates()[1]
    write(client, f"{name}.transfer", f'{{"key":"{second.key}","token":{second.token}}}', api)
    assert term.transfer("c", timeout=10)
    assert values(client, name)[0] == "c"
    with resigning(c, b):
        assert b.running


def test_one_that_steps_aside_and_cannot_come_back_holds_up_nobody(
    make_client: MakeClient, client: Client, etcd: EtcdProcess, name: str, api: str
) -> None:
    with FaultProxy(etcd.endpoint) as proxy:
        term = client.election(name).campaign("a", timeout=5)
        b = attempt(make_client(proxy.endpoint, header_timeout=None), name, "b")
        c = attempt(make_client(), name, "c")
        proxy.hold(only=TAKES_A_PLACE[api])
        assert term.transfer("c", timeout=10)
        assert values(client, name) == ["c"]
        eventually(lambda: proxy.hits)
        proxy.heal()
        eventually(lambda: values(client, name) == ["c", "b"])
        with resigning(c, b):
            assert b.running


def test_a_leader_whose_lease_has_ended_hears_that_its_term_is_over(
    client: Client, other: Client, name: str, api: str
) -> None:
    if api == "v2":
        pytest.skip("a note on v2 rests on no lease")
    term = client.election(name).campaign("leader", timeout=5)
    job = attempt(other, name, "heir")
    term.session._ctx.cancel("nobody renews: the transfer is the first to hear of it")
    revoke(other, term.session, api)
    with pytest.raises(LockLost, match="lease not found"):
        term.transfer("heir", timeout=5)
    assert not term.is_held
    assert job.result().value == "heir"
    assert no_note(other, name)


def test_a_note_that_goes_with_its_lease_is_no_answer(client: Client, name: str, api: str) -> None:
    term = client.election(name).campaign("a", timeout=5)
    silent = make_candidate(client, name, api)
    job = Job(lambda: term.transfer(silent, timeout=10))
    eventually(lambda: values(client, name) == [silent.value])
    assert not no_note(client, name)
    term.session.close()
    assert job.result() is False
    assert no_note(client, name)
    remove(client, silent.key, api)


def test_a_note_that_could_not_be_taken_away_goes_as_soon_as_it_can(
    make_client: MakeClient, other: Client, etcd: EtcdProcess, name: str, api: str
) -> None:
    with FaultProxy(etcd.endpoint) as proxy:
        client = make_client(proxy.endpoint)
        term = client.election(name).campaign("a", timeout=5)
        silent = make_candidate(other, name, api)
        ctx = Context()
        job = Job(lambda: term.transfer(silent, ctx=ctx))
        eventually(lambda: values(other, name) == [silent.value])
        assert not no_note(other, name)
        proxy.reset(only=naming(f"{name}.transfer", api))
        ctx.cancel()
        with pytest.raises(Cancelled):
            job.result()
        assert not no_note(other, name)
        proxy.heal()
        eventually(lambda: no_note(other, name), 3.0)
        assert term.session.is_alive, "removed, not expired"
        remove(other, silent.key, api)


def test_a_signal_while_a_note_is_taken_away_takes_it_away(
    client: Client, other: Client, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # `noted` keeps its claim for ever: the next transfer of this process waits for it in vain.
    election = client.election(name, value="a")
    term = election.campaign()
    second = Job(lambda: other.election(name).campaign("b", timeout=20))
    eventually(lambda: len(election.candidates()) == 2)
    struck(monkeypatch, client._sessions.store, "delete", Interrupted(), key=".transfer")
    with pytest.raises(Interrupted):
        term.transfer("b")
    again = Job(lambda: election.campaign(timeout=20))
    eventually(lambda: len(election.candidates()) == 2)
    second.result().resign()
    term = again.result()
    second = Job(lambda: other.election(name).campaign("b", timeout=20))
    eventually(lambda: len(election.candidates()) == 2)
    assert term.transfer("b", timeout=3)


def test_of_two_transfers_at_once_one_is_late(
    make_client: MakeClient, client: Client, name: str
) -> None:
    term = client.election(name).campaign("a", timeout=5)
    b, c = (attempt(make_client(), name, value) for value in "bc")
    outcomes: list[object] = []

    def hand(term: Leadership, to: str) -> None:
        try:
            outcomes.append(term.transfer(to, timeout=10) and to)
        except LockLost:
            outcomes.append(LockLost)

    for job in [Job(lambda to=to: hand(term, to)) for to in "bc"]:
        job.result()
    assert outcomes.count(LockLost) == 1
    (to,) = (one for one in outcomes if one is not LockLost)
    assert values(client, name)[0] == to
    with ExitStack() as stack:
        stack.enter_context(resigning(*((b, c) if to == "b" else (c, b))))
    eventually(lambda: no_note(client, name))


# -- what decides: no etcd -----------------------------------------------------------------------------


def entry(key: str, value: str, created: int) -> Entry:
    return Entry(f"e/{key}", value, created, created)


def test_of_equal_proposals_the_oldest_that_waits_is_meant() -> None:
    line = [entry("a", "x", 1), entry("b", "y", 2), entry("c", "x", 3), entry("d", "x", 4)]
    assert choose("x", line, line[0]) == Place("e/c", 3)
    assert choose(Contender("e/d", 4, "", "x"), line, line[0]) == Place("e/d", 4)
    with pytest.raises(RecipeError):
        choose(Contender("e/d", 5, "", "x"), line, line[0])


@pytest.mark.parametrize(
    "text", ["", "[]", "7", '{"key":"k"}', '{"key":"k","token":true}', "[" * 9999]
)
def test_what_is_no_note_is_read_as_none(text: str) -> None:
    assert read_note(text) is None
