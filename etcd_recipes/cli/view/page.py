"""The live page: a history as something to print that fits a terminal.

Rules of this file
1. Pure, and never wider or taller than it is told. What is narrow loses columns, the least important first.
2. Only the terminal's own foreground, bold, dim, green and red; what a colour says, a mark or a word says
   too: ``*`` stands before what has just changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from etcd_recipes.cli.view.census import Thing
from etcd_recipes.cli.view.history import History, Past, per_minute, seen_things, waited
from etcd_recipes.cli.view.output import duration, safe
from etcd_recipes.cli.view.reach import Lifetime
from etcd_recipes.cli.view.report import ttl

__all__ = ["Look", "draw"]

_RECENT = 2.0
_STALE = 12.0
"""Seconds: etcd confirms the picture every ten, also when nothing changes."""


@dataclass(frozen=True, slots=True)
class Look:
    """All that a page shows: the `history` at `now`, how old the picture is, and what is in the way."""

    history: History
    lifetimes: Mapping[str, Lifetime]
    now: float
    confirmed: float
    where: str
    trouble: str = ""


def draw(look: Look, width: int, height: int) -> RenderableType:
    """Give the page for a terminal of this size."""
    pasts = seen_things(look.history)
    room = max(1, height - 5)
    table = _table(width)
    for past in pasts[:room]:
        table.add_row(*_cells(look, past, width), style=_style(look, past))
    hidden = len(pasts) - room
    more = Text(f"and {hidden} more" if hidden > 0 else "" if pasts else "nothing is held", "dim")
    return Group(_title(look, pasts), _age(look), table, more, Text("q: quit", "dim"))


def _title(look: Look, pasts: list[Past]) -> Text:
    things = [past.thing for past in pasts]
    held = sum(bool(thing.holders) for thing in things)
    waiting = sum(len(thing.waiters) for thing in things)
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append("etcd-recipes top", "bold")
    text.append(f"  {held} held, {waiting} waiting  {look.where}")
    return text


def _age(look: Look) -> Text:
    age = look.now - look.confirmed
    if look.trouble or age > _STALE:
        why = f": {safe(look.trouble)}" if look.trouble else ""
        return Text(
            f"STALE: the picture is {age:.0f} s old{why}",
            "bold red",
            no_wrap=True,
            overflow="ellipsis",
        )
    return Text("up to date", "green")


_WIDE = {"KIND": 50, "LONGEST": 60, "TTL": 70, "/MIN": 90, "TOKEN": 100}
"""The width from which on a column is shown; those that are not named always are."""

_ALL = ("", "KIND", "NAME", "HOLDER", "WAITING", "/MIN", "LONGEST", "TTL", "TOKEN")


def _shown(width: int) -> list[str]:
    return [name for name in _ALL if width >= _WIDE.get(name, 0)]


def _table(width: int) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim", expand=True)
    for name in _shown(width):
        wide = name in ("NAME", "HOLDER")
        table.add_column(
            name,
            no_wrap=True,
            overflow="ellipsis",
            ratio=1 if wide else None,
            min_width=None if wide or width < 30 else max(1, len(name)),
            justify="left" if wide or name in ("", "KIND") else "right",
        )
    return table


def _cells(look: Look, past: Past, width: int) -> list[str]:
    thing = past.thing
    rate = per_minute(look.history, past, look.now)
    first = thing.holders[0] if thing.holders else None
    wait = waited(look.history, past, look.now)
    cells = {
        "": "*" if _is_recent(look, past) else " ",
        "KIND": thing.kind,
        "NAME": safe(thing.name),
        "HOLDER": _holder(thing),
        "WAITING": str(len(thing.waiters)) if thing.waiters else "-",
        "/MIN": "-" if rate is None else f"{rate:.0f}",
        "LONGEST": duration(wait) if wait else "-",
        "TTL": ttl(look.lifetimes.get(first.entry.key)) if first else "-",
        "TOKEN": str(first.token) if first else "-",
    }
    return [cells[name] for name in _shown(width)]


def _holder(thing: Thing) -> str:
    if not thing.holders:
        return thing.state
    first = thing.holders[0]
    who = safe(first.role if thing.kind == "election" and first.role else first.who)
    others = f" +{len(thing.holders) - 1}" if len(thing.holders) > 1 else ""
    return (f"{thing.used} of {thing.limit}: " if thing.limit else "") + who + others


def _is_recent(look: Look, past: Past) -> bool:
    return bool(past.changed) and look.now - past.changed < _RECENT


def _style(look: Look, past: Past) -> str:
    if _is_recent(look, past):
        return "bold"
    return "" if past.thing.holders or past.thing.waiters else "dim"
