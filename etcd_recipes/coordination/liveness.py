"""Liveness: how long a hold may last, and how often its work must be heard of.

A lease says that a process lives, not that its work goes on: renewals come from a thread of their own, so
a worker that hangs would stay leader for ever. A hold with limits ends by itself.

Rules of this file
1. A limit that has passed has passed: once anybody has seen it so, no heartbeat brings the hold back. Seeing
   and beating are one step each, under one lock, and each reads the clock inside it. So in the moment in
   which both happen, either the beat came first and nobody has seen an end, or the beat is refused.
2. It is the clock that ends a hold, whether or not a thread has run to tell of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from etcd_recipes.core import runtime

__all__ = ["FOREVER", "UNLIMITED", "Liveness", "Pulse"]


@dataclass(frozen=True, slots=True)
class Liveness:
    """The limits of a hold in seconds, None for no limit; ValueError when one is not positive and finite.

    `max_hold` is the longest that it may last, `heartbeat` the longest time between two heartbeats.
    """

    max_hold: float | None = None
    heartbeat: float | None = None

    def __post_init__(self) -> None:
        """Raise ValueError for limits that make no sense."""
        if self.max_hold is not None:
            _check(self.max_hold, "max_hold")
        if self.heartbeat is not None:
            _check(self.heartbeat, "heartbeat")

    @property
    def limited(self) -> bool:
        """True if there is any limit."""
        return self.max_hold is not None or self.heartbeat is not None


def _check(seconds: object, name: str) -> None:
    if not isinstance(seconds, int | float) or not math.isfinite(seconds) or seconds <= 0:
        raise ValueError(f"{name} must be a positive number of seconds, or None; got {seconds!r}")


UNLIMITED = Liveness()
"""No limits: it lasts for as long as its lease does."""


class Pulse:
    """The liveness of one hold, from now on; it stops when a limit passes, and that is final."""

    __slots__ = ("_beat_by", "_end", "_liveness", "_lock", "_reason", "limited")

    def __init__(self, liveness: Liveness) -> None:
        now = runtime.now()
        self._liveness = liveness
        self.limited = liveness.limited  # if it can stop at all
        self._end = now + _or_ever(liveness.max_hold)
        self._beat_by = now + _or_ever(liveness.heartbeat)
        self._reason = ""
        self._lock = runtime.new_lock()

    @property
    def until(self) -> float:
        """The point on `runtime.now` at which it stops unless it beats before; only ever moves later."""
        return min(self._end, self._beat_by)

    @property
    def reason(self) -> str:
        """Why it stopped; "" while it goes."""
        return self._reason if self.stopped else ""

    @property
    def stopped(self) -> bool:
        """True from the moment a limit passes, for ever."""
        if not self.limited:
            return False
        if self._reason:
            return True
        if runtime.now() < self.until:
            return False
        with self._lock:
            # Another thread may have beaten between the look above and here: then nobody saw an end.
            if runtime.now() >= self.until:
                self._reason = self._why()  # the same, whoever finds it out
            return bool(self._reason)

    def beat(self) -> bool:
        """Start the time until the next beat anew; tells whether it still went."""
        if not self.limited:
            return True
        with self._lock:
            now = runtime.now()  # read once: the process may be stopped for a minute right here
            if self._reason or now >= self.until:
                return False
            self._beat_by = now + _or_ever(self._liveness.heartbeat)
            return True

    def remaining(self) -> float:
        """Give the seconds until it stops; 0.0 when it has, infinity when it never does."""
        return 0.0 if self.stopped else max(0.0, self.until - runtime.now())

    def _why(self) -> str:
        if self._beat_by < self._end:
            return (
                f"its work gave no heartbeat for {self._liveness.heartbeat:g} s (does it hang? call "
                "heartbeat() more often, or allow more with heartbeat=)"
            )
        return (
            f"it was held for longer than its max_hold of {self._liveness.max_hold:g} s (do less under "
            "one hold, or allow more with max_hold=)"
        )


def _or_ever(seconds: float | None) -> float:
    return math.inf if seconds is None else seconds


FOREVER = Pulse(UNLIMITED)
"""The one of every hold without limits: it never stops, so nothing about it ever changes."""
