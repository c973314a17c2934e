"""The roster: the list of a view, and what changed in it. No thread, no clock, no etcd.

Rules of this file
1. What is listed is what etcd has, and the suspects of the mass-drop guard: each in one of three places, with
   those that take work, those that drain, or the suspects.
2. Events are the difference of the list, one per instance and change, in the order of the changes. Who reads
   events and keeps a list of its own has the same list.
3. What one change costs does not grow with the list. When ten thousand leases end one after the other, each
   departure is remembered once, doubted once and believed once.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from etcd_recipes.recipes.registry.ejection import Workers, who
from etcd_recipes.recipes.registry.guard import Gone, Rule, is_mass_drop
from etcd_recipes.recipes.registry.instance import Instance
from etcd_recipes.recipes.registry.pool import Pool

__all__ = ["InstanceEvent", "Roster"]


@dataclass(frozen=True, slots=True)
class InstanceEvent:
    """One change of the list: `old` is None for "added", `new` is None for "removed"."""

    kind: Literal["added", "updated", "removed"]
    old: Instance | None
    new: Instance | None


class Roster:
    """The instances of one service, as etcd has told; not safe for threads, its owner locks."""

    def __init__(self, rule: Rule, max_ejection: float = 0.5) -> None:
        self._rule = rule
        self.workers = Workers(max_ejection)
        self._draining: dict[str, Instance] = {}
        self.doubtful = Pool()
        # By id, and both in the order of their ends: whoever is given a new one is put at the back.
        self._left: OrderedDict[str, Gone] = OrderedDict()  # believed, and counted for a while
        self._suspects: OrderedDict[str, Gone] = OrderedDict()

    def __len__(self) -> int:
        """Tell how many are listed and do not drain."""
        return len(self.workers) + len(self.doubtful)

    def get(self, id_: str) -> Instance | None:
        """Give the one that is listed with this id."""
        return self.workers.get(id_) or self._draining.get(id_) or self.doubtful.get(id_)

    @property
    def suspects(self) -> Mapping[str, Gone]:
        """The departures that are not believed yet, by id."""
        return self._suspects

    @property
    def due(self) -> float | None:
        """When the first suspect has to be looked at; None without any."""
        return next((gone.until for gone in self._suspects.values()), None)

    def listed(self) -> tuple[Instance, ...]:
        """Give all that are listed, in the order of their ids."""
        all_ = [*self.workers.fit, *self.workers.out, *self.doubtful, *self._draining.values()]
        return tuple(sorted(all_, key=lambda instance: instance.id))

    def apply(
        self, changes: Collection[tuple[str, Instance | None]], now: float
    ) -> list[InstanceEvent]:
        """Bring the roster to the state after `changes`, and give the events."""
        before = {id_: self.get(id_) for id_, _ in changes}
        dropped = False
        for id_, new in changes:
            if new is not None:
                self._come(new)
            elif (old := self.workers.drop(id_)) is not None:
                self._left[id_] = Gone(old, now + self._rule.confirm)
                dropped = True
            else:
                self._draining.pop(id_, None)
        for id_ in self._doubt(now) if dropped else ():
            before.setdefault(id_, None)
        return self._events(before)

    def _come(self, new: Instance) -> None:
        self._left.pop(new.id, None)
        if self._suspects.pop(new.id, None) is not None:
            self.doubtful.drop(new.id)
        if new.draining:
            self.workers.drop(new.id)
            self._draining[new.id] = new
        else:
            self._draining.pop(new.id, None)
            self.workers.put(new)

    def _doubt(self, now: float) -> list[str]:
        """Make suspects of those that left of late, if they are too many; give their ids."""
        while self._left and next(iter(self._left.values())).until < now:
            self._left.popitem(last=False)
        many = len(self._left) + len(self._suspects)
        if not is_mass_drop(many, len(self.workers), self._rule):
            return []
        doubted, self._left = self._left, OrderedDict()
        for id_, gone in doubted.items():
            self._suspect(id_, gone.instance, now)
        return list(doubted)

    def _suspect(self, id_: str, instance: Instance, now: float) -> None:
        self._suspects[id_] = Gone(instance, now + self._rule.confirm)
        self._suspects.move_to_end(id_)
        self.doubtful.put(instance)

    def settle(self, now: float, there: Collection[str] | None) -> list[InstanceEvent]:
        """Believe the departures of suspects that are due, and give the events.

        `there` are the ids that etcd has after all, whose return has only to be told: those wait again.
        None: etcd could not be asked, all wait again.
        """
        before: dict[str, Instance | None] = {}
        for id_, gone in self._due_by(now):
            if there is None or id_ in there:
                self._suspect(id_, gone.instance, now)
            else:
                del self._suspects[id_]
                before[id_] = self.doubtful.drop(id_)
        return self._events(before)

    def _due_by(self, now: float) -> list[tuple[str, Gone]]:
        found = []
        for id_, gone in self._suspects.items():
            if gone.until > now:
                break
            found.append((id_, gone))
        return found

    def postpone(self, now: float) -> None:
        """Give the suspects the whole time again: while etcd was away they could not come back."""
        for id_, gone in list(self._suspects.items()):
            self._suspect(id_, gone.instance, now)

    def _events(self, before: dict[str, Instance | None]) -> list[InstanceEvent]:
        """Rule 2; what is known of the failures of one that is gone, or elsewhere, is forgotten."""
        events = []
        for id_, old in before.items():
            new = self.get(id_)
            if old is not None and (new is None or who(new) != who(old)):
                self.workers.forget(old)
            if old == new:
                continue
            kind: Literal["added", "updated", "removed"] = (
                "added" if old is None else "removed" if new is None else "updated"
            )
            events.append(InstanceEvent(kind, old, new))
        return events
