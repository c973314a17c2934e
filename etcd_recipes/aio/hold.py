"""The hold, awaitable: what is held, and a body that is cancelled when it is lost.

Rules of this file
1. The renewals go on in a thread of the session: a loop that is blocked loses nothing by that.
2. `is_held`, `remaining` and `check` are local, and ask the clock; they are not awaited.
3. The body of ``async with`` is cancelled when the hold is lost (`guard`), and LockLost stands at its end. A
   body that catches the CancelledError and goes on gets LockLost at its end all the same.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from types import TracebackType
from typing import Self

from etcd_recipes.aio.calls import Calls
from etcd_recipes.aio.guard import Guard
from etcd_recipes.aio.mirror import Mirror, local, requesting
from etcd_recipes.coordination import hold as sync
from etcd_recipes.coordination.session import Session
from etcd_recipes.core.context import Context, check_timeout, limit
from etcd_recipes.core.errors import LockLost
from etcd_recipes.recipes import rwlock

__all__ = ["Handle", "Hold", "Loss", "WriteHold"]

_FAREWELL = 1.0  # seconds for a release after a cancel


class Loss:
    """The event of a hold's end; ``is_set`` and ``wait`` as of asyncio.Event."""

    def __init__(self, handle: Handle) -> None:
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


class Handle(Mirror[sync.Hold]):
    """What an owner has in hand while something is held. ``async with`` cancels its body when it is lost."""

    def __init__(self, hold: sync.Hold, calls: Calls) -> None:
        super().__init__(hold, calls)
        self.lost = Loss(self)
        self._given_up = False
        self._guards: list[tuple[Guard, Callable[[], object]]] = []
        self._listeners: list[tuple[asyncio.AbstractEventLoop, Callable[[], object]]] = []
        hold.on_lost(lambda _reason: self._tell())

    @property
    def is_held(self) -> bool:
        """True while it is provably ours; local and cheap."""
        return self._sync.is_held

    remaining = local(sync.Hold.remaining)
    check = local(sync.Hold.check)

    async def sleep(self, seconds: float) -> None:
        """Sleep for `seconds`; raises LockLost as soon as the hold is gone."""
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
        if inspect.iscoroutinefunction(callback):
            raise TypeError("an on_lost callback is a plain function, which may start a task")
        loop = asyncio.get_running_loop()

        def call(reason: str) -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody is left to hear of it
                loop.call_soon_threadsafe(callback, reason)

        self._sync.on_lost(call)

    async def release(self, *, timeout: float | None = None, ctx: Context | None = None) -> bool:
        """Give it up: one request, fenced; idempotent. Tells whether etcd confirmed that the key is gone.

        If not, or when the task is cancelled, the session goes on removing it in the background.
        """
        self._given_up = self._given_up or self.is_held
        limited = limit(timeout, ctx, default=self._patience)
        life = Context(parent=ctx)  # its end is an error, that of the timeout is not

        def give_up() -> bool:
            return self._sync.release(timeout=limited.remaining(), ctx=life)

        try:
            return await self._calls.wait(give_up, life)
        finally:
            self._tell()

    @property
    def _patience(self) -> float:
        """Seconds for a release that was given no limit."""
        return max(1.0, self._sync.session.ttl / 3)

    # -- the body ----------------------------------------------------------------------------------------------

    @property
    def _is_lost(self) -> bool:
        return not self._given_up and not self.is_held

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
            await self.release(timeout=_FAREWELL if ends else None)
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


class Hold(Handle):
    """Something that is held; see `etcd_recipes.Hold`. ``async with`` cancels its body when it is lost."""

    def __init__(self, hold: sync.Hold, calls: Calls) -> None:
        super().__init__(hold, calls)
        self.key = hold.key
        self.token = hold.token

    @property
    def session(self) -> Session:
        """The session that it rests on: the blocking one."""
        return self._sync.session


class WriteHold(Hold):
    """A write lock that is held: a Hold that can be turned into a read lock."""

    _sync: rwlock.WriteHold

    @property
    def kind(self) -> str:
        """What is held: "write", or "read" once it was downgraded."""
        return self._sync.kind

    downgrade = requesting(rwlock.WriteHold.downgrade)
