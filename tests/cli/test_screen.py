from __future__ import annotations

import io

import pytest

pytest.importorskip("rich")
from rich.console import Console

from etcd_recipes.cli.demo.plan import Plan
from etcd_recipes.cli.demo.plot import now_playing
from etcd_recipes.cli.demo.screen import draw, on_screen
from etcd_recipes.cli.demo.story import apply, begin
from tests.cli.stories import KILLED, LED, TAKEN_OVER, after, event, took

TURNS = tuple(f"{n:6.2f} s  worker-1  LEADS under token {n}" for n in range(40))
CROWD = begin(Plan(workers=32, jobs=10_000))


def screen(picture, width: int, height: int, turns=TURNS, *, colour: bool = False) -> str:
    system = "standard" if colour else None
    console = Console(
        file=io.StringIO(), width=width, height=height, force_terminal=colour, color_system=system
    )
    console.print(draw(picture, 112.0, now_playing(picture), turns, width, height), end="")
    output = console.file
    assert isinstance(output, io.StringIO)
    return output.getvalue()


@pytest.mark.parametrize("picture", [begin(Plan()), LED, KILLED, TAKEN_OVER, CROWD],
                         ids=["start", "led", "killed", "taken-over", "crowd"])  # fmt: skip
@pytest.mark.parametrize(
    ("width", "height"), [(80, 24), (120, 40), (80, 20)], ids=["80", "120", "low"]
)
def test_it_fits(picture, width: int, height: int) -> None:
    lines = screen(picture, width, height).splitlines()
    assert len(lines) <= min(23, height - 1)
    assert max(len(line) for line in lines) <= width


def test_it_says_who_leads_who_waits_and_what_runs_where() -> None:
    text = screen(after(took("worker-2", "001", 20), since=LED), 80, 24)
    assert "worker-1 leads, token 5; in line: worker-3, worker-2" in text
    assert "m1 leads" in text
    assert "3 workers are registered" in text
    row = next(line for line in text.splitlines() if line.startswith("worker-2"))
    assert row.split("  ")[0:1] == ["worker-2"]
    assert "waits, 2nd in line" in row
    assert "001" in row
    assert "20" in row


def test_it_shows_the_dead_and_what_they_died_with() -> None:
    text = screen(KILLED, 80, 24)
    row = next(line for line in text.splitlines() if line.startswith("worker-1"))
    assert "killed -9" in row
    assert "003" in row
    assert "nobody leads; in line: worker-1 (dead), worker-3" in text
    crashed = after(event("crashed", "m1", 120.0), since=TAKEN_OVER)
    assert "m1 killed" in screen(crashed, 80, 24)


def test_without_room_the_workers_at_work_are_shown_and_the_rest_counted() -> None:
    picture = CROWD
    for kind in ("ready", "took"):
        picture = apply(picture, event(kind, "worker-31", job="0007"))
    text = screen(picture, 80, 24)
    assert "worker-31" in text
    assert "more" in text


def test_only_colours_that_read_on_light_and_dark() -> None:
    text = screen(after(took("worker-2", "001"), since=KILLED), 80, 24, colour=True)
    codes = {code for part in text.split("\x1b[")[1:] for code in part.split("m")[0].split(";")}
    assert codes <= {"0", "1", "2", "3", "31", "32"}


def test_the_last_picture_stays_on_the_terminal() -> None:
    console = Console(file=io.StringIO(), width=80, height=24, force_terminal=True)
    with on_screen(console, may_kill_member=True) as shown:
        shown.tell(event("elected", "worker-1", 100.0, token=5), LED)
        shown.tell(
            event("took", "worker-2", 100.01, job="007"), after(took("worker-2", "007"), since=LED)
        )
    output = console.file
    assert isinstance(output, io.StringIO)
    assert "007" in output.getvalue()
