"""Defects of the recipes, each as the smallest test that shows it."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from typing import Any

import pytest

from etcd_recipes import Client, Context, EtcdRecipesError
from etcd_recipes.coordination import follow
from etcd_recipes.coordination.session import Session, SessionState
from etcd_recipes.coordination.sessions import Sessions
from etcd_recipes.core import runtime
from etcd_recipes.core.store import Entry
from etcd_recipes.core.v3 import horizon
from etcd_recipes.recipes.fencing import FileFence
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


def test_a_signal_in_the_close_of_a_registration_closes_it_all_the_same(
    client: Client, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # `_withdraw` goes on in the background after errors of the library only; a second close says True.
    registry = client.registry(name)
    registration = registry.register("api", "10.0.0.7:80")
    struck(monkeypatch, client._sessions.store, "delete", Interrupted())
    with pytest.raises(Interrupted):
        registration.close()
    assert registration.close()
    eventually(lambda: registry.instances("api") == (), 3, "the removal of the instance")


def test_a_signal_while_a_note_is_taken_away_takes_it_away(
    client: Client, other: Client, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # `noted` keeps its claim for ever: the next transfer of this process waits for it in vain.
    election = client.election(name, value="a")
    term = election.campaign()
    second = Job(lambda: other.election(name).campaign("b", timeout=20))
    eventually(lambda: len(election.candidates()) == 2)
    real, strikes = client._sessions.store.delete, [Interrupted()]

    def strike(entry: Entry, ctx: Context) -> bool:
        if strikes and entry.key.endswith(".transfer"):
            raise strikes.pop()
        return real(entry, ctx)

    monkeypatch.setattr(client._sessions.store, "delete", strike)
    with pytest.raises(Interrupted):
        term.transfer("b")
    again = Job(lambda: election.campaign(timeout=20))
    eventually(lambda: len(election.candidates()) == 2)
    second.result().resign()
    term = again.result()
    second = Job(lambda: other.election(name).campaign("b", timeout=20))
    eventually(lambda: len(election.candidates()) == 2)
    assert term.transfer("b", timeout=3)


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


# -- registry -------------------------------------------------------------------------------------------


def test_what_was_closed_may_be_registered_again_while_it_is_being_removed(
    make_client: MakeClient, etcd: EtcdProcess, name: str, api: str
) -> None:
    # The sweeper has the claim, and the error says to close what was closed.
    with FaultProxy(etcd.endpoint) as proxy:
        client = make_client(proxy.endpoint, header_timeout=0.3)
        registry = client.registry(name)
        registration = registry.register("api", "10.0.0.7:80", id="one")
        proxy.refuse()
        assert not registration.close(timeout=0.2)
        job = Job(lambda: registry.register("api", "10.0.0.8:80", id="one", timeout=8))
        Context(0.2).wait()
        proxy.heal()
        assert job.result().is_published


def test_a_view_goes_on_when_etcd_was_restored(
    make_client: MakeClient,
    server: EtcdProcess,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # `follow` goes on from its old revision, which is in the new history's future: it sees nothing for as long,
    # and says that it is fresh. (It never lists again by itself either: what a watch misses stays missed.)
    monkeypatch.setattr(follow, "QUIET", 0.5)
    monkeypatch.setattr(horizon, "PATIENCE", 0.5)
    client, before = make_client(server.endpoint), make_client(server.endpoint)
    for n in range(30):
        before.registry(name).register("other", f"10.0.1.{n}:80").close()
    before.registry(name).register("api", "10.0.0.1:80")
    with client.registry(name).follow("api", max_drop=1.0) as view:
        assert [each.address for each in view.instances] == ["10.0.0.1:80"]
        before.close()
        server.stop()
        shutil.rmtree(server.folder / "data")
        server.restart()
        make_client(server.endpoint).registry(name).register("api", "10.0.0.2:80")
        eventually(lambda: [each.address for each in view.instances] == ["10.0.0.2:80"], 6)


# -- fences ---------------------------------------------------------------------------------------------


@pytest.mark.only_v3
def test_a_lock_file_that_is_swept_away_lets_nobody_else_in(tmp_path: Any, api: str) -> None:
    # A cleaner of old files removes <path>.lock: the next writer locks a new one, and writes at the same time.
    path = tmp_path / "fence"
    with FileFence(path).writing(1):
        path.with_name("fence.lock").unlink()
        inside = Job(lambda: FileFence(path).check(2, timeout=0.3))
        with pytest.raises(EtcdRecipesError):
            inside.result()
