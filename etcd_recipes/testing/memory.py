"""The Store over the memory of one process, for clients that need no etcd: see `NoEtcd`.

It keeps the Store protocol's contract, and the same tests say so of it and of the two that speak to etcd.

How it works
1. All keys, leases and open feeds are under one lock; a verb is done under it, and nobody waits in there.
2. Each change is one revision. It goes into the history, and to each feed that asked for its key.
3. A lease ends when its time is over. Nobody is woken to end it: every verb and every feed first ends what has
   expired, and a feed sleeps no longer than the next lease lasts.

Rules of this file
* Keys are named as on v3. Nothing here is ever in doubt, for no reply is lost.
* A forked child begins with nothing: what it could see would be a copy that nobody ever releases.
"""

from __future__ import annotations

import math
import re
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from dataclasses import replace as replace_fields
from typing import Self

from etcd_recipes.core import runtime
from etcd_recipes.core.context import Context
from etcd_recipes.core.errors import Compacted, CompareFailed, LeaseNotFound
from etcd_recipes.core.store import (
    Batch,
    Change,
    Entry,
    Feed,
    Grant,
    Renewal,
    Snapshot,
    Standing,
    id_below,
    nearest,
)

__all__ = ["MemoryStore"]

_HISTORY = 1000
"""Batches that are kept; who asks for older ones gets HistoryLost, as from etcd after a compaction."""

_LEASE_ID = re.compile(r"[0-9a-f]{1,16}(-[0-9a-f]{1,8})?")


@dataclass(slots=True)
class _Lease:
    ttl: float
    until: float


