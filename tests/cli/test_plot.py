from __future__ import annotations

import pytest

from etcd_recipes.cli.demo.plot import Act, next_act, now_playing
from tests.cli.stories import KILLED, LED, PLAN, TAKEN_OVER, after, event, handed, took, wrote

JOBS = PLAN.all_jobs
THREE_DONE = [wrote("worker-2", job) for job in JOBS[:3]]
TESTED = after(event("late", "worker-1", token=5, number=40), since=TAKEN_OVER)
SEVEN_DONE = [wrote("worker-2", job) for job in JOBS[:7]]
CRASHED = after(*SEVEN_DONE, event("crashed", "m1", names=("008",)), since=TESTED)
GONE = [event("ended", f"worker-{n}") for n in (1, 2, 3)]


@pytest.mark.parametrize(
    ("picture", "act"),
    [
        (after(), Act.WATCH),
        (LED, Act.WATCH),
        (after(*THREE_DONE, since=LED), Act.WATCH),
        (after(*THREE_DONE, took("worker-2", "004"), since=LED), Act.WATCH),
        (after(*THREE_DONE, took("worker-1", "004"), since=LED), Act.KILL_LEADER),
        (after(took("worker-1", "004"), since=LED), Act.WATCH),
        (
            after(*THREE_DONE, took("worker-2", "009"), *(handed("worker-1", j, 5) for j in JOBS[:9]),
                  since=LED),
            Act.KILL_LEADER,
        ),
        (after(*THREE_DONE, *(handed("worker-1", j, 5) for j in JOBS[:9]), since=LED), Act.WATCH),
        (KILLED, Act.WATCH),
        (TAKEN_OVER, Act.TEST_FENCE),
        (TESTED, Act.WATCH),
        (after(*SEVEN_DONE, took("worker-2", "008"), since=TESTED), Act.KILL_MEMBER),
        (after(*SEVEN_DONE, since=TESTED), Act.WATCH),
        (after(took("worker-2", "012"), *(handed("worker-3", j, 40) for j in JOBS), since=TESTED),
         Act.KILL_MEMBER),
        (after(took("worker-2", "008"), since=CRASHED), Act.WATCH),
        (after(*(wrote("worker-2", job) for job in JOBS), since=CRASHED), Act.END),
        (after(*GONE, since=LED), Act.END),
    ],
    ids=[
        "nothing-yet", "too-early", "nothing-runs", "the-leader-has-none", "now", "too-few-done",
        "last-chance", "last-chance-but-nothing-runs", "wait-for-the-next",
        "taken-over", "too-early-again", "now-the-member",
        "nothing-runs-again", "last-chance-again", "both-done", "all-done", "nobody-left",
    ],
)  # fmt: skip
def test_a_blow_falls_only_when_it_shows_something(picture, act) -> None:
    assert next_act(picture, may_kill_member=True) is act


def test_an_etcd_that_was_given_is_left_alone() -> None:
    picture = after(*SEVEN_DONE, took("worker-2", "008"), since=TESTED)
    assert next_act(picture, may_kill_member=False) is Act.WATCH


@pytest.mark.parametrize(
    ("picture", "words"),
    [
        (after(), "starting"),
        (LED, "next: its kill -9"),
        (KILLED, "no leader"),
        (TESTED, "worker-3 leads"),
        (CRASHED, "the two etcd members left"),
        (after(event("rules", "m2"), since=CRASHED), "two of three"),
        (after(event("curtain"), since=CRASHED), "the workers leave"),
    ],
    ids=["start", "led", "killed", "taken-over", "crashed", "mended", "end"],
)
def test_what_is_going_on_is_said_in_words_that_fit_a_narrow_terminal(picture, words) -> None:
    said = now_playing(picture)
    assert words in said
    assert len(said) <= 74


def test_no_member_is_announced_to_be_killed_that_is_not() -> None:
    assert "etcd" not in now_playing(TESTED, may_kill_member=False)
