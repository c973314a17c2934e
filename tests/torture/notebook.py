"""What a worker writes down: one JSON object a line, into a file of its own, at once.

Rules of this file
1. A line is written by one system call: what was written before a ``kill -9`` is there, whole, but for the
   last line perhaps.
2. `t` is a reading of the clock that all processes of the machine share. What is noted *before* an act has
   happened at that time or later, what is noted *after* it at that time or sooner.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any, Literal

from etcd_recipes import EtcdRecipesError
from etcd_recipes.core import runtime

__all__ = ["Line", "Notebook", "Outcome", "outcome_of", "read"]

Line = dict[str, Any]
Outcome = Literal["ok", "refused", "unknown"]


class Notebook:
    """The notes of `who`; free to be used by many threads."""

    def __init__(self, folder: Path, who: str) -> None:
        self.who = who
        self._numbers = count(1)
        self._file = os.open(folder / f"{who}.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def note(self, e: str, **what: Any) -> float:
        """Write down that `e` is so now, and give the time."""
        t: float = what.pop("t", None) or runtime.now()
        line = {"t": t, "w": self.who, "e": e, **what}
        os.write(self._file, json.dumps(line, separators=(",", ":")).encode() + b"\n")
        return t

    def number(self) -> str:
        """Give an id that no other operation, visit or element has."""
        return f"{self.who}/{next(self._numbers)}"


def read(folder: Path) -> list[Line]:
    """Give all that all have written, in the order of time."""
    lines = [line for file in sorted(folder.glob("*.jsonl")) for line in _lines(file)]
    return sorted(lines, key=lambda line: line["t"])


def _lines(file: Path) -> Iterator[Line]:
    for text in file.read_text().splitlines():
        try:
            yield json.loads(text)
        except ValueError:
            return  # its writer was killed in the middle of a line


def outcome_of(error: BaseException) -> Outcome:
    """Tell whether a write that failed may have been carried out."""
    if not isinstance(error, EtcdRecipesError):
        raise error
    return "unknown" if getattr(error, "maybe_applied", False) else "refused"
