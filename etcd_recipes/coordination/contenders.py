"""Who may go in: the admission rules of everything that waits in a line.

Rules of this file
1. Pure: a Standing in, the contenders that are in the way out. No clock, no thread, no etcd.
2. What a contender wants (read or write, how many permits) stands in its value, so that all others can
   read it at the revision at which they read the line. A value that says nothing of it wants everything
   for itself: a lock of the same name is then a writer.
3. Whom a rule names is whom the waiter watches, so they alone must be in its way: then nothing that
   happens to others can let it in. And nobody else's arrival, nor anybody's coming back, is ever in the way
   of one that was let in: those ahead only become fewer, or ask for less.
4. So a waiter sleeps for as long as the rule, asked about those it watches, as they are now, still names
   somebody; nobody else needs to wake when one leaves.
5. What counts for all (the limit of a semaphore) lies in a key beside the line, read at the same revision.
   Rules 3 and 4 hold while it stays as it is. Its change wakes all who wait: no other event does. It puts
   nobody out: who was let in once stays in, and so does whoever could have gone in and has not looked yet.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeGuard

from etcd_recipes.coordination.identity import contender
from etcd_recipes.core.store import Entry, Standing

__all__ = [
    "FIRST_ONLY",
    "PERMITS",
    "READ",
    "WRITE",
    "Limit",
    "Rule",
    "limit_in",
    "objection",
    "permits_of",
    "permits_rule",
    "split",
]


@dataclass(frozen=True, slots=True)
class Rule:
    """An admission rule: `blockers` gives those in the way, nobody when the contender may go in.

    `ahead` is how many of those ahead the rule sees at first (None: all). When it names one of them, it would
    name him whoever else is ahead; when it names nobody and there are more, it is asked again with all of
    them, so that nobody goes in by a part of the line. `shared` is True when several may be in at once: then
    the threads of a process stand in the line one by one, each on a seat. `beside` names the key beside the
    line that the rule reads, if there is one.
    """

    name: str
    blockers: Callable[[Standing], tuple[Entry, ...]]
    ahead: int | None
    shared: bool = False
    beside: str | None = None


def split(
    line: Sequence[Entry], rule: Rule, beside: Entry | None = None
) -> tuple[tuple[Entry, ...], tuple[Entry, ...]]:
    """Give who is in and who waits, of a line in the order of arrival."""
    inside: list[Entry] = []
    waiting: list[Entry] = []
    for number, mine in enumerate(line):
        standing = Standing(mine, tuple(reversed(line[:number])), 0, beside=beside)
        (waiting if rule.blockers(standing) else inside).append(mine)
    return tuple(inside), tuple(waiting)


# -- locks and elections --------------------------------------------------------------------------------------


def _nearest(standing: Standing) -> tuple[Entry, ...]:
    return standing.ahead[:1]


FIRST_ONLY = Rule("first only", _nearest, ahead=1)
"""One at a time, in the order of arrival: locks and elections."""


# -- read-write locks -----------------------------------------------------------------------------------------


def _reads(entry: Entry) -> bool:
    return _wish(entry).get("kind") == "read"


def _by_kind(standing: Standing) -> tuple[Entry, ...]:
    if standing.mine is None or not _reads(standing.mine):
        return _nearest(standing)
    writers = (entry for entry in standing.ahead if not _reads(entry))
    return tuple(entry for entry in [next(writers, None)] if entry is not None)


READ = Rule("no writer ahead", _by_kind, ahead=None, shared=True)
"""Readers go in together; one that came after a waiting writer waits for it."""

WRITE = Rule("nobody ahead", _by_kind, ahead=1, shared=True)
"""A writer is alone."""


# -- semaphores -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Limit:
    """What lies beside the line of a semaphore: `permits` is the limit for all, `was` what counted before."""

    permits: int
    was: int

    def __str__(self) -> str:
        """Give the value of the key."""
        return json.dumps({"permits": self.permits, "was": self.was}, separators=(",", ":"))


def limit_in(beside: Entry | None) -> Limit | None:
    """Read the stored limit; None when there is none, or none that can be read."""
    if beside is None:
        return None
    wish = _wish(beside)
    permits, was = wish.get("permits"), wish.get("was")
    return Limit(permits, was) if _is_count(permits) and _is_count(was) else None


def permits_of(entry: Entry) -> int | None:
    """Give the limit that a contender was made with; None for one that knows of none."""
    share = _share(entry)
    return None if share is None else share[1]


def objection(standing: Standing) -> str | None:
    """Say why `mine` can never go in as things are, whom it may meet, and what to do; None when it can.

    It is of no use to wait for a limit that is not one's own: some of those in the line would go by
    another one, and nobody would see it.
    """
    share = None if standing.mine is None else _share(standing.mine)
    if share is None:
        return None
    weight, permits = share
    if (limit := limit_in(standing.beside)) is None:
        return _other_permits(permits, standing.ahead)
    if permits not in (limit.permits, limit.was):
        return (
            f"the limit that counts for all is {limit.permits} (it was {limit.was}), and this object was "
            f"made with permits={permits}: make it with permits={limit.permits}, or change the limit for "
            f"all with resize({permits})"
        )
    if weight > limit.permits:
        return (
            f"{weight} permits can never be had at once, because the limit that counts for all is "
            f"{limit.permits} (it was {limit.was}): want less, or raise the limit with resize()"
        )
    return None


def _other_permits(permits: int, ahead: Sequence[Entry]) -> str | None:
    for entry in reversed(ahead):
        if permits_of(entry) not in (None, permits):
            return (
                f"this object was made with permits={permits}, but {contender(entry).identity}, which came "
                f"first, with permits={permits_of(entry)}: make both with the same number, or change the "
                f"limit for all with resize({permits})"
            )
    return None


def _is_count(number: object) -> TypeGuard[int]:
    return type(number) is int and 0 < number < _MANY


_MANY = 2**63
"""More than anybody counts: numbers of strangers are added up, and told to people."""


def _share(entry: Entry) -> tuple[int, int] | None:
    """Give how many permits a contender wants, and the limit it was made with; None for a stranger."""
    wish = _wish(entry)
    weight, permits = wish.get("weight"), wish.get("permits")
    if _is_count(weight) and _is_count(permits) and weight <= permits:
        return weight, permits
    return None


def _weight(entry: Entry, limit: int) -> int:
    share = _share(entry)
    return limit if share is None else share[0]


def _by_weight(standing: Standing) -> tuple[Entry, ...]:
    """Add up from the nearest on; stop when so many are ahead that all who hold could leave in vain.

    One who is as far back as that does not watch the holders: by the time it comes to them, enough of
    those it does watch have left to wake it. So nobody watches more than about twice the permits.
    """
    if standing.mine is None:
        return ()
    stored = limit_in(standing.beside)
    limit = (permits_of(standing.mine) or 1) if stored is None else stored.permits
    total = _weight(standing.mine, limit)
    watched: list[Entry] = []
    for entry in standing.ahead:
        if watched and total > 2 * limit:
            break
        total += _weight(entry, limit)
        watched.append(entry)
    return tuple(watched) if total > limit else ()


PERMITS = Rule("the first n by weight", _by_weight, ahead=None, shared=True, beside="limit")
"""One goes in when it and all ahead of it together want no more than the limit.

That is the stored one, or else what all were made with (`objection`). So those inside are the first of the
line. After a smaller limit was stored more may be inside than it says, until enough of them have left.
"""

_MOST_SEEN = 1000
"""More than so many are not counted out for an answer: all are read."""


def permits_rule(permits: int) -> Rule:
    """Give PERMITS for one who was made with so many: it sees as many as it would ever watch, not the whole line.

    Each wants one permit at least, so the nearest 2 * `permits` decide who waits; only where a larger limit was
    stored, or those ahead are fewer than are seen, can it name nobody.
    """
    seen = 2 * permits
    return replace(PERMITS, ahead=seen) if seen <= _MOST_SEEN else PERMITS


def _wish(entry: Entry) -> dict[str, object]:
    try:
        data = json.loads(entry.value)
    except (ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}
