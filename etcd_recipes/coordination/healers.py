"""Healers: a few threads of a client that bring back what was lost, however much that is.

When a session ends, all that rested on it comes at once. A thread and a connection for each of a thousand
registrations would be etcd's next incident.

Rules of this file
1. At most so many threads (MOST), for as long as anything is waiting for them, in the order in which it came.
2. Each thing is tried once here. What fails, and has to be tried again and again, takes a thread of its own: what
   can never succeed must not keep others waiting.
3. A forked child heals nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from etcd_recipes.core import runtime
from etcd_recipes.core.log import event_logger

__all__ = ["MOST", "Healers"]

MOST = 8
"""Threads, and requests to etcd at a time."""


class Healers:
    """Runs what it is given, on a few threads of its own."""

    def __init__(self) -> None:
        self._start_anew()
        runtime.at_fork(self)

    def soon(self, heal: Callable[[], None]) -> None:
        """Have `heal` called, on another thread; it should not wait for long."""
        with self._lock:
            self._waiting.append(heal)
            if self._running >= MOST:
                return
            runtime.spawn(self._work, "etcd-recipes-heal")  # when none can be started, nobody runs
            self._running += 1

    def _work(self) -> None:
        while (heal := self._next()) is not None:
            try:
                heal()
            except Exception:  # noqa: BLE001 (a defect: the others must be healed all the same)
                event_logger("registration").exception("registration.healing_failed")

    def _next(self) -> Callable[[], None] | None:
        with self._lock:
            if self._waiting:
                return self._waiting.popleft()
            self._running -= 1
            return None

    def _start_anew(self) -> None:
        self._lock = runtime.new_lock()
        self._waiting: deque[Callable[[], None]] = deque()
        self._running = 0

    def after_fork_in_child(self) -> None:
        """Forget what was waiting, and the threads: they are the parent's."""
        self._start_anew()
