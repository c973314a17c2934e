"""Lock, multi-lock, read-write lock and semaphore, awaitable.

A task is here what a thread is in the blocking ones: each releases what it acquired itself, and leaves what
it entered. An acquire that waits costs a thread for as long as it waits.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from types import TracebackType
from typing import Any, Generic, Literal, ParamSpec, TypeVar

from etcd_recipes.aio.calls import BLINK, Calls
from etcd_recipes.aio.hold import Handle, Hold, MultiHold, WriteHold
from etcd_recipes.aio.mirror import Mirror, requesting
from etcd_recipes.coordination import door, entrance, handle
from etcd_recipes.core.context import Context
from etcd_recipes.core.errors import NotAcquired, NotHeld
from etcd_recipes.recipes import lock, multi_lock, rwlock, semaphore

__all__ = [
    "Lock",
    "MultiLock",
    "RWLock",
    "ReadLock",
    "Semaphore",
    "WriteLock",
    "current_hold",
    "exclusive",
]

D = TypeVar("D", bound=door.Door[Any])
S = TypeVar("S", bound=entrance.Entrance[Any])
H = TypeVar("H", bound=Handle[Any])
P = ParamSpec("P")
R = TypeVar("R")


def give_back(hold: handle.Handle | None) -> None:
    """Release what nobody waits for any more; the session goes on with it when it takes long."""
    if hold is not None:
        hold.release(timeout=BLINK)


class _Door(Mirror[D], Generic[D, H]):
    """What everything that can be acquired has in common."""

    _hold_of: Callable[[Any, Calls], H]

    def __init__(self, door: D, calls: Calls) -> None:
        super().__init__(door, calls)
        self._held: list[tuple[asyncio.Task[Any] | None, H]] = []  # with the task that acquired it
        self._entered: list[tuple[asyncio.Task[Any] | None, H]] = []

    async def acquire(
        self, blocking: bool = True, timeout: float | None = None, *, ctx: Context | None = None
    ) -> H | None:
        """Acquire and give the hold, or None when it was not to be had in `timeout` seconds.

        As the blocking ``acquire``. When the task is cancelled, the line is left before the CancelledError
        goes on.
        """
        return await self._acquire(blocking, timeout, ctx)

    async def _acquire(
        self, blocking: bool, timeout: float | None, ctx: Context | None, **options: Any
    ) -> H | None:
        is_try = not blocking or timeout == 0
        limited = self._calls.limit(None, ctx) if is_try else Context(parent=ctx)
        acquire: Callable[[], handle.Handle | None] = partial(
            self._sync.acquire, blocking, timeout, ctx=limited, **options
        )
        held = await self._calls.wait(acquire, limited, undo=give_back)
        if held is None:
            return None
        hold = self._hold_of(held, self._calls)
        self._held[:] = [pair for pair in self._held if pair[1].is_held]
        self._held.append((asyncio.current_task(), hold))
        return hold

    async def release(self, *, timeout: float | None = None, ctx: Context | None = None) -> bool:
        """Release what was acquired through this object last, by this task if it did acquire.

        See ``Hold.release``; raises NotHeld if nothing was acquired.
        """
        if not self._held:
            raise NotHeld(f"{self._sync._what} is not held through this object; acquire it first")
        return await _take(self._held).release(timeout=timeout, ctx=ctx)

    async def __aenter__(self) -> H:
        """Acquire, waiting for as long as its `timeout`; NotAcquired when it was not to be had."""
        patience = self._sync._timeout
        hold = await self.acquire(timeout=patience)
        if hold is None:
            raise NotAcquired(f"{self._sync._what} was not to be had within {patience:g} s")
        await hold.__aenter__()
        self._entered.append((asyncio.current_task(), hold))
        return hold

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Release; LockLost when it was lost inside and the body did not raise anything itself."""
        if not self._entered:
            raise NotHeld(f"{self._sync._what} was not entered")
        hold = _take(self._entered)
        self._held[:] = [pair for pair in self._held if pair[1] is not hold]
        await hold.__aexit__(kind, error, trace)


def _take(pairs: list[tuple[asyncio.Task[Any] | None, H]]) -> H:
    """Take the last one out, of this task if it has one."""
    task = asyncio.current_task()
    index = max(range(len(pairs)), key=lambda i: (pairs[i][0] is task, i))
    return pairs.pop(index)[1]


class _Entrance(_Door[S, H]):
    """What locks and semaphores have in common."""

    def __init__(self, entrance: S, calls: Calls) -> None:
        super().__init__(entrance, calls)
        self.name = entrance.name

    evict = requesting(entrance.Entrance.evict)


