"""Choosing an instance: the strategies, as pure functions of a pool and of what the caller knows.

Rules of this file
1. No clock, no thread, no etcd. The random source and the turn counter come from outside.
2. A strategy gets a pool that is not empty, and gives one of it, without looking at each that is in it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from etcd_recipes.recipes.registry.instance import Instance
from etcd_recipes.recipes.registry.pool import Pool

__all__ = ["STRATEGIES", "Asking", "Strategy"]

Strategy = Literal["random", "round_robin", "sticky", "weighted", "zone"]


@dataclass(frozen=True, slots=True)
class Asking:
    """What is known of the one who asks: its turn, its key (for sticky) and its zone."""

    turn: int
    rng: random.Random
    key: str = ""
    zone: str = ""


def at_random(pool: Pool, asking: Asking) -> Instance:
    """Any, with equal chances."""
    return asking.rng.choice(pool)


def round_robin(pool: Pool, asking: Asking) -> Instance:
    """The next one in turn."""
    return pool[asking.turn % len(pool)]


def weighted(pool: Pool, asking: Asking) -> Instance:
    """Any, with chances in proportion to the weights; equal ones when all weights are 0."""
    classes = [(weight * len(ids), ids) for weight, ids in pool.by_weight()]
    left = asking.rng.randrange(sum(share for share, _ in classes) or 1)
    for share, ids in classes:
        if left < share:
            return pool.of(asking.rng.choice(ids))
        left -= share
    return at_random(pool, asking)


def sticky(pool: Pool, asking: Asking) -> Instance:
    """The same for the same key for as long as it is there; a departure moves only the keys of the one that left."""
    return pool.nearest(asking.key)


def zone(pool: Pool, asking: Asking) -> Instance:
    """The next in turn of the asker's own zone; of all, when it has none, or none is in it."""
    near = pool.of_zone(asking.zone) if asking.zone else ()
    return pool.of(near[asking.turn % len(near)]) if near else round_robin(pool, asking)


STRATEGIES: Mapping[str, Callable[[Pool, Asking], Instance]] = {
    "random": at_random,
    "round_robin": round_robin,
    "sticky": sticky,
    "weighted": weighted,
    "zone": zone,
}
