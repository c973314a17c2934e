"""What goes wrong when: pure, from a seed.

A slot is a fault of the servers and one of the clients at the same time, or one that wants to be alone. A
round has every kind that can be played once; rounds follow each other, each in an order of its own. So a
run that is long enough for one round has every kind.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import zip_longest

__all__ = ["ALONE", "CLIENTS", "KINDS", "SERVERS", "Slot", "draw", "round_length"]

SERVERS = (
    "leader killed",
    "follower killed",
    "leader stopped",
    "follower stopped",
    "leader ended",
    "follower ended",
    "leader partitioned",
    "follower partitioned",
    "leader partitioned one way",
    "follower partitioned one way",
    "clients cut from a member",
    "loss",
    "leader moved",
)
CLIENTS = (
    "replies lost",
    "late replies",
    "late requests",
    "late release",
    "client cut off",
    "compaction",
    "clock jump",
    "hold removed",
    "place removed",
    "worker stopped",
    "worker ended",
    "worker killed",
)
ALONE = (
    "holder paused",
    "holder paused behind late replies",
    "holder killed",
    "holder killed with the leader",
    "quorum lost",
)
KINDS = (*SERVERS, *CLIENTS, *ALONE)

LENGTH = 2.7
"""Seconds for most slots, the pause behind them included."""

LONGER = {
    "quorum lost": 6.0,
    "holder paused": 4.5,
    "holder paused behind late replies": 5.0,
    "late release": 4.5,
    "holder killed": 4.0,
    "holder killed with the leader": 6.0,
}
PAUSE = 0.5


@dataclass(frozen=True, slots=True)
class Slot:
    """What happens `at` so many seconds, and for how long each of it lasts."""

    at: float
    kinds: tuple[str, ...]
    lasting: float
    seed: int


def round_length(kinds: Collection[str] = KINDS) -> float:
    """Give the seconds that one round of these kinds takes."""
    return sum(_length(slot) for slot in _round(random.Random(0), kinds))


def draw(seed: int, seconds: float, kinds: Collection[str] = KINDS) -> list[Slot]:
    """Give the slots that fit into so many seconds."""
    rng, at, slots = random.Random(seed), 0.0, []
    while kinds:
        for together in _round(rng, kinds):
            if at + (length := _length(together)) > seconds + 0.01:
                return slots
            slots.append(Slot(at, together, length - PAUSE, rng.getrandbits(32)))
            at += length
    return slots


def _round(rng: random.Random, kinds: Collection[str]) -> Iterator[tuple[str, ...]]:
    servers = [kind for kind in SERVERS if kind in kinds]
    clients = [kind for kind in CLIENTS if kind in kinds]
    rng.shuffle(servers)
    rng.shuffle(clients)
    pairs = [tuple(filter(None, pair)) for pair in zip_longest(servers, clients)]
    slots = [*pairs, *((kind,) for kind in ALONE if kind in kinds)]
    rng.shuffle(slots)
    yield from slots


def _length(together: tuple[str, ...]) -> float:
    return max(LONGER.get(kind, LENGTH) for kind in together)
