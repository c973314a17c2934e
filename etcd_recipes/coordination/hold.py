"""The hold: one handle for whatever is held, whether lock, term or permit.

A hold is HELD until it is RELEASED by its owner or LOST: its session ended, its local deadline passed, or
its key was removed by somebody else. Both ends are final.

Rules of this file
1. `is_held` is local and honest: it asks the clock, so it is False from the moment the deadline passes,
   even if the process was stopped and no thread of it has run since.
2. Release is fenced: it deletes the incarnation of the key that this hold stands on, never the name.
3. Callbacks of users run on a thread of their own: a slow one must not hold up the renewals.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from types import TracebackType
from typing import Self

from etcd_recipes.coordination.claim import Claim
from etcd_recipes.coordination.session import Session
from etcd_recipes.core import runtime
from etcd_recipes.core.context import Context, check_timeout, limit
from etcd_recipes.core.errors import ContextError, EtcdRecipesError, LockLost
from etcd_recipes.core.log import event_logger
from etcd_recipes.core.store import Entry, Store

__all__ = ["Hold", "Loss"]

_FAREWELL = 1.0  # seconds for a release on the way out of a program


class _State(Enum):
    HELD = "held"
    RELEASED = "released"
    LOST = "lost"


class Loss:
    """The event of a hold's end; ``is_set`` and ``wait`` as of threading.Event."""

    __slots__ = ("_event", "_hold")

    def __init__(self, hold: Hold) -> None:
        self._hold = hold
        self._event = runtime.new_event()

    def is_set(self) -> bool:
        """Tell whether the hold is gone, for whatever reason; asks the clock."""
        return not self._hold.is_held

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the hold is gone or `timeout` seconds have passed; tell whether it is gone."""
        if not self.is_set():
            self._event.wait(timeout)
        return self.is_set()

    def _set(self) -> None:
        self._event.set()


class Hold:
    """Something that is held: made by a recipe, ended by `release` or by a loss.

    `key` is the key in etcd that it stands on, `token` the fencing token: it strictly grows from one
    holder of the same name to the next. Hand it to whatever you write to, and have that refuse a token
    lower than the highest it has seen: a process that was stopped for a minute cannot know, in between
    two instructions, that somebody else holds by now.
    """

    def __init__(
        self, store: Store, session: Session, claim: Claim, entry: Entry, token: int
    ) -> None:
        self._store = store
        self._session = session
        self._claim = claim
        self._entry = entry
        self.key = entry.key
        self.token = token
        self.lost = Loss(self)
        self._state = _State.HELD
        self._reason = ""
        self._callbacks: list[Callable[[str], object]] = []
        self._lock = runtime.new_lock()
        self._log = event_logger("hold").bind(key=self.key, token=token)
        claim.guard(entry, lambda: self._lose("its key was removed from etcd by somebody else"))
        self._listening = session.on_lost(self._lose)
        self._log.info("hold.acquired")

    @property
    def is_held(self) -> bool:
        """True while it is provably ours; local and cheap."""
        return self._state is _State.HELD and self._session.is_alive

    @property
    def session(self) -> Session:
        """The session that it rests on."""
        return self._session

    def remaining(self) -> float:
        """Give the seconds for which it is provably ours without another renewal; 0.0 when it is gone."""
        return self._session.remaining() if self._state is _State.HELD else 0.0

    def check(self) -> None:
        """Raise LockLost, with the reason, if it is gone; otherwise do nothing."""
        if not self.is_held:
            raise LockLost(f"{self.key} is not held any more: {self._why()}")

    def _why(self) -> str:
        if self._state is _State.RELEASED:
            return "it was released"
        return self._reason or self._session.reason

    def sleep(self, seconds: float) -> None:
        """Sleep for `seconds`; raises LockLost as soon as the hold is gone."""
        check_timeout(seconds, "seconds")
        self.check()
        self.lost.wait(seconds)
        self.check()

    def on_lost(self, callback: Callable[[str], object]) -> None:
        """Have ``callback(reason)`` called, on a thread of its own, when the hold is lost (not released).

        At once if it is lost already.
        """
        with self._lock:
            if self._state is _State.HELD:
                self._callbacks.append(callback)
                return
            lost = self._state is _State.LOST
        if lost:
            self._call(callback)

    def release(self, *, timeout: float | None = None, ctx: Context | None = None) -> bool:
        """Give it up: one request, fenced, so that it never removes anybody else's; idempotent.

        Tells whether etcd confirmed that the key is gone. If no endpoint did (False), the session goes on
        removing it, so that it stands in the way for at most the lease's ttl. Raises the error of `ctx`
        if that ends first; the removal goes on then, too.
        """
        if not self._session.is_alive:
            # Nothing to give up. A forked child comes here too: the key is its parent's to delete.
            self._lose(self._session.reason)
            return True
        if not self._finish(_State.RELEASED, "it was released"):
            return True
        limited = limit(timeout, ctx, default=max(1.0, self._session.ttl / 3))
        try:
            self._store.delete(self._entry, limited)
        except EtcdRecipesError as error:
            self._session.sweep(self._claim, self._entry)
            if isinstance(error, ContextError) and ctx is not None and ctx.done:
                raise
            self._log.warning("hold.release_unconfirmed", error=str(error))
            return False
        self._session.release(self._claim)
        self._log.info("hold.released")
        return True

    def _lose(self, reason: str) -> None:
        if not self._finish(_State.LOST, reason):
            return
        self._session.release(self._claim)
        self._log.error("hold.lost", reason=reason)
        for callback in self._callbacks:
            self._call(callback)

    def _finish(self, state: _State, reason: str) -> bool:
        """Enter a final state, once; gives False if it was final already."""
        with self._lock:
            if self._state is not _State.HELD:
                return False
            self._state, self._reason = state, reason
        self._session.forget(self._listening)
        self._claim.entry = None
        self.lost._set()
        return True

    def _call(self, callback: Callable[[str], object]) -> None:
        def call() -> None:
            try:
                callback(self._why())
            except Exception:  # noqa: BLE001 (the user's code: whatever it raises is logged)
                self._log.exception("hold.callback_failed")

        runtime.spawn(call, "etcd-recipes-on-lost")

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
        lost = self._state is not _State.RELEASED and not self.is_held
        why = self._why()
        # A program that is being ended (SystemExit, KeyboardInterrupt) does not wait long for a dead etcd.
        ends = error is not None and not isinstance(error, Exception)
        self.release(timeout=_FAREWELL if ends else None)
        if lost and error is None:
            raise LockLost(f"{self.key} was lost while the body ran: {why}")

    def __repr__(self) -> str:
        state = "held" if self.is_held else self._why()
        return f"<{type(self).__name__} {self.key} token={self.token} {state}>"
