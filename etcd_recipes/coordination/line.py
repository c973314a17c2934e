"""The line: the one wait loop of the house. Whatever waits its turn, waits here.

The algorithm
1. Claim the session's key in this line; threads of this process go one at a time. Where several may be in
   at once, each thread claims a key of its own: the session's first free seat.
2. Join: one request puts the key and tells who is ahead. Nobody in the way: go to 6.
3. Open a feed of those in the way and of the own key, from *now*. (With a start revision in the past,
   etcd would serve it from a loop that runs every 100 ms: rivals hand over 20 to 65 times a second.)
4. Read the standing once more: whatever changed before the feed was open shows here, whatever changes
   later shows in the feed. Own place gone: raise. Nobody in the way: go to 6. Others in the way: go to 3.
5. Wait until those that are watched are not in the way any more (they left, or ask for less), or until the
   key beside the line changes, which counts for all. Then read the standing again (4). A feed that ends,
   or is quiet for QUIET seconds, is opened anew (3): a member that was stopped or cut off cannot hold a
   waiter for longer.
6. The place is at the head, as read at a revision later than everybody's departure: that revision is the
   token. If the session lives by its own clock, the place is held.
7. On any failure, cancel or timeout after 1: leave the line. What cannot be confirmed within a blink is
   handed to the session, which goes on removing the key, connection or not, also when a signal breaks in.

Rules of this file
* What may go in is a Rule's business; how etcd is asked, the Store's. Nothing is polled.
* A recipe may `check` each standing before the rule is asked: what it raises ends the visit (7).
* Failing endpoints do not end a wait: it goes on, with back-off, for as long as its Context allows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Self, TypeVar

from etcd_recipes.coordination.claim import Claim
from etcd_recipes.coordination.contenders import Rule, split
from etcd_recipes.coordination.identity import Contender, contender
from etcd_recipes.coordination.session import Session
from etcd_recipes.coordination.sessions import Sessions
from etcd_recipes.core import retry, runtime
from etcd_recipes.core.context import Context
from etcd_recipes.core.errors import (
    Cancelled,
    CompareFailed,
    EtcdRecipesError,
    LeaseNotFound,
    LockLost,
)
from etcd_recipes.core.log import EventLogger, event_logger
from etcd_recipes.core.store import Batch, Entry, Feed, Standing

__all__ = ["Line", "Turn"]

T = TypeVar("T")

QUIET = 10.0
"""Seconds without news after which a waiter asks by itself: once per waiter, whoever is ahead."""

_BLINK = 0.05
"""Seconds that a call which has ended may still take to leave the line."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A place at the head of a line: what a Hold is made of. `waited`: others may have left it since it was taken."""

    session: Session
    claim: Claim
    entry: Entry
    token: int
    waited: bool = False


