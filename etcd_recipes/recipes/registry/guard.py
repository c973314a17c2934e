"""The mass-drop guard: most instances do not die at once, but most leases can.

One incident at etcd's leader, or an operator's mistake, ends the leases of instances that are well. They come
back within seconds; a view that believed it at once would have nobody left to send work to.

The rule
1. A departure of an instance that was not draining is remembered for `confirm` seconds.
2. When those remembered are at least AT_LEAST, and more than the share `max_drop` of all (they, and those
   that still take work), they are *suspects*: all of them, those too that left at once when there were
   fewer. Leases of one incident end in revisions of their own.
3. A suspect is listed, and picked when there is nobody else, until it comes back, or until `confirm` seconds
   later etcd says that it is still gone.

Rules of this file
* Pure: the time comes from outside. A single departure is never held up.
"""

from __future__ import annotations

from dataclasses import dataclass

from etcd_recipes.recipes.registry.instance import Instance

__all__ = ["AT_LEAST", "Gone", "Rule", "is_mass_drop"]

AT_LEAST = 3
"""Departures below this number are believed at once, whatever share they are."""


@dataclass(frozen=True, slots=True)
class Rule:
    """`max_drop` is a share of the instances (1.0: no guard), `confirm` is seconds."""

    max_drop: float = 0.5
    confirm: float = 10.0

    def __post_init__(self) -> None:
        """Raise ValueError for numbers that make no sense."""
        if not 0 <= self.max_drop <= 1:
            raise ValueError(f"max_drop is a share from 0 to 1; got {self.max_drop!r}")
        if not 0 <= self.confirm < float("inf"):
            raise ValueError(f"confirm is a number of seconds, 0 or more; got {self.confirm!r}")


@dataclass(frozen=True, slots=True)
class Gone:
    """A departure: it counts, or is doubted, until then."""

    instance: Instance
    until: float


def is_mass_drop(gone: int, present: int, rule: Rule) -> bool:
    """Tell whether so many departures of late are too many to be believed; `present` still take work (2)."""
    return gone >= AT_LEAST and gone > rule.max_drop * (gone + present)
