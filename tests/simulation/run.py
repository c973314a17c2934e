"""Runs of many seeds: what each found, and the sums that are reported.

A run is described by one JSON object
    api, seeds, simulated_hours, times_real (simulated to real time, per process), requests, faults (by kind),
    acquisitions, late_writes_refused, counts (what else was counted), violations (seed, api, check, words)
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing import get_context
from typing import Any

from tests.simulation.scenarios import populate
from tests.simulation.world import World

__all__ = ["Outcome", "Sum", "play", "play_many", "trace"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one seed."""

    seed: int
    api: str
    seconds: float  # simulated
    took: float  # real
    requests: int
    faults: Counter[str]
    counts: Counter[str]
    violations: list[tuple[str, str]]


def play(seed: int, api: str = "v3", seconds: float = 120.0) -> Outcome:
    """Play one seed."""
    began = time.perf_counter()
    world = World(seed, api=api, seconds=seconds)
    record = world.run(populate)
    return Outcome(
        seed,
        api,
        world.now - world.began,
        time.perf_counter() - began,
        world.network.requests,
        world.faults,
        record.counts,
        record.violations,
    )


def trace(seed: int, api: str = "v3", seconds: float = 120.0) -> Iterator[str]:
    """Play one seed, and give all that happened, line by line."""
    world = World(seed, api=api, seconds=seconds)
    lines: list[str] = []

    def note(words: str) -> None:
        lines.append(f"{world.now:.6f} {world.scheduler.current or '-'}: {words}")

    world.scheduler.trace = note
    world.run(populate)
    yield from lines


def _play(work: tuple[int, str, float]) -> Outcome:
    return play(*work)


def play_many(work: list[tuple[int, str, float]], jobs: int) -> Iterator[Outcome]:
    """Play many seeds, on `jobs` processes; give each as it is done."""
    if jobs == 1:
        yield from map(_play, work)
        return
    with get_context("spawn").Pool(jobs, maxtasksperchild=100) as pool:
        yield from pool.imap_unordered(_play, work)


@dataclass(slots=True)
class Sum:
    """All outcomes together."""

    seeds: int = 0
    seconds: float = 0.0
    took: float = 0.0
    requests: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    violations: list[dict[str, Any]] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        self.seeds += 1
        self.seconds += outcome.seconds
        self.took += outcome.took
        self.requests += outcome.requests
        self.faults += outcome.faults
        self.counts += outcome.counts
        for check, words in outcome.violations:
            self.violations.append(
                {"seed": outcome.seed, "api": outcome.api, "check": check, "words": words}
            )

    def report(self, api: str) -> dict[str, Any]:
        """Give it as JSON has it."""
        counts = dict(sorted(self.counts.items()))
        refused = [n for name, n in counts.items() if name.startswith("late writes refused")]
        return {
            "api": api,
            "seeds": self.seeds,
            "simulated_hours": round(self.seconds / 3600, 3),
            "times_real": round(self.seconds / self.took, 1) if self.took else 0.0,
            "requests": self.requests,
            "faults": dict(self.faults.most_common()),
            "acquisitions": counts.pop("acquired", 0),
            "late_writes_refused": sum(refused),
            "counts": counts,
            "violations": self.violations,
        }