class Line:
    """One line in etcd, with the rule by which its contenders go in."""

    def __init__(
        self,
        sessions: Sessions,
        name: str,
        rule: Rule,
        *,
        check: Callable[[Standing], None] | None = None,
        kind: str = "line",
    ) -> None:
        self.name = name
        self._sessions = sessions
        self._store = sessions.store
        self._rule = rule
        self._check = check
        self.beside = None if rule.beside is None else self._store.beside(name, rule.beside)
        self._log = event_logger("line").bind(line=name, kind=kind)

    def enter(self, value: str, ttl: float | None, ctx: Context) -> Turn:
        """Wait for the turn; when this raises, the line is left (or being left by the session).

        Raises the Context's error when that ends first, SessionLost when the lease ended while waiting,
        LockLost when somebody else removed the place, ResponseError when etcd refuses, and what the
        recipe's `check` raises.
        """
        with _Wait(self._log) as wait:
            wait.turn = turn = self._with_live_session(ttl, ctx, partial(self._enter, value))
            return turn

    def try_enter(self, value: str, ttl: float | None, ctx: Context) -> Turn | None:
        """Take the turn if nobody is in the line, writing nothing otherwise; None when somebody is.

        Raises like `enter`, and ClusterError when no endpoint answers: it does not try again.
        """
        with _Wait(self._log) as wait:
            wait.turn = turn = self._with_live_session(ttl, ctx, partial(self._try_enter, value))
            return turn

    def _with_live_session(
        self, ttl: float | None, ctx: Context, go: Callable[[Session, Context], T]
    ) -> T:
        """Run `go` with a session; once more with a new one when its lease had ended before we knew."""
        session = self._sessions.get(ttl, ctx)
        try:
            return go(session, ctx)
        except LeaseNotFound as error:
            session.lose(f"etcd says that {error.message}")
        return go(self._sessions.get(ttl, ctx), ctx)

    def _enter(self, value: str, session: Session, ctx: Context) -> Turn:
        visit: _Visit | None = None
        try:
            with session.bound(ctx) as bound:
                visit = _Visit(session, self._claim(session, bound), bound)
                standing = self._admitted(visit, self._join(visit, value, bound), bound)
                session.check()
            return visit.turn(standing)
        except BaseException as error:
            if visit is not None:
                self._leave(visit)
                if visit.removed and isinstance(error, Cancelled):
                    raise _removed(self.name) from None
            raise

    def _try_enter(self, value: str, session: Session, ctx: Context) -> Turn | None:
        if self._rule.shared:
            return self._try_a_seat(value, session, ctx)
        claim = session.claim_now(self._place(session))
        if claim is None:
            return None
        visit = _Visit(session, claim)
        try:
            visit.asked += 1
            standing = self._store.join_if_first(self.name, value, session.grant, ctx)
            visit.note(standing)
            if standing.mine is not None:
                standing = self._with_value(visit, standing, value, ctx)
                session.check()
        except BaseException:
            self._leave(visit)
            raise
        if standing.mine is None:
            session.release(claim)
            return None
        return visit.turn(standing)

    def _try_a_seat(self, value: str, session: Session, ctx: Context) -> Turn | None:
        """Look first; join when nobody would be in the way, and leave if somebody was faster."""
        if self._is_taken(value, ctx):
            return None
        visit = _Visit(session, self._claim_a_seat(session))
        try:
            visit.asked += 1
            standing = self._with_value(visit, self._ask_to_join(visit, value, ctx), value, ctx)
            session.check()
            turn = self._turn(visit, standing)
        except BaseException:
            self._leave(visit)
            raise
        if turn is None:
            self._leave(visit)
        return turn

    def _is_taken(self, value: str, ctx: Context) -> bool:
        for ahead in (self._rule.ahead, None):
            seen = self._store.look(self.name, ctx, ahead=ahead, beside=self.beside)
            if self._blockers(replace(seen, mine=Entry(self.name, value, 0, 0))):
                return True
            if not seen.more:
                break
        return False

    def _turn(self, visit: _Visit, standing: Standing) -> Turn | None:
        if standing.mine is None:
            raise _removed(self.name)
        return None if self._blockers(standing) else visit.turn(standing)

    def _blockers(self, standing: Standing) -> tuple[Entry, ...]:
        """Give those in the way, by a standing that was read; raises what the recipe's check raises."""
        if self._check is not None:
            self._check(standing)
        return self._rule.blockers(standing)

    def _claim(self, session: Session, ctx: Context) -> Claim:
        if self._rule.shared:
            return self._claim_a_seat(session)
        return session.claim(self._place(session), ctx)

    def _claim_a_seat(self, session: Session) -> Claim:
        """Claim a seat that no other thread has, and that is not being cleaned up.

        The first one, or any of twice as many as there are claims: however many are taken, about two looks.
        """
        seat = 0
        while (
            claim := session.claim_now(self._store.place(self.name, session.grant, seat))
        ) is None:
            seat = runtime.rng().randrange(2 * session.claims + 2)
        claim.seat = seat
        return claim

    def _place(self, session: Session) -> str:
        return self._store.place(self.name, session.grant)

    def contenders(self, ctx: Context) -> tuple[Entry, ...]:
        """Give everybody in the line, in the order of arrival: one request."""
        return self.of(self._store.list(f"{self.name}/", ctx).entries)

    def of(self, entries: Iterable[Entry]) -> tuple[Entry, ...]:
        """Give those of `entries` that stand in this line, in the order of arrival. No request."""
        is_contender = self._store.contender_id
        line = (entry for entry in entries if is_contender(self.name, entry.key) is not None)
        return tuple(sorted(line, key=lambda entry: entry.created))

    def occupants(self, ctx: Context) -> tuple[tuple[Contender, ...], tuple[Contender, ...]]:
        """Give who is in, by the line's rule, and who waits, each in the order of arrival: one look."""
        seen = self._store.look(self.name, ctx, beside=self.beside)
        inside, waiting = split(seen.ahead[::-1], self._rule, seen.beside)
        return tuple(map(contender, inside)), tuple(map(contender, waiting))

    def evict(self, who: Contender, ctx: Context) -> bool:
        """Remove this incarnation of a contender and no later one; tell whether it was there: 2 requests.

        ValueError when `who` is none of this line's. Raises ClusterError, ResponseError or the Context's
        error.
        """
        if not isinstance(who, Contender):
            raise TypeError(f"a Contender is evicted, not a {type(who).__name__}")
        if self._store.contender_id(self.name, who.key) is None:
            raise ValueError(f"{who.key!r} is no contender of line {self.name!r}")
        there = self._store.get(who.key, ctx)
        if there is None or there.created != who.token:
            return False
        # That it is gone afterwards is what counts: our own first copy, its reply lost, may have done it.
        self._store.delete(there, ctx)
        self._log.warning("line.evicted", key=who.key, token=who.token, identity=who.identity)
        return True

    # -- steps 2 to 6 ------------------------------------------------------------------------------------------

    def _join(self, visit: _Visit, value: str, ctx: Context) -> Standing:
        def join() -> Standing:
            visit.asked += 1
            return self._ask_to_join(visit, value, ctx)

        standing = retry.PATIENT.run(ctx, join, on_failure=self._tell)
        return self._with_value(visit, standing, value, ctx)

    def _ask_to_join(self, visit: _Visit, value: str, ctx: Context) -> Standing:
        grant, claim = visit.session.grant, visit.claim
        standing = self._store.join(
            self.name,
            value,
            grant,
            ctx,
            ahead=self._rule.ahead,
            seat=claim.seat,
            beside=self.beside,
        )
        visit.note(standing)
        return self._whole(standing, ctx)

    def _whole(self, seen: Standing, ctx: Context) -> Standing:
        """Give a standing with the whole line if those that were read are not in the way: see Rule."""
        if seen.mine is None or not seen.more or self._rule.blockers(seen):
            return seen
        return self._store.standing(self.name, seen.mine, ctx, ahead=None, beside=self.beside)

    def _with_value(self, visit: _Visit, standing: Standing, value: str, ctx: Context) -> Standing:
        """Write the value if the place was there before us: made by a late copy of an earlier join."""
        mine = standing.mine
        if mine is None or mine.value == value:
            return standing
        if self._rule.shared:
            # Others may have gone in behind the copy because it asked for less than we do.
            visit.entry = visit.claim.entry = None
            retry.PATIENT.run(ctx, lambda: self._store.delete(mine, ctx))
            return self._join(visit, value, ctx)
        try:
            visit.entry = retry.PATIENT.run(ctx, lambda: self._store.replace(mine, value, ctx))
        except CompareFailed:
            return Standing(None, (), standing.revision)
        return Standing(visit.entry, standing.ahead, standing.revision, standing.doubt)

    def _admitted(self, visit: _Visit, standing: Standing, ctx: Context) -> Standing:
        while True:
            if standing.mine is None:
                visit.session.check()
                raise _removed(self.name)
            visit.entry = standing.mine
            if not self._blockers(standing):
                return standing
            visit.waited = True
            before = standing
            standing = retry.PATIENT.run(
                ctx, partial(self._next, before, ctx), on_failure=self._tell
            )

    def _next(self, seen: Standing, ctx: Context) -> Standing:
        """Steps 3 to 5 over one feed: give a standing that calls for a decision or for another feed."""
        mine = seen.mine
        assert mine is not None  # checked in `_admitted`
        watched = [entry.key for entry in self._rule.blockers(seen)]
        keys = watched if self.beside is None else [*watched, self.beside]
        with self._store.watch(ctx, keys=keys, own=mine.key, quiet=QUIET) as feed:
            while True:
                standing = self._look(mine, ctx)
                blockers = {entry.key: entry for entry in self._blockers(standing)}
                if standing.mine is None or not blockers or not blockers.keys() <= set(watched):
                    return standing
                if not self._way_is_free(feed, standing, blockers):
                    return standing

    def _look(self, mine: Entry, ctx: Context) -> Standing:
        ahead, beside = self._rule.ahead, self.beside
        seen = self._store.standing(self.name, mine, ctx, ahead=ahead, beside=beside)
        return self._whole(seen, ctx)

    def _way_is_free(self, feed: Feed, seen: Standing, blockers: dict[str, Entry]) -> bool:
        """Wait until there is reason to read again; False when the feed is over.

        Reason is that `blockers` do not block any more, that our place is gone, or any news of what lies
        beside the line. (To judge that by the feed, which may tell of a time before the reading, could
        refuse a contender for a limit that counts no more.)
        """
        assert seen.mine is not None  # checked in `_next`
        while (batch := feed.next()) is not None:
            for change in batch.changes:
                if change.key == self.beside or (change.key, change.entry) == (seen.mine.key, None):
                    return True
            blockers = _as_they_are_now(blockers, batch)
            if not self._rule.blockers(replace(seen, ahead=tuple(blockers.values()))):
                return True
        return False

    def _tell(self, error: BaseException) -> None:
        self._log.warning("line.unreachable", error=str(error))

    # -- step 7 ------------------------------------------------------------------------------------------------

    def leave(self, turn: Turn) -> None:
        """Give up a turn that nothing was made of. It never fails: what is not confirmed, the session goes on with."""
        visit = _Visit(turn.session, turn.claim)
        visit.entry, visit.asked, visit._clean = turn.entry, 1, True
        self._leave(visit)

    def _leave(self, visit: _Visit) -> None:
        session, claim = visit.session, visit.claim
        if not visit.asked:
            session.release(claim)
            return
        if visit.doubt:
            session.suspect(claim.key)
        with suppress(EtcdRecipesError):  # it goes on in the background
            session.remove(claim, visit.entry, Context(_BLINK))


