"""Election: candidates line up, the oldest leads until it resigns or its lease ends.

The algorithm is the line's (`coordination.line`): a candidate stands in ``<name>/`` with its proposal as
the value, and the oldest one leads. Before a candidate believes that it leads, it has read its own place
back; a candidate whose lease ended while it waited raises. A lost term is never resumed: the next one
starts at the end of the line, with a new token.

What it does not guarantee
    As with a lock, a leader that is stopped past its ttl is not the leader any more and cannot know it
    between two instructions. What must be done by one leader only needs the token (`term.token`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Self

from etcd_recipes.coordination.contenders import FIRST_ONLY
from etcd_recipes.coordination.follow import follow
from etcd_recipes.coordination.hold import Hold
from etcd_recipes.coordination.identity import Contender, contender
from etcd_recipes.coordination.line import Line, Turn
from etcd_recipes.coordination.liveness import Liveness
from etcd_recipes.coordination.names import check_name
from etcd_recipes.coordination.sessions import Sessions, check_ttl
from etcd_recipes.core import retry, runtime
from etcd_recipes.core.context import Context
from etcd_recipes.core.errors import (
    CompareFailed,
    ContextError,
    LockLost,
)
from etcd_recipes.core.log import event_logger
from etcd_recipes.core.store import Entry, Store

__all__ = ["Background", "Election", "Leadership"]


class Leadership(Hold):
    """A term: a Hold, with the proposal as `value`. It ends with `resign` (or `release`), or by a loss."""

    def __init__(self, store: Store, turn: Turn, sessions: Sessions, liveness: Liveness) -> None:
        super().__init__(store, turn.session, turn.claim, turn.entry, turn.token, liveness)
        self._sessions = sessions
        self.value = turn.entry.value

    def proclaim(
        self, value: str, *, timeout: float | None = None, ctx: Context | None = None
    ) -> None:
        """Change the proposal without a new election: one request, fenced. LockLost when the term is over."""
        self.check()
        try:
            self._store.replace(
                self._entry, _check_value(value), self._sessions.limit(timeout, ctx)
            )
        except CompareFailed:
            self._lose("its key was removed from etcd by somebody else")
            self.check()
        self.value = value

    def resign(self, *, timeout: float | None = None, ctx: Context | None = None) -> bool:
        """Give leadership up; the same as `release`."""
        return self.release(timeout=timeout, ctx=ctx)


class Election:
    """An election named `name`; made by ``client.election(name)``, free to be used by many threads.

    Keys: ``<name>/<lease id in hex>`` with the proposal as the value and nothing else, the same as Go's
    Election and ``etcdctl elect``. Requests: 1 to be elected when there is no leader, 1 to resign.
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
        self.value = _check_value(value)
        self._ttl = None if ttl is None else check_ttl(ttl)
        self._sessions = sessions
        self._line = Line(sessions, name, FIRST_ONLY)
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
        proposal = self.value if value is None else _check_value(value)
        turn = self._line.enter(proposal, self._ttl, Context(timeout, parent=ctx))
        return Leadership(self._sessions.store, turn, self._sessions, self._liveness)

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

        It goes on through outages, lost members and compaction, until `timeout` or `ctx` end it, with
        their error. One watch; nothing is polled.
        """
        nothing_yet = object()
        last: object = nothing_yet
        limited = Context(timeout, parent=ctx)
        for update in follow(self._sessions.store, f"{self.name}/", limited, on_trouble=self._tell):
            leader = self._first(update.entries.values())
            if leader != last:
                last = leader
                yield leader

    def _first(self, entries: Iterable[Entry]) -> Contender | None:
        is_candidate = self._sessions.store.contender_id
        candidates = [e for e in entries if is_candidate(self.name, e.key) is not None]
        oldest = min(candidates, key=lambda entry: entry.created, default=None)
        return None if oldest is None else contender(oldest)

    def run(self, lead: Callable[[Leadership], object], *, ctx: Context | None = None) -> None:
        """For ever: campaign, call ``lead(term)``, resign. Raises the error of `ctx` when that ends.

        `lead` should look at ``term.lost``, or use ``term.check()`` and ``term.sleep()``; the LockLost
        that these raise ends the term and the next campaign begins. When `lead` returns, the term is
        resigned and the campaign begins anew. Any other exception of `lead` resigns and is raised.
        """
        while True:
            term = self._elected(Context(parent=ctx))
            try:
                lead(term)
            except LockLost:
                if term.is_held:  # about something else that `lead` holds
                    raise
            finally:
                term.release()
            if ctx is not None:
                ctx.check()

    def _elected(self, ctx: Context) -> Leadership:
        """Campaign until elected, with a new session whenever one is lost."""

        def campaign() -> Leadership:
            return self.campaign(ctx=ctx)

        return retry.CAMPAIGN.run(ctx, campaign, on_failure=self._tell)

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


class Background:
    """A campaign in the background; made by ``election.background()``, used with ``with``."""

    def __init__(
        self,
        election: Election,
        on_elected: Callable[[], object] | None,
        on_lost: Callable[[], object] | None,
    ) -> None:
        self._election = election
        self._on_elected = on_elected
        self._on_lost = on_lost
        self._ctx = Context()
        self._thread: runtime.Thread | None = None
        self._term: Leadership | None = None
        self._log = event_logger("election").bind(election=election.name)

    @property
    def term(self) -> Leadership | None:
        """The term, while this process leads."""
        term = self._term
        return term if term is not None and term.is_held else None

    @property
    def is_leader(self) -> bool:
        """True while this process leads: local, cheap and honest."""
        return self.term is not None

    def __enter__(self) -> Self:
        """Begin to campaign."""
        self._thread = runtime.spawn(self._run, "etcd-recipes-election")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop campaigning, resign if leading, and wait for the thread."""
        self._ctx.cancel("the background election was left")
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        try:
            self._election.run(self._lead, ctx=self._ctx)
        except ContextError:
            pass  # left

    def _lead(self, term: Leadership) -> None:
        self._term = term
        self._call(self._on_elected)
        try:
            ended = runtime.new_event()
            term.on_lost(lambda _reason: ended.set())
            with self._ctx.on_cancel(ended.set):
                ended.wait(None)
        finally:
            self._term = None
            self._call(self._on_lost)

    def _call(self, callback: Callable[[], object] | None) -> None:
        if callback is not None:
            try:
                callback()
            except Exception:  # noqa: BLE001 (the user's code: whatever it raises is logged)
                self._log.exception("election.callback_failed")


def _check_value(value: str) -> str:
    if not isinstance(value, str):
        raise TypeError(f"a proposal is a str, not {type(value).__name__}")
    return value
