"""Is this history of one register linearizable? Wing and Gong's search, made just in time (Lowe).

A register holds a value. A read gives it; a swap puts `new` in the place of `old`, and does so only while
`old` is there. Operations overlap: each takes effect at one moment between its call and its return. One
without a return has an unknown outcome: it takes effect at any moment after its call, or never.

The algorithm
1. Take calls and returns in the order of time. A *world* is a value of the register and the set of those
   operations under way that have taken effect in it; at first there is one world, with nothing under way.
2. At the return of an operation, every world in which it has not taken effect yet is continued: let
   operations under way take effect, one after the other in every possible order, until it has.
3. Worlds in which it cannot take effect are impossible. When none is left, the history is not linearizable.
4. A read takes effect as soon as it can: that changes nothing for anybody else, and spares the worlds in which
   it waits.

Rules of this file
* What certainly had no effect and saw nothing (a write that was refused because the lock was gone, and gave
  no value) is no operation of the register: it must not be handed in as a swap that failed.
* A swap that was refused for the value is a read of the value that it was told.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

__all__ = ["Operation", "first_contradiction"]

Value = str
World = tuple[Value, frozenset[int]]


@dataclass(frozen=True, slots=True)
class Operation:
    """A read that gave `old` (`new` is None), or a swap of `old` for `new`; `returned` is inf when unknown."""

    called: float
    returned: float
    old: Value
    new: Value | None = None
    who: str = ""

    def after(self, value: Value) -> Value | None:
        """Give what the register holds when this has taken effect on `value`; None: it cannot."""
        if value != self.old:
            return None
        return value if self.new is None else self.new


def first_contradiction(history: Sequence[Operation], start: Value = "") -> Operation | None:
    """Give the first operation whose result no order explains; None: the history is linearizable."""
    # A read without a return says nothing.
    known = [op for op in history if op.new is not None or op.returned < inf]
    moments = [(op.called, 0, n) for n, op in enumerate(known)]
    moments += [(op.returned, 1, n) for n, op in enumerate(known) if op.returned < inf]
    under_way: dict[int, Operation] = {}
    worlds: set[World] = {(start, frozenset())}
    for _, is_return, number in sorted(moments):
        if not is_return:
            under_way[number] = known[number]
            worlds = {_read(value, done, under_way) for value, done in worlds}
            continue
        worlds = _continued(worlds, under_way, number)
        if not worlds:
            return known[number]
        del under_way[number]
    return None


def _continued(worlds: set[World], under_way: dict[int, Operation], number: int) -> set[World]:
    """Steps 2 and 3; `number` is then no more under way, so no world remembers it."""
    continued: set[World] = set()
    seen = set(worlds)
    open_ = list(worlds)
    while open_:
        value, done = open_.pop()
        if number in done:
            continued.add((value, done - {number}))
            continue
        for each, op in under_way.items():
            if each in done or (after := op.after(value)) is None:
                continue
            world = _read(after, done | {each}, under_way)
            if world not in seen:
                seen.add(world)
                open_.append(world)
    return continued


def _read(value: Value, done: frozenset[int], under_way: dict[int, Operation]) -> World:
    """Step 4."""
    reads = {each for each, op in under_way.items() if op.new is None and op.old == value}
    return value, done | reads
