"""Calls: a blocking call of the library, awaited.

The algorithm
1. The call runs on a thread of the crew, with a Context of its own; the task waits for its end.
2. When the task is cancelled, the Context is: the call ends in milliseconds and leaves nothing behind (the
   line, the watch). The task waits for that end, and then its CancelledError goes on.
3. What the call had got in that very moment is given back (`undo`) before the CancelledError goes on.

Rules of this file
* Requests share a few threads: a thousand tasks that read at once must not open a thousand connections. One
  that waits for a thread waits no longer than its own limit. Whatever waits in etcd, or gives something
  back, has a thread of its own at once: it must not queue behind those it would set free.
* No state belongs to one loop: a client may be used by several, one after the other or each on its thread.
* A loop that ends without waiting for its tasks leaves no hold behind: the thread gives it back.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, TypeVar, cast

from etcd_recipes.aio.crew import Crew
from etcd_recipes.core.context import Context, limit
from etcd_recipes.core.errors import DeadlineExceeded

__all__ = ["BLINK", "Calls", "outlast"]

T = TypeVar("T")

REQUESTS_AT_ONCE = 16
"""Threads for requests, per client."""

BLINK = 0.05
"""Seconds that a call which was cancelled may still take to give back what it got."""


class Calls:
    """What turns blocking calls into awaitable ones, for one client."""

    def __init__(self, default_timeout: float) -> None:
        self._default_timeout = default_timeout
        self._requests = Crew(REQUESTS_AT_ONCE)
        self._waits = Crew()

    def limit(self, timeout: float | None, ctx: Context | None) -> Context:
        """Give the Context of a request: the client's default timeout if the caller gave no limit."""
        return limit(timeout, ctx, default=self._default_timeout)

    def patience(self, timeout: float | None, ctx: Context | None) -> float | None:
        """Give the timeout of a call: the client's default one if the caller gave no limit."""
        return self._default_timeout if timeout is None and ctx is None else timeout

    async def request(self, function: Callable[[], T], ctx: Context) -> T:
        """Give what `function` gives, which ends when `ctx` does."""
        call = _Call(function, None, self._waits)
        self._requests.do(call)
        try:
            await asyncio.wait({call.ended}, timeout=ctx.remaining())
            if not call.ended.done():
                if self._requests.withdraw(call):
                    raise ctx.error or DeadlineExceeded(
                        f"no time was left when {REQUESTS_AT_ONCE} other requests were under way"
                    )
                await asyncio.wait({call.ended})  # its own Context has ended: so will it
        except asyncio.CancelledError:
            ctx.cancel("the task was cancelled")
            if not self._requests.withdraw(call):
                await call.over()
            raise
        return call.result()

    async def wait(
        self, function: Callable[[], T], ctx: Context, undo: Callable[[T], object] | None = None
    ) -> T:
        """Give what `function` gives, which may take any time and ends when `ctx` does; see the algorithm."""
        call = _Call(function, undo, self._waits)
        self._waits.do(call)
        try:
            await asyncio.wait({call.ended})
        except asyncio.CancelledError:
            ctx.cancel("the task was cancelled")
            await call.over()
            await call.undone()
            raise
        except BaseException:  # the coroutine is thrown away, with its loop or without
            call.deserted = True
            ctx.cancel("the task is gone")
            raise
        return call.result()

    async def finish(self, function: Callable[[], T]) -> T:
        """Give what `function` gives, which ends by itself: a cancel waits for that."""
        return await self.wait(function, Context())

    def close(self) -> None:
        """Let the threads end that have nothing to do."""
        self._requests.close()
        self._waits.close()


async def outlast(future: asyncio.Future[T]) -> None:
    """Wait until `future` is done; only then raise the CancelledError that came meanwhile."""
    cut: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.wait({future})
        except asyncio.CancelledError as error:
            cut = error
    if cut is not None:
        raise cut


class _Call(Generic[T]):
    """One call: a job for a crew, and its end for the task."""

    def __init__(
        self, function: Callable[[], T], undo: Callable[[T], object] | None, crew: Crew
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[None] = self._loop.create_future()
        self.deserted = False
        self._function = function
        self._variables = contextvars.copy_context()  # what the application binds to its log lines
        self._undo = undo
        self._crew = crew
        self._value: T | None = None
        self._error: BaseException | None = None

    def __call__(self) -> None:
        """Run, on a thread of the crew."""
        try:
            self._value = self._variables.run(self._function)
        except BaseException as error:  # noqa: BLE001 (it belongs to the task)
            self._error = error
        try:
            self._loop.call_soon_threadsafe(self._settle)
        except RuntimeError:  # the loop is closed
            self._give_back()

    def _settle(self) -> None:
        if self.deserted:
            self._crew.do(self._give_back)
        if not self.ended.done():
            self.ended.set_result(None)

    def _give_back(self) -> None:
        value, self._value = self._value, None
        if value is not None and self._undo is not None:
            with suppress(Exception):  # it was a courtesy
                self._undo(value)

    async def over(self) -> None:
        """Wait for the end, whatever else is asked of the task."""
        with suppress(asyncio.CancelledError):  # the first one goes on when this is over
            await outlast(self.ended)

    async def undone(self) -> None:
        """Give back what the call got."""
        if self._value is not None and self._undo is not None:
            undoing = _Call(self._give_back, None, self._crew)
            self._crew.do(undoing)
            await undoing.over()

    def result(self) -> T:
        """Give what the call gave, or raise what it raised."""
        if self._error is not None:
            try:
                raise self._error
            finally:
                self._error = None  # no circle of error, frame and call
        return cast("T", self._value)
