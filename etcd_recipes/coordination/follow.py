"""Follow: list, then watch, then go on: a prefix as it is, kept up to date for ever.

The algorithm
1. List the prefix, at a revision.
2. Watch it from the next revision on; apply each batch and give the change.
3. When the watch ends (a member went away, or QUIET seconds passed without news), open it again from the
   last revision applied, on whatever endpoint answers: nothing is lost and nothing comes twice.
4. When the history in between has been compacted, list again, and give the difference as one change.
5. When a watch is confirmed at a revision before ours, read the prefix. If etcd itself is before us, it was
   restored from a backup: list again. (Else the member was only behind, and will catch up.)
6. Every CHECK seconds read the prefix, and watch on as before: nothing is skipped. When the watch has passed the
   revision of that reading, our table must be what was read; if it is not, the watch has missed something
   (etcd has had such bugs, and a cluster may have been replaced by another): list again.

7. A watch that begins far back makes etcd read all that was written since, by anybody and anywhere, each time
   that it is opened. So what two such comparisons in a row have found in order, with every watch in between
   silent, is not asked for again: the watch goes on from the first of the two.

Rules of this file
* Failures are told to `on_trouble` and tried again, for as long as the Context lasts.
* A batch is applied whole: nobody sees half of a revision.
* Tables are compared by incarnation and value: on v2 each renewal of a key is a modification that nobody is told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from etcd_recipes.core import retry, runtime
from etcd_recipes.core.context import Context
from etcd_recipes.core.errors import HistoryLost, RecipeError, ResponseError
from etcd_recipes.core.store import Batch, Change, Entry, Feed, Snapshot, Store

__all__ = ["Update", "difference", "follow"]

QUIET = 10.0
"""Seconds without news after which the watch is opened anew: a stopped member cannot stay unnoticed."""

CHECK = 60.0
"""Seconds after which the table is compared with what etcd lists."""


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
        if key not in old or _content(old[key]) != _content(entry)
    ]
    return (*gone, *come)


def _content(entry: Entry) -> tuple[int, str]:
    return entry.created, entry.value


def apply(entries: dict[str, Entry], batch: Batch) -> None:
    """Bring `entries` to the state after `batch`."""
    for change in batch.changes:
        if change.entry is None:
            entries.pop(change.key, None)
        else:
            entries[change.key] = change.entry


def _table(snapshot: Snapshot) -> dict[str, Entry]:
    return {entry.key: entry for entry in snapshot.entries}


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
        following.check()
        feed = following.open()
        if feed is None:
            yield following.list()
            continue
        with feed:
            if following.went_back(feed):
                yield following.list()
                continue
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
    expected: Snapshot | None = None  # what our table has to be when it has come to that revision
    checked: float = 0.0
    agreed: int = 0  # the revision of the last comparison that has found nothing

    def read(self) -> Snapshot:
        """Give the prefix as etcd has it now."""
        self.checked = runtime.now()
        return retry.HEALING.run(
            self.ctx, lambda: self.store.list(self.prefix, self.ctx), on_failure=self.on_trouble
        )

    def list(self) -> Update:
        """Steps 1 and 4."""
        snapshot = self.read()
        new = _table(snapshot)
        changes = difference(self.entries, new)
        self.entries, self.revision, self.expected = new, snapshot.revision, None
        return Update(new, changes, self.revision)

    def went_back(self, feed: Feed) -> bool:
        """Step 5."""
        if feed.revision >= self.revision:
            return False
        self.expected = self.read()
        return self.expected.revision < self.revision

    def is_due(self) -> bool:
        """Tell whether it is time to compare."""
        return runtime.now() - self.checked >= CHECK

    def check(self) -> None:
        """Step 6: read what is to be compared, if it is time."""
        if self.is_due():
            # After silence for as long as between two comparisons, not after that of one watch: its member may
            # have stopped before it sent what has come and gone again, which the comparison does not show.
            self.revision = max(self.revision, self.agreed)
            self.expected = self.read()

    def has_missed(self, feed: Feed, batch: Batch | None, opened: float) -> bool:
        """Step 6: tell whether the table is not what it has to be; asked before `batch` is applied."""
        expected = self.expected
        if expected is None:
            return False
        if batch is not None:
            passed = batch.revision > expected.revision
        else:  # quiet, after a member that had come as far has confirmed the watch
            passed = feed.revision >= expected.revision and runtime.now() - opened >= QUIET
        if not passed:
            return False
        self.expected = None
        if difference(self.entries, _table(expected)):
            return True
        self.agreed = expected.revision
        return False

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
        opened = runtime.now()
        while True:
            try:
                batch = feed.next()
            except HistoryLost:
                yield self.list()
                return
            except ResponseError as error:  # refused in the middle: told, and opened again
                self.on_trouble(error)
                return
            if self.has_missed(feed, batch, opened):
                self.on_trouble(RecipeError(f"the watch of {self.prefix} has missed a change"))
                yield self.list()
                return
            if batch is None:
                return
            apply(self.entries, batch)
            self.revision = batch.revision
            yield Update(self.entries, batch.changes, batch.revision)
            if self.is_due():
                return
