"""Barrier, double barrier and latch, awaitable. A party of a double barrier is a task."""

from __future__ import annotations

import asyncio
from functools import partial
from types import TracebackType
from typing import Self

from etcd_recipes.aio.calls import Calls
from etcd_recipes.aio.mirror import Mirror, requesting, waiting
from etcd_recipes.core.context import Context
from etcd_recipes.recipes import barrier, double_barrier, latch

__all__ = ["Barrier", "DoubleBarrier", "Latch"]


class Barrier(Mirror[barrier.Barrier]):
    """See `etcd_recipes.Barrier`."""

    @property
    def name(self) -> str:
        """The name."""
        return self._sync.name

    hold = requesting(barrier.Barrier.hold)
    release = requesting(barrier.Barrier.release)
    held = requesting(barrier.Barrier.held)
    wait = waiting(barrier.Barrier.wait)


class Latch(Mirror[latch.Latch]):
    """See `etcd_recipes.Latch`; the count is asked for with `remaining`."""

    @property
    def name(self) -> str:
        """The name."""
        return self._sync.name

    remaining = requesting(latch.Latch.remaining)
    count_down = requesting(latch.Latch.count_down)
    clear = requesting(latch.Latch.clear)
    wait = waiting(latch.Latch.wait)


class DoubleBarrier(Mirror[double_barrier.DoubleBarrier]):
    """See `etcd_recipes.DoubleBarrier`; each task that enters is a party, and leaves by itself."""

    def __init__(self, both: double_barrier.DoubleBarrier, calls: Calls) -> None:
        super().__init__(both, calls)
        self.name = both.name
        self.parties = both.parties

    async def enter(self, timeout: float | None = None, *, ctx: Context | None = None) -> None:
        """Wait until all parties are there, and go in with them. Raises as the blocking one does."""
        life, party = Context(parent=ctx), asyncio.current_task()

        def enter() -> bool:
            self._sync.enter(timeout, ctx=life, party=party)
            return True

        await self._calls.wait(enter, life, undo=lambda _: self._sync.abort(party=party))

    async def leave(self, timeout: float | None = None, *, ctx: Context | None = None) -> None:
        """Wait until all who went in together leave, and leave with them. Raises as the blocking one does."""
        life, party = Context(parent=ctx), asyncio.current_task()
        await self._calls.wait(partial(self._sync.leave, timeout, ctx=life, party=party), life)

    async def abort(self) -> None:
        """Leave at once, without the others, who get BrokenBarrier; NotHeld when this task is not inside."""
        await self._calls.finish(partial(self._sync.abort, party=asyncio.current_task()))

    async def __aenter__(self) -> Self:
        """Enter, for as long as the barrier's `timeout`; raises what `enter` raises."""
        await self.enter(self._sync._timeout)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave with the others. A body that raised goes at once, and breaks the barrier for them."""
        if error is None:
            await self.leave(self._sync._timeout)
        elif self._sync.is_inside(asyncio.current_task()):
            await self.abort()
