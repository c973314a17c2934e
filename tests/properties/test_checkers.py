"""Each checker refuses what contradicts its property, and lets pass what only looks like it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from tests.properties.chaos import draw
from tests.properties.checkers import broken
from tests.properties.history import History, Rule, Visit, Wish, visit_of
from tests.properties.subjects import SUBJECTS

READ, WRITE = Wish("read"), Wish("write")
ONE, READERS, PERMITS = (SUBJECTS[name].may for name in ("lock", "rwlock", "semaphore"))


def stay(who: str, start: float, end: float, *, place: int, **more: object) -> Visit:
    """Give a visit that was granted at `start` and left at `end`; its token is the time, as a rule."""
    visit = Visit(
        who,
        began=0.0,
        granted=start,
        token=int(start * 10),
        place=place,
        believed=end - 0.1,
        promised=end + 1.0,
        leaving=end,
    )
    return replace(visit, **more)  # type: ignore[arg-type]


def found(*visits: Visit, may: Rule = ONE, left_behind: Sequence[str] = ()) -> set[str]:
    return set(broken(History(visits, may, left_behind=tuple(left_behind))))


def lost(who: str, start: float, *, believed: float, promised: float, told: float) -> Visit:
    return stay(
        who, start, told, place=1, believed=believed, promised=promised, told=told, leaving=None
    )


def test_one_after_the_other_is_fine() -> None:
    assert not found(stay("a", 1, 2, place=1), stay("b", 2, 3, place=2), stay("c", 3, 4, place=3))


def test_two_in_at_once_are_refused() -> None:
    assert "exclusion" in found(stay("a", 1, 3, place=1), stay("b", 2, 4, place=2))


def test_readers_may_be_in_together_and_a_writer_may_not() -> None:
    one, two = stay("r", 1, 3, place=1, wish=READ), stay("s", 2, 4, place=2, wish=READ)
    assert not found(one, two, may=READERS)
    assert "exclusion" in found(one, replace(two, wish=WRITE), may=READERS)


def test_permits_are_added_up_over_all_who_are_in() -> None:
    three = [stay(f"{n}", n, 9, place=n) for n in (1, 2, 3)]
    assert not found(*three, may=PERMITS)
    assert found(*three, stay("4", 4, 9, place=4), may=PERMITS) == {"exclusion"}


def test_what_is_not_proved_is_not_claimed() -> None:
    """The first was not seen to believe when the second went in, and had been promised no more."""
    assert not found(lost("a", 1, believed=2.0, promised=2.5, told=9), stay("b", 2.6, 3, place=2))


def test_a_grant_before_the_end_of_a_promise_is_refused() -> None:
    stopped = lost("a", 1, believed=2.0, promised=3.0, told=9)
    assert found(stopped, stay("b", 2.6, 3, place=2)) == {"notice"}


def test_a_belief_after_the_next_grant_is_refused() -> None:
    assert "exclusion" in found(
        lost("a", 1, believed=2.8, promised=2.0, told=9), stay("b", 2.6, 3, place=2)
    )


def test_a_grant_beside_one_that_holds_unseen_is_refused() -> None:
    """Its thread stood still, but it had been promised to be alone, and lost nothing."""
    unseen = stay("a", 1, 4, place=1, believed=1.5, promised=3.5)
    assert found(unseen, stay("b", 3, 5, place=2)) == {"exclusion"}
    assert not found(unseen, stay("b", 3.6, 5, place=2))


def test_one_that_was_told_in_time_had_no_promise_left() -> None:
    assert not found(lost("a", 1, believed=2.0, promised=4.0, told=2.4), stay("b", 2.6, 3, place=2))


def test_an_operator_may_let_two_in_for_a_while() -> None:
    robbed = lost("a", 1, believed=2.9, promised=4.0, told=3.0)
    robbed = replace(robbed, taken=2.0, taken_by=50)
    assert not found(robbed, stay("b", 2.1, 4, place=2))
    assert found(replace(robbed, believed=5.6, told=5.7), stay("b", 2.1, 4, place=2)) == {"notice"}
    assert not found(replace(robbed, believed=5.6, told=5.7, pause=0.8), stay("b", 2.1, 4, place=2))


def test_one_whose_place_was_taken_before_it_went_in_is_refused() -> None:
    phantom = stay("a", 2.2, 3, place=1, taken=1.0, taken_by=11)
    assert "exclusion" in found(phantom, stay("b", 2.1, 4, place=2))


def test_the_dead_hold_nothing() -> None:
    dead = stay("a", 1, 1.5, place=1, leaving=None, killed=1.6, believed=1.5, promised=3.5)
    assert not found(dead, stay("b", 3.0, 4, place=2))


@pytest.mark.parametrize("token", [10, 9])
def test_a_token_that_does_not_grow_is_refused(token: int) -> None:
    assert found(stay("a", 1, 2, place=1), stay("b", 2, 3, place=2, token=token)) == {"tokens"}


def test_tokens_of_those_who_are_in_together_may_be_the_same() -> None:
    readers = [stay(f"{n}", n, 9, place=n, wish=READ, token=7) for n in (1, 2)]
    assert not found(*readers, may=READERS)


def test_one_that_overtakes_is_refused() -> None:
    early, late = stay("a", 3, 4, place=1), stay("b", 1, 2, place=2)
    assert found(late, early) == {"fifo"}


def test_a_reader_that_passes_a_waiting_writer_is_refused() -> None:
    inside = stay("r", 1, 3, place=1, wish=READ)
    writer = stay("w", 4, 5, place=2, wish=WRITE)
    assert found(inside, writer, stay("s", 2, 3, place=3, wish=READ), may=READERS) == {"fifo"}
    assert not found(inside, writer, stay("s", 6, 7, place=3, wish=READ), may=READERS)


def test_a_small_request_that_passes_a_big_one_is_refused() -> None:
    two, three, one = Wish(weight=2), Wish(weight=3), Wish(weight=1)
    visits = [
        stay("a", 1, 3, place=1, wish=two),
        stay("b", 4, 5, place=2, wish=three),
        stay("c", 2, 3, place=3, wish=one),
    ]
    assert found(*visits, may=PERMITS) == {"fifo"}


def test_those_inside_count_with_those_who_wait() -> None:
    inside = stay("a", 1, 5, place=1, wish=Wish(weight=2))
    waits, passes = stay("b", 3, 4, place=2), stay("c", 2, 2.5, place=3)
    assert found(inside, waits, passes, may=PERMITS) == {"fifo"}
    assert not found(waits, passes, may=PERMITS)


def test_one_that_went_in_slowly_was_not_overtaken() -> None:
    """Two readers are let in by the same departure; the one behind says so first."""
    slow, quick = (
        stay("r", 2, 3, place=1, wish=READ, token=5),
        stay("s", 1.9, 3, place=2, wish=READ, token=5),
    )
    assert not found(slow, quick, may=READERS)


def test_the_patient_must_get_in() -> None:
    waits = Visit("a", patient=True)
    assert found(waits) == {"liveness"}
    assert found(replace(waits, gave_up=3.0, why="SessionLost")) == {"liveness"}
    assert found(stay("a", 5, 6, place=1, patient=True, late=4.0)) == {"liveness"}
    assert not found(Visit("a", gave_up=3.0))
    assert not found(replace(waits, killed=1.0))
    assert not found(replace(waits, taken=1.0, gave_up=1.1))


def test_nothing_may_be_left() -> None:
    assert found(left_behind=["name/1"]) == {"orphans"}


def test_a_visit_is_put_together_from_its_reports() -> None:
    reports: list[dict[str, Any]] = [
        {"visit": 1, "began": 1.0},
        {"granted": 2.0, "token": 5, "key": "k"},
        {"place": 4},
    ]
    assert visit_of("a", reports, wish=READ) == Visit(
        "a", READ, began=1.0, granted=2.0, token=5, place=4
    )


def test_a_seed_gives_the_same_plan_again() -> None:
    assert draw(7, 3.0) == draw(7, 3.0)
    assert draw(7, 3.0) != draw(8, 3.0)
    assert {step.what for step in draw(7, 20.0)} >= {"arrive", "cancel", "kill", "stop", "take"}
