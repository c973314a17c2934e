"""The handle: what an owner has in hand while something is held, be it one hold or several together.

It is HELD until it is RELEASED by its owner or LOST, for whatever reason. Both ends are final.

Rules of this file
1. `is_held` is local and honest: it asks the clock, so it is False from the moment a deadline passes,
   even if the process was stopped and no thread of it has run since.
2. Whoever ends it first decides how it ended; everybody else finds it ended.
3. Callbacks of users run on a thread of their own: a slow one must not hold up the renewals.
4. A handle whose limits have passed (`liveness`) is lost as any other is, but its key still stands: its
   removal goes on in the background.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from enum import Enum
from types import TracebackType
from typing import Any, Protocol, Self

from etcd_recipes.coordination.liveness import FOREVER, Liveness, Pulse
from etcd_recipes.coordination.watchdog import Watchdog
from etcd_recipes.core import runtime
from etcd_recipes.core.context import Context, check_timeout
from etcd_recipes.core.errors import LockLost

__all__ = ["Handle", "Loss", "State"]

_FAREWELL = 1.0  # seconds for a release on the way out of a program


class State(Enum):
    """See the module's docstring."""

    HELD = "held"
    RELEASED = "released"
    LOST = "lost"


class _Held(Protocol):
    @property
    def is_held(self) -> bool: ...


