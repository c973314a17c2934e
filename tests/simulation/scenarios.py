"""The worlds: who is there and what they do, drawn from the seed."""

from __future__ import annotations

from collections.abc import Callable

from tests.simulation.faults import Troublemaker
from tests.simulation.plays import locks
from tests.simulation.world import Part, Site, World

__all__ = ["populate"]

Play = Callable[[World, str], list[tuple[str, Part]]]


def _crowd(make: Callable[[World, str], Part]) -> Play:
    """Make a play of one part that several have."""

    def play(world: World, name: str) -> list[tuple[str, Part]]:
        part = make(world, name)
        return [(name, part)] * world.chance.randrange(2, 6)

    return play


PLAYS: dict[str, Play] = {"lock": _crowd(locks.lock)}


def populate(world: World) -> None:
    """Make 3 to 8 programs, give them parts in some plays, and let things go wrong."""
    chance = world.chance
    programs = chance.randrange(3, 9)
    parts: list[list[tuple[str, Part]]] = [[] for _ in range(programs)]
    names = list(PLAYS)
    for number in range(chance.randrange(1, 4)):
        kind = chance.choice(names)
        for part in PLAYS[kind](world, f"{kind}{number}"):
            chance.choice(parts).append(part)
    world.sites = [Site(world, f"p{number}", mine) for number, mine in enumerate(parts) if mine]
    Troublemaker(world)
