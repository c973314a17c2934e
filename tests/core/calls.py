"""Calls in threads of their own, and how long a call may take."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.tools import Job, in_time, late

__all__ = ["FOREVER", "SOON", "Call", "within"]

SOON = 0.5
"""Where 100 ms are promised: the rest is for a machine that is busy with something else."""

FOREVER = 10.0
"""A wait that only guards against hanging."""


class Call(Job):
    """A call that runs in a thread of its own, from now on."""

    def error(self, timeout: float = FOREVER) -> BaseException:
        """Give what the call raises; AssertionError if it does not end in time, or raises nothing."""
        self._thread.join(timeout)
        if self.running:
            raise late(timeout, f"the call did not end within {timeout} s")
        assert self._error is not None, f"the call gave {self._value!r} instead of raising"
        return self._error


@contextmanager
def within(seconds: float, *, at_least: float = 0.0) -> Iterator[None]:
    """Demand that the body ends in time, whether it raises or not."""
    start = time.monotonic()
    try:
        yield
    finally:
        in_time(time.monotonic() - start, seconds, at_least=at_least)
