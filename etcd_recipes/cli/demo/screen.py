"""The live view: the picture of the moment on a terminal, drawn anew in place.

Rules of this file
1. It is never taller than 23 rows, and never taller than the terminal: what has no room is cut, the oldest
   turns of the story first, then workers.
2. It must read well on light and on dark: only the terminal's own foreground, bold, dim, green and red; and
   without any colour at all. What a colour says, a word says too.
3. `draw` is pure: a picture in, something to print out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from etcd_recipes.cli.demo.event import Event
from etcd_recipes.cli.demo.lines import is_turn, stamped
from etcd_recipes.cli.demo.plot import now_playing
from etcd_recipes.cli.demo.story import Hand, Picture

__all__ = ["Screen", "draw", "on_screen"]

_ROWS = 23
_WIDEST = 110
_FRAME = 12  # rows that are neither workers nor turns
_FEWEST_TURNS = 4
_FASTEST = 0.1  # seconds between two drawings


class Screen:
    """Shows a run in place on a terminal."""

    def __init__(self, live: Live, *, may_kill_member: bool) -> None:
        self._live = live
        self._may_kill_member = may_kill_member
        self._turns: deque[str] = deque(maxlen=_ROWS)
        self._drawn = 0.0
        self._last: tuple[Picture, float] | None = None

    def tell(self, event: Event, picture: Picture) -> None:
        """Show that this happened."""
        line = stamped(event, picture)
        if line is not None and is_turn(event, picture):
            self._turns.append(line)
        self.refresh(picture, event.at)

    def refresh(self, picture: Picture, now: float) -> None:
        """Draw the picture, if the last drawing is old enough."""
        self._last = picture, now
        if abs(now - self._drawn) >= _FASTEST:
            self._drawn = now
            self.redraw()

    def redraw(self) -> None:
        """Draw what was shown last, at once."""
        if self._last is None:
            return
        picture, now = self._last
        size = self._live.console.size
        playing = now_playing(picture, may_kill_member=self._may_kill_member)
        view = draw(picture, now, playing, tuple(self._turns), size.width, size.height)
        self._live.update(view, refresh=True)


@contextmanager
def on_screen(console: Console, *, may_kill_member: bool) -> Iterator[Screen]:
    """Give a Screen that draws on `console`; its last drawing stays."""
    with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
        screen = Screen(live, may_kill_member=may_kill_member)
        yield screen
        screen.redraw()


def draw(
    picture: Picture, now: float, playing: str, turns: Sequence[str], width: int, height: int
) -> RenderableType:
    """Give the view of a picture for a terminal of this size."""
    width = min(width, _WIDEST)
    room = max(1, min(_ROWS, height - 1) - _FRAME)
    hands = _few(list(picture.hands.values()), max(1, room - _FEWEST_TURNS))
    rows = room - len(hands)
    shown = turns[-rows:] if rows > 0 else ()
    return Group(
        _title(picture, now, width),
        Text(f"now: {playing}", style="italic"),
        Text(),
        _facts(picture, width),
        Text(),
        _hands(picture, hands),
        Text(),
        *(_turn(line) for line in shown),
    )


def _few(hands: list[Hand], most: int) -> list[Hand]:
    """Give as many workers as there is room for: those that work before those that do not."""
    if len(hands) <= most:
        return hands
    keep = sorted(hands, key=lambda hand: (not hand.job, hand.name))[:most]
    return [hand for hand in hands if hand in keep]


def _title(picture: Picture, now: float, width: int) -> RenderableType:
    plan = picture.plan
    row = Table.grid(expand=True)
    row.width = width
    row.add_column()
    row.add_column(justify="right")
    began = picture.began or now
    row.add_row(
        Text.assemble(
            ("etcd-recipes demo", "bold"),
            f"  {plan.workers} workers, {plan.jobs} jobs, ttl {plan.ttl} s, seed {plan.seed}",
        ),
        f"{now - began:.1f} s",
    )
    return row


def _facts(picture: Picture, width: int) -> RenderableType:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.width = width
    grid.add_column(style="dim", no_wrap=True, width=8)
    grid.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    grid.add_row("etcd", _members(picture))
    grid.add_row("election", _election(picture))
    grid.add_row("registry", f"{len(picture.registered)} workers are registered")
    grid.add_row("ledger", _ledger(picture, width))
    return grid


def _members(picture: Picture) -> Text:
    text = Text()
    for name in picture.members:
        if name in picture.dead_members:
            text.append(f"{name} killed", "bold red")
        elif name == picture.ruler:
            text.append(f"{name} leads", "bold green")
        else:
            text.append(name)
        text.append("   ")
    return text if picture.members else Text(picture.place or "starting")


def _election(picture: Picture) -> Text:
    waiting = [name for name in picture.candidates if name != picture.leader]
    text = Text()
    if picture.leader:
        text.append(f"{picture.leader} leads", "bold green")
        text.append(f", token {picture.token}")
    else:
        alarm = picture.terms and not picture.closing
        text.append("nobody leads", "bold red" if alarm else "")
    if waiting:
        names = [f"{name} (dead)" if _is_dead(picture, name) else name for name in waiting]
        text.append(f"; in line: {', '.join(names)}")
    return text


def _is_dead(picture: Picture, name: str) -> bool:
    return picture.killed is not None and picture.killed.who == name


def _ledger(picture: Picture, width: int) -> Text:
    plan = picture.plan
    cells = min(plan.jobs, width - 40)
    done = len(picture.done) * cells // plan.jobs
    handed = max(done, len(picture.handed) * cells // plan.jobs)
    text = Text()
    text.append("#" * done, "green")
    text.append("-" * (handed - done))
    text.append("." * (cells - handed), "dim")
    text.append(f"  {len(picture.done)} of {plan.jobs} done, {len(picture.handed)} handed out")
    return text


def _hands(picture: Picture, hands: Sequence[Hand]) -> RenderableType:
    table = Table(box=None, padding=(0, 3, 0, 0), pad_edge=False, header_style="dim")
    for name, width in (("worker", 9), ("role", 18), ("job", 5), ("lock token", 20)):
        table.add_column(name, no_wrap=True, min_width=width)
    table.add_column("done", justify="right")
    for hand in hands:
        table.add_row(hand.name, _role(picture, hand), *_work(picture, hand), str(hand.done))
    hidden = len(picture.hands) - len(hands)
    if hidden:
        table.add_row(f"and {hidden} more", "", "", "", "")
    return table


def _role(picture: Picture, hand: Hand) -> Text:
    if hand.state == "killed":
        return Text("killed -9", "bold red")
    if hand.state != "here":
        return Text(hand.state, "dim")
    if hand.name == picture.leader:
        return Text("leads", "bold green")
    waiting = [name for name in picture.candidates if name != picture.leader]
    if hand.name in waiting:
        return Text(f"waits, {_ordinal(waiting.index(hand.name) + 1)} in line")
    return Text("")


def _work(picture: Picture, hand: Hand) -> tuple[str, str]:
    if hand.state == "killed":
        return (
            hand.job if picture.orphan else "",
            "until its lease ends" if picture.orphan else "",
        )
    return hand.job, str(hand.token) if hand.job else ""


def _turn(line: str) -> Text:
    alarm = any(word in line for word in ("KILLED", "TROUBLE", " lost "))
    style = "bold red" if alarm else "green" if "LEADS" in line else ""
    return Text(line, style, no_wrap=True, overflow="ellipsis")


def _ordinal(n: int) -> str:
    return f"{n}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(n if n < 20 else n % 10, 'th') }"
