"""A follower's table against what etcd lists: what a watch missed does not stay missed, and nothing is skipped."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Self

import pytest

from etcd_recipes import Client, Context
from etcd_recipes.coordination import follow as module
from etcd_recipes.coordination.follow import Update, follow
from etcd_recipes.core.store import Batch, Feed
from tests.tools import Job


class Deaf:
    """A feed that does not deliver what is about keys that end in "unheard", as etcd's own have done."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self.revision = feed.revision

    def next(self) -> Batch | None:
        while (batch := self._feed.next()) is not None:
            if not any(change.key.endswith("unheard") for change in batch.changes):
                return batch
        return None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self._feed.close()


def read(updates: Iterator[Update], prefix: str, until: set[str]) -> list[set[str]]:
    """Give the keys after each change, until they are those."""
    seen: list[set[str]] = []
    while not seen or seen[-1] != until:
        update = next(updates)
        if update.changes:
            seen.append({key.removeprefix(prefix) for key in update.entries})
    return seen


@pytest.mark.parametrize("news", [False, True], ids=["quiet", "busy"])
def test_what_a_watch_has_missed_does_not_stay_missed(
    client: Client, name: str, monkeypatch: pytest.MonkeyPatch, news: bool
) -> None:
    client.session()
    store, prefix, troubles = client._sessions.store, f"{name}/", list[BaseException]()
    watch = store.watch
    monkeypatch.setattr(module, "QUIET", 30 if news else 0.1)
    monkeypatch.setattr(module, "CHECK", 0.1)
    monkeypatch.setattr(store, "watch", lambda *args, **how: Deaf(watch(*args, **how)))
    ctx = Context(5)
    gone = store.create(f"{prefix}gone-unheard", "", None, ctx).mine
    store.create(f"{prefix}there", "", None, ctx)
    assert gone is not None
    updates = follow(store, prefix, ctx, on_trouble=troubles.append)
    assert read(updates, prefix, {"gone-unheard", "there"})
    next(updates)  # watching
    store.delete(gone, ctx)
    store.create(f"{prefix}unheard", "", None, ctx)
    done = Context(5)

    def tick() -> None:
        while news and not done.wait(0.02):
            entry: Any = store.create(f"{prefix}tick", "", None, ctx).mine
            store.delete(entry, ctx)

    job = Job(tick)
    read(updates, prefix, {"there", "unheard"})
    done.cancel()
    job.result()
    assert "has missed a change" in str(troubles[-1])


def test_the_comparison_skips_nothing_and_finds_nothing_where_nothing_was_missed(
    client: Client, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Compared at every turn, while a key comes and goes: each of them is seen, however late.
    client.session()
    store, prefix, troubles = client._sessions.store, f"{name}/", list[BaseException]()
    monkeypatch.setattr(module, "CHECK", 0.0)
    ctx = Context(10)
    updates = follow(store, prefix, ctx, on_trouble=troubles.append)
    next(updates)
    for _ in range(10):
        entry: Any = store.create(f"{prefix}key", "", None, ctx).mine
        store.delete(entry, ctx)
    store.create(f"{prefix}last", "", None, ctx)
    assert read(updates, prefix, {"last"}) == [*([{"key"}, set()] * 10), {"last"}]
    assert troubles == []
