"""The evidence: what a run leaves behind for the verdict and the summary. Values only."""

from __future__ import annotations

from dataclasses import dataclass

from etcd_recipes.cli.demo.ledger import Row
from etcd_recipes.cli.demo.plan import Plan
from etcd_recipes.cli.demo.story import Blow

__all__ = ["Evidence", "Run"]


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a run leaves for the verdict.

    `jobs` are the names of all jobs, `ttl` is what the server granted, `rows` are the jobs' rows in the
    ledger, `log` all its writes in order. `may_crash` is False when the etcd was not the demo's to kill.
    `deserters` are workers that ended without being told to, `left` is what was left behind.
    """

    jobs: tuple[str, ...]
    ttl: float
    rows: tuple[Row, ...] = ()
    log: tuple[Row, ...] = ()
    killed: Blow | None = None
    crashed: Blow | None = None
    may_crash: bool = True
    deserters: tuple[str, ...] = ()
    left: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Run:
    """A run that is over: what was planned, on which etcd, how many seconds it took, what it left."""

    plan: Plan
    place: str
    seconds: float
    evidence: Evidence
