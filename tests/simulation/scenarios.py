"""The worlds: who is there and what they do, drawn from the seed."""

from __future__ import annotations

from collections.abc import Callable

from tests.simulation.faults import Troublemaker
from tests.simulation.plays import elections, gates, locks, services, watches
from tests.simulation.world import Part, Site, World

__all__ = ["populate"]

Play = Callable[[World, str], list[tuple[str, Part]]]


Maker = Callable[[World, str], Part]


def _crowd(make: Maker) -> Play:
    """Make a play of one part that several have."""

    def play(world: World, name: str) -> list[tuple[str, Part]]:
        part = make(world, name)
        return [(name, part)] * world.chance.randrange(2, 6)

    return play


def _watched(actors: Maker, watchers: Maker) -> Play:
    """Make a play of those who act, and one or two who look on."""

    def play(world: World, name: str) -> list[tuple[str, Part]]:
        chance = world.chance
        act, watch = actors(world, name), watchers(world, name)
        return [(name, act)] * chance.randrange(2, 5) + [
            (f"{name} watch", watch)
        ] * chance.randrange(1, 3)

    return play


def _double_barrier(world: World, name: str) -> list[tuple[str, Part]]:
    parties = world.chance.randrange(2, 4)
    part = gates.double_barrier(world, name, parties)
    return [(name, part)] * (parties + world.chance.randrange(0, 2))


PLAYS: dict[str, Play] = {
    "lock": _crowd(locks.lock),
    "multi": _crowd(locks.multi_lock),
    "rw": _crowd(locks.rwlock),
    "sem": _crowd(locks.semaphore),
    "election": _watched(elections.candidate, elections.observer),
    "registry": _watched(services.registrar, services.follower),
    "barrier": _crowd(gates.barrier),
    "double": _double_barrier,
    "latch": lambda world, name: [(name, gates.latch(world, name))] * 3,
    "keys": _watched(watches.writer, watches.watcher),
}


def populate(world: World) -> None:
    """Make 3 to 8 programs, give them parts in some plays, and let things go wrong."""
    chance = world.chance
    programs = chance.randrange(3, 9)
    parts: list[list[tuple[str, Part]]] = [[] for _ in range(programs)]
    names = list(world.plays or PLAYS)
    for number in range(chance.randrange(1, 4)):
        kind = chance.choice(names)
        for part in PLAYS[kind](world, f"{kind}{number}"):
            chance.choice(parts).append(part)
    world.sites = [Site(world, f"p{number}", mine) for number, mine in enumerate(parts) if mine]
    Troublemaker(world)
