from __future__ import annotations

import pytest

from etcd_recipes import Cancelled, Context
from etcd_recipes.cli.demo.board import Board, Counter, Job, Seen, choose, has_room, read
from etcd_recipes.cli.demo.plan import Keys, Plan
from etcd_recipes.core.store import Entry
from tests import tools

KEYS = Keys("demo/1/")


def seen(jobs: str = "", locked: str = "", handed: int = 0) -> Seen:
    names = jobs.split()
    return Seen(
        {name: Job(name, 0.5) for name in names}, frozenset(locked.split()), Counter(handed)
    )


# -- the plan --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("workers", "jobs", "outstanding"),
    [(4, 40, 8), (3, 12, 3), (2, 2, 1), (32, 32, 8), (4, 4, 2)],
    ids=["default", "small", "least", "many", "as-many"],
)
def test_a_leader_always_keeps_jobs_back_for_the_next(workers, jobs, outstanding) -> None:
    plan = Plan(workers, jobs)
    assert plan.outstanding == outstanding < jobs


def test_the_seed_alone_says_how_long_a_job_takes() -> None:
    first, same, other = Plan(seed=1), Plan(seed=1, workers=9), Plan(seed=2)
    assert [first.seconds(n) for n in range(9)] == [same.seconds(n) for n in range(9)]
    assert [first.seconds(n) for n in range(9)] != [other.seconds(n) for n in range(9)]


def test_the_names_of_jobs_sort_as_their_numbers() -> None:
    names = Plan(jobs=1200).all_jobs
    assert names[0] == "0001"
    assert list(names) == sorted(names)
    assert len(set(names)) == 1200


# -- what is seen ----------------------------------------------------------------------------------


def test_the_board_is_read_from_the_keys() -> None:
    values = {
        "demo/1/work/handed": Counter(2, 8).encode(),
        "demo/1/work/jobs/001": Job("001", 0.5, "worker-1", 8).encode(),
        "demo/1/work/jobs/002": Job("002", 0.7, "worker-1", 8).encode(),
        "demo/1/work/locks/002/6a3f": "{}",
        "demo/1/work/other": "passed over",
    }
    entries = {key: Entry(key, value, 5, 6) for key, value in values.items()}
    assert read(entries, KEYS) == Seen(
        {"001": Job("001", 0.5, "worker-1", 8), "002": Job("002", 0.7, "worker-1", 8)},
        frozenset({"002"}),
        Counter(2, 8, modified=6),
    )


def test_a_board_without_keys_is_empty() -> None:
    assert read({}, KEYS) == Seen()


# -- what to do next -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("board", "turn", "tried", "chosen"),
    [
        (seen(), 0, "", None),
        (seen("001 002 003"), 0, "", "001"),
        (seen("001 002 003"), 1, "", "002"),
        (seen("001 002 003"), 4, "", "002"),
        (seen("001 002 003", locked="001"), 0, "", "002"),
        (seen("001 002", locked="001 002"), 0, "", None),
        (seen("001 002"), 0, "001", "002"),
        (seen("001 002"), 0, "001 002", None),
        (seen("001", locked="009"), 0, "", "001"),
    ],
    ids=[
        "none",
        "first",
        "turn",
        "wraps",
        "locked",
        "all-locked",
        "tried",
        "all-tried",
        "old-lock",
    ],
)
def test_a_hand_chooses_a_job_that_nobody_has(board, turn, tried, chosen) -> None:
    job = choose(board, turn, frozenset(tried.split()))
    assert (job.name if job else None) == chosen


@pytest.mark.parametrize(
    ("board", "room"),
    [
        (seen(), True),
        (seen("001 002", handed=2), True),
        (seen("001 002 003", handed=3), False),
        (seen("010 011 012", handed=12), True),
    ],
    ids=["empty", "room", "full", "all-handed-out"],
)
def test_a_leader_hands_out_only_as_far_ahead_as_planned(board, room) -> None:
    assert has_room(board, Plan(workers=3, jobs=12)) is room


# -- waiting for it --------------------------------------------------------------------------------


def test_whoever_waits_for_the_board_is_woken_by_what_it_waits_for() -> None:
    board, ctx = Board(), Context(5.0)
    waiting = tools.Job(lambda: board.wait_for(lambda now: len(now.jobs) == 2, ctx))
    board.show(seen("001"))
    board.show(seen("001 002"))
    assert sorted(waiting.result().jobs) == ["001", "002"]


def test_a_wait_with_a_limit_gives_what_there_is() -> None:
    board = Board()
    assert board.wait_for(lambda _: False, Context(), at_most=0.01) is board.seen


def test_a_wait_ends_with_its_context() -> None:
    board, ctx = Board(), Context()
    waiting = tools.Job(lambda: board.wait_for(lambda _: False, ctx))
    ctx.cancel()
    with pytest.raises(Cancelled):
        waiting.result()
