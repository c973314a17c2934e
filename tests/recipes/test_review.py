"""Defects of the recipes, each as the smallest test that shows it."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from typing import Any

import pytest

from etcd_recipes import Client, Context, EtcdRecipesError
from etcd_recipes.coordination import follow
from etcd_recipes.core.store import Entry
from etcd_recipes.core.v3 import horizon
from etcd_recipes.recipes.fencing import FileFence
from etcd_recipes.testing import EtcdProcess, FaultProxy
from tests.recipes.strikes import Interrupted, struck
from tests.tools import Job, eventually

MakeClient = Callable[..., Client]


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


# -- sessions -------------------------------------------------------------------------------------------


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
