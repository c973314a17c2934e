"""A term: what a campaign gives; a Hold with a proposal.

A term ends by `resign` (or `release`), by `transfer`, or by a loss; each is final. A lost term is never
resumed: the next one starts at the end of the line, with a new token.
"""

from __future__ import annotations

from etcd_recipes.coordination.hold import Hold
from etcd_recipes.coordination.identity import Contender
from etcd_recipes.coordination.line import Turn
from etcd_recipes.coordination.liveness import Liveness
from etcd_recipes.coordination.queue import LocalQueue
from etcd_recipes.coordination.sessions import Sessions
from etcd_recipes.core.context import Context
from etcd_recipes.core.errors import CompareFailed, ContextError, LeaseNotFound, ResponseError
from etcd_recipes.core.store import Entry
from etcd_recipes.recipes.election.handover import Handover, Place

__all__ = ["Leadership", "check_value"]


class Leadership(Hold):
    """A term: a Hold, with the proposal as `value`. It ends with `resign` (or `release`), or by a loss."""

    def __init__(
        self, turn: Turn, sessions: Sessions, handover: Handover, liveness: Liveness
    ) -> None:
        super().__init__(sessions.store, turn.session, turn.claim, turn.entry, turn.token, liveness)
        self._sessions = sessions
        self._handover = handover
        self._turns = LocalQueue()
        self.value = turn.entry.value

    def proclaim(
        self, value: str, *, timeout: float | None = None, ctx: Context | None = None
    ) -> None:
        """Change the proposal without a new election: one request, fenced. LockLost when the term is over.

        ClusterError or the Context's error when the answer is missing: the new value may be there, or
        come later, but never over one that is proclaimed after it. Threads proclaim one after the other.
        """
        self.check()
        limited = self._sessions.limit(timeout, ctx)
        check_value(value)
        with self._turns.turn("proclaim", limited):  # so that `value` is what was written last
            self.check()
            try:
                self._entry = self._store.replace(self._entry, value, limited)
            except CompareFailed:
                self._lose("its key was removed from etcd by somebody else")
                self.check()
            self.value = value

    def resign(self, *, timeout: float | None = None, ctx: Context | None = None) -> bool:
        """Give leadership up; the same as `release`."""
        return self.release(timeout=timeout, ctx=ctx)

    def transfer(
        self, to: Contender | str, *, timeout: float | None = None, ctx: Context | None = None
    ) -> bool:
        """Resign in favour of one who waits, and tell whether it came to lead.

        `to` is one of ``election.candidates()``, or a proposal: then the oldest candidate that has it.
        Candidates of this library that stand before it step aside, without ever having led; those of
        other libraries do not, and lead first. False: the term is over, but `to` died or left, or did not
        say within `timeout` seconds that it leads (without either limit: the client's default timeout);
        a candidate of another library never says so.

        Raises ValueError when `to` leads already, RecipeError when it does not wait in the line or nobody
        does, ClusterError, ResponseError or the Context's error when etcd could not be told: the term then
        goes on. Raises LockLost when it was over already, and the error of `ctx` when that ends before
        `to` has said that it leads: then the term is over.

        Keys: ``<name>.transfer``, while this runs. Requests: 6, and a watch.
        """
        self.check()
        limited = self._sessions.limit(timeout, ctx)
        place = self._handover.find(to, self._entry, limited)
        try:
            with self._handover.noted(place, self._session, limited) as note:
                self.check()
                self.release(timeout=limited.remaining(), ctx=ctx)
                return self._taken(note, place, limited, ctx)
        except LeaseNotFound as error:  # the session had ended, and we are the first to hear of it
            self._session.lose(f"etcd says that {error.message}")
            self.check()
            raise

    def _taken(self, note: Entry, place: Place, limited: Context, ctx: Context | None) -> bool:
        try:
            taken = self._handover.taken(note, place, limited)
            return taken and self._session.is_alive  # else it went with the lease
        except (ContextError, ResponseError) as error:
            if ctx is not None:
                ctx.check()
            self._log.warning("election.transfer_unconfirmed", error=str(error))
            return False


def check_value(value: str) -> str:
    """Give `value` back; TypeError when it is no str."""
    if not isinstance(value, str):
        raise TypeError(f"a proposal is a str, not {type(value).__name__}")
    return value