class Lock(_Entrance[lock.Lock, Hold]):
    """See `etcd_recipes.Lock`; not reentrant: a task that acquires it again waits for itself."""

    _hold_of = Hold

    locked = requesting(lock.Lock.locked)
    holder = requesting(lock.Lock.holder)
    waiters = requesting(lock.Lock.waiters)


class MultiLock(_Door[multi_lock.MultiLock, MultiHold]):
    """See `etcd_recipes.MultiLock`; used as a Lock is."""

    _hold_of = MultiHold

    def __init__(self, both: multi_lock.MultiLock, calls: Calls) -> None:
        super().__init__(both, calls)
        self.names = both.names


class ReadLock(_Entrance[rwlock.ReadLock, Hold]):
    """The reading side of a read-write lock; used as a Lock is."""

    _hold_of = Hold


class WriteLock(_Entrance[rwlock.WriteLock, WriteHold]):
    """The writing side of a read-write lock; used as a Lock is."""

    _hold_of = WriteHold


class RWLock(Mirror[rwlock.RWLock]):
    """See `etcd_recipes.RWLock`."""

    def __init__(self, both: rwlock.RWLock, calls: Calls) -> None:
        super().__init__(both, calls)
        self.name = both.name
        self._read = ReadLock(both.read(), calls)
        self._write = WriteLock(both.write(), calls)

    def read(self) -> ReadLock:
        """Give the reading side; always the same object. No request."""
        return self._read

    def write(self) -> WriteLock:
        """Give the writing side; always the same object. No request."""
        return self._write

    holders = requesting(rwlock.RWLock.holders)
    waiters = requesting(rwlock.RWLock.waiters)
    evict = requesting(rwlock.RWLock.evict)


class Semaphore(_Entrance[semaphore.Semaphore, Hold]):
    """See `etcd_recipes.Semaphore`."""

    _hold_of = Hold

    @property
    def permits(self) -> int:
        """The limit that this object was made with; `limit` tells the one that counts. No request."""
        return self._sync.permits

    async def acquire(
        self,
        blocking: bool = True,
        timeout: float | None = None,
        *,
        weight: int | None = None,
        ctx: Context | None = None,
    ) -> Hold | None:
        """Acquire `weight` permits at once; give the hold, or None when they were not to be had in time.

        As ``Lock.acquire`` in all else. ValueError when `weight` is more than all permits, LimitMismatch as
        the blocking one.
        """
        return await self._acquire(blocking, timeout, ctx, weight=weight)

    limit = requesting(semaphore.Semaphore.limit)
    resize = requesting(semaphore.Semaphore.resize)
    holders = requesting(semaphore.Semaphore.holders)
    waiters = requesting(semaphore.Semaphore.waiters)


_current: ContextVar[Hold] = ContextVar("etcd_recipes_aio_current_hold")


def current_hold() -> Hold:
    """Give the hold under which the innermost ``@client.exclusive`` function around this call runs.

    Also in the tasks that it starts, which may outlive it: `check` tells. NotHeld elsewhere. No request.
    In code that is not awaited, here or by ``asyncio.to_thread``, ``etcd_recipes.current_hold()`` gives the
    same as a blocking Hold.
    """
    try:
        return _current.get()
    except LookupError:
        raise NotHeld("no coroutine that client.exclusive has decorated is running here") from None


@contextmanager
def _running_under(hold: Hold) -> Iterator[None]:
    before, blocking = _current.set(hold), lock._current.set(hold._sync)
    try:
        yield
    finally:
        lock._current.reset(blocking)
        _current.reset(before)


def exclusive(
    make_lock: Callable[[], Lock], on_busy: Literal["skip", "wait", "raise"]
) -> Callable[[Callable[P, Awaitable[R]]], Callable[P, Coroutine[Any, Any, R | None]]]:
    """Decorate a coroutine function so that it runs under a lock; see ``client.exclusive``."""
    if on_busy not in ("skip", "wait", "raise"):
        raise ValueError(f"on_busy is 'skip', 'wait' or 'raise', not {on_busy!r}")

    make_lock()  # so that a bad argument is told where it stands

    def decorate(function: Callable[P, Awaitable[R]]) -> Callable[P, Coroutine[Any, Any, R | None]]:
        if not inspect.iscoroutinefunction(function):
            raise TypeError(f"{function!r} is no coroutine function; the blocking client takes it")

        @functools.wraps(function)
        async def run(*args: P.args, **kwargs: P.kwargs) -> R | None:
            one = make_lock()
            hold = await one.acquire(blocking=on_busy == "wait")
            if hold is None:
                if on_busy == "raise":
                    raise NotAcquired(f"lock {one.name!r} is taken")
                return None
            with _running_under(hold):
                async with hold:
                    return await function(*args, **kwargs)

        return run

    return decorate
