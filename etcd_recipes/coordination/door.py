"""The door: acquire, release and ``with``, the same for everything that is held.

Rules of this file
1. ``with`` holds or raises; its body never runs without.
2. One object serves many threads: each thread leaves what it entered itself, and releases what it acquired
   itself before what others did.
3. How to go in is said by others: an `Entrance` by way of one line, a multi-lock by several.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Generic, TypeVar

from etcd_recipes.coordination.handle import Handle
from etcd_recipes.coordination.identity import describe_self
from etcd_recipes.coordination.sessions import Sessions, check_ttl
from etcd_recipes.core import runtime
from etcd_recipes.core.context import Context, check_timeout
from etcd_recipes.core.errors import DeadlineExceeded, NotAcquired, NotHeld

__all__ = ["Door"]

H = TypeVar("H", bound=Handle)


class Door(ABC, Generic[H]):
    """What everything that can be acquired has in common; `what` names it in messages."""

    def __init__(
        self, sessions: Sessions, what: str, *, ttl: float | None, timeout: float | None
    ) -> None:
        self._what = what
        self._ttl = None if ttl is None else check_ttl(ttl)
        self._timeout = check_timeout(timeout)
        self._sessions = sessions
        self._held: dict[H, int] = {}  # with the threads that acquired them, in that order
        self._ended: list[H] = []  # of those, since the last acquire
        # Per thread, a hold that was lost (or is a forked child's parent's) may have another one inside it.
        self._entered: dict[int, list[H]] = {}

    @abstractmethod
    def _try_enter(self, value: str, ctx: Context) -> H | None:
        """Acquire without waiting; None when it is taken, and nothing is left behind."""

    @abstractmethod
    def _enter(self, value: str, ctx: Context) -> H:
        """Acquire, waiting for as long as `ctx` allows; when this raises, nothing is left behind."""

    def _value(self) -> str:
        """Give what a contender says of itself."""
        return describe_self()

    def acquire(
        self, blocking: bool = True, timeout: float | None = None, *, ctx: Context | None = None
    ) -> H | None:
        """Acquire and give the hold, or None when it was not to be had in `timeout` seconds.

        With ``blocking=False`` (or a timeout of 0) it does not wait, and writes nothing when it is taken.
        Without `timeout` it waits for ever. When it does not return a hold, this call has left no place
        in the line.

        Raises Cancelled or DeadlineExceeded when `ctx` ends, SessionLost when the lease ended while it
        waited, ClusterError when etcd cannot be reached to begin with (a wait that has begun goes on
        through an outage), and ResponseError when etcd refuses.
        """
        return self._acquire(self._value(), blocking, timeout, ctx)

    def _acquire(
        self, value: str, blocking: bool, timeout: float | None, ctx: Context | None
    ) -> H | None:
        if not blocking and timeout is not None and timeout != -1:
            raise ValueError("a timeout makes no sense with blocking=False")
        timeout = None if timeout == -1 else check_timeout(timeout)  # -1 as threading.Lock has it
        if not blocking or timeout == 0:
            hold = self._try_enter(value, self._sessions.limit(None, ctx))
        else:
            hold = self._wait(value, timeout, ctx)
        if hold is None:
            return None
        self._keep(hold)
        return hold

    def _keep(self, hold: H) -> None:
        """Remember the hold; those that have ended are forgotten, without a look at all the others."""
        while self._ended:
            self._held.pop(self._ended.pop(), None)
        self._held[hold] = runtime.thread_id()
        hold.lost._listen(lambda: self._ended.append(hold))
        if not hold.is_held:  # before anybody listened, or as well: it is forgotten once
            self._ended.append(hold)

    def _wait(self, value: str, timeout: float | None, ctx: Context | None) -> H | None:
        limited = Context(timeout, parent=ctx)
        try:
            return self._enter(value, limited)
        except DeadlineExceeded:
            if ctx is not None:
                ctx.check()  # the caller's own limit, not this call's timeout
            return None

    def release(self, *, timeout: float | None = None, ctx: Context | None = None) -> bool:
        """Release what was acquired through this object last, by this thread if it did acquire.

        See ``Hold.release``; raises NotHeld if nothing was acquired.
        """
        thread = runtime.thread_id()
        held = list(self._held.items())
        if not held:
            raise NotHeld(f"{self._what} is not held through this object; acquire it first")
        own = (hold for hold, by in reversed(held) if by == thread)
        hold = next(own, held[-1][0])
        self._held.pop(hold, None)
        return hold.release(timeout=timeout, ctx=ctx)

    def __enter__(self) -> H:
        """Acquire, waiting for as long as its `timeout`; NotAcquired when it was not to be had."""
        hold = self.acquire(timeout=self._timeout)
        if hold is None:
            raise NotAcquired(f"{self._what} was not to be had within {self._timeout:g} s")
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
        entered = self._entered.get(thread)
        if not entered:
            raise NotHeld(f"{self._what} was not entered by this thread")
        hold = entered.pop()
        if not entered:
            del self._entered[thread]
        self._held.pop(hold, None)
        hold.__exit__(kind, error, trace)
