"""Double barrier: so many parties go in together, and come out together; again and again.

The algorithm (the keys and the rules of a round: `coordination.rounds`)
Enter
1. Create a party key with an id of its own, on the session's lease. Then go by every state, one by one:
2. No round, and enough parties: the eldest creates one that lists the first of them by id.
3. Listed: say ``in``. A listed party that is gone before the opening: say ``void``, and wait on.
4. All have said ``in``, before any ``void``: inside. Who is not listed waits for the end of the round.
5. Time is up: delete the party key. Who has said ``in`` says ``void`` first, and looks: when the round
   had opened before that, it is inside, time or no time.
Leave
6. Say ``left``, and wait until all members have. A member that is gone without it: BrokenBarrier.
7. Delete the party key; the last one to go removes the round.

Why a member says ``in`` itself: a party key may stand there for one that has died, or has given up while a
copy of its request was under way. Neither can be taken for one that goes in.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Self

from etcd_recipes.coordination.claim import Claim
from etcd_recipes.coordination.identity import contender, describe_self
from etcd_recipes.coordination.names import check_name
from etcd_recipes.coordination.rounds import View, look, parties_in
from etcd_recipes.coordination.session import Session
from etcd_recipes.coordination.sessions import Sessions, check_ttl
from etcd_recipes.coordination.until import until
from etcd_recipes.core import retry, runtime
from etcd_recipes.core.context import Context, check_timeout
from etcd_recipes.core.errors import (
    BrokenBarrier,
    ContextError,
    EtcdRecipesError,
    LeaseNotFound,
    NotHeld,
    RecipeError,
    SessionLost,
)
from etcd_recipes.core.log import event_logger
from etcd_recipes.core.store import Entry

__all__ = ["DoubleBarrier"]

_BLINK = 0.05
"""Seconds that a call which has ended may still take to leave no trace."""

_TIDYING = 1.0
"""Seconds for taking away what a round leaves; what stays, the next one takes away."""


class _Party:
    """One entering, until its leaving."""

    __slots__ = ("asked", "claim", "doubt", "entry", "id", "round", "said_in", "session")

    def __init__(self, session: Session, claim: Claim, id_: str) -> None:
        self.session = session
        self.claim = claim
        self.id = id_
        self.entry: Entry | None = None
        self.asked = 0  # how often the key was asked for
        self.doubt = False  # a copy of that may still be carried out
        self.said_in = 0  # the round in which it has said so
        self.round = 0  # the round that it is inside of


class DoubleBarrier:
    """A double barrier named `name` for `parties`; made by ``client.double_barrier(name, parties=...)``.

    Each thread that enters is a party, also two threads with one and the same object; it enters and
    leaves by itself. The name may be used again and again: whoever comes while a round is on waits for
    the next. Requests per party and round: 4 to enter, 5 to leave, and about 2 to begin and remove it.
    """

    def __init__(
        self,
        sessions: Sessions,
        name: str,
        *,
        parties: int,
        ttl: float | None = None,
        timeout: float | None = None,
    ) -> None:
        self.name = check_name(name, "double barrier name")
        if isinstance(parties, bool) or not isinstance(parties, int):
            raise TypeError(f"parties is an int, not {type(parties).__name__}")
        if parties < 1:
            raise ValueError(f"parties of double barrier {name!r} must be 1 or more; got {parties}")
        self.parties = parties
        self._ttl = None if ttl is None else check_ttl(ttl)
        self._timeout = check_timeout(timeout)
        self._sessions = sessions
        self._store = sessions.store
        self._inside: dict[object, _Party] = {}  # by thread, or by who it says it is
        self._log = event_logger("double_barrier").bind(barrier=name)

    # -- enter -----------------------------------------------------------------------------------------------

    def enter(
        self,
        timeout: float | None = None,
        *,
        ctx: Context | None = None,
        party: Hashable | None = None,
    ) -> None:
        """Wait until all parties are there, and go in with them.

        `party` says who enters, where that is not the thread: the same has to leave.

        Raises DeadlineExceeded when `timeout` seconds or the deadline of `ctx` pass first, Cancelled when
        `ctx` is cancelled: the others then go on waiting for another party. Raises SessionLost when the
        lease ended while waiting, BrokenBarrier when somebody else removed this party's key, ValueError
        when those who were first count on another number of parties, RecipeError when this thread is
        inside already, ClusterError when etcd cannot be reached to begin with, ResponseError when etcd
        refuses. When it raises, this party is not in.
        """
        who = _who(party)
        inside = self._inside.get(who)
        if inside is not None and inside.session.is_alive:  # not in a forked child
            raise RecipeError(
                f"this thread is inside double barrier {self.name!r} already: leave() it first; "
                "another party needs a thread or process of its own"
            )
        limited = Context(timeout, parent=ctx)
        session = self._sessions.get(self._ttl, limited)
        try:
            entered = self._enter(session, limited)
        except LeaseNotFound as error:  # it had ended before we knew: once more with a new one
            session.lose(f"etcd says that {error.message}")
            entered = self._enter(self._sessions.get(self._ttl, limited), limited)
        self._inside[who] = entered

    def _enter(self, session: Session, ctx: Context) -> _Party:
        id_ = f"{runtime.rng().getrandbits(64):016x}"
        claim = session.claim_now(f"{self.name}/parties/{id_}")
        assert claim is not None  # an id is drawn once
        party = _Party(session, claim, id_)
        try:
            with session.bound(ctx) as bound:
                self._arrive(party, bound)
                until(self._store, f"{self.name}/", bound, partial(self._step_in, party, ctx=bound))
                session.check()
        except ContextError:
            if not self._withdraw(party):
                raise
        except BaseException:
            self._remove(party, Context(_BLINK))
            raise
        return party

    def _arrive(self, party: _Party, ctx: Context) -> None:
        """Step 1."""
        value = json.dumps({"parties": self.parties, **json.loads(describe_self())})

        def create() -> None:
            party.asked += 1
            standing = self._store.create(party.claim.key, value, party.session.grant, ctx)
            party.entry = standing.mine
            party.doubt = standing.doubt or party.asked > 1

        retry.PATIENT.run(ctx, create, on_failure=self._tell)

    def _step_in(self, party: _Party, entries: Mapping[str, Entry], *, ctx: Context) -> bool | None:
        """Steps 2 to 4: do what this state calls for; True when it is inside."""
        view = look(self.name, entries)
        if party.id not in view.parties:
            party.session.check()
            raise self._broken("this party's key was removed from etcd by somebody else")
        self._check_number(view)
        if view.round is None:
            self._propose(party, view, ctx)
        elif view.over:
            if view.eldest == party.id:
                self._tidy(view, ctx)
        elif party.id in view.members:
            if view.opened:
                party.round = view.round.created
                return True
            self._answer(party, view, view.round.created, ctx)
        return None

    def _check_number(self, view: View) -> None:
        eldest = next(iter(view.parties.values()))
        if (number := parties_in(eldest.value)) not in (None, self.parties):
            raise ValueError(
                f"double barrier {self.name!r} is used with parties={number} by "
                f"{contender(eldest).identity}, and here with parties={self.parties}: give all the "
                "same number, or take another name"
            )

    def _propose(self, party: _Party, view: View, ctx: Context) -> None:
        """Step 2. The round comes first: each stray that goes is a state that would call for it again."""
        members = list(view.parties)[: self.parties]
        if len(members) == self.parties and view.eldest == party.id:
            self._store.create(f"{self.name}/round", json.dumps({"members": members}), None, ctx)
            for stray in view.strays:
                self._store.delete(stray, ctx)

    def _answer(self, party: _Party, view: View, number: int, ctx: Context) -> None:
        """Step 3."""
        if view.dead:
            self._say("void", number, ctx)
        elif party.said_in != number:
            party.said_in = number  # first: a request that is lost may still be carried out
            try:
                self._say(f"in/{party.id}", number, ctx)
            except ContextError:
                raise
            except EtcdRecipesError:
                party.said_in = -number  # to be said again, and still to be voided
                raise

    def _say(self, what: str, number: int, ctx: Context) -> None:
        """Make a mark of the round; it stays when we go."""
        self._store.create(f"{self.name}/{number}/{what}", describe_self(), None, ctx)

    def _withdraw(self, party: _Party) -> bool:
        """Step 5; tells whether the round had opened before."""
        blink = Context(_BLINK)
        view: View | None = None
        try:
            if party.said_in and party.session.is_alive:
                number = abs(party.said_in)
                self._say("void", number, blink)
                view = self._look(blink)
                if view.round is not None and view.round.created == number and view.opened:
                    party.round = number
                    return True
        except EtcdRecipesError as error:
            self._tell(error)
        except BaseException:  # a signal
            self._remove(party, blink)
            raise
        self._remove(party, blink)
        self._tidy_if_over(view, blink)
        return False

    # -- leave -----------------------------------------------------------------------------------------------

    def leave(
        self,
        timeout: float | None = None,
        *,
        ctx: Context | None = None,
        party: Hashable | None = None,
    ) -> None:
        """Wait until all who went in together leave, and leave with them.

        Raises BrokenBarrier when one of them died inside, or this party's own lease ended: as soon as its
        lease ends. Raises DeadlineExceeded when `timeout` seconds or the deadline of `ctx` pass first,
        Cancelled when `ctx` is cancelled: this party has then left, and the others do not wait for it.
        Raises NotHeld when this thread is not inside, ResponseError when etcd refuses.
        """
        limited = Context(timeout, parent=ctx)
        entered = self._take(party)
        try:
            with entered.session.bound(limited) as bound:
                entered.session.check()
                say = partial(self._say, f"left/{entered.id}", entered.round, bound)
                retry.PATIENT.run(bound, say, on_failure=self._tell)
                until(self._store, f"{self.name}/", bound, partial(self._step_out, entered))
        except SessionLost as error:
            self._go(entered, Context(_BLINK))
            raise self._broken(f"this party's own lease has ended ({error})") from error
        except BaseException as error:
            broken = isinstance(error, BrokenBarrier)
            self._go(entered, limited.child(_TIDYING) if broken else Context(_BLINK))
            raise
        self._go(entered, limited.child(_TIDYING))

    def abort(self, *, party: Hashable | None = None) -> None:
        """Leave at once, without the others, who get BrokenBarrier; NotHeld when this thread is not inside."""
        self._go(self._take(party), Context(_TIDYING))

    def is_inside(self, party: Hashable | None = None) -> bool:
        """Tell whether this thread (or `party`) has entered and not left: local."""
        return _who(party) in self._inside

    def _take(self, who: Hashable | None) -> _Party:
        party = self._inside.pop(_who(who), None)
        if party is None:
            raise NotHeld(
                f"this thread is not inside double barrier {self.name!r}: enter() it first; who has "
                "left, or was given up on, has to enter again"
            )
        return party

    def _step_out(self, party: _Party, entries: Mapping[str, Entry]) -> bool | None:
        """Step 6: True when all have left."""
        view = look(self.name, entries)
        if view.round is None or view.round.created != party.round:
            raise self._broken("its keys were removed from etcd by somebody else")
        if view.all_left:
            return True
        if party.id not in view.parties:
            party.session.check()
            raise self._broken("this party's key was removed from etcd by somebody else")
        if view.dead:
            raise self._broken(
                f"{len(view.dead)} of {self.parties} parties died inside; enter again for a new round"
            )
        return None

    def _go(self, party: _Party, ctx: Context) -> None:
        """Step 7."""
        self._remove(party, ctx)
        if not party.session.is_alive:
            return  # a forked child comes here too: nothing of it is ours to touch
        try:
            view = self._look(ctx)
        except EtcdRecipesError as error:
            self._tell(error)
            return
        if view.round is not None and view.round.created == party.round:
            self._tidy_if_over(view, ctx)

    # -- what both need ----------------------------------------------------------------------------------------

    def _look(self, ctx: Context) -> View:
        entries = self._store.list(f"{self.name}/", ctx).entries
        return look(self.name, {entry.key: entry for entry in entries})

    def _tidy(self, view: View, ctx: Context) -> None:
        """Remove a round that is over: its key first (see the rules).

        Who finds that key gone leaves the marks to the one that took it, or to the next round: else each of
        the many that leave at the same time would delete the marks of all.
        """
        assert view.round is not None
        if self._store.delete(view.round, ctx):
            for entry in (*view.marks, *view.strays):
                self._store.delete(entry, ctx)

    def _tidy_if_over(self, view: View | None, ctx: Context) -> None:
        """The same, if there is reason to; what cannot be reached, the next round takes away."""
        if view is not None and view.over:
            try:
                self._tidy(view, ctx)
            except EtcdRecipesError as error:
                self._tell(error)

    def _remove(self, party: _Party, ctx: Context) -> None:
        """Delete the party key; what cannot be confirmed now, the session goes on with."""
        session, claim = party.session, party.claim
        if not party.asked:
            session.release(claim)
            return
        if party.doubt or party.entry is None:
            session.suspect(claim.key)
        with suppress(EtcdRecipesError):
            session.remove(claim, party.entry, ctx)

    def _broken(self, why: str) -> BrokenBarrier:
        return BrokenBarrier(f"double barrier {self.name!r} is broken: {why}")

    def _tell(self, error: BaseException) -> None:
        self._log.warning("double_barrier.unreachable", error=str(error))

    def __enter__(self) -> Self:
        """Enter, for as long as the barrier's `timeout`; raises what `enter` raises."""
        self.enter(self._timeout)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave with the others. A body that raised goes at once, and breaks the barrier for them."""
        if error is None:
            self.leave(self._timeout)
        elif self.is_inside():
            self.abort()

    def __repr__(self) -> str:
        return f"<DoubleBarrier {self.name!r} of {self.parties}>"


def _who(party: Hashable | None) -> Hashable:
    return runtime.thread_id() if party is None else party
