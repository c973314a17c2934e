"""Until: wait for what is below a prefix to come to a state: barriers and latches wait here.

The algorithm
1. Open a feed of the prefix from *now*. (With a start revision in the past, etcd would serve it from a
   loop that runs every 100 ms.)
2. Read the prefix: whatever changed before the feed was open shows here.
3. Ask `done`; apply the next batch that is newer than the reading, and ask again. So `done` is always
   shown one true state of one revision, and no state is skipped.
4. A feed that ends, or is quiet for QUIET seconds, is opened anew (1): compaction has nothing to take
   from a feed that begins now, and a member that was stopped cannot hold a waiter for longer.

Rules of this file
* Failing endpoints do not end a wait: it goes on, with back-off, for as long as its Context allows.
* `done` may act, if what it does may be repeated. It must not mix its own answers into the state: it
  would see a revision without those before it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from etcd_recipes.coordination.follow import apply
from etcd_recipes.core import retry
from etcd_recipes.core.context import Context
from etcd_recipes.core.errors import HistoryLost
from etcd_recipes.core.log import event_logger
from etcd_recipes.core.store import Entry, Store

__all__ = ["QUIET", "read", "until"]

T = TypeVar("T")

QUIET = 10.0
"""Seconds without news after which a waiter asks by itself."""


def read(store: Store, prefix: str, ctx: Context) -> dict[str, Entry]:
    """Give what is below the prefix, by key: one request, tried again while no endpoint answers."""
    snapshot = retry.PATIENT.run(ctx, lambda: store.list(prefix, ctx))
    return {entry.key: entry for entry in snapshot.entries}


def until(
    store: Store, prefix: str, ctx: Context, done: Callable[[Mapping[str, Entry]], T | None]
) -> T:
    """Give the first answer of ``done(entries by key)`` that is not None.

    Raises what `done` raises, the error of `ctx` when that ends, and ResponseError when etcd refuses.
    """
    log = event_logger("until").bind(prefix=prefix)

    def over_one_feed() -> T | None:
        with store.watch(ctx, prefix=prefix, quiet=QUIET) as feed:
            snapshot = store.list(prefix, ctx)
            entries = {entry.key: entry for entry in snapshot.entries}
            while (answer := done(entries)) is None:
                batch = feed.next()
                while batch is not None and batch.revision <= snapshot.revision:
                    batch = feed.next()
                if batch is None:
                    return None
                apply(entries, batch)
            return answer

    while True:
        try:
            found = retry.PATIENT.run(
                ctx,
                over_one_feed,
                on_failure=lambda error: log.warning("until.unreachable", error=str(error)),
            )
        except HistoryLost:
            continue  # read again
        if found is not None:
            return found
