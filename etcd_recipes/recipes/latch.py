"""Latch: a count that goes down to zero, once; whoever waits goes on when it is there.

The algorithm
    Each ``count_down`` makes a record of its own, ``<name>/<id>``, without a lease: what was counted stays
    counted when its process ends. The count is what the latch began with, less the records. A copy of a
    request that arrives late finds its record and counts nothing twice.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping

from etcd_recipes.coordination.identity import describe_self
from etcd_recipes.coordination.names import check_name
from etcd_recipes.coordination.sessions import Sessions
from etcd_recipes.coordination.until import read, until
from etcd_recipes.core import retry, runtime
from etcd_recipes.core.context import Context
from etcd_recipes.core.store import Entry

__all__ = ["Latch"]


class Latch:
    """A count-down latch named `name`; made by ``client.latch(name, count=...)``, for many threads.

    It is used up when it has reached zero: take a name of its own for each occasion. Keys:
    ``<name>/<id>``, one per count, which stay until `clear`. Requests: 2 to count down, 1 to wait when it
    is at zero already.
    """

    def __init__(self, sessions: Sessions, name: str, *, count: int) -> None:
        self.name = check_name(name, "latch name")
        if isinstance(count, bool) or not isinstance(count, int):
            raise TypeError(f"count is an int, not {type(count).__name__}")
        if count < 1:
            raise ValueError(f"count of latch {name!r} must be 1 or more; got {count}")
        self._from = count
        self._prefix = f"{name}/"
        self._sessions = sessions
        self._store = sessions.store

    @property
    def count(self) -> int:
        """How many are still to come, 0 when it is open: one request, within the default timeout."""
        return self.remaining()

    def remaining(self, *, timeout: float | None = None, ctx: Context | None = None) -> int:
        """Give how many are still to come, 0 when it is open: one request.

        Raises ClusterError, ResponseError or the Context's error.
        """
        entries = self._store.list(self._prefix, self._sessions.limit(timeout, ctx)).entries
        return self._left(entries)

    def count_down(
        self, by: str | None = None, *, timeout: float | None = None, ctx: Context | None = None
    ) -> int:
        """Count one down, and give what is left; at zero nothing happens.

        `by` is a name for who counts: it is counted once, however often it counts, so that a worker that
        was restarted is not counted twice. Without it every call counts. ValueError when others began
        this latch with another count. Raises ClusterError when no endpoint answers, ResponseError when etcd
        refuses, or the Context's error when that ends first: the count may then have been taken, so count
        again with the same `by`.
        """
        if by is not None and "/" in check_name(by, "name of who counts"):
            raise ValueError(f"a name of who counts has no '/' in it; got {by!r}")
        limited = self._sessions.limit(timeout, ctx)
        there = {e.key: e for e in self._store.list(self._prefix, limited).entries}
        left = self._left(there.values())
        key = f"{self._prefix}{by or f'{runtime.rng().getrandbits(64):016x}'}"
        if left == 0 or key in there:
            return left
        value = json.dumps({"count": self._from, "by": json.loads(describe_self())})
        retry.PATIENT.run(limited, lambda: self._store.create(key, value, None, limited))
        return left - 1

    def wait(self, timeout: float | None = None, *, ctx: Context | None = None) -> None:
        """Wait until the count is zero.

        Raises DeadlineExceeded when `timeout` seconds or the deadline of `ctx` pass first, Cancelled when
        `ctx` is cancelled, ValueError when others began this latch with another count, ResponseError when
        etcd refuses. It goes on through an outage of etcd.
        """
        limited = Context(timeout, parent=ctx)
        if not self._is_open(read(self._store, self._prefix, limited)):
            until(self._store, self._prefix, limited, self._is_open)

    def clear(self, *, timeout: float | None = None, ctx: Context | None = None) -> None:
        """Remove the latch's keys, when nobody uses it any more: a request each, and one more."""
        limited = self._sessions.limit(timeout, ctx)
        for entry in self._records(self._store.list(self._prefix, limited).entries):
            self._store.delete(entry, limited)

    def _is_open(self, entries: Mapping[str, Entry]) -> bool | None:
        return self._left(entries.values()) == 0 or None

    def _left(self, entries: Collection[Entry]) -> int:
        records = self._records(entries)
        for entry in records[:1]:
            if (begun := _count_in(entry.value)) not in (None, self._from):
                raise ValueError(
                    f"latch {self.name!r} was begun with count={begun}, and is used here with "
                    f"count={self._from}: give all the same count, or take another name"
                )
        return max(0, self._from - len(records))

    def _records(self, entries: Collection[Entry]) -> list[Entry]:
        own = [entry for entry in entries if "/" not in entry.key[len(self._prefix) :]]
        return sorted(own, key=lambda entry: entry.created)

    def __repr__(self) -> str:
        return f"<Latch {self.name!r} of {self._from}>"


def _count_in(value: str) -> int | None:
    """Give the count that a record was made with; None for what is not ours."""
    try:
        count = json.loads(value)["count"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return count if type(count) is int else None
