"""The handle, awaitable: what is held, and a body that is cancelled when it is lost.

Rules of this file
1. The renewals go on in a thread of the session: a loop that is blocked loses nothing by that.
2. `is_held`, `remaining`, `check` and `heartbeat` are local, and ask the clock; they are not awaited.
3. The body of ``async with`` is cancelled when the hold is lost (`guard`), and LockLost stands at its end. A
   body that catches the CancelledError and goes on gets LockLost at its end all the same.
4. How it ended is the blocking handle's to say, whoever ended it, and in whatever way.
"""

from __future__ import annotations

import asyncio
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from etcd_recipes.aio.calls import Calls
from etcd_recipes.aio.guard import Guard
from etcd_recipes.aio.mirror import Mirror, local, requesting
from etcd_recipes.coordination import handle as sync
from etcd_recipes.coordination import hold
from etcd_recipes.coordination.session import Session
from etcd_recipes.core import store
from etcd_recipes.core.context import Context, check_timeout
from etcd_recipes.core.errors import LockLost
from etcd_recipes.recipes import multi_lock, rwlock

__all__ = ["FAREWELL", "Handle", "Hold", "Loss", "MultiHold", "WriteHold"]

S = TypeVar("S", bound=sync.Handle)

FAREWELL = 1.0
"""Seconds for a release after a cancel."""


class Loss:
    """The event of a hold's end; ``is_set`` and ``wait`` as of asyncio.Event."""

    def __init__(self, handle: Handle[Any]) -> None:
        self._handle = handle

    def is_set(self) -> bool:
        """Tell whether the hold is gone, for whatever reason; asks the clock."""
        return not self._handle.is_held

    async def wait(self, timeout: float | None = None) -> bool:
        """Wait until the hold is gone or `timeout` seconds have passed; tell whether it is gone."""
        check_timeout(timeout)
        gone = asyncio.Event()
        with self._handle._telling(gone.set):
            if not self.is_set():
                with suppress(TimeoutError):
                    async with asyncio.timeout(timeout):
                        await gone.wait()
        return self.is_set()


