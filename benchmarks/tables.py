"""The tables of the page, in Markdown: pure functions of what was measured.

Rules of this file
* Ratios come first. What was not measured is said to be so; nothing is left out because it looks bad.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from benchmarks.aims import AIMS
from benchmarks.arithmetic import Round, folded, ratio, values
from benchmarks.figures import FIGURES
from benchmarks.peers import OURS, OURS_V2, PEERS, floor_of
from benchmarks.results import Measured, Results
from benchmarks.stage import Column, Figure
from docs.parts import table

__all__ = ["NOTHING", "aims", "cell", "figure", "left_out", "number", "provenance"]

NOTHING = "Not measured."
BUSY = 0.25
"""Load before the run, from which on the machine is called busy."""

_BOLD = {OURS, OURS_V2}


def number(case: Mapping[str, Sequence[Round]], peer: str, column: Column) -> float | None:
    """Give the number of a column, or None; the floor is that of the peer's store, or else the one that there is."""
    if not column.over:
        return folded(case[peer], column.measure, column.fold)
    other = column.over
    if other == "floor":
        other = floor if (floor := floor_of(peer)) in case else "raw"
    return ratio(case, column.measure, peer, other)


def cell(value: float | None, column: Column) -> str:
    if value is None:
        return "-"
    unit = f" {column.unit}" if column.unit else ""
    return f"{value:,.{column.digits}f}{unit}"


def figure(which: Figure, measured: Measured | None) -> str:
    """Give the table of a figure, and who was left out."""
    if measured is None or not measured.rounds:
        return NOTHING
    rows = [row for name in measured.rounds for row in _rows(which, name, measured.rounds[name])]
    head = ["", "client", *(column.head for column in which.columns)]
    parts = [table(head, rows), *left_out(which, measured)]
    return "\n\n".join(parts)


def _rows(which: Figure, name: str, case: Mapping[str, Sequence[Round]]) -> Iterator[list[str]]:
    shown = name
    for peer, rounds in case.items():
        who = f"**{peer}**" if peer in _BOLD else peer
        yield [shown, who, *(_cells(which, case, peer, rounds))]
        shown = ""


def _cells(
    which: Figure, case: Mapping[str, Sequence[Round]], peer: str, rounds: Sequence[Round]
) -> list[str]:
    failed = [each["failed"] for each in rounds if each.get("failed")]
    cells = [cell(number(case, peer, column), column) for column in which.columns]
    if failed and not any(values(rounds, column.measure) for column in which.columns):
        cells[0] = f"failed: {escaped(failed[0])}"
    return cells


def escaped(words: str) -> str:
    """Give what somebody else said, so that it says nothing to a page."""
    plain = "".join(c if c.isprintable() else " " for c in words)
    return "".join("\\" + c if c in "\\`*_|<>[]{}" else c for c in plain[:120])


def left_out(which: Figure, measured: Measured) -> Iterator[str]:
    for peer, why in measured.left_out.items():
        if not which.ours_alone:
            yield f"Not here: {peer}, {escaped(why)}"
    failures = {
        peer: each["failed"]
        for case in measured.rounds.values()
        for peer, rounds in case.items()
        for each in rounds
        if each.get("failed")
    }
    for peer, why in failures.items():
        yield f"Of {peer}, rounds failed: {escaped(why)}"


def aims(results: Results) -> str:
    rows = []
    for aim in AIMS:
        reached = aim.reached(results)
        value = "not measured" if reached.value is None else f"{reached.value:.3g}"
        value += f" ({reached.against})" if reached.against else ""
        verdict = {None: "", True: "reached", False: "**missed**"}[reached.good]
        rows.append([aim.words, aim.wanted, value, verdict])
    return table(["aim", "wanted", "measured", ""], rows)


def provenance(results: Results) -> str:
    """Give when, where and with what each figure was made."""
    if not results.figures:
        return NOTHING
    there = [(FIGURES[name], results.figures[name]) for name in FIGURES if name in results.figures]
    rows = [
        [which.title, each.made, each.scale, f"{each.seconds:.0f} s", _load(each), each.machine]
        for which, each in there
    ]
    head = ["figure", "made", "scale", "took", "load before", "machine"]
    parts = [table(head, rows), "\n".join(_versions([each for _, each in there]))]
    if any(each.load > BUSY for _, each in there):
        parts.insert(1, _WARNING)
    return "\n\n".join(parts)


def _versions(there: Sequence[Measured]) -> Iterator[str]:
    """Give the versions of all that was measured; both, if it was measured with two."""
    names = dict.fromkeys(name for each in there for name in each.versions)
    for name in names:
        found = dict.fromkeys(each.versions[name] for each in there if name in each.versions)
        note = PEERS[name].note if name in PEERS else ""
        yield f"- **{name}**: {' and '.join(found)}{f' ({note})' if note else ''}"


_WARNING = (
    "**The machine was busy** when some of these were made: take the ratios only, and those with "
    "a grain of salt. They are to be made anew on one that does nothing else."
)


def _load(each: Measured) -> str:
    return f"**{each.load:.1f}**" if each.load > BUSY else f"{each.load:.1f}"
