"""History: what changed from one look to the next; how often a thing is granted, and how long it is waited for.

Rules of this file
1. Pure: the time is given. Times are those of `runtime.now`, in seconds.
2. A wait is counted from what the waiter says of itself, or else from when it was first seen.
3. What is not held any more stays on the page for a while: a lock that is held for a moment at a time
   would come and go otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from etcd_recipes.cli.view.census import Census, Party, Thing

__all__ = ["History", "Past", "observe", "per_minute", "seen_things", "waited"]

_WINDOW = 60.0
_STAYS = 30.0

_Who = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Past:
    """What was seen of one thing: its last state, the times of its last grants, the longest wait, the last change."""

    thing: Thing
    grants: tuple[float, ...] = ()
    longest: float = 0.0
    changed: float = 0.0


@dataclass(frozen=True, slots=True)
class History:
    """All that was seen since `began`; `waiting` is since when each waiter waits."""

    began: float
    pasts: Mapping[tuple[str, str], Past] = field(default_factory=dict)
    waiting: Mapping[_Who, float] = field(default_factory=dict)
    first: bool = True


def _who(party: Party) -> _Who:
    return party.entry.key, party.token


def observe(history: History, census: Census, now: float, wall: float) -> History:
    """Give the history after this look; `wall` is the time of day at `now`."""
    there: dict[tuple[str, str], Thing] = {
        (thing.kind, thing.name): thing for thing in census.things
    }
    waiting = {
        _who(party): history.waiting.get(_who(party), _began(party, now, wall))
        for thing in census.things
        for party in thing.waiters
    }
    known = {**history.waiting, **waiting}
    pasts: dict[tuple[str, str], Past] = {}
    for key, thing in there.items():
        before = history.pasts.get(key)
        pasts[key] = _next(before, thing, known, now, quiet=history.first)
    for key, past in history.pasts.items():
        if key not in there and (past.thing.holders or past.thing.waiters):
            free = replace(past.thing, state="free", holders=(), waiters=(), used=None)
            pasts[key] = replace(past, thing=free, changed=now)
        elif key not in there and now - past.changed < _STAYS:
            pasts[key] = past
    return History(history.began, pasts, waiting, first=False)


def _began(party: Party, now: float, wall: float) -> float:
    return now if party.since is None else now - max(0.0, wall - party.since)


def _next(
    before: Past | None, thing: Thing, known: Mapping[_Who, float], now: float, *, quiet: bool
) -> Past:
    """Give the past of a thing after this look; what is there at the first look is no change (`quiet`)."""
    past = before or Past(thing)
    was = {_who(party) for party in past.thing.holders} if before else set()
    new = [party for party in thing.holders if _who(party) not in was] if not quiet else []
    waits = [now - known[_who(party)] for party in new if _who(party) in known]
    grants = tuple(at for at in past.grants if now - at < _WINDOW) + (now,) * len(new)
    is_new = not quiet and (before is None or _places(past.thing) != _places(thing))
    return Past(thing, grants, max([past.longest, *waits]), now if is_new else past.changed)


def _places(thing: Thing) -> tuple[object, ...]:
    return thing.state, tuple(map(_who, thing.holders)), tuple(map(_who, thing.waiters))


def per_minute(history: History, past: Past, now: float) -> float | None:
    """Give the grants per minute, of the last one; None before there is a tenth of it to go by."""
    watched = min(_WINDOW, now - history.began)
    if watched < _WINDOW / 10:
        return None
    return sum(now - at < _WINDOW for at in past.grants) * 60 / watched


def waited(history: History, past: Past, now: float) -> float:
    """Give the longest wait seen, of those that are over and those that go on."""
    still = [now - history.waiting.get(_who(party), now) for party in past.thing.waiters]
    return max([past.longest, *still])


def seen_things(history: History) -> list[Past]:
    """Give what is to be shown: most waiters first, then by name."""
    return sorted(
        history.pasts.values(),
        key=lambda past: (-len(past.thing.waiters), not past.thing.holders, past.thing.name),
    )
