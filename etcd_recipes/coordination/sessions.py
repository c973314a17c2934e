"""The sessions of one client: one per ttl, opened when first needed, replaced when lost.

Rules of this file
1. One thread opens; the others that want the same ttl wait for it in the queue.
2. A session is in the table before the opening thread looks whether the client is closed, and `close` looks
   at the table after it has said so: whoever comes second closes it.
3. What recipes need of their client stands here: the Store, the defaults, and the Context that ends with
   the client.
"""

from __future__ import annotations

from etcd_recipes.coordination.healers import Healers
from etcd_recipes.coordination.queue import LocalQueue
from etcd_recipes.coordination.session import Session
from etcd_recipes.coordination.watchdog import Watchdog
from etcd_recipes.core import retry, runtime
from etcd_recipes.core.context import Context, check_timeout, limit
from etcd_recipes.core.errors import ContextError, SessionLost
from etcd_recipes.core.log import event_logger
from etcd_recipes.core.store import Store

__all__ = ["Sessions", "check_ttl"]

_LONGEST_TTL = 9e9  # seconds: etcd refuses a longer lease


class Sessions:
    """The sessions of one client, one per ttl; a lost one is replaced when it is asked for again."""

    def __init__(self, store: Store, *, default_ttl: float, default_timeout: float) -> None:
        self.store = store
        self.default_timeout = default_timeout
        self.default_ttl = default_ttl
        self.ctx = (
            Context()
        )  # ends with the client; what goes on in the background is a child of it
        self.healers = Healers()
        self._watchdog = Watchdog()
        self._sessions: dict[float, Session] = {}
        self._opening = LocalQueue()
        runtime.at_fork(self)

    def get(self, ttl: float | None, ctx: Context) -> Session:
        """Give the live session of this ttl, opening one if there is none.

        The opening is tried again while no endpoint answers, for as long as `ctx` and the client's
        default timeout allow; then it raises the last error.
        """
        ttl = self.default_ttl if ttl is None else check_ttl(ttl)
        self.check_open()
        session = self._sessions.get(ttl)
        if session is not None and session.is_alive:
            return session
        with self._opening.turn(f"{ttl}", ctx):
            session = self._sessions.get(ttl)
            if session is None or not session.is_alive:
                self.check_open()
                session = self._sessions[ttl] = self._open(ttl, ctx)
                if self.ctx.cancelled:
                    session.close()
                    self.check_open()
            return session

    def _open(self, ttl: float, ctx: Context) -> Session:
        last: list[BaseException] = []
        opening = ctx.child(self.default_timeout)

        def failed(error: BaseException) -> None:
            last.append(error)
            event_logger("session").warning("session.not_opened", ttl=ttl, error=str(error))

        try:
            return retry.OPENING.run(
                opening,
                lambda: Session(self.store, ttl, opening, self._watchdog),
                on_failure=failed,
            )
        except ContextError:
            if ctx.done or not last:
                raise
            raise last[-1] from None

    def check_open(self) -> None:
        """Raise SessionLost if the client is closed."""
        if self.ctx.cancelled:
            raise SessionLost("the client is closed; make another one")

    def limit(self, timeout: float | None, ctx: Context | None) -> Context:
        """Give the Context of a unary call: the client's default timeout if the caller gave no limit."""
        return limit(timeout, ctx, default=self.default_timeout)

    def close(self) -> None:
        """Close all sessions, and end what goes on in the background."""
        self.ctx.cancel("the client was closed")
        for session in list(self._sessions.values()):
            session.close()

    def after_fork_in_child(self) -> None:
        """Start with no session: those of the parent are its own."""
        self._sessions = {}
        self._opening = LocalQueue()


def check_ttl(ttl: float) -> float:
    """Give `ttl` as a float; ValueError when it is not positive, or more than etcd grants, TypeError for no number."""
    seconds = check_timeout(ttl, "ttl")
    if seconds is None or not 0 < seconds <= _LONGEST_TTL:
        raise ValueError(
            f"ttl must be a positive number of seconds, at most {_LONGEST_TTL:.0e}; got {ttl!r}"
        )
    return float(seconds)
