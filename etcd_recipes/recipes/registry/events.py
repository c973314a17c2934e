"""Events: what one reader of a view has not read yet.

Rules of this file
1. The view's thread never waits for a reader: one that falls KEPT events behind loses the oldest, and is
   told how many.
2. Nobody keeps a reader alive but the one who reads: one that was dropped costs nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Self

from etcd_recipes.core import runtime
from etcd_recipes.core.context import Context
from etcd_recipes.recipes.registry.roster import InstanceEvent

__all__ = ["KEPT", "InstanceEvents"]

KEPT = 10_000


class InstanceEvents(Iterator[InstanceEvent]):
    """The changes of a view since ``view.events()`` was called, in order; ends when the view is closed.

    `dropped` is how many were lost because this reader was 10,000 behind: read ``view.instances`` again when
    it has grown. Next raises the error of the Context that was given with ``events``.
    """

    def __init__(self, ctx: Context, is_over: Callable[[], bool]) -> None:
        self.dropped = 0
        self._ctx = ctx
        self._is_over = is_over
        self._queue: deque[InstanceEvent] = deque(maxlen=KEPT)
        self._news = runtime.new_event()
        self._told = False

    def take(self, events: Sequence[InstanceEvent]) -> bool:
        """Put `events` into the queue; tell whether, for the first time since it was read empty, some are lost."""
        lost = max(0, len(self._queue) + len(events) - KEPT)
        self._queue.extend(events)
        self.dropped += lost
        first = lost > 0 and not self._told
        self._told = self._told or first
        return first

    def wake(self) -> None:
        """Have the reader look."""
        self._news.set()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> InstanceEvent:
        """Wait for the next change."""
        while True:
            over = self._is_over()  # first: what came before the end is given
            try:
                return self._queue.popleft()
            except IndexError:
                self._told = False
            if over:
                raise StopIteration
            self._ctx.wait_for(self._news)
            self._news.clear()
