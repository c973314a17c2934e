"""The roster: the list of a view, and what changed in it. No thread, no clock, no etcd.

Rules of this file
1. What is listed is what etcd has, and the suspects of the mass-drop guard.
2. Events are the difference of the list, one per instance and change, in the order of the changes. Who reads
   events and keeps a list of its own has the same list.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Literal

from etcd_recipes.recipes.registry.guard import Gone, Rule, judge
from etcd_recipes.recipes.registry.instance import Instance

__all__ = ["InstanceEvent", "Roster"]


@dataclass(frozen=True, slots=True)
class InstanceEvent:
    """One change of the list: `old` is None for "added", `new` is None for "removed"."""

    kind: Literal["added", "updated", "removed"]
    old: Instance | None
    new: Instance | None


class Roster:
    """The instances of one service, as etcd has told; not safe for threads, its owner locks."""

    def __init__(self, rule: Rule) -> None:
        self._rule = rule
        self._present: dict[str, Instance] = {}
        self._gone: dict[str, Gone] = {}

    @property
    def suspects(self) -> dict[str, Gone]:
        """The departures that are not believed yet, by id."""
        return {id_: gone for id_, gone in self._gone.items() if gone.until is not None}

    @property
    def due(self) -> float | None:
        """When the first suspect has to be looked at; None without any."""
        return min(
            (gone.until for gone in self._gone.values() if gone.until is not None), default=None
        )

    def listed(self) -> tuple[Instance, ...]:
        """Give all that are listed, in the order of their ids."""
        doubtful = {id_: gone.instance for id_, gone in self.suspects.items()}
        return tuple(instance for _, instance in sorted((self._present | doubtful).items()))

    def apply(
        self, changes: Collection[tuple[str, Instance | None]], now: float
    ) -> list[InstanceEvent]:
        """Bring the roster to the state after `changes`, and give the events."""
        before = self._picture([*(id_ for id_, _ in changes), *self._gone])
        dropped = False
        for id_, new in changes:
            old = self._present.pop(id_, None)
            if new is not None:
                self._present[id_] = new
                self._gone.pop(id_, None)
            elif old is not None and not old.draining:
                self._gone[id_] = Gone(old, now)
                dropped = True
        if dropped:
            working = sum(not instance.draining for instance in self._present.values())
            verdict = judge(self._gone.values(), working, now, self._rule)
            self._gone = {gone.instance.id: gone for gone in verdict}
        return self._events(before)

    def settle(self, now: float, there: Collection[str] | None) -> list[InstanceEvent]:
        """Believe the departures of suspects that are due, and give the events.

        `there` are the ids that etcd has after all, whose return has only to be told: those wait again.
        None: etcd could not be asked, all wait again.
        """
        before = self._picture(self._gone)
        for id_, gone in self.suspects.items():
            if gone.until is None or gone.until > now:
                continue
            if there is None or id_ in there:
                self._gone[id_] = replace(gone, until=now + self._rule.confirm)
            else:
                del self._gone[id_]
        return self._events(before)

    def postpone(self, now: float) -> None:
        """Give the suspects the whole time again: while etcd was away they could not come back."""
        for id_, gone in self.suspects.items():
            self._gone[id_] = replace(gone, until=now + self._rule.confirm)

    def _picture(self, ids: Iterable[str]) -> dict[str, Instance | None]:
        return {id_: self._shown(id_) for id_ in ids}

    def _shown(self, id_: str) -> Instance | None:
        gone = self._gone.get(id_)
        suspect = gone.instance if gone is not None and gone.until is not None else None
        return self._present.get(id_, suspect)

    def _events(self, before: dict[str, Instance | None]) -> list[InstanceEvent]:
        """Rule 2."""
        events = []
        for id_, old in before.items():
            new = self._shown(id_)
            if old == new:
                continue
            kind: Literal["added", "updated", "removed"] = (
                "added" if old is None else "removed" if new is None else "updated"
            )
            events.append(InstanceEvent(kind, old, new))
        return events
