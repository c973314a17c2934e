"""Who may go in: the admission rules of everything that waits in a line.

Rules of this file
1. Pure: a Standing in, the contenders that are in the way out. No clock, no thread, no etcd.
2. A rule names *all* whom it waits for: a waiter that watches too few of them may sleep on although it
   could go in. For a rule that admits one at a time, the nearest ahead is enough: the line behind the
   oldest moves up one by one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from etcd_recipes.core.store import Entry, Standing

__all__ = ["FIRST_ONLY", "Rule"]


@dataclass(frozen=True, slots=True)
class Rule:
    """An admission rule: `blockers` gives those in the way, nobody when the contender may go in.

    `ahead` is how many of those ahead the rule needs to see (None: all). `values` is True when a changed
    value of somebody ahead can admit a waiter, so that it must be woken by puts as well as by departures.
    """

    name: str
    blockers: Callable[[Standing], tuple[Entry, ...]]
    ahead: int | None
    values: bool = False


def _nearest(standing: Standing) -> tuple[Entry, ...]:
    return standing.ahead[:1]


FIRST_ONLY = Rule("first only", _nearest, ahead=1)
"""One at a time, in the order of arrival: locks and elections."""
