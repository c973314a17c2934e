"""THE PROTOCOL: the few verbs that a recipe may ask of etcd, and the values they give back.

Rules of this file
1. A verb is one step of a recipe, not one request of a dialect: each dialect takes its own best road.
2. Every verb may be repeated: a lost reply is answered by asking again. What tells one incarnation of a
   key from the next is `Entry.created`; every change names the incarnation it means.
3. No verb is half-implemented. What only one dialect can do is a capability, asked for when a recipe is
   made.
4. Keys and values are ``str``. A value that is not UTF-8 is decoded with replacement characters: it is
   somebody else's, and shown, not written back.

A *line* is a name under which contenders stand: ``<line>/<id>``, the oldest first. A contender is exactly
that; deeper keys belong to other lines. A grant has one place in a line, or, where several may be in at
once, as many as it wants: each is then a *seat*, with a number, and the same as any place otherwise.
*Beside* a line may lie a key that counts for all who stand in it: it is read with the line, at one revision.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol, Self

from etcd_recipes.core.context import Context

__all__ = [
    "Batch",
    "Change",
    "Entry",
    "Feed",
    "Grant",
    "Guard",
    "Renewal",
    "Snapshot",
    "Standing",
    "Store",
    "id_below",
    "nearest",
]


@dataclass(frozen=True, slots=True)
class Entry:
    """One key: `created` and `modified` are revisions (v3) or indexes (v2); `lease` is 0 when it has none.

    `seat` is the number of a seat where the key cannot say it (v2).
    """

    key: str
    value: str
    created: int
    modified: int
    lease: int = 0
    seat: int | None = None


@dataclass(frozen=True, slots=True)
class Guard:
    """A condition of a transaction: `key` is there, as the incarnation that was `created` at this revision.

    ``hold.guard`` gives one, ``client.v3.kv.txn([guard], ...)`` and ``kv.when(guard)`` take it.
    """

    key: str
    created: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What was there at one revision; `entries` are in the order of their creation."""

    entries: tuple[Entry, ...]
    revision: int


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a contender stands at one revision.

    `mine` is its entry, or None when it has no place (any more); `ahead` are those who came before it,
    the nearest first: all of them, or as many as were asked for; `more` is True when there may be others ahead
    of those. `doubt` is True when a copy of the request that made the place may still be carried out later.
    `beside` is the key beside the line, None when there is none or it was not asked for.
    """

    mine: Entry | None
    ahead: tuple[Entry, ...]
    revision: int
    doubt: bool = False
    beside: Entry | None = None
    more: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """One key's change: `entry` is what it is now, or None when it was deleted."""

    key: str
    entry: Entry | None


@dataclass(frozen=True, slots=True)
class Batch:
    """All changes of one revision."""

    revision: int
    changes: tuple[Change, ...]


class Feed(Protocol):
    """Changes as they happen, over one connection; it does not reconnect: its reader reads again first."""

    revision: int
    """The revision at which the feed was confirmed: every later change is delivered."""

    def next(self) -> Batch | None:
        """Wait for the next batch; None when the feed has ended or was quiet for its limit.

        After None the feed is over. Raises HistoryLost when events were lost, the Context's error when
        that ends, and EtcdError when etcd refuses (for example without permission).
        """

    def close(self) -> None:
        """End the feed."""

    def __enter__(self) -> Self:
        """Give the feed."""

    def __exit__(self, *exc_info: object) -> None:
        """End the feed."""


@dataclass(frozen=True, slots=True)
class Renewal:
    """What a renewal answered: the `ttl` granted from now on, in seconds, and the keys still attached.

    `keys` is None when they were not asked for.
    """

    ttl: float
    keys: frozenset[str] | None