class Loss:
    """The event of a hold's end; ``is_set`` and ``wait`` as of threading.Event."""

    __slots__ = ("_event", "_hold", "_listeners")

    def __init__(self, hold: _Held) -> None:
        self._hold: _Held | None = hold
        self._event = runtime.new_event()
        self._listeners: list[Callable[[], object]] = []

    def is_set(self) -> bool:
        """Tell whether the hold is gone, for whatever reason; asks the clock."""
        hold = self._hold
        return hold is None or not hold.is_held

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the hold is gone or `timeout` seconds have passed; tell whether it is gone."""
        if not self.is_set():
            self._event.wait(timeout)
        return self.is_set()

    def _listen(self, listener: Callable[[], object]) -> None:
        """Have `listener` called on the thread that ends the hold, by a loss or a release: it must be quick."""
        self._listeners.append(listener)

    def _set(self) -> None:
        self._event.set()
        for listener in self._listeners:
            listener()
        # What has ended is let go of: no circle that only a search for garbage would find.
        self._hold, self._listeners = None, []


class Handle(ABC):
    """What is held: asked with `is_held`, ended with `release`, lost when what it rests on is gone."""

    def __init__(self, what: str, log: Any, liveness: Liveness, watchdog: Watchdog) -> None:
        self.lost = Loss(self)
        self._what = what
        self._log = log
        self._pulse = Pulse(liveness) if liveness.limited else FOREVER
        self._watchdog = watchdog
        self._state = State.HELD
        self._reason = ""
        self._callbacks: list[Callable[[str], object]] = []
        self._lock = runtime.new_lock()
        self._since = runtime.now()
        runtime.at_fork(self)
        self._log.info(
            "hold.acquired"
        )  # before anything can end it: who counts must hear that first

    def _begin(self) -> None:
        """Last step of a constructor: from here on the limits count."""
        if self._pulse.limited:
            self._watchdog.watch(self._pulse, self._expire)
            if self._state is not State.HELD:  # it ended between the two
                self._watchdog.forget(self._pulse)

    # -- what each kind says for itself ------------------------------------------------------------------------

    @abstractmethod
    def _stands(self) -> bool:
        """Tell whether what it rests on is provably there; local and cheap."""

    @abstractmethod
    def _ground(self) -> str:
        """Give why what it rests on is gone."""

    @abstractmethod
    def _time_left(self) -> float:
        """Give the seconds for which what it rests on is there without another renewal."""

    @abstractmethod
    def _let_go(self, *, in_etcd: bool) -> None:
        """Give back what it rested on after a loss; `in_etcd` says that it may still be there, to be removed."""

    @abstractmethod
    def release(self, *, timeout: float | None = None, ctx: Context | None = None) -> bool:
        """Give it up; idempotent."""

    # -- what owners see ---------------------------------------------------------------------------------------

    @property
    def is_held(self) -> bool:
        """True while it is provably ours; local and cheap."""
        # The pulse comes last: in a forked child nothing stands, and the pulse's lock may be anybody's.
        return self._state is State.HELD and self._stands() and not self._pulse.stopped

    def remaining(self) -> float:
        """Give the seconds for which it is provably ours without another renewal; 0.0 when it is gone.

        The limits count: with `max_hold` or `heartbeat` it is never more than is left of them.
        """
        return min(self._time_left(), self._pulse.remaining()) if self.is_held else 0.0

    def check(self) -> None:
        """Raise LockLost, with the reason, if it is gone; otherwise do nothing."""
        if not self.is_held:
            raise LockLost(f"{self._what} is not held any more: {self.reason}")

    def heartbeat(self) -> None:
        """Say that the work goes on; raises LockLost, with the reason, if it is gone. No request.

        With a `heartbeat` limit the next call is due within so many seconds. Without one it is `check`.
        """
        self.check()
        if not self._pulse.beat():
            self.check()

    def sleep(self, seconds: float) -> None:
        """Sleep for `seconds`; raises LockLost as soon as the hold is gone. It is no heartbeat."""
        if seconds is None:
            raise TypeError("seconds is a number of seconds, not None")
        check_timeout(seconds, "seconds")
        self.check()
        self.lost.wait(seconds)
        self.check()

    def on_lost(self, callback: Callable[[str], object]) -> None:
        """Have ``callback(reason)`` called, on a thread of its own, when the hold is lost (not released).

        At once if it is lost already.
        """
        if not callable(callback):
            raise TypeError(f"a callback is called with the reason; {callback!r} cannot be called")
        with self._lock:
            if self._state is State.HELD:
                self._callbacks.append(callback)
                return
            lost = self._state is State.LOST
        if lost:
            self._call(callback)

    @property
    def reason(self) -> str:
        """Why it is gone; "" while it is held."""
        if self._state is State.RELEASED:
            return "it was released"
        if self._reason or not self._stands():
            return self._reason or self._ground()
        return self._pulse.reason

    # -- how it ends -------------------------------------------------------------------------------------------

    def _lose(self, reason: str, *, in_etcd: bool = False) -> None:
        """End it as LOST; `in_etcd` when the key may still be there, and must be removed."""
        if not self._finish(State.LOST, reason):
            return
        self._let_go(in_etcd=in_etcd)
        self._log.error("hold.lost", reason=reason)
        for callback in self._callbacks:
            self._call(callback)

    def _expire(self) -> None:
        """End it as LOST if one of its limits has passed."""
        if self._pulse.stopped:
            self._lose(self._pulse.reason, in_etcd=True)

    def _finish(self, state: State, reason: str) -> bool:
        """Enter a final state, once; gives False if it was final already."""
        with self._lock:
            if self._state is not State.HELD:
                return False
            self._state, self._reason = state, reason
        try:
            self._end_the_watch()
        except BaseException:  # a signal; it would be watched for as long as its limits are
            self._end_the_watch()
            raise
        finally:  # whoever waits for the end hears of it, also then
            self.lost._set()
        if self._log.wants_debug:
            held = round(runtime.now() - self._since, 4)
            self._log.debug("hold.ended", state=state.value, held=held)
        return True

    def _end_the_watch(self) -> None:
        if self._pulse.limited:
            self._watchdog.forget(self._pulse)

    def _call(self, callback: Callable[[str], object]) -> None:
        def call() -> None:
            try:
                callback(self.reason)
            except Exception:  # noqa: BLE001 (the user's code: whatever it raises is logged)
                self._log.exception("hold.callback_failed")

        runtime.spawn(call, "etcd-recipes-on-lost")

    def after_fork_in_child(self) -> None:
        """Forget who had the lock: it may have been a thread that only the parent has."""
        self._lock = runtime.new_lock()

    def __enter__(self) -> Self:
        """Give the hold itself; LockLost if it is gone already."""
        self.check()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Release. Raises LockLost if it was lost inside and the body did not raise anything itself."""
        lost = self._state is not State.RELEASED and not self.is_held
        why = self.reason if lost else ""
        # A program that is being ended (SystemExit, KeyboardInterrupt) does not wait long for a dead etcd.
        ends = error is not None and not isinstance(error, Exception)
        self.release(timeout=_FAREWELL if ends else None)
        if lost and error is None:
            raise LockLost(f"{self._what} was lost while the body ran: {why}")

    def __repr__(self) -> str:
        state = "held" if self.is_held else self.reason
        return f"<{type(self).__name__} {self._what} {state}>"
