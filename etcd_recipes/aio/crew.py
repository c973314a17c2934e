"""The crew: threads that make blocking calls, so that an event loop does not have to.

Rules of this file
1. The loop's default executor is not used: a hundred locks that wait would take all its threads, and stop
   whatever else the application gives it, name look-ups first of all.
2. A job begins at once, on a thread that is idle or a new one; or it waits for one where `most` says how many
   there may be. A few idle threads are kept for a while, the others end with their job.
3. Threads are daemons and made by the runtime; a forked child begins with none.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from etcd_recipes.core import runtime

__all__ = ["Crew"]

_KEPT = 4
"""Idle threads that are kept; the rest of a crowd ends at once."""

_IDLE = 10.0
"""Seconds after which a kept thread ends."""


class Crew:
    """Threads that run jobs; `most` at a time, or any number (None). A job must not raise."""

    def __init__(self, most: int | None = None) -> None:
        self._most = most
        self._begin()
        runtime.at_fork(self)

    def _begin(self) -> None:
        self._lock = runtime.new_lock()
        self._jobs: deque[Callable[[], None]] = deque()
        self._idle: list[runtime.Event] = []  # what wakes each idle thread
        self._threads = 0
        self._is_closed = False

    def do(self, job: Callable[[], None]) -> None:
        """Run `job` on a thread, as soon as there is one."""
        with self._lock:
            self._jobs.append(job)
            if self._idle:
                self._idle.pop().set()
                return
            if self._most is not None and self._threads >= self._most:
                return
            self._threads += 1
        runtime.spawn(self._work, "etcd-recipes-aio")

    def withdraw(self, job: Callable[[], None]) -> bool:
        """Take back a job that waits for a thread; False when it has begun, or is about to."""
        if self._most is None:
            return False
        with self._lock:
            try:
                self._jobs.remove(job)
            except ValueError:
                return False
            return True

    def close(self) -> None:
        """Let idle threads end, now and from now on; jobs are still done."""
        with self._lock:
            self._is_closed = True
            idle, self._idle = self._idle, []
        for wake in idle:
            wake.set()

    def after_fork_in_child(self) -> None:
        """Begin with no thread: those there were are the parent's."""
        self._begin()

    def _work(self) -> None:
        while (job := self._next()) is not None:
            job()
            del job  # what it holds need not wait for the next one

    def _next(self) -> Callable[[], None] | None:
        while True:
            with self._lock:
                if self._jobs:
                    return self._jobs.popleft()
                if self._is_closed or len(self._idle) >= _KEPT:
                    self._threads -= 1
                    return None
                wake = runtime.new_event()
                self._idle.append(wake)
            wake.wait(_IDLE)
            with self._lock:
                if wake in self._idle:  # nobody woke it
                    self._idle.remove(wake)
                    self._threads -= 1
                    return None
