"""Context: a deadline and a cancel token, handed down to every blocking call.

Rules of this file
1. A deadline is a point on `runtime.now`, fixed when the Context is made; a child never outlives its parent.
2. Cancelling is one-way, may be done from any thread, and wakes every call that uses the Context or a
   child of it: each of them has registered what ends it (`on_cancel`) for as long as it blocks.
3. A child does not register with its parent when it is made, only while something blocks on it. So a
   Context of a long-lived worker may have a million children and remembers none of them.
4. No locks, so that a signal handler may cancel whatever its own thread is in the middle of. Cancelling
   first says so and then calls the callbacks; registering first puts the callback in and then looks.
   One of the two always sees the other.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING

from etcd_recipes.core import runtime
from etcd_recipes.core.errors import Cancelled, ContextError, DeadlineExceeded

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Context", "limit"]

_ids = count(1)


class Context:
    """A limit for calls: they end when its deadline passes or when it is cancelled, within 100 ms.

    `timeout` is in seconds from now; None means no deadline. A `parent` ends this Context too.
    ValueError if `timeout` is negative or NaN.
    """

    __slots__ = ("_callbacks", "_deadline", "_parent", "_reason", "_timeout")
    _deadline: float | None
    _timeout: float | None

    def __init__(self, timeout: float | None = None, *, parent: Context | None = None) -> None:
        if parent is not None and not isinstance(parent, Context):
            raise TypeError(f"ctx is a Context, not {parent!r}")
        self._timeout = check_timeout(timeout)
        self._parent = parent
        deadline: float | None = None if timeout is None else runtime.now() + timeout
        inherited = None if parent is None else parent._deadline
        if inherited is not None and (deadline is None or inherited <= deadline):
            deadline, self._timeout = inherited, parent._timeout  # type: ignore[union-attr]
        self._deadline = deadline
        self._reason: str | None = None
        self._callbacks: dict[int, Callable[[], None]] = {}

    def child(self, timeout: float | None = None) -> Context:
        """Make a Context that ends with this one, or sooner: after `timeout` seconds or by its own cancel."""
        return Context(timeout, parent=self)

    def cancel(self, reason: str = "cancelled") -> None:
        """End every call that uses this Context, now; from any thread, as often as you like."""
        if self._reason is not None:
            return
        self._reason = reason
        for number in list(self._callbacks):
            self._call(number)

    def _call(self, number: int) -> None:
        # Whoever takes the callback out of the table calls it, so it is called once.
        callback = self._callbacks.pop(number, None)
        if callback is not None:
            callback()

    @property
    def deadline(self) -> float | None:
        """The point on `runtime.now` at which this Context ends, or None."""
        return self._deadline

    def remaining(self) -> float | None:
        """Give the seconds until the deadline, never below 0.0, or None when there is none."""
        return None if self._deadline is None else max(0.0, self._deadline - runtime.now())

    @property
    def cancelled(self) -> bool:
        """True once this Context or a parent of it was cancelled."""
        context: Context | None = self
        while context is not None:
            if context._reason is not None:
                return True
            context = context._parent
        return False

    @property
    def done(self) -> bool:
        """True once the Context has ended, by cancel or deadline."""
        return self.cancelled or (self._deadline is not None and runtime.now() >= self._deadline)

    @property
    def error(self) -> ContextError | None:
        """The error that calls raise now: Cancelled, DeadlineExceeded, or None while it has not ended."""
        context: Context | None = self
        while context is not None:
            if context._reason is not None:
                return Cancelled(f"the call was cancelled ({context._reason})")
            context = context._parent
        if self._deadline is not None and runtime.now() >= self._deadline:
            return DeadlineExceeded(f"the call did not end within {self._time_given()}")
        return None

    def _time_given(self) -> str:
        return "its deadline" if self._timeout is None else f"its timeout of {self._timeout:g} s"

    def check(self) -> None:
        """Raise the error if the Context has ended; otherwise do nothing."""
        if (error := self.error) is not None:
            raise error

    def wait(self, seconds: float | None = None) -> bool:
        """Sleep for `seconds` (None: for ever), or until the Context ends; tell whether it has ended."""
        event = runtime.new_event()
        with self.on_cancel(event.set):
            left = self.remaining()
            if left is not None:
                seconds = left if seconds is None else min(left, seconds)
            event.wait(seconds)
        return self.done

    def wait_for(self, event: runtime.Event) -> None:
        """Wait until `event` is set; raises the Context's error if that comes first.

        Whoever cancels the Context also sets `event`, so one waiter needs one event of its own.
        """
        with self.on_cancel(event.set):
            while not event.is_set():
                event.wait(runtime.bearable(self.remaining()))
                if not event.is_set():
                    self.check()  # passes when the wait ended a hair early: then wait on
            if self.cancelled:
                self.check()

    @contextmanager
    def on_cancel(self, callback: Callable[[], None]) -> Iterator[None]:
        """Have `callback` called on cancel (at once if that has happened) while the body runs.

        It may still be running in another thread when the body has ended: it must be harmless then.
        """
        number = self.subscribe(callback)
        try:
            yield
        finally:
            self.unsubscribe(number)

    def subscribe(self, callback: Callable[[], None]) -> int:
        """Register `callback` here and with every parent; give the number to `unsubscribe` it by."""
        number = next(_ids)
        context: Context | None = self
        while context is not None:
            context._callbacks[number] = callback
            if context._reason is not None:  # looked at after the callback was put in, see rule 4
                context._call(number)
                break
            context = context._parent
        return number

    def unsubscribe(self, number: int) -> None:
        """Forget the callback with this number; harmless if it is gone already."""
        context: Context | None = self
        while context is not None:
            context._callbacks.pop(number, None)
            context = context._parent

    def __repr__(self) -> str:
        left = self.remaining()
        state = (
            "cancelled"
            if self.cancelled
            else "no deadline"
            if left is None
            else f"{left:.3f} s left"
        )
        return f"<Context: {state}>"


def check_timeout(timeout: float | None, name: str = "timeout") -> float | None:
    """Give `timeout` back, or raise ValueError when it is negative or NaN, TypeError when it is no number."""
    if timeout is None:
        return None
    if isinstance(timeout, bool) or not isinstance(timeout, int | float):
        raise TypeError(f"{name} is a number of seconds, not {timeout!r}")
    if math.isnan(timeout) or timeout < 0:
        raise ValueError(f"{name} must be a number of seconds, 0 or more, or None; got {timeout!r}")
    return timeout


def limit(
    timeout: float | None = None, ctx: Context | None = None, *, default: float | None = None
) -> Context:
    """Make the Context of one call from what the caller gave: the earlier limit wins.

    `default` is the timeout of a call that was given neither.
    """
    if ctx is None:
        return Context(default if timeout is None else timeout)
    return Context(timeout, parent=ctx)
