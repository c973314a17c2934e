"""The v3 store: every version of every key, and the log of changes by revision.

The rules
1. What is written between two commits shares one revision, the next one; a commit without changes makes none.
2. Nothing is thrown away, so that a member that is cut off can serve what was true when it was. Compaction is
   a number, below which no answer is given.
3. A write sees what was written before it in the same commit; a read of a named revision does not.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from typing import Literal

from tests.simulation.model.wire import Json, text

__all__ = ["Change", "Kv", "Mvcc", "within"]


class Kv:
    """One version of one key."""

    __slots__ = ("_shape", "create", "key", "lease", "mod", "value", "version")

    def __init__(
        self, key: bytes, value: bytes, create: int, mod: int, version: int, lease: int
    ) -> None:
        self.key = key
        self.value = value
        self.create = create
        self.mod = mod
        self.version = version
        self.lease = lease
        self._shape: Json | None = None

    def shape(self) -> Json:
        """Give it as JSON has it; not to be changed."""
        shape = self._shape
        if shape is None:
            shape = self._shape = self.bare()
            if self.value:
                shape["value"] = text(self.value)
            if self.lease:
                shape["lease"] = str(self.lease)
        return shape

    def bare(self) -> Json:
        """Give it without its value and its lease."""
        return {
            "key": text(self.key),
            "create_revision": str(self.create),
            "mod_revision": str(self.mod),
            "version": str(self.version),
        }


class Change:
    """One event: `kv` is what was put, or None for a delete; `prev` what was there before."""

    __slots__ = ("_shape", "key", "kv", "prev", "revision")

    def __init__(self, key: bytes, kv: Kv | None, prev: Kv | None, revision: int) -> None:
        self.key = key
        self.kv = kv
        self.prev = prev
        self.revision = revision
        self._shape: Json | None = None

    @property
    def kind(self) -> Literal["PUT", "DELETE"]:
        return "DELETE" if self.kv is None else "PUT"

    def shape(self) -> Json:
        """Give it as JSON has it, without what was there before; not to be changed."""
        shape = self._shape
        if shape is None:
            if self.kv is None:
                gone = {"key": text(self.key), "mod_revision": str(self.revision)}
                shape = {"type": "DELETE", "kv": gone}
            else:
                shape = {"kv": self.kv.shape()}
            self._shape = shape
        return shape

    def __repr__(self) -> str:
        return f"{self.kind} {self.key!r} at {self.revision}"


def within(key: bytes, start: bytes, end: bytes) -> bool:
    """Tell whether `key` is the one key (no `end`), at or after it (end of one zero byte), or in the range."""
    if not end:
        return key == start
    return start <= key and (end == b"\0" or key < end)


class Mvcc:
    """See the module's docstring."""

    def __init__(self) -> None:
        self.revision = 1
        self.compacted = -1
        self.live: dict[bytes, Kv] = {}
        self.log: list[tuple[Change, ...]] = [(), ()]
        self._order: list[bytes] = []
        self._past: dict[bytes, tuple[list[int], list[Kv | None]]] = {}
        self._ever: list[bytes] = []
        self._changes: list[Change] = []

    # -- writing -----------------------------------------------------------------------------------------------

    @property
    def pending(self) -> int:
        """The revision that a reader of the commit under way sees."""
        return self.revision + 1 if self._changes else self.revision

    def put(self, key: bytes, value: bytes, lease: int) -> Kv | None:
        """Write a key; give what was there."""
        prev, revision = self.live.get(key), self.revision + 1
        if prev is None:
            kv = Kv(key, value, revision, revision, 1, lease)
            insort(self._order, key)
        else:
            kv = Kv(key, value, prev.create, revision, prev.version + 1, lease)
        self.live[key] = kv
        self._record(key, kv, prev)
        return prev

    def delete(self, key: bytes, end: bytes) -> list[Kv]:
        """Delete what is there, in the order of the keys, and give it."""
        gone = self.select(key, end)
        for kv in gone:
            del self.live[kv.key]
            del self._order[bisect_left(self._order, kv.key)]
            self._record(kv.key, None, kv)
        return gone

    def _record(self, key: bytes, kv: Kv | None, prev: Kv | None) -> None:
        revision = self.revision + 1
        past = self._past.get(key)
        if past is None:
            past = self._past[key] = ([], [])
            insort(self._ever, key)
        past[0].append(revision)
        past[1].append(kv)
        self._changes.append(Change(key, kv, prev, revision))

    def commit(self) -> bool:
        """Make the changes a revision; False when there are none."""
        if not self._changes:
            return False
        self.log.append(tuple(self._changes))
        self._changes.clear()
        self.revision += 1
        return True

    # -- reading -----------------------------------------------------------------------------------------------

    def select(self, key: bytes, end: bytes, at: int | None = None) -> list[Kv]:
        """Give the keys of a range in their order, as they are or as they were at a revision."""
        if at is not None:
            return self._select_past(key, end, at)
        live = self.live
        if not end:
            kv = live.get(key)
            return [] if kv is None else [kv]
        return [live[found] for found in _slice(self._order, key, end)]

    def _select_past(self, key: bytes, end: bytes, at: int) -> list[Kv]:
        keys = _slice(self._ever, key, end) if end else [key]
        found = []
        for name in keys:
            revisions, kvs = self._past.get(name, ((), ()))
            place = bisect_right(revisions, at)
            kv = kvs[place - 1] if place else None
            if kv is not None:
                found.append(kv)
        return found


def _slice(order: list[bytes], key: bytes, end: bytes) -> list[bytes]:
    first = bisect_left(order, key)
    return order[first:] if end == b"\0" else order[first : bisect_left(order, end)]
