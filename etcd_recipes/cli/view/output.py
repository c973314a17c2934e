"""What goes to stdout: tables for people, tab-separated lines for programs of the shell, JSON for all others.

Rules of this file
1. On a terminal with rich a table fits its width: what has no room is folded, and nothing is hidden. In a
   pipe, or without rich, columns are padded with spaces and as wide as they must be.
2. Only the terminal's own foreground, bold, dim, green and red: they read on light and on dark. What a
   colour says, a word says too.
3. Nothing that somebody wrote into etcd reaches a terminal as a control character.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypeVar

import click

from etcd_recipes.cli.words import printable, safe

if TYPE_CHECKING:
    from rich.table import Table as RichTable

__all__ = [
    "Row",
    "as_lines",
    "as_rich",
    "duration",
    "has_screen",
    "one_json",
    "output_option",
    "safe",
    "say",
    "show",
    "size",
]

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table: its cells, and the style of all of it ("", "bold", "dim", "red" or "green")."""

    cells: tuple[str, ...]
    style: str = ""


def output_option(*formats: str) -> Callable[[F], F]:
    """Give a command ``-o``; the first of `formats` is the default."""
    return click.option(
        "-o",
        "--output",
        type=click.Choice(formats),
        default=formats[0],
        show_default=True,
        help="The form of what is printed.",
    )


def show(output: str, columns: Sequence[str], rows: Sequence[Row], document: Any) -> None:
    """Print a table, plain lines, or the `document` as JSON."""
    if output == "json":
        click.echo(one_json(document, indent=2))
    elif output == "plain":
        for row in rows:
            click.echo("\t".join(row.cells))
    elif has_screen():
        from rich.console import Console

        Console(highlight=False, markup=False).print(as_rich(columns, rows))
    else:
        for line in as_lines(columns, rows):
            click.echo(line)


def has_screen() -> bool:
    """Tell whether stdout is a terminal that can be drawn on, and rich is there to do it."""
    if not sys.stdout.isatty() or find_spec("rich") is None:
        return False
    from rich.console import Console

    return not Console().is_dumb_terminal


def as_rich(columns: Sequence[str], rows: Sequence[Row]) -> RichTable:
    """Give a table that folds what is too wide."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim")
    for name in columns:
        number = name in _NUMBERS
        table.add_column(
            name, overflow="fold", no_wrap=number, justify="right" if number else "left"
        )
    for row in rows:
        table.add_row(*(Text(cell) for cell in row.cells), style=row.style)
    return table


_NUMBERS = frozenset({"AGE", "TTL", "TOKEN", "REVISION", "TERM", "INDEX", "WAIT", "/MIN", "MS"})


def as_lines(columns: Sequence[str], rows: Sequence[Row]) -> list[str]:
    """Give the table as text, columns padded with spaces."""
    table = [tuple(columns), *(row.cells for row in rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in table
    ]


def one_json(document: Any, indent: int | None = None) -> str:
    """Give `document` as JSON; what is no UTF-8 is escaped."""
    return json.dumps(document, indent=indent, default=str)


def say(sentence: str) -> None:
    """Talk to people, on stderr."""
    click.echo(f"etcd-recipes: {printable(sentence)}", err=True)


# -- text ----------------------------------------------------------------------------------------------


def duration(seconds: float | None) -> str:
    """Give a time in two characters or three and a unit: 8s, 12m, 3h, 40d; "-" for None."""
    if seconds is None:
        return "-"
    left = max(0, int(seconds))
    for unit, length in (("s", 100), ("m", 60 * 100), ("h", 3600 * 72)):
        if left < length:
            return f"{left // _SECONDS[unit]}{unit}"
    return f"{left // _SECONDS['d']}d"


_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def size(count: int) -> str:
    """Give a number of bytes for people."""
    value = float(count)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} GB"
