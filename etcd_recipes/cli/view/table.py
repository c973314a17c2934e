"""A table as lines of text: for a terminal of some width, or for a pipe, which has none.

The algorithm
1. It fits: all columns side by side, as wide as they must be, numbers to the right.
2. It does not, and its first columns name a thing: each thing is named on a line of its own, and what is
   said of it stands below, two columns in.
3. It is still too wide: the widest columns of text become narrower, and what has no room is folded.

Rules of this file
* Pure, and nothing is hidden. A width is a terminal's: some characters take two columns, and some none.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

__all__ = ["Row", "lay_out", "width_of_text"]


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table: its cells, and the style of all of it ("", "bold", "dim", "red" or "green")."""

    cells: tuple[str, ...]
    style: str = ""


_NUMBERS = frozenset({"AGE", "TTL", "TOKEN", "TERM", "INDEX", "MS", "WEIGHT"})
_INDENT = "  "


def lay_out(
    columns: Sequence[str], rows: Sequence[Row], *, width: int = 0, lead: int = 0
) -> list[Row]:
    """Give the lines of a table, each as a Row of one cell; a `width` of 0 has room for everything.

    The first `lead` columns name a thing; where they are empty, the row says more of the one before.
    """
    table = _Table(columns, [Row(tuple(columns), "dim"), *rows], gap=1 if width else 2)
    if width and lead and sum(table.widths()) + table.gap * (len(columns) - 1) > width:
        return list(_grouped(columns, rows, width, lead))
    return [line for row in table.rows for line in table.lines(row, width)]


def _grouped(columns: Sequence[str], rows: Sequence[Row], width: int, lead: int) -> Iterator[Row]:
    tails = [Row(row.cells[lead:], row.style) for row in rows]
    table = _Table(columns[lead:], [Row(tuple(columns[lead:]), "dim"), *tails], gap=1)
    yield Row((" ".join(columns[:lead]),), "dim")
    yield from table.lines(table.rows[0], width, _INDENT)
    for row, tail in zip(rows, tails, strict=True):
        name = " ".join(cell for cell in row.cells[:lead] if cell)
        yield from (Row((part,), "bold") for part in _folded(name, width) if name)
        if set(tail.cells) - {"", "-"}:
            yield from table.lines(tail, width, _INDENT)


class _Table:
    def __init__(self, columns: Sequence[str], rows: Sequence[Row], gap: int) -> None:
        self.rows = rows
        self.gap = gap
        self._is_number = [name in _NUMBERS for name in columns]

    def widths(self, room: int = 0) -> list[int]:
        """Give how wide each column is; together with the gaps no wider than `room`, if that can be."""
        columns = zip(*(row.cells for row in self.rows), strict=True)
        widths = [max(map(width_of_text, column)) for column in columns]
        texts = [n for n, is_number in enumerate(self._is_number) if not is_number]
        excess = sum(widths) + self.gap * (len(widths) - 1) - room
        while (
            room and excess > 0 and (widest := max(texts, key=widths.__getitem__, default=-1)) >= 0
        ):
            if widths[widest] <= 1:
                break
            widths[widest] -= 1
            excess -= 1
        return widths

    def lines(self, row: Row, width: int, indent: str = "") -> Iterator[Row]:
        """Give a row as lines, several where a cell is folded."""
        widths = self.widths(width and max(1, width - len(indent)))
        parts = [_folded(cell, room) for cell, room in zip(row.cells, widths, strict=True)]
        for n in range(max(map(len, parts))):
            cells = [
                _padded(part[n] if n < len(part) else "", room, is_number)
                for part, room, is_number in zip(parts, widths, self._is_number, strict=True)
            ]
            yield Row(((indent + (" " * self.gap).join(cells)).rstrip(),), row.style)


def _padded(text: str, width: int, is_number: bool) -> str:
    space = " " * (width - width_of_text(text))
    return space + text if is_number else text + space


def _folded(text: str, width: int) -> list[str]:
    """Give the text in pieces that are no wider than that."""
    if width_of_text(text) <= width:
        return [text]
    pieces = [""]
    for character in text:
        if pieces[-1] and width_of_text(pieces[-1] + character) > width:
            pieces.append("")
        pieces[-1] += character
    return pieces


def width_of_text(text: str) -> int:
    """Give how many columns of a terminal a text takes."""
    return len(text) if text.isascii() else sum(map(_width, text))


def _width(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
