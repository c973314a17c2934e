"""The entrance: a door behind one line, as of locks and semaphores.

What to say in the line, and what to make of a turn, are the recipe's business; how to acquire and release is
the `Door`'s.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TypeVar

from etcd_recipes.coordination.door import Door
from etcd_recipes.coordination.hold import Hold
from etcd_recipes.coordination.identity import Contender
from etcd_recipes.coordination.line import Line, Turn
from etcd_recipes.coordination.liveness import UNLIMITED, Liveness
from etcd_recipes.coordination.sessions import Sessions
from etcd_recipes.core.context import Context

__all__ = ["Entrance"]

H = TypeVar("H", bound=Hold)


class Entrance(Door[H]):
    """What locks and semaphores have in common; `what` names it in messages."""

    def __init__(
        self,
        sessions: Sessions,
        line: Line,
        what: str,
        *,
        ttl: float | None = None,
        timeout: float | None = None,
        liveness: Liveness = UNLIMITED,
    ) -> None:
        super().__init__(sessions, what, ttl=ttl, timeout=timeout)
        self.name = line.name
        self._line = line
        self._liveness = liveness

    @abstractmethod
    def _hold_of(self, turn: Turn) -> H:
        """Make the hold of a turn."""

    def _try_enter(self, value: str, ctx: Context) -> H | None:
        turn = self._line.try_enter(value, self._ttl, ctx)
        return None if turn is None else self._hold_of(turn)

    def _enter(self, value: str, ctx: Context) -> H:
        return self._hold_of(self._line.enter(value, self._ttl, ctx))

    def evict(
        self, contender: Contender, *, timeout: float | None = None, ctx: Context | None = None
    ) -> bool:
        """Remove this contender, an operator's break: exactly it, as it was listed, never a later one.

        Tells whether it was there: True means that it is gone now. A waiter's `acquire` raises LockLost;
        on v3 at once, on v2 within a third of its ttl. The risk: a holder learns of it within a third of
        its ttl only, and works on until then, while the next one is in already. What it writes meanwhile
        is refused only where tokens are checked, or by ``hold.guard``. Its process is not touched, and may
        come again: at the end of the line.

        2 requests, and a warning in the log (``line.evicted``). ValueError when `contender` is of another
        line; ClusterError (look again, when `maybe_applied`), ResponseError or the Context's error.
        """
        return self._line.evict(contender, self._sessions.limit(timeout, ctx))
