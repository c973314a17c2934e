from __future__ import annotations

import io

import pytest

from etcd_recipes.cli.demo.lines import Lines, is_turn, stamped
from tests.cli.stories import KILLED, LED, TAKEN_OVER, after, event, handed, took, wrote


def tell(since, event):
    picture = after(event, since=since)
    return stamped(event, picture), is_turn(event, picture)


@pytest.mark.parametrize(
    ("since", "event", "line", "turn"),
    [
        (LED, took("worker-2", "001", 20, at=101.5),
         "  1.50 s  worker-2  takes job 001 under lock token 20", False),
        (LED, wrote("worker-2", "001", at=102.0),
         "  2.00 s  worker-2  has done job 001: 1 of 12 in the ledger", False),
        (LED, handed("worker-1", "004", 5, at=102.0),
         "  2.00 s  worker-1  hands out job 004 (token 5)", False),
        (LED, event("candidates", at=101.0, names=("worker-1", "worker-3")),
         "  1.00 s  election  first in line: worker-1; behind: worker-3", False),
        (LED, event("candidates", at=101.0), "  1.00 s  election  nobody stands for election", False),
        (LED, event("registered", at=101.0, names=("worker-1",)),
         "  1.00 s  registry  1 registered: worker-1", False),
        (LED, event("killed", "worker-1", 105.0, token=5, names=("001", "002")),
         "  5.00 s  worker-1  KILLED (-9) while leading; jobs running: 001, 002", True),
        (KILLED, event("elected", "worker-3", 112.5, token=40),
         " 12.50 s  worker-3  LEADS under token 40: takes over 2.50 s after the kill", True),
        (TAKEN_OVER, event("elected", "worker-2", 119.0, token=60),
         " 19.00 s  worker-2  LEADS under token 60", True),
        (TAKEN_OVER, handed("worker-3", "005", 40, at=113.0),
         " 13.00 s  worker-3  hands out job 005 (token 40)", False),
        (TAKEN_OVER, took("worker-2", "003", 41, at=113.0),
         " 13.00 s  worker-2  takes job 003 under lock token 41, which worker-1 died with", True),
        (TAKEN_OVER, event("late", "worker-1", 113.0, token=5, number=40),
         " 13.00 s  worker-1  a late write in its name (token 5) is refused: 40 seen", True),
        (TAKEN_OVER, event("late", "worker-1", 113.0, token=5, number=5, text="accepted"),
         " 13.00 s  worker-1  TROUBLE: a late write in its name (token 5) was NOT refused", True),
        (TAKEN_OVER, event("crashed", "m1", 120.0, names=("005",)),
         " 20.00 s  m1        KILLED (-9) while leading etcd; jobs running: 005", True),
        (after(event("crashed", "m1", 120.0), since=TAKEN_OVER), event("rules", "m2", 121.5),
         " 21.50 s  m2        leads the etcd cluster, 1.50 s after the kill", True),
        (LED, event("lost", "worker-2", 103.0, job="001", text="key: why"),
         "  3.00 s  worker-2  lost the lock of job 001: why", True),
        (LED, event("lost", "worker-2", 103.0, text="why"),
         "  3.00 s  worker-2  lost the leadership: why", True),
        (LED, event("trouble", "worker-2", 103.0, text="what"), "  3.00 s  worker-2  TROUBLE: what", True),
        (LED, event("ended", "worker-2", 103.0, number=1), "  3.00 s  worker-2  ended with status 1", False),
        (LED, event("ended", "worker-2", 103.0, number=-9), "  3.00 s  worker-2  is gone, by signal 9", False),
        (LED, event("curtain", at=103.0),
         "  3.00 s  demo      only 0 of 12 jobs are done; the workers are asked to leave", True),
        (LED, event("ended", "worker-2", 99.0), "  0.00 s  worker-2  is gone", False),
    ],
    ids=[
        "took", "wrote", "handed", "candidates", "no-candidates", "registered", "killed", "takeover", "elected-later",
        "handed-later", "inherited", "late", "late-accepted", "crashed", "rules-next",
        "lost", "lost-term", "trouble", "ended-badly", "ended-by-signal", "gave-up", "ended",
    ],
)  # fmt: skip
def test_each_event_is_one_line(since, event, line: str, turn: bool) -> None:
    assert tell(since, event) == (line, turn)


def test_an_unknown_event_says_nothing() -> None:
    assert tell(LED, event("nosuch"))[0] is None


def test_what_is_going_on_is_said_once_when_it_changes() -> None:
    stream = io.StringIO()
    lines = Lines(stream, may_kill_member=True)
    for each in (event("elected", "worker-1", token=5), handed("worker-1", "001", 5)):
        lines.tell(each, after(each, since=LED))
    assert stream.getvalue().count("---") == 1
    assert len(stream.getvalue().splitlines()) == 3
