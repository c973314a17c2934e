"""Election: candidates line up, the oldest leads until it resigns or its lease ends.

The algorithm
1. The line's (`coordination.line`): a candidate stands in ``<name>/`` with its proposal as the value, and
   the oldest one leads. Before a candidate believes that it leads, it has read its own place back; one
   whose lease ended while it waited raises, and never leads on a line that is empty.
2. One that comes to lead after it had waited asks whether the last leader named another one
   (`election.handover`). If so, it goes to the end of the line, and has never led.
3. Who wants to lead for ever (`terms`, and what is made of it) begins anew after each term, and whenever
   a session was lost or etcd was away.

What it does not guarantee
    As with a lock, a leader that is stopped past its ttl is not the leader any more and cannot know it
    between two instructions. What must be done by one leader only needs the token (`term.token`).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import closing

from etcd_recipes.coordination.arrivals import Arrivals
from etcd_recipes.coordination.contenders import FIRST_ONLY
from etcd_recipes.coordination.follow import follow
from etcd_recipes.coordination.identity import Contender, contender
from etcd_recipes.coordination.line import Line
from etcd_recipes.coordination.liveness import Liveness
from etcd_recipes.coordination.names import check_name
from etcd_recipes.coordination.sessions import Sessions, check_ttl
from etcd_recipes.core import retry
from etcd_recipes.core.context import Context
from etcd_recipes.core.errors import LockLost
from etcd_recipes.core.log import event_logger
from etcd_recipes.recipes.election.background import Background
from etcd_recipes.recipes.election.handover import Handover
from etcd_recipes.recipes.election.leadership import Leadership, check_value

__all__ = ["Election"]

_FAREWELL = 1.0
"""Seconds for a resignation: what etcd does not confirm in them is completed in the background."""


class Election:
    """An election named `name`; made by ``client.election(name)``, free to be used by many threads.

    Keys: ``<name>/<lease id in hex>`` with the proposal as the value and nothing else, the same as Go's
    Election and ``etcdctl elect``. Requests: 1 to be elected when there is no leader, 1 to resign; who has
    waited asks once more, whether the leadership is being handed to another one.
    """

    def __init__(
        self,
        sessions: Sessions,
        name: str,
        *,
        value: str = "",
        ttl: float | None = None,
        max_hold: float | None = None,
        heartbeat: float | None = None,
    ) -> None:
        self.name = check_name(name, "election name")
        self.value = check_value(value)
        self._ttl = None if ttl is None else check_ttl(ttl)
        self._sessions = sessions
        self._line = Line(sessions, name, FIRST_ONLY, kind="election")
        self._handover = Handover(sessions, self._line)
        self._liveness = Liveness(max_hold, heartbeat)
        self._log = event_logger("election").bind(election=name)

    def campaign(
        self,
        value: str | None = None,
        *,
        timeout: float | None = None,
        ctx: Context | None = None,
    ) -> Leadership:
        """Wait until elected and give the term.

        Raises DeadlineExceeded when `timeout` seconds or the deadline of `ctx` pass first, Cancelled when
        `ctx` is cancelled, SessionLost when the lease ended while waiting, ClusterError when etcd cannot
        be reached to begin with, ResponseError when etcd refuses. This process is then no candidate.
        """
        proposal = self.value if value is None else check_value(value)
        limited = Context(timeout, parent=ctx)
        while True:
            turn = self._line.enter(proposal, self._ttl, limited)
            if not turn.waited or self._handover.falls_to(turn, limited):
                return Leadership(turn, self._sessions, self._handover, self._liveness)

    def leader(
        self, *, timeout: float | None = None, ctx: Context | None = None
    ) -> Contender | None:
        """Give who leads, or None when nobody does: one request."""
        candidates = self.candidates(timeout=timeout, ctx=ctx)
        return candidates[0] if candidates else None

    def candidates(
        self, *, timeout: float | None = None, ctx: Context | None = None
    ) -> tuple[Contender, ...]:
        """Give the leader and all who wait behind, in their order: one request."""
        entries = self._line.contenders(self._sessions.limit(timeout, ctx))
        return tuple(contender(entry) for entry in entries)

    def evict(
        self, contender: Contender, *, timeout: float | None = None, ctx: Context | None = None
    ) -> bool:
        """Remove this candidate, leading or waiting: exactly it, never a later one. As ``Lock.evict`` in all.

        A leader learns of it within a third of its ttl, and leads on until then, beside the next one.
        """
        return self._line.evict(contender, self._sessions.limit(timeout, ctx))

    def observe(
        self, *, timeout: float | None = None, ctx: Context | None = None
    ) -> Iterator[Contender | None]:
        """Give who leads now, and again at every change: a new leader, a new proposal, or nobody (None).

        It goes revision by revision, so it gives every leader and every proposal there was, in order,
        however short; also through outages, lost members and a consumer that is slow. Only when etcd's
        history was compacted in the meantime (on v2: after a thousand events anywhere in the store) what
        lies between is not known, and it goes on with what is now.

        It ends with the error of `timeout` or `ctx`, or with Cancelled when the client is closed. One list
        and one watch; a list more each minute, so that what a watch missed does not stay missed.
        """
        nothing_yet = object()
        last: object = nothing_yet
        limited = Context(timeout, parent=ctx)
        with self._sessions.ctx.on_cancel(lambda: limited.cancel("the client was closed")):
            store = self._sessions.store
            line = Arrivals(lambda key: store.contender_id(self.name, key) is not None)
            for update in follow(store, f"{self.name}/", limited, on_trouble=self._tell):
                line.take(update.changes)
                leader = None if line.first is None else contender(update.entries[line.first])
                if leader != last:
                    last = leader
                    yield leader

    def terms(
        self, *, ctx: Context | None = None, value: str | None = None
    ) -> Iterator[Leadership]:
        """Lead for ever: campaign and give the term, resign it when the loop comes back or is left.

        A term that was lost meanwhile is over: the loop's body should look at ``term.lost``, or use
        ``term.check()`` and ``term.sleep()``; the LockLost that these raise is the body's to catch. A
        lost session, and an outage while it campaigns, are healed.

        Raises the error of `ctx` when that ends, ResponseError when etcd refuses, SessionLost when the
        client is closed. A loop that is left, by ``break``, ``return`` or an exception, resigns at once;
        an iterator that was given a name does so when it is closed (``contextlib.closing``).
        """
        return self._terms(self.value if value is None else check_value(value), ctx)

    def _terms(self, value: str, ctx: Context | None) -> Generator[Leadership, None, None]:
        limited = Context(parent=ctx)
        while True:
            limited.check()
            term = self._elected(value, limited)
            try:
                yield term
            finally:
                term.release(timeout=_FAREWELL)

    def run(self, lead: Callable[[Leadership], object], *, ctx: Context | None = None) -> None:
        """For ever: campaign, call ``lead(term)``, resign. Raises as `terms` does.

        `lead` should look at ``term.lost``, or use ``term.check()`` and ``term.sleep()``; the LockLost
        that these raise ends the term and the next campaign begins. When `lead` returns, the term is
        resigned and the campaign begins anew. Any other exception of `lead` resigns and is raised.
        """
        with closing(self._terms(self.value, ctx)) as terms:
            for term in terms:
                try:
                    lead(term)
                except LockLost:
                    if term.is_held:  # about something else that `lead` holds
                        raise

    def _elected(self, value: str, ctx: Context) -> Leadership:
        """Campaign until elected, with a new session whenever one is lost."""
        return retry.CAMPAIGN.run(
            ctx,
            lambda: self.campaign(value, ctx=ctx),
            on_failure=self._tell,
            unless=lambda _error: self._sessions.ctx.cancelled,  # no session can be had any more
        )

    def _tell(self, error: BaseException) -> None:
        self._log.warning("election.trouble", error=str(error))

    def background(
        self,
        on_elected: Callable[[], object] | None = None,
        on_lost: Callable[[], object] | None = None,
    ) -> Background:
        """Campaign on a thread of its own while a ``with`` body runs.

        ``on_elected()`` is called when this process becomes the leader, ``on_lost()`` when it is not the
        leader any more, by a loss or by the end of the body; both on that thread, without arguments, so
        that a scheduler's ``resume`` and ``pause`` fit.
        """
        return Background(self, on_elected, on_lost)

    def __repr__(self) -> str:
        return f"<Election {self.name!r}>"
