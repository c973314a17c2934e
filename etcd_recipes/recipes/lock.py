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
from types import TracebackType
from typing import Literal, ParamSpec, TypeVar

from etcd_recipes.coordination.contenders import FIRST_ONLY
from etcd_recipes.coordination.hold import Hold
from etcd_recipes.coordination.identity import Contender, contender, describe_self
from etcd_recipes.coordination.line import Line, Turn
from etcd_recipes.coordination.names import check_name
from etcd_recipes.coordination.sessions import Sessions, check_ttl
from etcd_recipes.core import runtime
from etcd_recipes.core.context import Context, check_timeout
from etcd_recipes.core.errors import DeadlineExceeded, NotAcquired, NotHeld
from etcd_recipes.core.store import Entry

__all__ = ["Lock", "exclusive"]

P = ParamSpec("P")
R = TypeVar("R")


class Lock:
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
    ) -> None:
        self.name = check_name(name, "lock name")
        self._ttl = None if ttl is None else check_ttl(ttl)
        self._timeout = check_timeout(timeout)
        self._sessions = sessions
        self._line = Line(sessions, name, FIRST_ONLY)
        self._hold: Hold | None = None
        # Per thread, a hold that was lost (or is a forked child's parent's) may have another one inside it.
        self._entered: dict[int, list[Hold]] = {}

    def acquire(
        self, blocking: bool = True, timeout: float | None = None, *, ctx: Context | None = None
    ) -> Hold | None:
        """Acquire and give the hold, or None when it was not to be had in `timeout` seconds.

        With ``blocking=False`` (or a timeout of 0) it does not wait, and writes nothing when the lock is
        taken. Without `timeout` it waits for ever. When it does not return a hold, this process has no
        place in the line any more.

        Raises Cancelled or DeadlineExceeded when `ctx` ends, SessionLost when the lease ended while it
        waited, ClusterError when etcd cannot be reached to begin with (a wait that has begun goes on
        through an outage), and ResponseError when etcd refuses.
        """
        if not blocking and timeout is not None and timeout != -1:
            raise ValueError("a timeout makes no sense with blocking=False")
        timeout = None if timeout == -1 else check_timeout(timeout)  # -1 as threading.Lock has it
        turn = self._try(ctx) if not blocking or timeout == 0 else self._wait(timeout, ctx)
        if turn is None:
            return None
        hold = Hold(self._sessions.store, turn.session, turn.claim, turn.entry, turn.token)
        self._hold = hold
        return hold

    def _try(self, ctx: Context | None) -> Turn | None:
        return self._line.try_enter(describe_self(), self._ttl, self._sessions.limit(None, ctx))

    def _wait(self, timeout: float | None, ctx: Context | None) -> Turn | None:
        limited = Context(timeout, parent=ctx)
        try:
            return self._line.enter(describe_self(), self._ttl, limited)
        except DeadlineExceeded:
            if ctx is not None:
                ctx.check()  # the caller's own limit, not this call's timeout
            return None

    def release(self, *, timeout: float | None = None, ctx: Context | None = None) -> bool:
        """Release what was acquired through this object last; see ``Hold.release``. NotHeld if nothing was."""
        hold, self._hold = self._hold, None
        if hold is None:
            raise NotHeld(f"lock {self.name!r} is not held through this object; acquire it first")
        return hold.release(timeout=timeout, ctx=ctx)

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
        entries: tuple[Entry, ...] = self._line.contenders(self._sessions.limit(timeout, ctx))
        return tuple(contender(entry) for entry in entries)

    def __enter__(self) -> Hold:
        """Acquire, waiting for as long as the lock's `timeout`; NotAcquired when it was not to be had."""
        hold = self.acquire(timeout=self._timeout)
        if hold is None:
            raise NotAcquired(f"lock {self.name!r} was not to be had within {self._timeout:g} s")
        self._entered.setdefault(runtime.thread_id(), []).append(hold)
        return hold

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Release; LockLost when it was lost inside and the body did not raise anything itself."""
        thread = runtime.thread_id()
        hold = (entered := self._entered[thread]).pop()
        if not entered:
            del self._entered[thread]
        if self._hold is hold:
            self._hold = None
        hold.__exit__(kind, error, trace)

    def __repr__(self) -> str:
        return f"<Lock {self.name!r}>"


def exclusive(
    make_lock: Callable[[], Lock], on_busy: Literal["skip", "wait", "raise"]
) -> Callable[[Callable[P, R]], Callable[P, R | None]]:
    """Decorate a function so that it runs under a lock; see ``client.exclusive``."""
    if on_busy not in ("skip", "wait", "raise"):
        raise ValueError(f"on_busy is 'skip', 'wait' or 'raise', not {on_busy!r}")

    def decorate(function: Callable[P, R]) -> Callable[P, R | None]:
        @functools.wraps(function)
        def run(*args: P.args, **kwargs: P.kwargs) -> R | None:
            lock = make_lock()
            hold = lock.acquire(blocking=on_busy == "wait")
            if hold is None:
                if on_busy == "raise":
                    raise NotAcquired(f"lock {lock.name!r} is taken")
                return None
            with hold:
                return function(*args, **kwargs)

        return run

    return decorate
