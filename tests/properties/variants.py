"""The broken variants: well-known defects, patched into an actor's process; the suite must catch each.

A variant says in which scene, on which subjects, it must be caught, and which properties it may break
there: one of them must be found broken. Patches go in at the Store's verbs where that is possible, for
they change less than what is above them. What needs luck is forced: a patch waits for the unlucky moment.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from itertools import count
from types import ModuleType
from typing import Any, Self

from etcd_recipes import Context
from etcd_recipes.coordination import contenders, handle, line, session
from etcd_recipes.core import runtime
from etcd_recipes.core.store import Batch, Entry, Feed, Renewal, Standing
from etcd_recipes.core.v3.store import V3Grant, V3Store
from etcd_recipes.core.v3.txn import Op

__all__ = ["VARIANTS", "Variant"]


@dataclass(frozen=True, slots=True)
class Variant:
    """A defect; `patch` puts it into this process."""

    patch: Callable[[], None]
    scene: str
    breaks: Collection[str]
    subjects: Collection[str] = ("lock", "rwlock", "semaphore", "election")


VARIANTS: dict[str, Variant] = {}


def variant(
    scene: str, *breaks: str, subjects: Collection[str] | None = None
) -> Callable[[Callable[[], None]], Callable[[], None]]:
    def register(patch: Callable[[], None]) -> Callable[[], None]:
        made = Variant(patch, scene, breaks)
        VARIANTS[patch.__name__] = made if subjects is None else replace(made, subjects=subjects)
        return patch

    return register


def _put(owner: Any, name: str, replacement: Any) -> Any:
    """Replace what is there (an AttributeError says that a patch has lost its place); give what was."""
    before = getattr(owner, name)
    put = setattr if isinstance(owner, type | ModuleType) else object.__setattr__  # past "frozen"
    put(owner, name, replacement)
    return before


# -- the place in the line ------------------------------------------------------------------------------------


@variant("place_removed", "exclusion")
def no_look_at_the_own_place() -> None:
    """Believes to hold when those ahead have left, its own place or no place."""
    _keep_no_watch_over_keys()

    def standing(self: V3Store, line: str, mine: Entry, ctx: Context, **how: Any) -> Standing:
        now: Standing = before(self, line, mine, ctx, **how)
        if now.mine is not None:
            return now
        entries = self.list(f"{line}/", ctx).entries
        ahead = tuple(entry for entry in reversed(entries) if entry.created < mine.created)
        return replace(now, mine=mine, ahead=ahead)

    before = _put(V3Store, "standing", standing)


@variant("reply_to_join_lost", "liveness", "orphans")
def a_new_place_for_each_join() -> None:
    """A join that is repeated takes a new place, behind the one that it took unawares."""
    seats = count(1)

    def join(self: V3Store, *args: Any, **how: Any) -> Standing:
        standing: Standing = before(self, *args, **{**how, "seat": next(seats)})
        return standing

    before = _put(V3Store, "join", join)


@variant("giving_up", "orphans", "liveness")
def stays_in_line_when_cancelled() -> None:
    """A wait that was given up leaves its key where it is."""
    _put(line.Line, "_leave", lambda self, visit: visit.session.release(visit.claim))


@variant("late_release", "exclusion", "notice")
def releases_by_name() -> None:
    """Deletes whatever stands at the key."""

    def delete(self: V3Store, entry: Entry, ctx: Context) -> bool:
        self._txn([], [Op.delete(entry.key)], [], "delete by name", ctx)
        return True

    _put(V3Store, "delete", delete)


# -- the order -------------------------------------------------------------------------------------------------


@variant("hand_over", "fifo", subjects=["lock", "election"])
def newest_first() -> None:
    """Of those who wait, the one that came last goes in next."""
    first_seen: dict[str, frozenset[str]] = {}

    def blockers(standing: Standing) -> tuple[Entry, ...]:
        mine = standing.mine
        if mine is None or not standing.ahead:
            return ()
        others = frozenset(entry.key for entry in standing.ahead)
        seen = first_seen.setdefault(mine.key, others)
        newer = [entry for entry in standing.ahead if entry.created > mine.created]
        the_holder_left = bool(seen - others)
        return () if the_holder_left and not newer else standing.ahead

    def standing(self: V3Store, line: str, mine: Entry, ctx: Context, **how: Any) -> Standing:
        entries = self.list(f"{line}/", ctx).entries
        others = tuple(entry for entry in entries if entry.key != mine.key)
        now: Standing = before(self, line, mine, ctx, **how)
        return replace(now, ahead=others)

    before = _put(V3Store, "standing", standing)
    _put(contenders.FIRST_ONLY, "ahead", None)
    _put(contenders.FIRST_ONLY, "blockers", blockers)


@variant("hand_over", "exclusion", "fifo", subjects=["rwlock"])
def a_reader_looks_at_its_predecessor_only() -> None:
    """Goes in behind a reader that waits itself."""

    def blockers(standing: Standing) -> tuple[Entry, ...]:
        mine, nearest = standing.mine, standing.ahead[:1]
        both_read = mine is not None and all('"read"' in e.value for e in [mine, *nearest])
        return () if both_read else nearest

    for rule in (contenders.READ, contenders.WRITE):
        _put(rule, "blockers", blockers)


@variant("hand_over", "exclusion", "fifo", subjects=["semaphore"])
def a_permit_is_counted_against_its_predecessor_only() -> None:
    """Goes in when it and its predecessor want no more than there is."""
    before = contenders.PERMITS.blockers

    def blockers(standing: Standing) -> tuple[Entry, ...]:
        return before(replace(standing, ahead=standing.ahead[:1]))

    _put(contenders.PERMITS, "blockers", blockers)


@variant("hand_over", "tokens")
def a_token_that_does_not_grow() -> None:
    """Takes for a token what tells sessions apart, and not holds."""
    before = line._Visit.turn
    _put(line._Visit, "turn", lambda self, standing: replace(before(self, standing), token=7))


# -- what is learned of a departure ----------------------------------------------------------------------------


class _Late:
    """A feed that is opened after the reading; it waits until it has missed what it is for."""

    def __init__(self, store: V3Store, open_: Callable[[], Feed], keys: Collection[str]) -> None:
        self._store, self._open, self._keys = store, open_, keys
        self._feed: Feed | None = None
        self.revision = 0

    def next(self) -> Batch | None:
        if self._feed is None:
            patience = Context(3.0)
            while not patience.wait(0.005):
                if not all(self._store.get(key, patience) for key in self._keys):
                    break
            self._feed = self._open()
        return self._feed.next()

    def close(self) -> None:
        if self._feed is not None:
            self._feed.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


@variant("hand_over", "liveness")
def opens_the_feed_after_the_reading() -> None:
    """Misses a departure between the two, and sleeps until its next look."""

    def watch(self: V3Store, ctx: Context, *, keys: Collection[str] = (), **how: Any) -> _Late:
        return _Late(self, lambda: before(self, ctx, keys=keys, **how), keys)

    before = _put(V3Store, "watch", watch)


@variant("hold_removed", "notice")
def keeps_no_watch_over_its_keys() -> None:
    """Renews the lease, and does not ask whether the keys under it are still there."""
    _keep_no_watch_over_keys()


def _keep_no_watch_over_keys() -> None:
    def renew(self: V3Grant, ctx: Context, *, keys: bool = False) -> Renewal:
        return Renewal(before(self, ctx).ttl, None)

    before = _put(V3Grant, "renew", renew)


# -- the clock ---------------------------------------------------------------------------------------------------


@variant("stopped_after_a_late_reply", "notice", "exclusion")
def counts_the_ttl_from_the_reply() -> None:
    """Believes that the lease began when it heard of it."""
    _put(session, "_deadline", lambda sent, ttl: runtime.now() + ttl)


@variant("cut_off", "exclusion", "notice")
def knows_no_deadline() -> None:
    """Holds until etcd tells otherwise, which a network that is silent does not."""
    _put(session, "_deadline", lambda sent, ttl: runtime.now() + 3600)


@variant("stopped", "exclusion", "notice")
def is_held_without_a_look_at_the_clock() -> None:
    """Answers what the last renewal left, until the thread that renews has run again: here, a little later."""

    def lose(self: session.Session, reason: str) -> None:
        Context(0.05).wait()
        before(self, reason)

    before = _put(session.Session, "lose", lose)
    _put(handle.Handle, "is_held", property(lambda self: self._state.value == "held"))
