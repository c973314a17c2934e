"""The watchdog: ends the holds of a client whose limits have passed, while nobody else looks.

Rules of this file
1. One thread for all holds of a client, from the first that has limits until none is left. It is a native
   one: what hangs may well be the application's own loop.
2. It asks the clock and nothing else. What must be said to etcd is said by others (`session.sweep`): an
   etcd that does not answer must not keep a hung worker in power, nor the watchdog from the next one.
3. A heartbeat does not wake it. It wakes at the earliest time it knew of, and looks again.
4. A forked child watches nothing; its own first hold with limits starts a thread of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from etcd_recipes.coordination.liveness import Pulse
from etcd_recipes.core import runtime
from etcd_recipes.core.log import event_logger

__all__ = ["Watchdog"]

_GRAIN = 0.005
"""Seconds between two looks at least: a thousand holds must not cost a thousand looks at all of them."""


class Watchdog:
    """Watches pulses; calls what was given with each when it has stopped, once."""

    def __init__(self) -> None:
        self._watched: dict[Pulse, Callable[[], None]] = {}
        self._next = math.inf  # when the thread will look by itself
        self._running = False
        self._start_anew()
        runtime.at_fork(self)

    def watch(self, pulse: Pulse, expire: Callable[[], None]) -> None:
        """Call `expire` when `pulse` has stopped, on the watchdog's thread: it must be quick."""
        with self._lock:
            if not self._running:  # first: when no thread can be started, nothing is watched
                runtime.spawn_native(self._run, "etcd-recipes-watchdog")
                self._running = True
            elif pulse.until < self._next:
                self._news.set()
            self._watched[pulse] = expire

    def forget(self, pulse: Pulse) -> None:
        """Undo `watch`; nothing happens if it is not watched (any more)."""
        with self._lock:
            self._watched.pop(pulse, None)
            if not self._watched:  # also in a repetition: a signal may have struck just here
                self._news.set()

    def _run(self) -> None:
        while True:
            self._news.clear()  # before the look: what comes after it sets this again
            with self._lock:
                if not self._watched:
                    self._running = False
                    return
                self._next = min(pulse.until for pulse in self._watched)
                patience = self._next - runtime.now()
            if patience > 0:
                self._news.wait(runtime.bearable(max(patience, _GRAIN)))
            else:
                self._end_those_that_stopped()

    def _end_those_that_stopped(self) -> None:
        with self._lock:
            stopped = [pair for pair in self._watched.items() if pair[0].stopped]
            for pulse, _ in stopped:
                del self._watched[pulse]
        for _, expire in stopped:
            try:
                expire()
            except Exception:  # noqa: BLE001 (the others must be watched all the same)
                event_logger("hold").exception("hold.expiry_failed")

    def _start_anew(self) -> None:
        self._lock = runtime.new_lock()
        self._news = runtime.new_event()

    def after_fork_in_child(self) -> None:
        """Watch nothing: what was held is the parent's, and so was the thread."""
        self._start_anew()
        self._watched = {}
        self._running = False
