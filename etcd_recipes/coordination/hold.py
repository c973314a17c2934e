"""The hold: one key in etcd that is held, whether lock, term or permit.

It is a `Handle` that is lost when its session ended, when its own limits passed, or when its key was removed
by somebody else.

Rules of this file
1. Release is fenced: it deletes the incarnation of the key that this hold stands on, never the name.
2. The claim on the key is given back when the key is certainly gone, never before: no other thread of this
   process may stand at a key that is about to be removed.
3. A signal may raise anywhere: what it leaves half made or half released is released all the same.
"""

from __future__ import annotations

from etcd_recipes.coordination.claim import Claim
from etcd_recipes.coordination.handle import Handle, Loss, State
from etcd_recipes.coordination.liveness import UNLIMITED, Liveness
from etcd_recipes.coordination.session import Session
from etcd_recipes.core.context import Context, limit
from etcd_recipes.core.errors import ContextError, EtcdRecipesError, RecipeError
from etcd_recipes.core.log import event_logger
from etcd_recipes.core.store import Entry, Guard, Store

__all__ = ["Hold", "Loss"]

_BLINK = 0.05
"""Seconds that the making of a hold that has failed may still take to release it."""


class Hold(Handle):
    """Something that is held: made by a recipe, ended by `release` or by a loss.

    `key` is the key in etcd that it stands on, `token` the fencing token: it strictly grows from one
    holder of the same name to the next. Hand it to whatever you write to, and have that refuse a token
    lower than the highest it has seen: a process that was stopped for a minute cannot know, in between
    two instructions, that somebody else holds by now. What is written to etcd itself takes `guard`.
    """

    def __init__(
        self,
        store: Store,
        session: Session,
        claim: Claim,
        entry: Entry,
        token: int,
        liveness: Liveness = UNLIMITED,
    ) -> None:
        log = event_logger("hold").bind(key=entry.key, token=token, kind=type(self).__name__)
        super().__init__(entry.key, log, liveness, session.watchdog)
        self._store = store
        self._session = session
        self._claim = claim
        self._entry = entry
        self.key = entry.key
        self.token = token
        self._listening = -1  # it may be lost before the number is known
        try:
            claim.guard(entry, lambda: self._lose("its key was removed from etcd by somebody else"))
            self._listening = session.on_lost(self._lose)
            if self._state is not State.HELD:
                session.forget(self._listening)
            self._begin()
        except BaseException:  # a signal, or no thread for the watchdog
            self.release(timeout=_BLINK)
            raise

    @property
    def session(self) -> Session:
        """The session that it rests on."""
        return self._session

    @property
    def guard(self) -> Guard:
        """A condition for ``client.v3.kv.txn`` and ``kv.when``: that this very hold stands in etcd.

        The transaction then does what it is to do only while nobody else can hold; otherwise it is not
        carried out (`succeeded` is False). It may be asked for at any time, and decides when etcd decides.
        No request. RecipeError where there are no transactions: on v2, and with a NoEtcd.
        """
        if not self._store.transactions:
            raise RecipeError(
                "this client has no transactions, as those of etcd's v3 API are, so a write cannot be guarded "
                "by a hold: hand hold.token to whatever you write to, and have it refuse lower ones"
            )
        return Guard(self.key, self._entry.created)

    def release(self, *, timeout: float | None = None, ctx: Context | None = None) -> bool:
        """Give it up: one request, fenced, so that it never removes anybody else's; idempotent.

        Tells whether etcd confirmed that the key is gone. If no endpoint did (False), the session goes on
        removing it, so that it stands in the way for at most the lease's ttl. True at once if it was lost
        before. Raises the error of `ctx` if that ends first; the removal goes on then, too.
        """
        if not self._session.is_alive:
            # Nothing to give up. A forked child comes here too: the key is its parent's to delete.
            self._lose(self._session.reason)
            return True
        limited = limit(timeout, ctx, default=max(1.0, self._session.ttl / 3))
        try:
            self._expire()
            if not self._finish(State.RELEASED, "it was released"):
                return True
            self._session.remove(self._claim, self._entry, limited)
        except EtcdRecipesError as error:
            if isinstance(error, ContextError) and ctx is not None and ctx.done:
                raise
            self._log.warning("hold.release_unconfirmed", error=str(error))
            return False
        except (
            BaseException
        ):  # a signal, which may have struck before the end, or before the removal
            self._finish(State.RELEASED, "it was released")
            self._session.sweep(self._claim, self._entry)
            raise
        self._log.info("hold.released")
        return True

    def forfeit(self, reason: str) -> None:
        """End it as LOST although the key may still stand, which is removed in the background."""
        self._lose(reason, in_etcd=True)

    # -- as a handle -------------------------------------------------------------------------------------------

    def _stands(self) -> bool:
        return self._session.is_alive

    def _ground(self) -> str:
        return self._session.reason

    def _time_left(self) -> float:
        return self._session.remaining()

    def _let_go(self, *, in_etcd: bool) -> None:
        if in_etcd and self._session.is_alive:
            self._session.sweep(self._claim, self._entry)
        else:
            self._session.release(self._claim)

    def _finish(self, state: State, reason: str) -> bool:
        if not super()._finish(state, reason):
            return False
        self._session.forget(self._listening)
        self._claim.entry = None
        return True

    def __repr__(self) -> str:
        state = "held" if self.is_held else self.reason
        return f"<{type(self).__name__} {self.key} token={self.token} {state}>"