class Handle(Mirror[S], ABC, Generic[S]):
    """What an owner has in hand while something is held. ``async with`` cancels its body when it is lost."""

    def __init__(self, handle: S, calls: Calls) -> None:
        super().__init__(handle, calls)
        self.lost = Loss(self)
        self._guards: list[tuple[Guard, Callable[[], object]]] = []
        self._listeners: list[tuple[asyncio.AbstractEventLoop, Callable[[], object]]] = []
        handle.lost._listen(self._tell)

    @property
    def is_held(self) -> bool:
        """True while it is provably ours; local and cheap."""
        return self._sync.is_held

    @property
    def reason(self) -> str:
        """Why it is gone; "" while it is held."""
        return self._sync.reason

    remaining = local(sync.Handle.remaining)
    check = local(sync.Handle.check)
    heartbeat = local(sync.Handle.heartbeat)

    async def sleep(self, seconds: float) -> None:
        """Sleep for `seconds`; raises LockLost as soon as the hold is gone. It is no heartbeat."""
        if seconds is None:
            raise TypeError("seconds is a number of seconds, not None")
        check_timeout(seconds, "seconds")
        self.check()
        await self.lost.wait(seconds)
        self.check()

    async def wait_lost(self, timeout: float | None = None) -> bool:
        """Wait until the hold is gone or `timeout` seconds have passed; the same as ``lost.wait``."""
        return await self.lost.wait(timeout)

    def on_lost(self, callback: Callable[[str], object]) -> None:
        """Have ``callback(reason)`` called by the running loop when the hold is lost (not released).

        Soon if it is lost already. TypeError for a coroutine function: make a task in the callback.
        """
        if inspect.iscoroutinefunction(callback) or not callable(callback):
            raise TypeError(
                "an on_lost callback is a plain function, which is called with the reason and may start a "
                f"task; not {callback!r}"
            )
        loop = asyncio.get_running_loop()

        def call(reason: str) -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody is left to hear of it
                loop.call_soon_threadsafe(callback, reason)

        self._sync.on_lost(call)

    async def release(self, *, timeout: float | None = None, ctx: Context | None = None) -> bool:
        """Give it up: one request a key, fenced; idempotent. Tells whether etcd confirmed that it is gone.

        If not, or when the task is cancelled, the session goes on removing it in the background.
        """
        life = Context(parent=ctx)  # its end is an error, that of the timeout is not
        patience = self._patience if timeout is None and ctx is None else timeout
        give_up = partial(self._sync.release, timeout=patience, ctx=life)
        return await self._calls.wait(give_up, life)

    @property
    def _patience(self) -> float:
        """Seconds for a release that was given no limit."""
        return max(1.0, self._ttl / 3)

    @property
    @abstractmethod
    def _ttl(self) -> float:
        """Seconds of the lease that it rests on."""

    # -- the body ----------------------------------------------------------------------------------------------

    @property
    def _is_lost(self) -> bool:
        # In this order: what is seen as not held has its last state by then, or what it rests on is gone.
        return not self._sync.is_held and self._sync._state is not sync.State.RELEASED

    def _cut(self, guard: Guard) -> None:
        if self._is_lost:
            guard.cut()

    async def __aenter__(self) -> Self:
        """Give the hold itself; LockLost if it is gone already."""
        self.check()
        guard = Guard()
        cut = partial(self._cut, guard)
        self._guards.append((guard, cut))
        self._listen(cut)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Release. LockLost if it was lost inside and the body did not raise anything itself."""
        is_ours = self._leave(kind)
        if not self._is_lost:
            ends = error is not None and not isinstance(error, Exception)
            await self.release(timeout=FAREWELL if ends else None)
        elif error is None or is_ours:
            raise self._loss() from error

    def _leave(self, kind: type[BaseException] | None) -> bool:
        """End the guard of this task's body; of another's when a fixture is torn down by another task."""
        task = asyncio.current_task()
        mine = (pair for pair in reversed(self._guards) if pair[0].task is task)
        pair = next(mine, self._guards[-1])
        self._guards.remove(pair)
        self._unlisten(pair[1])
        return pair[0].leave(kind)

    def _loss(self) -> LockLost:
        try:
            self._sync.check()
        except LockLost as error:
            return error.with_traceback(None)
        raise AssertionError("what is lost is not held")

    # -- telling loops -----------------------------------------------------------------------------------------

    def _listen(self, listener: Callable[[], object]) -> None:
        """Have `listener` called on this loop at the end of the hold; perhaps twice."""
        self._listeners.append((asyncio.get_running_loop(), listener))
        if (
            not self.is_held
        ):  # looked at after the listener was put in: one of the two sees the other
            self._tell()

    def _tell(self) -> None:
        for loop, listener in list(self._listeners):
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(listener)

    @contextmanager
    def _telling(self, listener: Callable[[], object]) -> Iterator[None]:
        self._listen(listener)
        try:
            yield
        finally:
            self._unlisten(listener)

    def _unlisten(self, listener: Callable[[], object]) -> None:
        self._listeners[:] = [pair for pair in self._listeners if pair[1] is not listener]


class Hold(Handle[hold.Hold]):
    """Something that is held; see `etcd_recipes.Hold`. ``async with`` cancels its body when it is lost."""

    def __init__(self, hold: hold.Hold, calls: Calls) -> None:
        super().__init__(hold, calls)
        self.key = hold.key
        self.token = hold.token

    @property
    def session(self) -> Session:
        """The session that it rests on: the blocking one."""
        return self._sync.session

    @property
    def guard(self) -> store.Guard:
        """A condition for ``client.kv.txn``: that this very hold stands in etcd; RecipeError on v2. No request."""
        return self._sync.guard

    @property
    def _ttl(self) -> float:
        return self._sync.session.ttl


class MultiHold(Handle[multi_lock.MultiHold]):
    """Several locks that are held together; see `etcd_recipes.MultiHold`. ``async with`` as with a Hold."""

    def __init__(self, holds: multi_lock.MultiHold, calls: Calls) -> None:
        super().__init__(holds, calls)
        self.keys = holds.keys
        self.tokens: Mapping[str, int] = holds.tokens

    @property
    def guards(self) -> tuple[store.Guard, ...]:
        """The guards of all of them, for ``client.kv.txn``; RecipeError on v2. No request."""
        return self._sync.guards

    @property
    def _ttl(self) -> float:
        return self._sync._holds[0].session.ttl


class WriteHold(Hold):
    """A write lock that is held: a Hold that can be turned into a read lock."""

    _sync: rwlock.WriteHold

    @property
    def kind(self) -> str:
        """What is held: "write", or "read" once it was downgraded."""
        return self._sync.kind

    downgrade = requesting(rwlock.WriteHold.downgrade)
