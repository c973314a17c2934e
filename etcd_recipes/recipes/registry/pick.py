"""Choosing an instance: the strategies, as pure functions of the list and of what the caller knows.

Rules of this file
1. No clock, no thread, no etcd. The random source and the turn counter come from outside.
2. A strategy gets a list that is not empty, in the order of ids, and gives one of it.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from etcd_recipes.recipes.registry.instance import Instance

__all__ = ["STRATEGIES", "Asking", "Strategy"]

Strategy = Literal["random", "round_robin", "sticky", "weighted", "zone"]


@dataclass(frozen=True, slots=True)
class Asking:
    """What is known of the one who asks: its turn, its key (for sticky) and its zone."""

    turn: int
    rng: random.Random
    key: str = ""
    zone: str = ""


def at_random(instances: Sequence[Instance], asking: Asking) -> Instance:
    """Any, with equal chances."""
    return asking.rng.choice(instances)


def round_robin(instances: Sequence[Instance], asking: Asking) -> Instance:
    """The next one in turn."""
    return instances[asking.turn % len(instances)]


def weighted(instances: Sequence[Instance], asking: Asking) -> Instance:
    """Any, with chances in proportion to the weights; equal ones when all weights are 0."""
    weights = [instance.weight for instance in instances]
    if not any(weights):
        return at_random(instances, asking)
    return asking.rng.choices(instances, weights)[0]


def sticky(instances: Sequence[Instance], asking: Asking) -> Instance:
    """The same for the same key for as long as it is there (highest random weight): a departure moves
    only the keys of the one that left.
    """

    def score(instance: Instance) -> bytes:
        return hashlib.blake2b(f"{asking.key}\0{instance.id}".encode(), digest_size=8).digest()

    return max(instances, key=score)


def zone(instances: Sequence[Instance], asking: Asking) -> Instance:
    """The next in turn of the asker's own zone; of all, when it has none, or none is in it."""
    near = [instance for instance in instances if asking.zone and instance.zone == asking.zone]
    return round_robin(near or instances, asking)


STRATEGIES: Mapping[str, Callable[[Sequence[Instance], Asking], Instance]] = {
    "random": at_random,
    "round_robin": round_robin,
    "sticky": sticky,
    "weighted": weighted,
    "zone": zone,
}
