"""Hand-over: a leader names the candidate that is to follow, in a note beside the line.

The algorithm
Leader
1. Find the candidate in the line: its key, and the revision at which it took its place.
2. Write the note, ``<name>.transfer``, under the own lease: when the leader dies, its note dies with it.
3. Resign.
4. Watch the note and the candidate's key until one of them goes: if it is the note, the candidate leads
   (a key at the head of the line may be a dead process's). Take the note away.
Candidate that comes to the head after it had waited (one that never waited is the only one in the line)
5. Read the note. There is none, or it names this candidate: it leads.
6. The one it names still stands in the line, at the place that was meant: leave the line, and stand at its end.
7. Otherwise it leads: nobody waits for one that died. Whoever leads takes the note away, as an answer.

Rules of this file
* Who leads is the line's verdict alone, before and after. A note that is lost, late or stale costs the
  hand-over, never exclusion. It names a place by its revision, so it means nothing to a later place.
* Nobody's key in the line is removed but one's own: a Go candidate whose key is removed by another one
  believes that it leads. A Go candidate that stands before the one that was named leads first.
* Nobody steps aside for ever: each that does stands behind the one that was named.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial

from etcd_recipes.coordination.identity import Contender
from etcd_recipes.coordination.line import Line, Turn
from etcd_recipes.coordination.session import Session
from etcd_recipes.coordination.sessions import Sessions
from etcd_recipes.core import retry
from etcd_recipes.core.context import Context
from etcd_recipes.core.errors import EtcdRecipesError, HistoryLost, RecipeError, ResponseError
from etcd_recipes.core.log import event_logger
from etcd_recipes.core.store import Entry

__all__ = ["Handover", "Place", "choose", "read_note"]

_MOMENT = 1.0
"""Seconds for taking a note away; what stays after that goes in the background, or with its lease."""

QUIET = 10.0
"""Seconds without news after which the leader asks by itself."""


@dataclass(frozen=True, slots=True)
class Place:
    """One place in a line: the key, and the revision at which it was taken."""

    key: str
    token: int

    def is_in(self, line: Sequence[Entry]) -> bool:
        """Tell whether somebody stands there."""
        return any(self == _place(entry) for entry in line)


def _place(entry: Entry) -> Place:
    return Place(entry.key, entry.created)


def read_note(value: str) -> Place | None:
    """Give the place that a note names; None for what is no note."""
    try:
        data = json.loads(value)
        key, token = data["key"], data["token"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return Place(key, token) if isinstance(key, str) and type(token) is int else None


def _write_note(place: Place) -> str:
    return json.dumps({"key": place.key, "token": place.token}, separators=(",", ":"))


def choose(to: Contender | str, line: Sequence[Entry], leader: Entry) -> Place:
    """Give the place that is meant by `to`: the oldest one that waits, if it is a proposal.

    ValueError when that is the leader's own, RecipeError when nobody of the kind waits.
    """
    waiting = [entry for entry in line if _place(entry) != _place(leader)]
    if isinstance(to, Contender):
        meant = [entry for entry in line if _place(entry) == Place(to.key, to.token)]
    else:
        meant = [entry for entry in line if entry.value == to]
    for entry in meant:
        if entry in waiting:
            return _place(entry)
    if meant:
        raise ValueError(f"{meant[0].key} leads already: hand over to one that waits")
    if not waiting:
        raise RecipeError(f"nobody waits behind {leader.key} to take over; resign() all the same?")
    who = repr(to) if isinstance(to, str) else to.key
    others = ", ".join(repr(entry.value) for entry in waiting)
    raise RecipeError(f"{who} is no candidate (any more); those who wait propose {others}")


class Handover:
    """The hand-overs of one election: both sides."""

    def __init__(self, sessions: Sessions, line: Line) -> None:
        self._store = sessions.store
        self._line = line
        self._key = f"{line.name}.transfer"
        self._log = event_logger("election").bind(election=line.name)

    # -- the leader --------------------------------------------------------------------------------------------

    def find(self, to: Contender | str, leader: Entry, ctx: Context) -> Place:
        """Step 1: one request. Raises as `choose` does; TypeError for anything else."""
        if not isinstance(to, Contender | str):
            raise TypeError(
                f"hand over to a Contender or to a proposal (str), not {type(to).__name__}"
            )
        return choose(to, self._line.contenders(ctx), leader)

    @contextmanager
    def noted(self, place: Place, session: Session, ctx: Context) -> Iterator[Entry]:
        """Step 2: give the note; it is taken away when the body ends, whatever happens."""
        claim = session.claim(self._key, ctx)  # one thread at a time
        note: Entry | None = None
        try:
            note = self._write(place, session, ctx)
            self._log.info("election.transfer", to=place.key)
            yield note
        finally:
            if note is None:
                session.suspect(self._key)  # it may yet be written
            with suppress(EtcdRecipesError):  # it goes on in the background, after a signal too
                session.remove(claim, note, Context(_MOMENT))

    def _write(self, place: Place, session: Session, ctx: Context) -> Entry:
        value = _write_note(place)
        for _ in range(3):
            standing = self._store.create(self._key, value, session.grant, ctx)
            if standing.doubt:
                session.suspect(self._key)
            there = standing.mine
            if there is None:
                continue
            if there.lease == session.id and there.value == value:
                return there
            self._store.delete(there, ctx)  # of an earlier leader, or for an earlier candidate
        raise RecipeError(f"{self._key} is written by somebody else again and again")

    def _removed(self, note: Entry | None, ctx: Context) -> bool:
        """Take the note away; tell whether it is certainly gone."""
        if note is None:
            return False
        try:
            self._store.delete(note, ctx)
        except EtcdRecipesError:
            return False
        return True

    def taken(self, note: Entry, place: Place, ctx: Context) -> bool:
        """Step 4: wait until the note is taken, or the place is gone; tell whether it was the note."""
        watched = {_place(note), place}
        while True:
            try:
                there = retry.PATIENT.run(ctx, partial(self._over_one_feed, watched, ctx))
            except HistoryLost:
                continue  # read again
            if there != watched:
                return place in there

    def _over_one_feed(self, watched: set[Place], ctx: Context) -> set[Place]:
        """Wait until one of those places is gone, or the feed is over; give those that are there."""
        keys = sorted({place.key for place in watched})
        with self._store.watch(ctx, keys=keys, quiet=QUIET) as feed:
            read = (self._store.get(key, ctx) for key in keys)
            there = watched & {_place(entry) for entry in read if entry is not None}
            while there == watched and (batch := feed.next()) is not None:
                for change in batch.changes:
                    now = None if change.entry is None else _place(change.entry)
                    there = {place for place in there if place.key != change.key or place == now}
            return there

    # -- the candidate -----------------------------------------------------------------------------------------

    def falls_to(self, turn: Turn, ctx: Context) -> bool:
        """Steps 5 to 7: tell whether this turn is to be taken.

        If not, or when this raises, the line is left. Requests: 1, and 1 or 2 more when there is a note.
        """
        try:
            with turn.session.bound(ctx) as bound:
                takes = retry.PATIENT.run(bound, lambda: self._leads(turn.entry, bound))
        except ResponseError as error:
            # Not allowed to read it, for example. The line has spoken all the same.
            self._log.warning("election.note_unreadable", key=self._key, error=str(error))
            return True
        except BaseException:
            self._line.leave(turn)
            raise
        if not takes:
            self._line.leave(turn)
            self._log.info("election.stepped_aside", key=turn.entry.key)
        return takes

    def _leads(self, mine: Entry, ctx: Context) -> bool:
        note = self._store.get(self._key, ctx)
        if note is None:
            return True
        named = read_note(note.value)
        if named is not None and named != _place(mine) and named.is_in(self._line.contenders(ctx)):
            return False
        self._removed(note, ctx.child(_MOMENT))
        ctx.check()
        return True
