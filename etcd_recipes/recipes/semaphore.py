"""Semaphore: at most so many permits held at once, among all processes that use the name.

The algorithm is the line's (`coordination.line`). Everybody stands in one line and says in its value how
many permits it wants, and of how many; one goes in when it and all ahead of it together want no more than
that. So those who hold are the first of the line, and a small request never overtakes a big one.

The limit
1. All objects of one name are made with the same `permits`. One that meets another number in the line
   leaves it and raises LimitMismatch: a difference is a mistake that nobody would see.
2. `resize` stores another limit for all, in a key beside the line, with the one that counted before. While
   it stands it decides, and whoever was made with either of the two is at home: a rolling change is a
   resize first, then new processes. It is written by comparing and swapping, so of several resizes at once
   each sees the one before it. It rests on no lease, and stays.
3. Those who wait watch that key over the feed that they have. A larger limit lets them in; a smaller one
   takes a permit from nobody: until enough have left, nobody else goes in.

What it does not guarantee
    As with a lock, a holder that is stopped past its ttl holds nothing any more and cannot know it between
    two instructions: for so long, one more may be at work than there are permits.
"""

from __future__ import annotations

from etcd_recipes.coordination.contenders import (
    Limit,
    limit_in,
    objection,
    permits_of,
    permits_rule,
)
from etcd_recipes.coordination.entrance import Entrance
from etcd_recipes.coordination.hold import Hold
from etcd_recipes.coordination.identity import Contender, describe_self
from etcd_recipes.coordination.line import Line, Turn
from etcd_recipes.coordination.liveness import Liveness
from etcd_recipes.coordination.names import check_name
from etcd_recipes.coordination.sessions import Sessions
from etcd_recipes.core import retry
from etcd_recipes.core.context import Context
from etcd_recipes.core.errors import CompareFailed, LimitMismatch
from etcd_recipes.core.log import event_logger
from etcd_recipes.core.store import Entry, Standing

__all__ = ["Semaphore"]