def _as_they_are_now(entries: dict[str, Entry], batch: Batch) -> dict[str, Entry]:
    """Apply a batch: who left is not there any more, and one who came back stands behind us."""
    now = dict(entries)
    for change in batch.changes:
        before = now.pop(change.key, None)
        if before and change.entry and change.entry.created == before.created:
            now[change.key] = change.entry
    # A change of value must not change the order.
    return {key: now[key] for key in entries if key in now}


def _removed(line: str) -> LockLost:
    return LockLost(f"the place in line {line!r} was removed from etcd by somebody else")


class _Wait:
    """A call that waits for its turn: tells the log for how long it did, and what came of it."""

    __slots__ = ("_began", "_log", "turn")

    def __init__(self, log: EventLogger) -> None:
        self._log = log
        self._began = runtime.now()
        self.turn: Turn | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if not self._log.wants_debug:
            return
        outcome = "busy" if kind is None else kind.__name__
        fields: dict[str, Any] = {}
        waited = round(runtime.now() - self._began, 4)
        if self.turn is not None:
            outcome = "admitted"
            fields = {"key": self.turn.entry.key, "token": self.turn.token}
        self._log.debug("line.answered", outcome=outcome, waited=waited, **fields)


class _Visit:
    """One thread's way through the line: what must be known to leave it cleanly."""

    __slots__ = ("_clean", "_ctx", "asked", "claim", "entry", "removed", "session", "waited")

    def __init__(self, session: Session, claim: Claim, ctx: Context | None = None) -> None:
        self.session = session
        self.claim = claim
        self._ctx = ctx  # of a wait, which ends when the place is gone
        self.entry: Entry | None = None
        self.waited = False  # somebody was in the way
        self.removed = False  # the session's keeper found the place gone
        self.asked = 0  # how often a join was begun
        self._clean = False  # the last one was answered, with no unanswered copy before it

    @property
    def doubt(self) -> bool:
        """True when a copy of a join may still be carried out, even after the line was left."""
        return self.asked > 1 or not self._clean

    def _place_gone(self) -> None:
        self.removed = True
        if self._ctx is not None:
            self._ctx.cancel("the place in line is gone")

    def turn(self, standing: Standing) -> Turn:
        """Give what the place at the head is."""
        mine = standing.mine
        assert mine is not None
        # Who was ahead is read later than the place is taken, on v2 and after a lost reply: somebody who is not
        # there any more may have been there.
        waited = self.waited or mine.created < standing.revision
        return Turn(self.session, self.claim, mine, standing.revision, waited)

    def note(self, standing: Standing) -> None:
        """Remember what a join answered, and have the session look after the place."""
        self.entry = standing.mine
        if standing.mine is not None and self._ctx is not None:
            self.claim.guard(standing.mine, self._place_gone)
        self._clean = not standing.doubt
        if self.doubt:
            self.session.suspect(self.claim.key)
