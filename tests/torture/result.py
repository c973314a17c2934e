"""What a torture run gives: one JSON object, from which the report is made.

All times are seconds since the run began, unless a field says otherwise. A verdict is one word:

    passed    every check held, and the faults bit
    failed    a check found something: a defect of the library, or of the server
    void      nothing was contradicted, but the run shows nothing either: `why` says what was missing
"""

from __future__ import annotations

import json
import types
import typing
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from typing import Any

__all__ = [
    "SCHEMA",
    "Check",
    "Fault",
    "Gaps",
    "Holding",
    "Latency",
    "Operations",
    "Result",
    "Takeover",
    "Watching",
    "load",
    "store",
]

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that went wrong on purpose, from `start` to `end`; `target` says to whom, for people."""

    kind: str
    target: str
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Operations:
    """What came of the operations of one kind.

    `refused` are definite failures (certainly not carried out), `unknown` those of which nobody could tell;
    of the unknown ones the read-back at the end found `applied`, and the rest not.
    """

    ok: int = 0
    refused: int = 0
    unknown: int = 0
    applied: int = 0


@dataclass(frozen=True, slots=True)
class Check:
    """One property: `held` or not, over how many `looked_at`; `found` has the first of all `contradictions`."""

    name: str
    held: bool
    looked_at: int
    contradictions: int = 0
    found: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Gaps:
    """The longest time without a success that each client saw around each fault of a kind, in seconds."""

    kind: str
    median: float
    worst: float
    samples: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Takeover:
    """A holder was killed `at`; `seconds` later the next one held. `how`: calm, or with a leader kill."""

    how: str
    at: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Watching:
    """What the watchers of a prefix were given, beside the history that the server has."""

    watchers: int = 0
    expected: int = 0
    delivered: int = 0
    repeated: int = 0
    missing: int = 0
    out_of_order: int = 0
    resyncs: int = 0


@dataclass(frozen=True, slots=True)
class Holding:
    """One hold of one line, for the picture of who held when; `end`: released, lost or killed."""

    line: str
    worker: str
    token: int
    start: float
    stop: float
    end: str


@dataclass(frozen=True, slots=True)
class Latency:
    """One second of the writers' lives: successful writes, and the longest one that ended in it (seconds)."""

    second: int
    writes: int
    longest: float


@dataclass(frozen=True, slots=True)
class Result:
    """One run. `skipped` says why a kind of fault was not played; `planted` names the bug that was, if any."""

    verdict: str
    why: tuple[str, ...]
    project: str
    etcd: str
    python: str
    seed: int
    command: str
    places: str
    planted: str
    ttl: float
    seconds: float
    workers: dict[str, int]
    skipped: dict[str, str]
    faults: tuple[Fault, ...]
    operations: dict[str, Operations]
    checks: tuple[Check, ...]
    gaps: tuple[Gaps, ...]
    takeovers: tuple[Takeover, ...]
    late_writes_refused: int
    overlaps_unfenced: dict[str, int]
    overlaps_fenced: int
    histories: int
    history_operations: int
    converged: dict[str, float]
    watching: Watching
    holdings: tuple[Holding, ...]
    latencies: tuple[Latency, ...]
    pauses_of_holders: int = 0
    schema: int = field(default=SCHEMA)


def store(result: Result) -> str:
    """Give the result as JSON."""
    return json.dumps(asdict(result), indent=1)


def load(text: str) -> Result:
    """Give the result that `store` has written; ValueError for another schema."""
    body = json.loads(text)
    if body.get("schema") != SCHEMA:
        raise ValueError(f"a result of schema {SCHEMA} is wanted, not of {body.get('schema')}")
    made: Result = _made(Result, body)
    return made


def _made(kind: Any, value: Any) -> Any:
    """Give `value`, as JSON has it, as what the annotation says."""
    if is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        return kind(**{f.name: _made(hints[f.name], value[f.name]) for f in fields(kind)})
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple:
        return tuple(_made(args[0], each) for each in value)
    if isinstance(origin, type) and issubclass(origin, dict):
        return {key: _made(args[1], each) for key, each in value.items()}
    assert not isinstance(kind, types.UnionType)
    return value
