"""Semaphore: at most so many permits held at once, among all processes that use the name.

The algorithm is the line's (`coordination.line`). Everybody stands in one line and says in its value how
many permits it wants, and of how many; one goes in when it and all ahead of it together want no more than
that. So those who hold are the first of the line, and a small request never overtakes a big one.

The limit
    It is not stored anywhere: each contender brings its own, and the smallest among those in the line up
    to a contender decides about it. So nobody ever holds while more than *its* permits are held. To change
    the limit, give new contenders another one: a smaller one slows them down, a larger one counts once
    those who brought the smaller have left.

What it does not guarantee
    As with a lock, a holder that is stopped past its ttl holds nothing any more and cannot know it between
    two instructions: for so long, one more may be at work than there are permits.
"""

from __future__ import annotations

from etcd_recipes.coordination.contenders import PERMITS
from etcd_recipes.coordination.entrance import Entrance
from etcd_recipes.coordination.hold import Hold
from etcd_recipes.coordination.identity import Contender, describe_self
from etcd_recipes.coordination.line import Line, Turn
from etcd_recipes.coordination.liveness import Liveness
from etcd_recipes.coordination.names import check_name
from etcd_recipes.coordination.sessions import Sessions
from etcd_recipes.core.context import Context

__all__ = ["Semaphore"]


class Semaphore(Entrance[Hold]):
    """A semaphore named `name`; made by ``client.semaphore(name, permits=n)``, free to be used by many threads.

    Keys: ``<name>/<lease id in hex>-<number>``, one per contender; the value says who it is, how many
    permits it wants, and of how many. Requests: 1 to acquire when there are permits, 1 to release; a try
    costs 2, or 1 when there are too few.
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
        line = Line(sessions, check_name(name, "semaphore name"), PERMITS)
        liveness = Liveness(max_hold, heartbeat)
        what = f"semaphore {name!r}"
        super().__init__(sessions, line, what, ttl=ttl, timeout=timeout, liveness=liveness)
        self._permits = _check_count(permits, "permits")
        self._weight = self._check_weight(weight)

    @property
    def permits(self) -> int:
        """The limit that the next `acquire` through this object brings; may be set.

        Who holds or waits already keeps the limit that it came with. Setting it raises ValueError for
        less than 1. No request.
        """
        return self._permits

    @permits.setter
    def permits(self, permits: int) -> None:
        self._permits = _check_count(permits, "permits")

    def acquire(
        self,
        blocking: bool = True,
        timeout: float | None = None,
        *,
        weight: int | None = None,
        ctx: Context | None = None,
    ) -> Hold | None:
        """Acquire `weight` permits at once; give the hold, or None when they were not to be had in time.

        As ``Lock.acquire`` in all else. ValueError when `weight` is more than all permits.
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
        """Give who holds permits, in the order of arrival: one request.

        Raises ClusterError, ResponseError or the Context's error.
        """
        return self._line.occupants(self._sessions.limit(timeout, ctx))[0]

    def waiters(
        self, *, timeout: float | None = None, ctx: Context | None = None
    ) -> tuple[Contender, ...]:
        """Give who waits, the next one first: one request. Raises as `holders` does."""
        return self._line.occupants(self._sessions.limit(timeout, ctx))[1]

    def __repr__(self) -> str:
        return f"<Semaphore {self.name!r} permits={self._permits}>"


def _check_count(number: int, what: str) -> int:
    if type(number) is not int:
        raise TypeError(f"{what} is a whole number, not {number!r}")
    if number < 1:
        raise ValueError(f"{what} must be at least 1; got {number}")
    return number
