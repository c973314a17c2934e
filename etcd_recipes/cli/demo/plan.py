"""The plan of a run: how many, how long, and under which names; the same for stage and workers.

Rules of this file
1. Pure: the same plan gives the same jobs, whoever asks.
2. Every key of a run lies below one prefix that no other run has, so that one delete removes them all.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

__all__ = ["Keys", "Plan"]

_SHORTEST, _LONGEST = 0.6, 1.5
"""Seconds of a job: long enough to be seen at work, and to be caught half-done."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The size of a run; `ttl` is the lease of everything a worker holds, in seconds."""

    workers: int = 4
    jobs: int = 40
    ttl: int = 3
    seed: int = 0

    @property
    def names(self) -> tuple[str, ...]:
        """The workers' names."""
        return tuple(f"worker-{n}" for n in range(1, self.workers + 1))

    @property
    def outstanding(self) -> int:
        """How many jobs a leader hands out ahead: few, so that without a leader the work dries up."""
        least = 2 if self.jobs >= 4 else 1
        return min(2 * self.workers, max(least, self.jobs // 4))

    def job(self, n: int) -> str:
        """Give the name of the n-th job, counted from 0."""
        return f"{n + 1:0{max(3, len(str(self.jobs)))}d}"

    @property
    def all_jobs(self) -> tuple[str, ...]:
        """The names of all jobs."""
        return tuple(self.job(n) for n in range(self.jobs))

    def seconds(self, n: int) -> float:
        """Give how long the n-th job takes."""
        return round(random.Random(f"{self.seed}/{n}").uniform(_SHORTEST, _LONGEST), 3)  # noqa: S311


@dataclass(frozen=True, slots=True)
class Keys:
    """The names of a run below `prefix`, which ends with "/".

    A client whose namespace is the prefix has `election`, `registry` and ``lock(job)`` without it; what
    goes through ``client.v3`` is a full key.
    """

    prefix: str

    election = "election"
    registry = "services"
    service = "worker"

    @property
    def candidates(self) -> str:
        """The full prefix of the election's keys."""
        return f"{self.prefix}{self.election}/"

    @property
    def instances(self) -> str:
        """The full prefix of the registered workers."""
        return f"{self.prefix}{self.registry}/{self.service}/"

    @property
    def work(self) -> str:
        """The full prefix of everything about jobs."""
        return f"{self.prefix}work/"

    @property
    def counter(self) -> str:
        """The full key that counts the jobs handed out."""
        return f"{self.work}handed"

    @property
    def jobs(self) -> str:
        """The full prefix of the jobs that wait or run."""
        return f"{self.work}jobs/"

    def job(self, job: str) -> str:
        """Give the full key of a job that waits or runs."""
        return f"{self.jobs}{job}"

    @staticmethod
    def lock(job: str) -> str:
        """Give the name of a job's lock."""
        return f"work/locks/{job}"