class MemoryStore:
    """The Store protocol over dictionaries: for the threads of one process."""

    transactions = False

    def __init__(self) -> None:
        self._lock = runtime.new_lock()
        self._clear()
        runtime.at_fork(self)

    def _clear(self) -> None:
        self._revision = 1
        self._entries: dict[str, Entry] = {}
        self._leases: dict[int, _Lease] = {}
        self._history: deque[Batch] = deque(maxlen=_HISTORY)
        self._feeds: list[MemoryFeed] = []

    def after_fork_in_child(self) -> None:
        """Begin with nothing, and a lock that nobody has."""
        self._lock = runtime.new_lock()
        self._clear()

    # -- one key ---------------------------------------------------------------------------------------------

    def get(self, key: str, ctx: Context) -> Entry | None:
        """See the protocol."""
        with self._step(ctx):
            return self._entries.get(key)

    def list(self, prefix: str, ctx: Context) -> Snapshot:
        """See the protocol."""
        with self._step(ctx):
            return Snapshot(self._below(prefix), self._revision)

    def create(self, key: str, value: str, grant: Grant | None, ctx: Context) -> Standing:
        """See the protocol."""
        with self._step(ctx):
            there = self._entries.get(key) or self._put(key, value, grant)
            return Standing(there, (), self._revision)

    def replace(self, entry: Entry, value: str, ctx: Context) -> Entry:
        """See the protocol."""
        with self._step(ctx):
            there = self._same(entry)
            if there is None:
                raise CompareFailed(
                    f"key {entry.key!r} created at revision {entry.created} is not there any more"
                )
            return self._change(there, value)

    def swap(self, entry: Entry, value: str, ctx: Context) -> None:
        """See the protocol."""
        with self._step(ctx):
            there = self._same(entry)
            if there is None or there.modified != entry.modified:
                raise CompareFailed(
                    f"key {entry.key!r} was changed after revision {entry.modified}"
                )
            self._change(there, value)

    def delete(self, entry: Entry, ctx: Context) -> bool:
        """See the protocol."""
        with self._step(ctx):
            return self._remove([] if self._same(entry) is None else [entry.key])

    def withdraw(self, key: str, grant: Grant, ctx: Context) -> bool:
        """See the protocol."""
        with self._step(ctx):
            there = self._entries.get(key)
            return self._remove([key] if there is not None and there.lease == grant.id else [])

    # -- a line ----------------------------------------------------------------------------------------------

    def place(self, line: str, grant: Grant, seat: int | None = None) -> str:
        """``<line>/<lease id>``, or ``<line>/<lease id>-<seat>``."""
        return f"{line}/{grant.id:x}" + ("" if seat is None else f"-{seat:x}")

    def contender_id(self, line: str, key: str) -> str | None:
        """A lease id in hex, with or without a seat, directly below the line."""
        return id_below(line, key, _LEASE_ID.fullmatch)

    def beside(self, line: str, what: str) -> str:
        """``<line>.<what>``."""
        return f"{line}.{what}"

    def join(
        self,
        line: str,
        value: str,
        grant: Grant,
        ctx: Context,
        *,
        ahead: int | None,
        seat: int | None = None,
        beside: str | None = None,
    ) -> Standing:
        """See the protocol."""
        with self._step(ctx):
            key = self.place(line, grant, seat)
            mine = self._entries.get(key) or self._put(key, value, grant)
            return self._standing(line, mine, ahead, beside)

    def join_if_first(self, line: str, value: str, grant: Grant, ctx: Context) -> Standing:
        """See the protocol."""
        with self._step(ctx):
            there = self._contenders(line)
            mine = there[0] if there else self._put(self.place(line, grant), value, grant)
            if mine.lease != grant.id:
                return Standing(None, (mine,), self._revision)
            return Standing(mine, (), self._revision)

    def standing(
        self,
        line: str,
        mine: Entry,
        ctx: Context,
        *,
        ahead: int | None,
        beside: str | None = None,
    ) -> Standing:
        """See the protocol."""
        with self._step(ctx):
            there = self._same(mine)
            if there is None:
                return Standing(None, (), self._revision)
            return self._standing(line, there, ahead, beside)

    def look(
        self, line: str, ctx: Context, *, ahead: int | None = None, beside: str | None = None
    ) -> Standing:
        """See the protocol."""
        with self._step(ctx):
            return self._behind(line, None, self._revision + 1, ahead, beside)

    def _standing(self, line: str, mine: Entry, ahead: int | None, beside: str | None) -> Standing:
        return self._behind(line, mine, mine.created, ahead, beside)

    def _behind(
        self, line: str, mine: Entry | None, before: int, ahead: int | None, beside: str | None
    ) -> Standing:
        every = nearest(self._contenders(line), before, None)
        more = ahead is not None and len(every) > ahead
        return Standing(mine, every[:ahead], self._revision, beside=self._beside(beside), more=more)

    def _contenders(self, line: str) -> tuple[Entry, ...]:
        below = self._below(f"{line}/")
        return tuple(entry for entry in below if self.contender_id(line, entry.key) is not None)

    def _beside(self, key: str | None) -> Entry | None:
        return None if key is None else self._entries.get(key)

    # -- changes and leases ------------------------------------------------------------------------------------

    def watch(
        self,
        ctx: Context,
        *,
        keys: Collection[str] = (),
        own: str | None = None,
        prefix: str | None = None,
        after: int | None = None,
        quiet: float | None = None,
    ) -> Feed:
        """See the protocol."""
        watched = {*keys, own}

        def concerns(key: str) -> bool:
            return key in watched or (prefix is not None and key.startswith(prefix))

        with self._step(ctx):
            feed = MemoryFeed(self, concerns, ctx, self._revision, quiet)
            if after is not None:
                for batch in self._since(after):
                    feed.take(batch)
            self._feeds.append(feed)
        return feed

    def _since(self, revision: int) -> Sequence[Batch]:
        oldest = self._revision - len(self._history)
        if revision < oldest:
            lost = Compacted(f"the changes after revision {revision} are not kept any more")
            lost.resume_from = oldest
            raise lost
        return [batch for batch in self._history if batch.revision > revision]

    def open_grant(self, ttl: float, ctx: Context) -> Grant:
        """See the protocol."""
        with self._step(ctx):
            grant = MemoryGrant(self, runtime.rng().randrange(1, 2**63), math.ceil(ttl))
            self._leases[grant.id] = _Lease(grant.ttl, runtime.now() + grant.ttl)
            return grant

    def renew(self, grant: Grant, ctx: Context) -> Renewal:
        """Start the ttl of a grant anew."""
        with self._step(ctx):
            lease = self._lease(grant)
            lease.until = runtime.now() + lease.ttl
            keys = (entry.key for entry in self._entries.values() if entry.lease == grant.id)
            return Renewal(lease.ttl, frozenset(keys))

    def revoke(self, grant: Grant, ctx: Context) -> None:
        """End a grant, and what is attached to it."""
        with self._step(ctx):
            self._end(grant.id)

    def settle(self) -> float:
        """End what has expired; give the seconds until the next lease does."""
        with self._lock:
            self._expire()
            now = runtime.now()
            return min((lease.until - now for lease in self._leases.values()), default=math.inf)

    def close_feed(self, feed: MemoryFeed) -> None:
        """Forget a feed."""
        with self._lock:
            if feed in self._feeds:
                self._feeds.remove(feed)

    # -- under the lock ------------------------------------------------------------------------------------------

    @contextmanager
    def _step(self, ctx: Context) -> Iterator[None]:
        """Do the body as one step, in a world without expired leases."""
        ctx.check()
        with self._lock:
            self._expire()
            yield

    def _expire(self) -> None:
        now = runtime.now()
        for id_ in [id_ for id_, lease in self._leases.items() if lease.until <= now]:
            self._end(id_)

    def _end(self, lease: int) -> None:
        self._leases.pop(lease, None)
        self._remove([entry.key for entry in self._entries.values() if entry.lease == lease])

    def _lease(self, grant: Grant) -> _Lease:
        lease = self._leases.get(grant.id)
        if lease is None:
            raise LeaseNotFound(f"lease {grant.id:x} has expired or was revoked")
        return lease

    def _below(self, prefix: str) -> tuple[Entry, ...]:
        found = (entry for entry in self._entries.values() if entry.key.startswith(prefix))
        return tuple(sorted(found, key=lambda entry: entry.created))

    def _same(self, entry: Entry) -> Entry | None:
        """Give this incarnation as it is now."""
        there = self._entries.get(entry.key)
        return there if there is not None and there.created == entry.created else None

    def _put(self, key: str, value: str, grant: Grant | None) -> Entry:
        if grant is not None:
            self._lease(grant)
        now = self._revision + 1
        return self._write(Entry(key, value, now, now, 0 if grant is None else grant.id))

    def _change(self, there: Entry, value: str) -> Entry:
        return self._write(replace_fields(there, value=value, modified=self._revision + 1))

    def _write(self, entry: Entry) -> Entry:
        self._entries[entry.key] = entry
        self._tell((Change(entry.key, entry),))
        return entry

    def _remove(self, keys: Collection[str]) -> bool:
        """Remove these, in one revision; tell whether there were any."""
        for key in keys:
            del self._entries[key]
        if keys:
            self._tell(tuple(Change(key, None) for key in keys))
        return bool(keys)

    def _tell(self, changes: tuple[Change, ...]) -> None:
        self._revision += 1
        batch = Batch(self._revision, changes)
        self._history.append(batch)
        for feed in self._feeds:
            feed.take(batch)


