"""Defects of the recipes, each as the smallest test that shows it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from etcd_recipes import Client, Context, EtcdRecipesError
from etcd_recipes.coordination.session import Session, SessionState
from etcd_recipes.coordination.sessions import Sessions
from etcd_recipes.core import runtime
from etcd_recipes.testing import EtcdProcess, FaultProxy
from tests.recipes.below import below
from tests.recipes.operator import TAKES_A_PLACE
from tests.tools import Job, eventually

MakeClient = Callable[..., Client]


class Interrupted(BaseException):
    """As KeyboardInterrupt, which would end the run of the tests where it is not caught."""


class SoftTimeLimit(Exception):
    """As Celery's: raised by a signal handler, wherever the main thread is; the worker goes on."""


def struck(monkeypatch: pytest.MonkeyPatch, owner: object, verb: str, error: BaseException) -> None:
    """Have a signal handler raise when `verb` is next called by the test's thread, before it does anything."""
    real, here, strikes = getattr(owner, verb), threading.get_ident(), [error]

    def strike(*args: Any, **options: Any) -> Any:
        if strikes and threading.get_ident() == here:
            raise strikes.pop()
        return real(*args, **options)

    monkeypatch.setattr(owner, verb, strike)


# -- election -----------------------------------------------------------------------------------------


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


# -- signals that a program survives --------------------------------------------------------------------


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


def test_a_signal_while_a_barrier_is_given_up_leaves_no_party_behind(
    client: Client, other: Client, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # `_remove` likewise: a party that nobody is stays, and the next round counts on it.
    struck(monkeypatch, client._sessions.store, "delete", Interrupted())
    with pytest.raises(Interrupted):
        client.double_barrier(name, parties=2).enter(timeout=0.2)
    eventually(lambda: below(other, f"{name}/parties") == [], 3, "the removal of the party")


# -- sessions -------------------------------------------------------------------------------------------


def test_a_session_that_was_abandoned_does_not_come_back(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whoever suspends it looks and writes in two steps.
    session = client.session()
    suspended, looked, go = [session._suspended], threading.Event(), threading.Event()
    here = threading.get_ident()

    def put(_: Session, new: bool) -> None:
        if threading.get_ident() != here:
            looked.set()
            go.wait(5)
        suspended[0] = new

    where = property(lambda _: suspended[0], put)
    monkeypatch.setattr(Session, "_suspended", where, raising=False)
    job = Job(lambda: session._suspend(OSError("no answer")))  # as its keeper does
    assert looked.wait(5)
    session.abandon()
    assert not session.is_alive
    go.set()
    job.result()
    assert suspended == [True], "it had looked before the end"
    assert session.state is SessionState.LOST, "LOST is final"
    assert not session.is_alive


def test_a_session_that_is_opened_while_the_client_closes_holds_nothing(
    make_client: MakeClient, other: Client, etcd: EtcdProcess, name: str, api: str
) -> None:
    # `Sessions.close` sees only what is open already: a hold is given out by a client that is closed.
    with FaultProxy(etcd.endpoint) as proxy:
        client = make_client(proxy.endpoint, header_timeout=5)
        proxy.hold(only=b"/v3/lease/grant" if api == "v3" else b"GET /v2", times=1)
        job = Job(lambda: client.lock(name).acquire(timeout=20))
        eventually(lambda: proxy.hits == 1)
        closing = Job(client.close)
        eventually(lambda: client._sessions.ctx.cancelled)
        proxy.heal()
        closing.result()
        with pytest.raises(EtcdRecipesError):
            job.result()
        assert other.lock(name).acquire(timeout=3) is not None


def test_one_ttl_is_one_session_however_it_is_written(
    make_client: MakeClient, other: Client, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The queue goes by f"{ttl}", the table by the number: 2 and 2.0 are opened twice, and only one is closed.
    client = make_client()
    both, real = threading.Barrier(2, timeout=2), Sessions._open

    def open_(self: Sessions, ttl: float, ctx: Context) -> Session:
        try:
            both.wait()
        except threading.BrokenBarrierError:
            pass  # one by one: that is how it should be
        return real(self, ttl, ctx)

    monkeypatch.setattr(Sessions, "_open", open_)
    jobs = [Job(lambda: client.session(20)), Job(lambda: client.session(20.0))]
    first, second = (job.result() for job in jobs)
    assert first is second


def test_an_eviction_that_failed_ends_nothing_in_silence(
    make_client: MakeClient, other: Client, etcd: EtcdProcess, name: str, api: str
) -> None:
    # v2: `delete` gives up the refreshing of a key of this process first; when it then fails, the key expires
    # under a holder that still holds.
    with FaultProxy(etcd.endpoint) as proxy:
        client = make_client(proxy.endpoint, header_timeout=0.3)
        lock = client.lock(name, ttl=2)
        hold, holder = lock.acquire(), lock.holder()
        assert hold is not None
        assert holder is not None
        proxy.reset(only=b"DELETE /v2" if api == "v2" else b"request_delete_range")
        with pytest.raises(EtcdRecipesError):
            lock.evict(holder, timeout=0.3)
        proxy.heal()
        second = other.lock(name).acquire(timeout=4)
        assert second is None or not hold.is_held, "two hold"
