"""What a run has measured, with where and when: `docs/performance/figures.json`, of which the page is made.

Rules of this file
* All rounds are kept, as they were measured; medians and ratios are taken when the page is made.
* Each figure says for itself when and on what it was made: they may be measured on different days.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from docs.parts import lines_of_json

__all__ = ["Measured", "Results", "load", "merged", "store"]

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Measured:
    """One figure; `load` is the machine's load average before; `left_out` says why, by peer."""

    made: str
    scale: str
    machine: str
    load: float
    seconds: float
    versions: Mapping[str, str]
    left_out: Mapping[str, str]
    rounds: Mapping[str, Mapping[str, list[dict[str, Any]]]]


@dataclass(frozen=True, slots=True)
class Results:
    figures: Mapping[str, Measured] = field(default_factory=dict)


def merged(old: Results, new: Results) -> Results:
    """Give all figures, the new one where there are two."""
    return Results({**old.figures, **new.figures})


def store(results: Results) -> str:
    """Give them as JSON, a line for each round."""
    return lines_of_json({"schema": SCHEMA, **asdict(results)}, 6)


def load(text: str) -> Results:
    """Give what `store` has written; ValueError for another schema."""
    body = json.loads(text)
    if body.get("schema") != SCHEMA:
        raise ValueError(f"figures of schema {SCHEMA} are wanted")
    return Results({name: Measured(**each) for name, each in body["figures"].items()})