class Grant(Protocol):
    """A lease: keys created under it live as long as it is renewed."""

    id: int
    ttl: float

    def renew(self, ctx: Context, *, keys: bool = False) -> Renewal:
        """Start the ttl anew; with `keys`, also tell which keys are attached. LeaseNotFound when it is gone."""

    def close(self, ctx: Context) -> None:
        """End the lease and delete what is attached to it; nothing happens if it is gone already."""


class Store(Protocol):
    """What recipes stand on. Every verb raises ClusterError, ResponseError or the Context's error."""

    transactions: bool
    """A capability: there are transactions, which take a Guard."""

    def get(self, key: str, ctx: Context) -> Entry | None:
        """Give the entry, read with quorum; None if there is none."""

    def list(self, prefix: str, ctx: Context) -> Snapshot:
        """Give all entries whose key begins with `prefix`, read with quorum."""

    def create(self, key: str, value: str, grant: Grant | None, ctx: Context) -> Standing:
        """Create the key if there is none; `mine` is what now stands there, ours or not."""

    def replace(self, entry: Entry, value: str, ctx: Context) -> Entry:
        """Change the value of this incarnation, keeping its lease; CompareFailed if it is gone."""

    def swap(self, entry: Entry, value: str, ctx: Context) -> None:
        """Change the value if the key was not changed since `entry` was read; CompareFailed if it was.

        It may have been changed by a copy of this very request: read again. For keys without a grant.
        """

    def delete(self, entry: Entry, ctx: Context) -> bool:
        """Delete this incarnation; tell whether it was there."""

    def withdraw(self, key: str, grant: Grant, ctx: Context) -> bool:
        """Delete the key whichever incarnation it is, but only while it is attached to `grant`."""

    def place(self, line: str, grant: Grant, seat: int | None = None) -> str:
        """Give the name of the place (or seat) of `grant` in `line`: the same for as long as the grant lives."""

    def contender_id(self, line: str, key: str) -> str | None:
        """Give the id of the contender that `key` is in `line`, or None if it is none."""

    def beside(self, line: str, what: str) -> str:
        """Give the name of the key `what` beside `line`: no contender of it, nor in anybody's way."""

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
        """Take a place (or seat) at the end of `line`, or find it if `grant` has it there already.

        `ahead` is how many of those before it are wanted; None for all. `beside` is the name of the key
        to be read with the line.
        """

    def join_if_first(self, line: str, value: str, grant: Grant, ctx: Context) -> Standing:
        """Take a place only if nobody is in `line`; otherwise write nothing and give who is first."""

    def standing(
        self,
        line: str,
        mine: Entry,
        ctx: Context,
        *,
        ahead: int | None,
        beside: str | None = None,
    ) -> Standing:
        """Read where the place stands now."""

    def look(
        self, line: str, ctx: Context, *, ahead: int | None = None, beside: str | None = None
    ) -> Standing:
        """Read how `line` stands for one who would join it now: everybody is ahead, nothing is written."""

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
        """Open a feed of `keys`, or of `prefix`: from now on, or of all that came after revision `after`.

        From now on means: after `Feed.revision`, so read once more when it is open. It ends after
        `quiet` seconds without an event. `own` is the reader's own place: a store that can watch it
        over the same connection does; the renewals of the grant watch it in any case.
        """

    def open_grant(self, ttl: float, ctx: Context) -> Grant:
        """Open a lease of at least `ttl` seconds (rounded up to whole ones, and to the server's minimum)."""


def id_below(line: str, key: str, is_id: Callable[[str], object]) -> str | None:
    """Give what follows ``<line>/`` in `key`, if `is_id` says that it is a contender's id."""
    prefix = line + "/"
    rest = key[len(prefix) :]
    return rest if key.startswith(prefix) and is_id(rest) else None


def nearest(entries: Sequence[Entry], before: int, count: int | None) -> tuple[Entry, ...]:
    """Give the entries created before revision `before`, the nearest first."""
    ahead = [entry for entry in entries if entry.created < before]
    ahead.sort(key=lambda entry: -entry.created)
    return tuple(ahead if count is None else ahead[:count])