class Semaphore(Entrance[Hold]):
    """A semaphore named `name`; made by ``client.semaphore(name, permits=n)``, free to be used by many threads.

    Keys: ``<name>/<lease id in hex>-<number>``, one per contender; the value says who it is, how many
    permits it wants, and of how many; ``<name>.limit`` once it was resized (``<name>/.limit`` on v2).
    Requests: 1 to acquire when there are permits, 1 to release; a try costs 3, or 2 when there are too few.
    """

    def __init__(
        self,
        sessions: Sessions,
        name: str,
        *,
        permits: int,
        weight: int = 1,
        ttl: float | None = None,
        timeout: float | None = None,
        max_hold: float | None = None,
        heartbeat: float | None = None,
    ) -> None:
        check_name(name, "semaphore name")
        self._permits = _check_count(permits, "permits")
        rule = permits_rule(permits)
        line = Line(sessions, name, rule, check=self._check_limit, kind="semaphore")
        liveness = Liveness(max_hold, heartbeat)
        what = f"semaphore {name!r}"
        super().__init__(sessions, line, what, ttl=ttl, timeout=timeout, liveness=liveness)
        self._weight = self._check_weight(weight)
        self._limit_key = str(line.beside)
        self._told = 0  # the revision of the unreadable limit that the log has been told of
        self._log = event_logger("semaphore").bind(semaphore=name)

    @property
    def permits(self) -> int:
        """The limit that this object was made with; `limit` tells the one that counts. No request."""
        return self._permits

    def limit(self, *, timeout: float | None = None, ctx: Context | None = None) -> int:
        """Give the limit that counts: the stored one, or else what this object was made with. One request.

        Raises ClusterError, ResponseError or the Context's error.
        """
        there = self._sessions.store.get(self._limit_key, self._sessions.limit(timeout, ctx))
        stored = self._stored(there)
        return self._permits if stored is None else stored.permits

    def resize(
        self, permits: int, *, timeout: float | None = None, ctx: Context | None = None
    ) -> None:
        """Make `permits` the limit for all, at once and until the next `resize`.

        A larger one lets in those who wait; a smaller one takes a permit from nobody, and nobody goes in
        until enough have left. Objects made with `permits`, or with what counted before, go on; any other
        raises LimitMismatch when it next acquires, or waits. 2 requests, one more for the first resize of
        a name, two more for each resize by somebody else at the same time; 1 when it counts already.

        ValueError for less than 1. While no endpoint answers it goes on trying until the Context's error
        (DeadlineExceeded after the client's default timeout); it may then have been done, and may be
        called again. ResponseError when etcd refuses.
        """
        _check_count(permits, "permits")
        limited = self._sessions.limit(timeout, ctx)
        retry.PATIENT.run(limited, lambda: self._resize(permits, limited))

    def _resize(self, permits: int, ctx: Context) -> None:
        while not self._store_limit(permits, ctx):
            pass  # somebody else has changed it since it was read

    def _store_limit(self, permits: int, ctx: Context) -> bool:
        """Store it, by what is read now; False when that was changed meanwhile. May be repeated."""
        store = self._sessions.store
        there = store.get(self._limit_key, ctx)
        stored = self._stored(there)
        if stored is not None and stored.permits == permits:
            return True  # a second resize must not forget what was before the first
        was = self._usual(ctx) if stored is None else stored.permits
        value = str(Limit(permits, was))
        if there is None:
            made = store.create(self._limit_key, value, None, ctx).mine
            return made is not None and made.value == value
        try:
            store.swap(there, value, ctx)
        except CompareFailed:
            return False
        return True

    def _usual(self, ctx: Context) -> int:
        """Give what counts while nothing is stored: what the first in the line was made with, or else this."""
        line = self._line.contenders(ctx)
        return next((n for n in map(permits_of, line) if n is not None), self._permits)

    def _stored(self, there: Entry | None) -> Limit | None:
        stored = limit_in(there)
        if there is not None and stored is None and self._told != there.modified:
            self._told = there.modified
            self._log.warning("semaphore.limit_unreadable", key=there.key, value=there.value[:100])
        return stored

    def _check_limit(self, standing: Standing) -> None:
        """Raise LimitMismatch when it is of no use to wait."""
        self._stored(standing.beside)
        why = objection(standing)
        if why is not None:
            raise LimitMismatch(f"{self._what}: {why}")

    def acquire(
        self,
        blocking: bool = True,
        timeout: float | None = None,
        *,
        weight: int | None = None,
        ctx: Context | None = None,
    ) -> Hold | None:
        """Acquire `weight` permits at once; give the hold, or None when they were not to be had in time.

        As ``Lock.acquire`` in all else. ValueError when `weight` is more than this object's permits.
        LimitMismatch, with nothing left in the line, when somebody ahead was made with another number of
        permits, or when the limit was resized and is neither now nor was before what this object was made
        with, or is less than `weight`: at once, or when that comes about while it waits.
        """
        wanted = self._check_weight(self._weight if weight is None else weight)
        value = describe_self(weight=wanted, permits=self._permits)
        return self._acquire(value, blocking, timeout, ctx)

    def _check_weight(self, weight: int) -> int:
        if _check_count(weight, "weight") > self._permits:
            raise ValueError(
                f"{self._what} has {self._permits} permits; {weight} can never be had at once"
            )
        return weight

    def _hold_of(self, turn: Turn) -> Hold:
        store = self._sessions.store
        return Hold(store, turn.session, turn.claim, turn.entry, turn.token, self._liveness)

    def holders(
        self, *, timeout: float | None = None, ctx: Context | None = None
    ) -> tuple[Contender, ...]:
        """Give who holds permits, in the order of arrival: 2 requests, 1 on v2.

        Raises ClusterError, ResponseError or the Context's error.
        """
        return self._line.occupants(self._sessions.limit(timeout, ctx))[0]

    def waiters(
        self, *, timeout: float | None = None, ctx: Context | None = None
    ) -> tuple[Contender, ...]:
        """Give who waits, the next one first: 2 requests, 1 on v2. Raises as `holders` does."""
        return self._line.occupants(self._sessions.limit(timeout, ctx))[1]

    def __repr__(self) -> str:
        return f"<Semaphore {self.name!r} permits={self._permits}>"


def _check_count(number: int, what: str) -> int:
    if type(number) is not int:
        raise TypeError(f"{what} is a whole number, not {number!r}")
    if number < 1:
        raise ValueError(f"{what} must be at least 1; got {number}")
    if number >= 2**63:
        raise ValueError(f"{what} must be less than 2**63")
    return number
