"""Ejection: an instance that failed is left out for a while. No thread, no etcd; the time comes from outside.

The rule
1. A failure ejects for about FIRST seconds, and twice as long each time it fails again after it was let back
   in, up to LONGEST; a success forgets all that. Failures while it is out add nothing: they are the calls
   that were under way.
2. The times are jittered, so that many clients do not come back to it at once.
3. At most the share `max_ejection` is left out, those that failed most often first: when everybody fails,
   the fault is elsewhere.
4. What is ejected is an instance at an address: a new one with the same id somewhere else is not punished.

How it is kept
    Those that are ejected now stand in one order, most failures first, and so many from its beginning as rule 3
    allows are left out: in the pool `out`, all others in `fit`. Whatever changes moves one or two of them.
"""

from __future__ import annotations

import heapq
import random
from bisect import bisect_left
from dataclasses import dataclass

from etcd_recipes.recipes.registry.instance import Instance
from etcd_recipes.recipes.registry.pool import Pool

__all__ = ["Ejection", "Workers", "after_failure", "who"]

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


class Workers:
    """The instances that take work: `fit` may be picked, `out` are left out; not safe for threads."""

    def __init__(self, max_ejection: float) -> None:
        self.fit = Pool()
        self.out = Pool()
        self._share = max_ejection
        self._known: dict[Who, Ejection] = {}  # also of those that are back
        self._order: list[tuple[int, str]] = []  # of those that are ejected: (-failures, id)
        self._ends: list[tuple[float, Who]] = []  # a heap; some may have been forgotten since

    def __len__(self) -> int:
        return len(self.fit) + len(self.out)

    def get(self, id_: str) -> Instance | None:
        """Give the one of this id; None when it does not take work."""
        return self.fit.get(id_) or self.out.get(id_)

    def _has(self, instance: Instance) -> bool:
        there = self.get(instance.id)
        return there is not None and who(there) == who(instance)

    def put(self, instance: Instance) -> None:
        """Take the instance in, in the place of another one of its id."""
        self.drop(instance.id)
        self.fit.put(instance)
        self._eject(instance)
        self._keep_to_the_share()

    def drop(self, id_: str) -> Instance | None:
        """Take the instance out, and give it; what is known of its failures stays."""
        instance = self.get(id_)
        if instance is not None:
            self._readmit(instance)
            self.fit.drop(id_)
            self._keep_to_the_share()
        return instance

    def forget(self, instance: Instance) -> None:
        """Forget its failures."""
        if who(instance) in self._known:
            self._readmit(instance)
            del self._known[who(instance)]
            self._keep_to_the_share()

    def failed(self, instance: Instance, now: float, rng: random.Random) -> None:
        """Eject the instance, whether it takes work just now or not (1, 2)."""
        before = self._known.get(who(instance))
        after = after_failure(before, now, rng)
        if after is before:
            return
        self._readmit(instance)  # from a time that is over
        self._known[who(instance)] = after
        self._eject(instance)
        self._keep_to_the_share()

    def tick(self, now: float) -> None:
        """Let those back in whose time is over."""
        while self._ends and self._ends[0][0] <= now:
            until, whom = heapq.heappop(self._ends)
            there = self.get(whom[0])
            ejection = self._known.get(whom)
            if there is not None and ejection is not None and ejection.until == until:
                self._readmit(there)
        self._keep_to_the_share()

    # -- the order of those that are ejected -------------------------------------------------------------------

    def _eject(self, instance: Instance) -> None:
        """Put one that takes work, and is known to have failed, into the order."""
        ejection = self._known.get(who(instance))
        if ejection is None or not self._has(instance):
            return
        index = bisect_left(self._order, place := (-ejection.failures, instance.id))
        self._order.insert(index, place)
        if index < len(self.out):
            _move(instance.id, self.fit, self.out)
        heapq.heappush(self._ends, (ejection.until, who(instance)))

    def _readmit(self, instance: Instance) -> None:
        """Take one out of the order, if it is there."""
        ejection = self._known.get(who(instance))
        if ejection is None or not self._has(instance):
            return
        index = bisect_left(self._order, place := (-ejection.failures, instance.id))
        if self._order[index : index + 1] == [place]:
            del self._order[index]
            if self.out.get(instance.id) is not None:
                _move(instance.id, self.out, self.fit)

    def _keep_to_the_share(self) -> None:
        """Rule 3: so many from the beginning of the order are out."""
        most = min(int(self._share * len(self)), len(self._order))
        while len(self.out) < most:
            _move(self._order[len(self.out)][1], self.fit, self.out)
        while len(self.out) > most:
            _move(self._order[len(self.out) - 1][1], self.out, self.fit)


def _move(id_: str, source: Pool, target: Pool) -> None:
    instance = source.drop(id_)
    assert (
        instance is not None
    )  # the order has those that take work, and knows how many of them are out
    target.put(instance)
