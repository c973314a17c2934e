"""Streams: a blocking iterator for ``async for``.

Rules of this file
1. One step at a time, each on a thread of its own; between two steps no thread belongs to the stream. So a
   loop that is left by ``break`` or an exception leaves nothing behind but an object.
2. A step that is cancelled, or raises, ends the stream, as it ends an async generator.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from types import TracebackType
from typing import Generic, Self, TypeVar, cast

from etcd_recipes.aio.calls import Calls
from etcd_recipes.core.context import Context

__all__ = ["Stream"]

T = TypeVar("T")

_END = object()


class Stream(Generic[T]):
    """An async iterator, which ends with `aclose` or the error that ended it."""

    def __init__(
        self,
        start: Callable[..., Iterator[T]],
        calls: Calls,
        timeout: float | None,
        ctx: Context | None,
    ) -> None:
        self._calls = calls
        self._ctx = Context(timeout, parent=ctx)
        self._iterator: Iterator[T] = start(ctx=self._ctx)
        self._is_stepping = False
        self._is_over = False

    def __aiter__(self) -> Self:
        """Give the stream itself."""
        return self

    async def __anext__(self) -> T:
        """Wait for the next value; RuntimeError while another task does."""
        if self._is_stepping:
            raise RuntimeError("one task at a time waits for the next value")
        if self._is_over:
            raise StopAsyncIteration
        self._is_stepping = True
        try:
            value = await self._calls.wait(self._step, self._ctx)
        except BaseException:
            self._is_over = True
            raise
        finally:
            self._is_stepping = False
        if value is _END:
            self._is_over = True
            raise StopAsyncIteration
        return cast("T", value)

    def _step(self) -> object:
        return next(self._iterator, _END)

    async def aclose(self) -> None:
        """End it; a task that waits for the next value gets Cancelled. Idempotent."""
        self._ctx.cancel("the iteration was closed")
        self._is_over = True
        if not self._is_stepping and isinstance(self._iterator, Generator):
            await self._calls.finish(self._iterator.close)

    async def __aenter__(self) -> Self:
        """Give the stream itself."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        await self.aclose()