class MemoryFeed:
    """What changes among the keys that `concerns` says yes to."""

    def __init__(
        self,
        store: MemoryStore,
        concerns: Callable[[str], bool],
        ctx: Context,
        revision: int,
        quiet: float | None,
    ) -> None:
        self.revision = revision
        self._store = store
        self._concerns = concerns
        self._ctx = ctx
        self._quiet = quiet
        self._over = False
        self._batches: deque[Batch] = deque()
        self._news = runtime.new_event()

    def take(self, batch: Batch) -> None:
        """Keep what concerns this feed, and wake its reader."""
        changes = tuple(change for change in batch.changes if self._concerns(change.key))
        if changes:
            self._batches.append(Batch(batch.revision, changes))
            self._news.set()

    def next(self) -> Batch | None:
        """See the protocol."""
        until = math.inf if self._quiet is None else runtime.now() + self._quiet
        with self._ctx.on_cancel(self._news.set):
            while not self._over:
                self._news.clear()
                next_end = self._store.settle()
                self._ctx.check()
                if self._batches:
                    return self._batches.popleft()
                left = until - runtime.now()
                if left <= 0:
                    self.close()
                else:
                    self._sleep(min(left, next_end))
        return None

    def _sleep(self, longest: float) -> None:
        left = self._ctx.remaining()
        self._news.wait(runtime.bearable(longest if left is None else min(longest, left)))

    def close(self) -> None:
        """End the feed."""
        self._over = True
        self._store.close_feed(self)
        self._news.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self.close()


class MemoryGrant:
    """A lease."""

    def __init__(self, store: MemoryStore, id_: int, ttl: float) -> None:
        self._store = store
        self.id = id_
        self.ttl = ttl

    def renew(self, ctx: Context, *, keys: bool = False) -> Renewal:
        """See the protocol."""
        renewal = self._store.renew(self, ctx)
        return renewal if keys else replace_fields(renewal, keys=None)

    def close(self, ctx: Context) -> None:
        """See the protocol."""
        self._store.revoke(self, ctx)
