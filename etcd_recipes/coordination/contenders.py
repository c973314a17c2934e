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
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from etcd_recipes.core.store import Entry, Standing

__all__ = ["FIRST_ONLY", "PERMITS", "READ", "WRITE", "Rule", "split"]


@dataclass(frozen=True, slots=True)
class Rule:
    """An admission rule: `blockers` gives those in the way, nobody when the contender may go in.

    `ahead` is how many of those ahead the rule needs to see (None: all). `shared` is True when several
    may be in at once: then the threads of a process stand in the line one by one, each on a seat.
    """

    name: str
    blockers: Callable[[Standing], tuple[Entry, ...]]
    ahead: int | None
    shared: bool = False


def split(line: Sequence[Entry], rule: Rule) -> tuple[tuple[Entry, ...], tuple[Entry, ...]]:
    """Give who is in and who waits, of a line in the order of arrival."""
    inside: list[Entry] = []
    waiting: list[Entry] = []
    for number, mine in enumerate(line):
        standing = Standing(mine, tuple(reversed(line[:number])), 0)
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


def _share(entry: Entry) -> tuple[int, int]:
    """Give how many permits a contender wants, and of how many."""
    wish = _wish(entry)
    weight, permits = wish.get("weight"), wish.get("permits")
    if type(weight) is int and type(permits) is int and 0 < weight <= permits:
        return weight, permits
    return 1, 1


def _by_weight(standing: Standing) -> tuple[Entry, ...]:
    """Add up from the nearest on; stop when so many are ahead that all who hold could leave in vain.

    One who is as far back as that does not watch the holders: by the time it comes to them, enough of
    those it does watch have left to wake it. So nobody watches more than about twice the permits.
    """
    if standing.mine is None:
        return ()
    total, limit = _share(standing.mine)
    watched = []
    for entry in standing.ahead:
        if total > 2 * limit:
            break
        weight, permits = _share(entry)
        total, limit = total + weight, min(limit, permits)
        watched.append(entry)
    return tuple(watched) if total > limit else ()


PERMITS = Rule("the first n by weight", _by_weight, ahead=None, shared=True)
"""One goes in when it and all ahead of it together want no more than the smallest limit any of them gave.

So those inside are the first of the line, and what they hold is within the limit of each of them.
"""


def _wish(entry: Entry) -> dict[str, object]:
    try:
        data = json.loads(entry.value)
    except (ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}
