"""Ejection: an instance that failed is left out for a while. Pure functions; the time comes from outside.

The rule
1. A failure ejects for about FIRST seconds, and twice as long each time it fails again after it was let back
   in, up to LONGEST; a success forgets all that. Failures while it is out add nothing: they are the calls
   that were under way.
2. The times are jittered, so that many clients do not come back to it at once.
3. At most the share `max_ejection` is left out, those that failed most often first: when everybody fails,
   the fault is elsewhere.
4. What is ejected is an instance at an address: a new one with the same id somewhere else is not punished.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from etcd_recipes.recipes.registry.instance import Instance

__all__ = ["Ejection", "after_failure", "healthy", "who"]

FIRST, LONGEST, JITTER = 10.0, 300.0, 0.2
"""Seconds, seconds, and the part of them that chance may take away."""

Who = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Ejection:
    """How often it failed, and until when it is out."""

    failures: int
    until: float


def who(instance: Instance) -> Who:
    """Give what an ejection is of (4)."""
    return instance.id, instance.address


def after_failure(before: Ejection | None, now: float, rng: random.Random) -> Ejection:
    """Give the ejection after one more failure (1, 2)."""
    if before is not None and now < before.until:
        return before
    failures = 1 if before is None else before.failures + 1
    longest = min(LONGEST, FIRST * 2.0 ** min(failures - 1, 30))
    return Ejection(failures, now + longest * rng.uniform(1 - JITTER, 1))


def healthy(
    instances: Sequence[Instance],
    ejections: Mapping[Who, Ejection],
    now: float,
    max_ejection: float,
) -> list[Instance]:
    """Give those of `instances` that are not left out (3); never nobody, unless there is nobody."""
    out = [i for i in instances if (e := ejections.get(who(i))) is not None and now < e.until]
    if not out:
        return list(instances)
    out.sort(key=lambda i: ejections[who(i)].failures, reverse=True)
    left_out = {who(i) for i in out[: int(max_ejection * len(instances))]}
    return [i for i in instances if who(i) not in left_out] or list(instances)
