"""A history: what the visits to one lock-like thing were, as far as clock readings can prove it.

All processes of a machine share one monotonic clock, but a reading and what it is about are two steps, and
between them a process may be stopped for a second. So nothing here is taken for a moment; every time is a
bound that is on the safe side of a proof:

* `granted` is read after the grant was given: it held at the latest then.
* `believed` is read before the last look that said "held": it believed so at that moment or later.
* `promised` is a clock reading before a look at ``remaining()``, plus what that said: until then it was
  promised that nobody else holds, whatever the process gets to see of it.
* `leaving`, `taken` and `killed` are read before the act: from then on there may be somebody else.
* `token`, `place` and `taken_by` are etcd's own count, and need no clock.

A checker that finds two of these in contradiction has found a defect; on a machine that stands still for a
while it proves less, never something false.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

__all__ = ["ALONE", "History", "Rule", "Visit", "Wish", "visit_of"]

NEVER = float("-inf")


@dataclass(frozen=True, slots=True)
class Wish:
    """What a visitor wants: to read, to write, so many permits; `kind` and `weight` mean nothing to a lock."""

    kind: str = ""
    weight: int = 1


ALONE = Wish()

Rule = Callable[[Sequence[Wish]], bool]
"""Tells who may be in together."""


@dataclass(frozen=True, slots=True)
class Visit:
    """One way through the line; times are seconds on the clock that all processes share."""

    who: str
    wish: Wish = ALONE
    patient: bool = False  # it waits until it is let in
    began: float = 0.0
    granted: float | None = None
    token: int = 0
    place: int | None = None  # the revision at which it took its place, once it was in
    believed: float = NEVER
    promised: float = NEVER
    told: float | None = None  # after the first look that said "lost"
    pause: float = 0.0  # the longest time between two looks: how long this process stood still
    leaving: float | None = None
    gave_up: float | None = None
    late: float | None = None  # so many seconds after its way was free it was not in yet
    why: str = ""
    taken: float | None = None  # an operator took its key, or its lease
    taken_by: int = 0  # the revision at which it was certainly gone
    killed: float | None = None

    @property
    def cut(self) -> float:
        """From when on it has no claim to be alone, by what it or somebody else did."""
        robbed = None if self.had_no_place else self.taken
        acts = (self.leaving, self.killed, robbed)
        return min((at for at in acts if at is not None), default=float("inf"))

    @property
    def had_no_place(self) -> bool:
        """True when it was let in by a reading in which its place was not there any more."""
        return self.taken is not None and self.granted is not None and self.token > self.taken_by

    @property
    def seen_until(self) -> float:
        """Until when it was seen to believe that it holds."""
        return min(self.believed, self.cut)

    @property
    def ours_until(self) -> float:
        """Until when it was promised that nobody else can hold, unless it was told otherwise in time."""
        told = float("inf") if self.told is None else self.told
        return min(max(self.believed, self.promised), told, self.cut)

    @property
    def was_in(self) -> bool:
        """True when it is proved to have been in, if only for a moment."""
        return self.granted is not None and self.seen_until >= self.granted


@dataclass(frozen=True, slots=True)
class History:
    """All visits to one thing, its rule, and what was found below its name after all had ended."""

    visits: tuple[Visit, ...]
    may: Rule
    ttl: float = 2.0
    left_behind: tuple[str, ...] = ()


def visit_of(who: str, events: Iterable[Mapping[str, Any]], **fixed: Any) -> Visit:
    """Build a Visit of what was reported about it: each event is some of its fields."""
    known = {field.name for field in fields(Visit)}
    merged: dict[str, Any] = dict(fixed)
    for event in events:
        merged.update({key: value for key, value in event.items() if key in known})
    return Visit(who, **merged)
