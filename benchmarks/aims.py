"""What we want to reach, and whether we have: pure functions of the figures.

Rules of this file
* An aim is about medians, or about ratios within the same rounds; a figure that is missing reaches nothing and
  misses nothing: it was not measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from operator import eq, ge, le, lt
from typing import Any

from benchmarks.arithmetic import folded, ratio
from benchmarks.peers import OURS, OURS_V2, PEERS
from benchmarks.results import Results

__all__ = ["AIMS", "Aim", "Reached"]

GRPC, FLOOR = "etcd-sdk-python", "raw"


@dataclass(frozen=True, slots=True)
class Reached:
    """`value` is None if there is nothing to tell; `against` is who it was compared with, if that was chosen."""

    value: float | None
    good: bool | None
    against: str = ""


@dataclass(frozen=True, slots=True)
class Aim:
    """`value` gives a number, and whom it compares with; it `is` as wanted if it is so to `limit`."""

    words: str
    figure: str
    value: Callable[[Any], tuple[float | None, str]]
    compare: Callable[[float, float], bool]
    limit: float

    @property
    def wanted(self) -> str:
        sign = {ge: "at least", le: "at most", lt: "less than", eq: "exactly"}
        return f"{sign[self.compare]} {self.limit:g}"  # type: ignore[index]

    def reached(self, results: Results) -> Reached:
        if (measured := results.figures.get(self.figure)) is None:
            return Reached(None, None)
        value, against = self.value(measured.rounds)
        return Reached(value, None if value is None else self.compare(value, self.limit), against)


def times(case: str, measure: str, other: str, one: str = OURS) -> Callable[[Any], Any]:
    """How many times that of `other` is ours."""
    return lambda rounds: (ratio(rounds.get(case, {}), measure, one, other), "")


def ours(case: str, measure: str, fold: str = "median") -> Callable[[Any], Any]:
    return lambda rounds: (folded(rounds.get(case, {}).get(OURS, ()), measure, fold), "")


def times_the_best(
    case: str, measure: str, others: Iterable[str], best: Callable[..., str]
) -> Callable[[Any], Any]:
    """How many times that of the best of `others`, by their medians, is ours."""

    def value(rounds: Any) -> tuple[float | None, str]:
        there = rounds.get(case, {})
        medians = {name: folded(there.get(name, ()), measure) for name in others}
        known = {name: number for name, number in medians.items() if number is not None}
        if not known:
            return None, ""
        name = best(known, key=known.__getitem__)
        return ratio(there, measure, OURS, name), name

    return value


def over_all(measure: str, fold: Callable[[Iterable[float]], float]) -> Callable[[Any], Any]:
    """Of all cases of ours, the worst; those that say nothing left out."""

    def value(rounds: Any) -> tuple[float | None, str]:
        found = [
            each[measure]
            for case in rounds.values()
            for each in case.get(OURS, ())
            if each.get(measure) is not None
        ]
        return (fold(found) if found else None), ""

    return value


V3 = [p.name for p in PEERS.values() if p.store == "v3" and p.is_foreign]
V3_WAITING = [name for name in V3 if PEERS[name].waits]
SINGLE = "put one by one"
TWO, MANY = "2 contenders, 0 ms", "32 contenders, 0 ms"

AIMS = (
    Aim("get: client CPU, x the gRPC peer's", "latency", times("get", "cpu_us", GRPC), le, 1.0),
    Aim("put: client CPU, x the gRPC peer's", "latency", times("put", "cpu_us", GRPC), le, 1.0),
    Aim("get: p50, x floor", "latency", times("get", "p50_us", FLOOR), le, 1.5),
    Aim("put: p50, x floor", "latency", times("put", "p50_us", FLOOR), le, 1.5),
    *(
        Aim(
            f"{case}: p50, x python-etcd",
            "latency",
            times(case, "p50_us", "python-etcd", OURS_V2),
            lt,
            1.0,
        )
        for case in ("v2 get", "v2 get with quorum", "v2 put")
    ),
    Aim(
        "free lock: pairs a second, x the fastest v3 peer",
        "pairs",
        times_the_best("uncontended", "pairs", V3, max),
        ge,
        1.5,
    ),
    Aim(
        "free lock: pairs a second, x floor",
        "pairs",
        times("uncontended", "pairs", FLOOR),
        ge,
        0.75,
    ),
    Aim("free lock: requests a pair", "pairs", ours("uncontended", "requests", "max"), eq, 2.0),
    Aim("free lock: leases left", "pairs", ours("uncontended", "leases", "max"), eq, 0.0),
    Aim("handoffs a second, 2 contenders", "handoffs", ours(TWO, "handoffs"), ge, 400.0),
    Aim(
        "handoffs, 2 contenders, x the best v3 peer that waits",
        "handoffs",
        times_the_best(TWO, "handoffs", V3_WAITING, max),
        ge,
        10.0,
    ),
    Aim("handoffs, 32 contenders, x kazoo", "handoffs", times(MANY, "handoffs", "kazoo"), ge, 1.2),
    Aim("fairness, the worst of all", "handoffs", over_all("fairness", max), le, 1.2),
    Aim("two holders at once, in all", "handoffs", over_all("two_at_once", sum), eq, 0.0),
    Aim(
        "watch: CPU of an event, x the best peer",
        "watch",
        times_the_best(SINGLE, "cpu_us", V3, min),
        le,
        1.0,
    ),
    Aim("watch: events lost, in all", "watch", over_all("lost", sum), eq, 0.0),
)
