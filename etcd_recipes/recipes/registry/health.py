"""Health: the user's check, run by a thread of its own, and what it said last.

Rules of this file
1. One run at a time, each on its own thread: a check that hangs holds up nobody.
2. What it said counts for `ttl` seconds from the end of the run. So a check that hangs turns into a failing
   one, and into a passing one when it comes back and says so.
3. Raising is failing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from etcd_recipes.core import runtime
from etcd_recipes.core.context import Context
from etcd_recipes.core.errors import DeadlineExceeded

__all__ = ["Health"]

_RUNS_PER_TTL = 3


class Health:
    """A check and its verdict; without a check it always passes."""

    def __init__(self, check: Callable[[], object] | None, ttl: float, log: Any) -> None:
        self.period = ttl / _RUNS_PER_TTL
        self._check = check
        self.ttl = ttl
        self._log = log
        self._passed_at: float | None = None
        self._on: runtime.Event | None = None  # of the run that is on; set when it is over
        self._lock = runtime.new_lock()

    @property
    def passing(self) -> bool:
        """True while the last run passed, not longer than `ttl` ago: local and cheap."""
        return self._check is None or self._fresh_for() > 0

    def _fresh_for(self) -> float:
        passed_at = self._passed_at
        return 0.0 if passed_at is None else passed_at + self.ttl - runtime.now()

    def probe(self, ctx: Context, patience: float | None = None) -> None:
        """Have the check run, unless a run is on, and wait until it is over.

        Waits no longer than the last verdict counts if that was passing, else `patience` seconds if that is
        given. Raises the Context's error when `ctx` ends first.
        """
        check, fresh_for = self._check, self._fresh_for()
        if check is None:
            return
        try:
            ctx.child(fresh_for if fresh_for > 0 else patience).wait_for(self._begin(check))
        except DeadlineExceeded:
            ctx.check()
            self._log.warning("registration.check_failed", error="it has not come back in time")

    def _begin(self, check: Callable[[], object]) -> runtime.Event:
        """Start a run if none is on; give the event of the one that is."""
        over = runtime.new_event()

        def run() -> None:
            passed = False
            try:
                passed = self._passes(check)
            finally:
                self._passed_at = runtime.now() if passed else None
                self._on = None
                over.set()

        with self._lock:
            if self._on is not None:
                return self._on
            self._on = over
        runtime.spawn(run, "etcd-recipes-check")
        return over

    def _passes(self, check: Callable[[], object]) -> bool:
        try:
            return bool(check())
        except Exception as error:  # noqa: BLE001 (the user's code: raising means not passing)
            self._log.warning("registration.check_failed", error=str(error))
            return False
