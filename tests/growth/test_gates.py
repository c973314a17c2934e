"""What a double barrier costs when all come, and leave, at the same time."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from etcd_recipes.core.store import Entry
from etcd_recipes.recipes.double_barrier import DoubleBarrier
from etcd_recipes.testing import NoEtcd
from tests.tools import Job, long


def test_those_who_leave_at_the_same_time_do_not_each_remove_the_marks_of_all(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    parties = long(20, 40)
    deleted: list[str] = []
    with NoEtcd() as client:
        store = client._sessions.store
        delete, look = store.delete, DoubleBarrier._look
        together = threading.Barrier(parties)

        def counted(entry: Entry, ctx: Any) -> bool:
            deleted.append(entry.key)
            return delete(entry, ctx)

        def together_(self: DoubleBarrier, ctx: Any) -> Any:
            together.wait(30)
            view = look(self, ctx)
            together.wait(30)  # each has seen that all have left, and that the round is still there
            return view

        monkeypatch.setattr(store, "delete", counted)
        monkeypatch.setattr(DoubleBarrier, "_look", together_)
        double = client.double_barrier(name, parties=parties)

        def party() -> None:
            double.enter(30)
            double.leave(30)

        for _ in range(2):
            for job in [Job(party) for _ in range(parties)]:
                job.result(60)
        assert store.list(f"{name}/", client._sessions.limit(5, None)).entries == ()
    # In each round: the key of each, its two marks, and the round, which each wants to remove.
    assert len(deleted) <= 2 * (4 * parties + 1)


def test_what_a_dead_round_has_left_is_removed_once(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = long(50, 500)
    deleted: list[str] = []
    with NoEtcd() as client:
        store, ctx = client._sessions.store, client._sessions.limit(30, None)
        for number in range(left):
            store.create(f"{name}/7/in/{number:x}", "", None, ctx)
        delete = store.delete

        def counted(entry: Entry, ctx: Any) -> bool:
            deleted.append(entry.key)
            return delete(entry, ctx)

        monkeypatch.setattr(store, "delete", counted)
        double = client.double_barrier(name, parties=2)
        for job in [
            Job(lambda: double.enter(30, party="a")),
            Job(lambda: double.enter(30, party="b")),
        ]:
            job.result(60)
    assert sum("/7/" in key for key in deleted) == left
