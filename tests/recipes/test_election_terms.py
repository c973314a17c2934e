"""Leading for ever: in a loop of one's own (`terms`), and beside an application (`background`)."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import closing

import pytest

from etcd_recipes import (
    Cancelled,
    Client,
    Context,
    Leadership,
    LockLost,
    RecipeError,
    SessionLost,
)
from etcd_recipes.testing import EtcdProcess, FaultProxy
from tests.recipes.operator import revoke
from tests.tools import Job, eventually, in_time

MakeClient = Callable[..., Client]


# -- terms ---------------------------------------------------------------------------------------------


def test_each_round_of_the_loop_is_a_new_term(client: Client, name: str, api: str) -> None:
    election = client.election(name, value="worker", ttl=2)
    terms: list[Leadership] = []
    for term in election.terms(value="w1"):
        assert not any(before.is_held for before in terms)
        assert (leader := election.leader())
        assert (term.is_held, term.value, leader.key) == (True, "w1", term.key)
        terms.append(term)
        if len(terms) == 2:
            revoke(client, term.session, api)
            assert term.lost.wait(5)
        if len(terms) == 4:
            break
    assert not term.is_held, "resigned by the break"
    assert election.leader() is None
    tokens = [term.token for term in terms]
    assert tokens == sorted(set(tokens))
    assert next(election.terms()).value == "worker"


def test_a_loop_that_is_left_resigns_however_it_is_left(client: Client, name: str) -> None:
    election = client.election(name)

    def returns() -> Leadership:
        for term in election.terms():
            return term
        raise AssertionError("the loop has no end")

    assert not returns().is_held
    with pytest.raises(ZeroDivisionError):
        for _ in election.terms():
            _ = 1 / 0
    assert election.leader() is None
    with closing(election.terms()) as terms:  # type: ignore[type-var]
        term = next(terms)
        assert term.is_held
    assert not term.is_held
    assert election.leader() is None
    with pytest.raises(TypeError, match="proposal"):
        election.terms(value=7)  # type: ignore[arg-type]


def test_a_candidate_that_lost_its_lease_does_not_lead_on_an_empty_line_but_comes_back(
    client: Client, other: Client, name: str, api: str
) -> None:
    first = client.election(name).campaign(timeout=5)
    election = other.election(name, value="again", ttl=3)
    terms = election.terms()
    job = Job(lambda: next(terms))
    eventually(lambda: len(election.candidates()) == 2)
    waited_on = election.candidates()[1]
    revoke(client, other.session(3), api)
    eventually(lambda: waited_on not in election.candidates())
    first.resign()
    term = job.result()
    leader = election.leader()
    assert leader is not None, "a phantom leader"
    assert (leader.key, leader.value, leader.token) == (term.key, "again", term._entry.created)
    assert leader.token > waited_on.token
    terms.close()  # type: ignore[attr-defined]
    assert not term.is_held


def test_an_outage_is_healed_and_the_end_of_the_context_is_raised(
    make_client: MakeClient, etcd: EtcdProcess, name: str
) -> None:
    with FaultProxy(etcd.endpoint) as proxy:
        client = make_client(proxy.endpoint, default_timeout=0.1)
        ctx = Context()
        terms = client.election(name).terms(ctx=ctx)
        proxy.refuse()
        before = proxy.connections
        job = Job(lambda: next(terms))
        with pytest.raises(AssertionError):
            job.result(0.2)  # longer than the client's own patience
        proxy.heal()
        term = job.result()
        assert proxy.connections > before
        ctx.cancel()
        assert term.is_held, "until the loop comes back"
        with pytest.raises(Cancelled):
            next(terms)
        assert not term.is_held
        assert client.election(name).leader() is None


def test_a_loop_ends_when_its_client_is_closed(client: Client, other: Client, name: str) -> None:
    with client.election(name).campaign(timeout=5):
        job = Job(lambda: next(other.election(name).terms()))
        eventually(lambda: len(client.election(name).candidates()) == 2)
        other.close()
        with pytest.raises(SessionLost, match="closed"):
            job.result(5)


# -- background ----------------------------------------------------------------------------------------


def test_what_on_lost_stops_is_stopped_before_the_term_is_resigned(
    client: Client, other: Client, name: str
) -> None:
    calls: list[object] = []

    def on_lost() -> None:
        leader = other.election(name).leader()
        calls.append((leader and leader.value, state.is_leader))

    state = client.election(name, value="me").background(lambda: calls.append("on"), on_lost)
    for _ in range(2):  # it may be used again
        with state:
            eventually(lambda: state.is_leader)
            with pytest.raises(RecipeError, match="already"), state:
                pytest.fail("two campaigns in one object")
            assert state.is_leader
        assert not state.is_leader
    assert calls == ["on", ("me", False)] * 2
    assert other.election(name).leader() is None


@pytest.mark.parametrize("how", ["transfer", "resign"])
def test_a_background_leader_that_hands_over_is_told_that_it_leads_no_more(
    client: Client, other: Client, name: str, how: str
) -> None:
    # `_lead` waits for a loss only: a term that was given up by hand leaves it waiting, on_lost is never called
    # (the scheduler runs on beside the next leader's), and it never campaigns again.
    calls: list[str] = []
    ctx = Context()
    election = client.election(name, value="a")
    on, off = lambda: calls.append("on"), lambda: calls.append("off")
    with election.background(on, off) as state:
        eventually(lambda: state.is_leader)
        term = state.term
        assert term is not None
        job = Job(lambda: other.election(name).campaign("b", ctx=ctx))
        eventually(lambda: len(election.candidates()) == 2)
        if how == "transfer":
            assert term.transfer("b")
        else:
            assert term.resign()
        assert job.result().is_held
        eventually(lambda: calls == ["on", "off"], 3, "the call of on_lost")
        eventually(lambda: len(election.candidates()) == 2, 3, "the next campaign")


def test_a_callback_that_fails_is_logged_and_the_term_goes_on(
    client: Client, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    def fails() -> None:
        raise ZeroDivisionError

    with caplog.at_level(logging.ERROR, "etcd_recipes"):
        with client.election(name).background(fails, fails) as state:
            eventually(lambda: "election.callback_failed" in caplog.text)
            assert state.is_leader
        assert caplog.text.count("election.callback_failed") == 2
    assert client.election(name).leader() is None


def test_what_ends_the_campaign_is_raised_when_the_body_ends(
    client: Client, other: Client, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, "etcd_recipes"), client.election(name).campaign(timeout=5):
        with pytest.raises(SessionLost, match="closed"), other.election(name).background():
            eventually(lambda: len(client.election(name).candidates()) == 2)
            other.close()
            eventually(lambda: "election.background_ended" in caplog.text)


def test_an_exit_is_prompt_with_etcd_away_whether_it_leads_or_waits(
    make_client: MakeClient, etcd: EtcdProcess, name: str
) -> None:
    with FaultProxy(etcd.endpoint) as proxy:
        clients = [make_client(proxy.endpoint) for _ in range(2)]
        leads, waits = (client.election(name).background() for client in clients)
        election = clients[0].election(name)
        took = {}
        with leads:
            eventually(lambda: leads.is_leader)
            with waits:
                eventually(lambda: len(election.candidates()) == 2)
                proxy.blackhole()
                left = time.monotonic()
            took["waiting"] = time.monotonic() - left
            left = time.monotonic()
        took["leading"] = time.monotonic() - left
        in_time(took["waiting"], 0.5)
        in_time(took["leading"], 1.0 + 0.5)
        proxy.heal()
        eventually(lambda: not election.candidates(), 5, "leaving the line")
        assert all(client.session().is_alive for client in clients), "by themselves"


def test_the_loss_of_something_else_is_raised_by_run(client: Client, name: str) -> None:
    def lead(_term: Leadership) -> None:
        raise LockLost("another lock")

    with pytest.raises(LockLost, match="another"):
        client.election(name).run(lead)
    assert client.election(name).leader() is None
