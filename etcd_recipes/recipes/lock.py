"""Lock: one holder at a time among all processes that use the name, in the order of arrival.

The algorithm is the line's (`coordination.line`): stand in ``<name>/``, the oldest holds. This file says
what a lock is beyond that: who holds, who waits, and how ``with`` ends.

What it does not guarantee
    A lock is a lease. A process that is stopped past its ttl (SIGSTOP, a suspended machine, a long pause
    of a virtual one) is no longer the holder, and cannot know it between two instructions. `is_held` and
    `lost` are honest from the first instruction on that looks at them; what must not be written twice
    needs the fencing token (`hold.token`), checked by whatever is written to.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextvars import ContextVar
from typing import Literal, ParamSpec, TypeVar

from etcd_recipes.coordination.contenders import FIRST_ONLY
from etcd_recipes.coordination.entrance import Entrance
from etcd_recipes.coordination.hold import Hold
from etcd_recipes.coordination.identity import Contender, contender
from etcd_recipes.coordination.line import Line, Turn
from etcd_recipes.coordination.liveness import Liveness
from etcd_recipes.coordination.names import check_name
from etcd_recipes.coordination.sessions import Sessions
from etcd_recipes.core.context import Context
from etcd_recipes.core.errors import NotAcquired, NotHeld

__all__ = ["Lock", "current_hold", "exclusive"]

P = ParamSpec("P")
R = TypeVar("R")


class Lock(Entrance[Hold]):
    """A lock named `name`; made by ``client.lock(name)``, free to be used by many threads.

    Not reentrant: a thread that holds it and acquires it again waits for itself, as with threading.Lock.
    Keys: ``<name>/<lease id in hex>``, one per contender, the same as Go's Mutex and ``etcdctl lock``;
    the value says who it is. Requests: 1 to acquire when free, 1 to release, 1 for a try.
    """

    def __init__(
        self,
        sessions: Sessions,
        name: str,
        *,
        ttl: float | None = None,
        timeout: float | None = None,
        max_hold: float | None = None,
        heartbeat: float | None = None,
    ) -> None:
        line = Line(sessions, check_name(name, "lock name"), FIRST_ONLY, kind="lock")
        liveness = Liveness(max_hold, heartbeat)
        what = f"lock {name!r}"
        super().__init__(sessions, line, what, ttl=ttl, timeout=timeout, liveness=liveness)

    def _hold_of(self, turn: Turn) -> Hold:
        store = self._sessions.store
        return Hold(store, turn.session, turn.claim, turn.entry, turn.token, self._liveness)

    def locked(self, *, timeout: float | None = None, ctx: Context | None = None) -> bool:
        """Tell whether anybody holds the lock, here or elsewhere: one request."""
        return self.holder(timeout=timeout, ctx=ctx) is not None

    def holder(
        self, *, timeout: float | None = None, ctx: Context | None = None
    ) -> Contender | None:
        """Give who holds the lock, or None: one request."""
        line = self._contenders(timeout, ctx)
        return line[0] if line else None

    def waiters(
        self, *, timeout: float | None = None, ctx: Context | None = None
    ) -> tuple[Contender, ...]:
        """Give who waits behind the holder, the next one first: one request."""
        return self._contenders(timeout, ctx)[1:]

    def _contenders(self, timeout: float | None, ctx: Context | None) -> tuple[Contender, ...]:
        entries = self._line.contenders(self._sessions.limit(timeout, ctx))
        return tuple(contender(entry) for entry in entries)

    def __repr__(self) -> str:
        return f"<Lock {self.name!r}>"


_current: ContextVar[Hold] = ContextVar("etcd_recipes_current_hold")


def current_hold() -> Hold:
    """Give the hold under which the innermost ``@client.exclusive`` function around this call runs.

    For its `token`, `guard`, `check` and `heartbeat`. NotHeld outside of such a function, and in a thread that
    it has started: hand the hold over instead. No request.
    """
    try:
        return _current.get()
    except LookupError:
        raise NotHeld("no function that client.exclusive has decorated is running here") from None


def exclusive(
    make_lock: Callable[[], Lock], on_busy: Literal["skip", "wait", "raise"]
) -> Callable[[Callable[P, R]], Callable[P, R | None]]:
    """Decorate a function so that it runs under a lock; see ``client.exclusive``."""
    if on_busy not in ("skip", "wait", "raise"):
        raise ValueError(f"on_busy is 'skip', 'wait' or 'raise', not {on_busy!r}")

    make_lock()  # so that a bad argument is told where it stands

    def decorate(function: Callable[P, R]) -> Callable[P, R | None]:
        @functools.wraps(function)
        def run(*args: P.args, **kwargs: P.kwargs) -> R | None:
            lock = make_lock()
            hold = lock.acquire(blocking=on_busy == "wait")
            if hold is None:
                if on_busy == "raise":
                    raise NotAcquired(f"lock {lock.name!r} is taken")
                return None
            before = _current.set(hold)
            try:
                with hold:
                    return function(*args, **kwargs)
            finally:
                _current.reset(before)

        return run

    return decorate
