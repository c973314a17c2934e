"""Rounds: the rules of a double barrier, as a pure function of what is below its name.

Keys
    <name>/parties/<id>         a party that is there, on its lease; an id for each entering
    <name>/round                the round at hand: the ids of its members. Its creation revision names it
    <name>/<round>/in/<id>      the member itself has said that it goes in
    <name>/<round>/void         the round will not open
    <name>/<round>/left/<id>    the member has said that it leaves

The rules
1. A round opens with the last of its members' ``in``, unless ``void`` came before it. Both stay while a
   member is there, so all who ever read them, in whatever order, give one verdict.
2. A member without a party key and without ``left`` has died: before the opening that calls for
   ``void``, afterwards the barrier is broken.
3. A round is over when it is void or none of its members is there. Then its key is deleted first, and
   what else there is of it afterwards: nobody reads the marks of a round that is gone.
4. What must be done once is done by the eldest party: it lives and does it, or its key will go.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from etcd_recipes.core.store import Entry

__all__ = ["View", "look", "members_in", "parties_in"]


@dataclass(slots=True)
class View:
    """The barrier at one revision: `parties` by id, the eldest first, and what is said of the round."""

    parties: dict[str, Entry] = field(default_factory=dict)
    round: Entry | None = None
    members: tuple[str, ...] = ()
    entered: dict[str, int] = field(default_factory=dict)
    left: set[str] = field(default_factory=set)
    void: int | None = None
    marks: list[Entry] = field(default_factory=list)
    strays: list[Entry] = field(default_factory=list)

    @property
    def eldest(self) -> str | None:
        """Who does what must be done once."""
        return next(iter(self.parties), None)

    @property
    def opened(self) -> bool:
        """Rule 1."""
        if not self.members or not all(member in self.entered for member in self.members):
            return False
        return self.void is None or self.void > max(self.entered[m] for m in self.members)

    @property
    def over(self) -> bool:
        """Rule 3; also of a round that nobody can read."""
        is_void = self.void is not None and not self.opened
        return self.round is not None and (is_void or not set(self.members) & set(self.parties))

    @property
    def dead(self) -> tuple[str, ...]:
        """Rule 2: the members that are gone without a word."""
        return tuple(m for m in self.members if m not in self.parties and m not in self.left)

    @property
    def all_left(self) -> bool:
        """True when every member has said that it leaves."""
        return set(self.members) <= self.left


def look(name: str, entries: Mapping[str, Entry]) -> View:
    """Read what is below ``<name>/`` as a View; keys of others are no part of it."""
    view = View(round=entries.get(f"{name}/round"))
    at_hand = ""
    if view.round is not None:
        view.members = members_in(view.round.value)
        at_hand = str(view.round.created)
    for entry in sorted(entries.values(), key=lambda each: each.created):
        match entry.key[len(name) + 1 :].split("/"):
            case ["parties", party]:
                view.parties[party] = entry
            case [number, *mark] if number.isdecimal() and mark:
                if number == at_hand:
                    _take(view, mark, entry)
                else:
                    view.strays.append(entry)
    return view


def _take(view: View, mark: list[str], entry: Entry) -> None:
    view.marks.append(entry)
    match mark:
        case ["in", party]:
            view.entered[party] = entry.created
        case ["left", party]:
            view.left.add(party)
        case ["void"]:
            view.void = entry.created


def members_in(value: str) -> tuple[str, ...]:
    """Give the members that a round's value lists; none for what is not ours."""
    try:
        return tuple(str(member) for member in json.loads(value)["members"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return ()


def parties_in(value: str) -> int | None:
    """Give how many parties the writer of a party key counts on; None for what is not ours."""
    try:
        number = json.loads(value)["parties"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return number if type(number) is int and 0 < number < 2**63 else None
