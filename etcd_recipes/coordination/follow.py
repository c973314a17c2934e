"""Follow: list, then watch, then go on: a prefix as it is, kept up to date for ever.

The algorithm
1. List the prefix, at a revision.
2. Watch it from the next revision on; apply each batch and give the change.
3. When the watch ends (a member went away, or QUIET seconds passed without news), open it again from the
   last revision applied, on whatever endpoint answers: nothing is lost and nothing comes twice.
4. When the history in between has been compacted, list again, and give the difference as one change.

Rules of this file
* Failures are told to `on_trouble` and tried again, for as long as the Context lasts.
* A batch is applied whole: nobody sees half of a revision.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from etcd_recipes.core import retry
from etcd_recipes.core.context import Context
from etcd_recipes.core.errors import HistoryLost, ResponseError
from etcd_recipes.core.store import Batch, Change, Entry, Feed, Snapshot, Store

__all__ = ["Update", "difference", "follow"]

QUIET = 10.0
"""Seconds without news after which the watch is opened anew: a stopped member cannot stay unnoticed."""


@dataclass(frozen=True, slots=True)
class Update:
    """The prefix after a change: all `entries` by key, and the `changes` that led here.

    `changes` is empty when the state was only confirmed. The first update has everything as changes.
    `entries` is the follower's own table: it is valid until the next update is asked for.
    """

    entries: Mapping[str, Entry]
    changes: tuple[Change, ...]
    revision: int


def difference(old: Mapping[str, Entry], new: Mapping[str, Entry]) -> tuple[Change, ...]:
    """Give the changes that lead from `old` to `new`: deletions first, then what is new or modified."""
    gone = [Change(key, None) for key in old if key not in new]
    come = [
        Change(key, entry)
        for key, entry in new.items()
        if key not in old or old[key].modified != entry.modified
    ]
    return (*gone, *come)


def apply(entries: dict[str, Entry], batch: Batch) -> None:
    """Bring `entries` to the state after `batch`."""
    for change in batch.changes:
        if change.entry is None:
            entries.pop(change.key, None)
        else:
            entries[change.key] = change.entry


def follow(
    store: Store,
    prefix: str,
    ctx: Context,
    *,
    on_trouble: Callable[[BaseException], None] = lambda _error: None,
) -> Iterator[Update]:
    """Give the state of `prefix` now, and again after each change, until `ctx` ends (its error is raised)."""
    following = _Following(store, prefix, ctx, on_trouble)
    yield following.list()
    while True:
        feed = following.open()
        if feed is None:
            yield following.list()
            continue
        with feed:
            yield following.confirmed()
            yield from following.updates(feed)


@dataclass(slots=True)
class _Following:
    store: Store
    prefix: str
    ctx: Context
    on_trouble: Callable[[BaseException], None]
    entries: dict[str, Entry] = field(default_factory=dict)
    revision: int = 0

    def list(self) -> Update:
        """Steps 1 and 4."""
        snapshot: Snapshot = retry.HEALING.run(
            self.ctx, lambda: self.store.list(self.prefix, self.ctx), on_failure=self.on_trouble
        )
        new = {entry.key: entry for entry in snapshot.entries}
        changes = difference(self.entries, new)
        self.entries, self.revision = new, snapshot.revision
        return Update(new, changes, self.revision)

    def open(self) -> Feed | None:
        """Steps 2 and 3: give a feed from where we are, or None when the history is gone."""

        def watch() -> Feed | None:
            try:
                return self.store.watch(
                    self.ctx, prefix=self.prefix, after=self.revision, quiet=QUIET
                )
            except HistoryLost:
                return None

        return retry.HEALING.run(self.ctx, watch, on_failure=self.on_trouble)

    def confirmed(self) -> Update:
        """Say that the state is up to date as far as etcd has told."""
        return Update(self.entries, (), self.revision)

    def updates(self, feed: Feed) -> Iterator[Update]:
        """Apply batches until the feed is over."""
        while True:
            try:
                batch = feed.next()
            except HistoryLost:
                yield self.list()
                return
            except ResponseError as error:  # refused in the middle: told, and opened again
                self.on_trouble(error)
                return
            if batch is None:
                return
            apply(self.entries, batch)
            self.revision = batch.revision
            yield Update(self.entries, batch.changes, batch.revision)
