"""What those who follow cost, for as long as nothing happens, and when everything does."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from typing import Any, Self

import pytest

from etcd_recipes import Client, Context, Instance
from etcd_recipes.coordination import follow as module
from etcd_recipes.coordination.arrivals import Arrivals
from etcd_recipes.coordination.follow import Update, follow
from etcd_recipes.core.store import Change, Entry, Feed
from etcd_recipes.recipes.registry.roster import Roster
from etcd_recipes.testing import EtcdProcess, NoEtcd
from tests.growth.work import steps
from tests.requests_seen import requests_seen
from tests.tools import Job, eventually, long

QUIET = 0.15
"""Seconds: longer than the turn of etcd's loop that serves watches from the past."""


class Silent:
    """A feed whose member has stopped before it sent anything."""

    def __init__(self, feed: Feed) -> None:
        self.revision = feed.revision
        self._feed = feed

    def next(self) -> None:
        Context(QUIET).wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self._feed.close()


def test_a_quiet_watch_does_not_go_on_from_ever_further_back(
    client: Client, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """etcd reads all that was written since the revision from which a watch is opened, by whomever."""
    client.session()
    store, prefix, began = client._sessions.store, f"{name}/", list[int]()
    watch = store.watch
    monkeypatch.setattr(module, "QUIET", QUIET)
    monkeypatch.setattr(module, "CHECK", 2 * QUIET)

    def watched(*args: Any, **how: Any) -> Any:
        began.append(how["after"])
        return watch(*args, **how)

    monkeypatch.setattr(store, "watch", watched)
    ctx = Context(20)
    store.create(f"{prefix}there", "", None, ctx)
    updates = follow(store, prefix, ctx)

    def next_watch() -> int:
        seen = len(began)
        while len(began) == seen:
            next(updates)
        return began[-1]

    first = next_watch()
    written = client.v3.kv.put(f"{name}-elsewhere", "").revision
    while next_watch() < written:  # else the Context ends this
        pass
    assert first < written
    # What comes then is not missed, and neither is what has come and gone again in between.
    entry: Any = store.create(f"{prefix}new", "", None, ctx).mine
    store.delete(entry, ctx)
    assert [c.entry is None for _ in range(2) for c in _changes(updates)] == [False, True]


def _changes(updates: Iterator[Update]) -> tuple[Change, ...]:
    return next(update.changes for update in updates if update.changes)


def test_what_comes_and_goes_between_two_comparisons_is_seen(
    client: Client, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One comparison that finds nothing proves nothing of what is there no more."""
    client.session()
    store, prefix = client._sessions.store, f"{name}/"
    watch, silent = store.watch, [False]
    monkeypatch.setattr(module, "QUIET", QUIET)
    monkeypatch.setattr(module, "CHECK", 3 * QUIET)

    def watched(*args: Any, **how: Any) -> Any:
        feed = watch(*args, **how)
        return Silent(feed) if silent[0] else feed

    monkeypatch.setattr(store, "watch", watched)
    ctx = Context(20)
    store.create(f"{prefix}there", "", None, ctx)
    updates = follow(store, prefix, ctx)
    next(updates)
    silent[0] = True
    next(updates)
    entry: Any = store.create(f"{prefix}short", "", None, ctx).mine
    store.delete(entry, ctx)
    following: Any = updates.gi_frame.f_locals["following"]  # type: ignore[attr-defined]
    while following.agreed <= entry.created:
        next(updates)
    silent[0] = False
    assert [c.key for _ in range(2) for c in _changes(updates)] == [f"{prefix}short"] * 2


def test_who_observes_a_long_line_does_not_look_through_it_at_each_change() -> None:
    def cost(count: int) -> int:
        line = Arrivals(lambda _: True)
        entries = [Entry(f"line/{n:x}", "", n, n) for n in range(count + 1)]
        line.take([Change(entry.key, entry) for entry in entries[:count]])
        new = entries[count]

        def changes() -> None:
            line.take([Change(new.key, new)])
            line.take([Change(new.key, new)])  # another value
            assert line.first == "line/0"
            line.take([Change(new.key, None)])
            line.take([Change("line/0", None)])
            assert line.first == "line/1"

        return steps(changes)

    assert cost(long(1000, 10_000)) <= 1.2 * cost(10)


def test_suspects_of_one_incident_are_asked_after_together(
    client: Client, etcd: EtcdProcess, name: str
) -> None:
    """Their leases end one after the other; a list for each of them would be etcd's next incident."""
    many, confirm = 40, 1.0
    with Client(etcd.endpoint) as other:
        for number in range(many):
            client.v3.kv.put(f"{name}/api/{number}", f'{{"address":"{number}:80"}}')
        with other.registry(name).follow("api", confirm=confirm) as view:
            assert len(view.instances) == many
            before, begun = requests_seen(etcd.endpoint), time.monotonic()
            for number in range(many):
                client.v3.kv.delete(f"{name}/api/{number}")
                Context(0.01).wait()
            took = time.monotonic() - begun
            eventually(lambda: not view.instances, 10)
            seen: Counter[str] = requests_seen(etcd.endpoint) - before
    # As many as there are tenths of `confirm` in what the departures took, and not as many as there were.
    assert seen["Range"] <= 10 * took / confirm + 4


def test_waiting_for_many_lists_them_once(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lists: list[int] = []
    listed = Roster.listed

    def counted(roster: Roster) -> tuple[Instance, ...]:
        lists.append(len(roster))
        return listed(roster)

    monkeypatch.setattr(Roster, "listed", counted)
    with NoEtcd() as client, client.another() as other:
        with client.registry(name).follow("api") as view:
            waiter = Job(lambda: view.wait_for(20, 30))
            for number in range(20):
                other.registry(name).register("api", f"{number}:80")
            assert len(waiter.result()) == 20
    assert lists == [20]
