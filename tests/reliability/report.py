"""What the report is made of: the results of torture, simulation and measurements, cut down to what its page needs.

`docs/reliability/report.json` holds one `Report`; page and pictures follow from it alone.

Rules of this file
* Pure: nothing is run, measured or drawn here.
* A result is cut down, never changed: of the holds of a run only those of its close-up are kept.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from docs.parts import lines_of_json
from tests.torture import result as torture
from tests.torture.result import Fault, Holding, Result

__all__ = [
    "CLOSE_UP",
    "CutOff",
    "Planted",
    "Report",
    "Run",
    "Simulation",
    "load",
    "run_of",
    "store",
]

SCHEMA = 1

CLOSE_UP = 30.0
"""Seconds that the close-up of a run shows."""

LEAD_IN = 6.0
"""Seconds of the close-up before the holder that it is about."""


@dataclass(frozen=True, slots=True)
class Run:
    """A torture run; of its holds, those of one `line` between `since` and `until`: the close-up."""

    result: Result
    since: float
    until: float
    line: str


@dataclass(frozen=True, slots=True)
class Simulation:
    """All seeds of one run of the simulation, on one store; `violations` says which seeds broke what."""

    command: str
    api: str
    seeds: int
    seconds: float
    simulated_hours: float
    ratio: float
    requests: int
    acquisitions: int
    late_writes_refused: int
    faults: dict[str, int] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    violations: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Planted:
    """A bug that was put in on purpose, `what` it does, and which checks found it.

    `seeds` are those that it took, in the median; torture has only one.
    """

    name: str
    what: str
    where: str  # simulation, torture
    by: tuple[str, ...]
    seeds: float | None = None

    @property
    def found(self) -> bool:
        return bool(self.by)


@dataclass(frozen=True, slots=True)
class CutOff:
    """Watches of a member that was cut off from its cluster, and got its history back as a snapshot.

    `asked` are the seconds until a raw watch that asks for a leader ended, `library` those until a watch of
    this library gave the next event; a raw watch that does not ask was silent for `silent` seconds, until
    the healing. The counts are of events: those written meanwhile, those given to the raw and to our watch.
    """

    etcd: str
    asked: tuple[float, ...]
    library: tuple[float, ...]
    silent: float
    written: int
    raw_repeated: int
    raw_missing: int
    library_repeated: int
    library_missing: int


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that the page says; what was not measured is empty."""

    made: str = ""  # the day
    machine: str = ""
    torture: tuple[Run, ...] = ()
    simulation: tuple[Simulation, ...] = ()
    planted: tuple[Planted, ...] = ()
    cut_off: tuple[CutOff, ...] = ()


# -- cut down ----------------------------------------------------------------------------------------------------


def run_of(result: Result) -> Run:
    """Give what the report keeps of a result.

    The close-up is about somebody who was still busy inside when the next one came in, for that is what
    fencing is for: of all those the one with the most going on around it. Without any, about the longest hold.
    """
    whole = {holding.line for holding in result.holdings if holding.end == "released"}
    holdings = tuple(holding for holding in result.holdings if holding.line in whole)
    late = [holding for holding in holdings if _overtaken(holding, holdings)]
    candidates = late or sorted(holdings, key=lambda h: h.start - h.stop)[:1]
    if not candidates:
        return Run(result, 0.0, CLOSE_UP, "")
    chosen = max(candidates, key=lambda h: (len(_kinds(result.faults, *_around(h))), -h.start))
    since, until = _around(chosen)
    shown = tuple(
        each
        for each in holdings
        if each.line == chosen.line and each.start < until and each.stop > since
    )
    return Run(replace(result, holdings=shown), since, until, chosen.line)


def _overtaken(one: Holding, holdings: tuple[Holding, ...]) -> bool:
    return one.end != "killed" and any(
        other.line == one.line and one.start < other.start < one.stop for other in holdings
    )


def _around(holding: Holding) -> tuple[float, float]:
    since = max(0.0, holding.start - LEAD_IN)
    return since, since + CLOSE_UP


def _kinds(faults: tuple[Fault, ...], since: float, until: float) -> set[str]:
    return {fault.kind for fault in faults if fault.start < until and fault.end > since}


# -- as JSON -----------------------------------------------------------------------------------------------------


def store(report: Report) -> str:
    """Give the report as JSON, a line for each figure."""
    return lines_of_json({"schema": SCHEMA, **asdict(report)}, 4)


def load(text: str) -> Report:
    """Give the report that `store` has written; ValueError for another schema."""
    body = json.loads(text)
    if body.pop("schema", None) != SCHEMA:
        raise ValueError(f"a report of schema {SCHEMA} is wanted")
    return Report(
        made=body["made"],
        machine=body["machine"],
        torture=tuple(
            Run(**{**each, "result": torture.load(json.dumps(each["result"]))})
            for each in body["torture"]
        ),
        simulation=tuple(_made(Simulation, each) for each in body["simulation"]),
        planted=tuple(_made(Planted, each) for each in body["planted"]),
        cut_off=tuple(_made(CutOff, each) for each in body["cut_off"]),
    )


def _made(kind: Any, body: dict[str, Any]) -> Any:
    return kind(**{key: tuple(v) if isinstance(v, list) else v for key, v in body.items()})
