"""The pictures of the page, as SVG, from the figures alone: a row of bars for each case and client."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.figures import FIGURES
from benchmarks.peers import OURS, OURS_V2, PEERS
from benchmarks.results import Measured, Results
from benchmarks.stage import Column, Figure
from benchmarks.tables import cell, number
from docs.figures.chart import BLUE, GREEN, GREY, Axis, bar, line, picture, text

__all__ = ["draw_all", "name_of"]

WIDTH, LEFT = 760, 150
RIGHT = WIDTH - 70
ROW, GAP, SMALL = 17, 26, 11


def name_of(which: Figure, column: Column) -> str:
    """Give the name of the file."""
    return f"{which.name}-{column.measure.replace('_', '-')}.svg"


def draw_all(results: Results) -> dict[str, str]:
    """Give each picture by the name of its file."""
    return {
        name_of(which, column): bars(which, column, results.figures[which.name])
        for which in FIGURES.values()
        if which.name in results.figures
        for column in which.columns
        if column.head in which.drawn
    }


def bars(which: Figure, column: Column, measured: Measured) -> str:
    """Draw a column: a bar for each client, below one another, case by case."""
    cases = {
        case: {peer: number(rounds, peer, column) for peer in rounds}
        for case, rounds in measured.rounds.items()
    }
    known = [value for case in cases.values() for value in case.values() if value is not None]
    axis = Axis(LEFT, RIGHT, 0.0, max([1.0, *known]) * 1.02)
    parts = [text(8, 18, f"{which.title}: {column.head}", anchor="start", font_weight="bold")]
    y = 32.0
    top = y
    for name, case in cases.items():
        parts.append(text(8, y + 12, name, anchor="start", size=SMALL, font_weight="bold"))
        y += ROW + 2
        for peer, value in case.items():
            parts += _row(axis, y, peer, value, column)
            y += ROW
        y += GAP - ROW
    parts += axis.draw(top, y, "")
    if column.over:
        parts.append(line(axis.at(1), top, axis.at(1), y, stroke_dasharray="4 3"))
    return picture(WIDTH, y + 26, f"{which.title}: {column.head}", *parts)


def _row(axis: Axis, y: float, peer: str, value: float | None, column: Column) -> Iterator[str]:
    yield text(LEFT - 10, y + 11, peer, anchor="end", size=SMALL)
    words = cell(value, column)
    if value is not None:
        yield bar(LEFT, y + 1, axis.at(value) - LEFT, ROW - 4, _colour(peer), f"{peer}: {words}")
    yield text(axis.at(value or 0.0) + 6, y + 11, words, anchor="start", size=SMALL)


def _colour(peer: str) -> str:
    if peer in (OURS, OURS_V2):
        return GREEN
    return BLUE if peer in PEERS and PEERS[peer].is_foreign else GREY
