"""The queue inside the process: threads that want the same thing go in one at a time, in order.

Rules of this file
1. Each waiting thread has an event of its own, so one departure wakes one thread.
2. A thread that gives up leaves the queue; if its turn came in that moment, the turn goes on to the next.
3. No etcd here. Two threads with one session would stand at one and the same key, and both would think
   that they hold it: this queue is what keeps them apart.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from etcd_recipes.core import runtime
from etcd_recipes.core.context import Context

__all__ = ["LocalQueue"]


class LocalQueue:
    """First in, first out, per name; threads of one process only."""

    def __init__(self) -> None:
        self._lock = runtime.new_lock()
        self._queues: dict[str, deque[runtime.Event]] = {}

    def enter(self, name: str, ctx: Context) -> None:
        """Wait for the turn; raises the Context's error when that ends first, and is then not in the queue."""
        ticket = runtime.new_event()
        with self._lock:
            queue = self._queues.setdefault(name, deque())
            queue.append(ticket)
            if queue[0] is ticket:
                return
        try:
            ctx.wait_for(ticket)
        except BaseException:
            self._remove(name, ticket)
            raise

    def enter_now(self, name: str) -> bool:
        """Take the turn if nobody has it; tell whether that was so."""
        with self._lock:
            if name in self._queues:
                return False
            self._queues[name] = deque([runtime.new_event()])
            return True

    def leave(self, name: str) -> None:
        """Give the turn to the next thread; only for the one that has it."""
        with self._lock:
            ticket = self._queues[name][0]
        self._remove(name, ticket)

    def busy(self, name: str) -> bool:
        """Tell whether anybody has the turn."""
        with self._lock:
            return name in self._queues

    @contextmanager
    def turn(self, name: str, ctx: Context) -> Iterator[None]:
        """Run the body as the only one under this name."""
        self.enter(name, ctx)
        try:
            yield
        finally:
            self.leave(name)

    def _remove(self, name: str, ticket: runtime.Event) -> None:
        with self._lock:
            queue = self._queues[name]
            queue.remove(ticket)
            if not queue:
                del self._queues[name]
            else:
                queue[0].set()
