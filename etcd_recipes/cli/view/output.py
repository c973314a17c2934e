"""What goes to stdout: tables for people, tab-separated lines for programs of the shell, JSON for all others.

Rules of this file
1. On a terminal a table fits its width (`table`), and nothing is hidden; with rich it has styles. In a pipe
   its columns are as wide as they must be.
2. Only the terminal's own foreground, bold, dim, green and red: they read on light and on dark. What a
   colour says, a word says too.
3. Nothing that somebody wrote into etcd reaches a terminal as a control character.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any, TypeVar

import click

from etcd_recipes.cli.talk import is_terminal, width_of
from etcd_recipes.cli.view.table import Row, lay_out
from etcd_recipes.cli.words import safe

__all__ = [
    "duration",
    "has_screen",
    "one_json",
    "output_option",
    "safe",
    "show",
    "size",
]

F = TypeVar("F", bound=Callable[..., Any])


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


def show(
    output: str, columns: Sequence[str], rows: Sequence[Row], document: Any, *, lead: int = 0
) -> None:
    """Print a table whose first `lead` columns name a thing, plain lines, or the `document` as JSON."""
    if output == "json":
        click.echo(one_json(document, indent=2))
    elif output == "plain":
        for row in rows:
            click.echo("\t".join(row.cells))
    else:
        _print(lay_out(columns, rows, width=width_of(sys.stdout), lead=lead))


def _print(lines: Sequence[Row]) -> None:
    if not has_screen():
        for line in lines:
            click.echo(line.cells[0])
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, markup=False, soft_wrap=True)
    for line in lines:
        console.print(Text(line.cells[0], line.style))


def has_screen() -> bool:
    """Tell whether stdout is a terminal that can be drawn on, and rich is there to do it."""
    if not is_terminal(sys.stdout) or find_spec("rich") is None:
        return False
    from rich.console import Console

    return not Console().is_dumb_terminal


def one_json(document: Any, indent: int | None = None) -> str:
    """Give `document` as JSON; what is no UTF-8 is escaped."""
    return json.dumps(document, indent=indent, default=str)


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
