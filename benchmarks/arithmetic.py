"""What is counted, and how: pure functions of what was measured.

Rules of this file
* A ratio is taken within a round, between two that ran one after the other; of the ratios the median counts.
* What was not measured is None, all the way: nothing stands in for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from math import ceil
from statistics import median
from typing import Any

__all__ = [
    "FOLDS",
    "Round",
    "Rounds",
    "contention",
    "fairness",
    "folded",
    "handoffs",
    "overlaps",
    "percentile",
    "ratio",
    "values",
]

Round = Mapping[str, Any]
"""What one peer gave in one round: measures by name; `failed`, in words, if it gave none."""

Rounds = Mapping[str, Mapping[str, Sequence[Round]]]
"""A figure: for each case and each peer its rounds, in their order."""

FOLDS: dict[str, Callable[[list[float]], float]] = {
    "median": median,
    "max": max,
    "min": min,
    "sum": sum,
}

TURNS = 10
"""As many turns each contender must have had, in the mean, before their fairness is told."""


def percentile(numbers: Iterable[float], share: float) -> float:
    """Give the least number that is not exceeded by this share of them; ValueError for none."""
    ordered = sorted(numbers)
    if not ordered:
        raise ValueError("there is no percentile of nothing")
    return ordered[max(0, ceil(share * len(ordered)) - 1)]


def values(rounds: Sequence[Round], measure: str) -> list[float]:
    """Give what was measured, without the rounds that have none."""
    return [each[measure] for each in rounds if each.get(measure) is not None]


def folded(rounds: Sequence[Round], measure: str, fold: str = "median") -> float | None:
    """Give one number for all rounds, or None."""
    found = values(rounds, measure)
    return FOLDS[fold](found) if found else None


def ratio(case: Mapping[str, Sequence[Round]], measure: str, one: str, other: str) -> float | None:
    """Give how many times `other` the peer `one` has: the median over the rounds in which both have it."""
    pairs = zip(case.get(one, ()), case.get(other, ()), strict=False)
    found = [
        a[measure] / b[measure] for a, b in pairs if a.get(measure) is not None and b.get(measure)
    ]
    return median(found) if found else None


# -- a line of contenders --------------------------------------------------------------------------------------

Turn = tuple[float, float, float]
"""A turn: asked for it, got it, let go of it."""


def handoffs(turns: Sequence[Sequence[Turn]]) -> int:
    """Give how often somebody else came next."""
    order = sorted((got, who) for who, each in enumerate(turns) for _, got, _ in each)
    return sum(a[1] != b[1] for a, b in pairwise(order))


def overlaps(turns: Sequence[Sequence[Turn]]) -> int:
    """Give how often somebody was in before the one before him was out."""
    spans = sorted((got, left) for each in turns for _, got, left in each)
    latest, found = float("-inf"), 0
    for got, left in spans:
        found += got < latest
        latest = max(latest, left)
    return found


def fairness(turns: Sequence[Sequence[Turn]]) -> float | None:
    """Give the most turns of one over the fewest of one; None if there were too few to tell."""
    counts = [len(each) for each in turns]
    if sum(counts) < TURNS * len(counts):
        return None
    return max(counts) / min(counts) if min(counts) else float(max(counts))


def contention(
    turns: Sequence[Sequence[Turn]], waiting: Sequence[float | None], seconds: float
) -> dict[str, Any]:
    """Give the figures of one contention; `waiting` is how long each has waited when time was up."""
    counts = [len(each) for each in turns]
    waits = [got - asked for each in turns for asked, got, _ in each]
    longest = max([*waits, *(each for each in waiting if each is not None)], default=None)
    even = fairness(turns)
    return {
        "handoffs": handoffs(turns) / seconds,
        "turns": sum(counts) / seconds,
        "fairness": even,
        "fewest": min(counts),
        "longest_wait": longest,
        "two_at_once": overlaps(turns),
    }
