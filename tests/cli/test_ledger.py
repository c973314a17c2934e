from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from etcd_recipes.cli.demo.ledger import Ledger, Outcome
from tests.tools import Job


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    ledger = Ledger.create(path)
    yield ledger
    ledger.close()


def kinds(ledger: Ledger) -> list[tuple[str, str, int]]:
    return [(row.kind, row.who, row.token) for row in ledger.log()]


def test_a_lower_token_of_the_same_lock_is_refused_and_the_refusal_is_on_record(ledger) -> None:
    assert ledger.begin_term("a", 5).outcome is Outcome.WRITTEN
    assert ledger.begin_term("b", 9).outcome is Outcome.WRITTEN
    late = ledger.hand_out("a", 5, "001")
    assert (late.outcome, late.highest) == (Outcome.REFUSED, 9)
    assert kinds(ledger) == [("term", "a", 5), ("term", "b", 9), ("refused", "a", 5)]


def test_the_same_token_may_write_as_often_as_it_likes(ledger) -> None:
    ledger.begin_term("a", 5)
    assert ledger.hand_out("a", 5, "001").outcome is Outcome.WRITTEN
    assert ledger.hand_out("a", 5, "002").outcome is Outcome.WRITTEN


def test_each_lock_has_a_fence_of_its_own(ledger) -> None:
    ledger.begin_term("a", 50)
    assert ledger.take("b", 7, "001").outcome is Outcome.WRITTEN
    assert ledger.take("b", 6, "002").outcome is Outcome.WRITTEN


def test_a_job_is_not_written_by_the_one_who_was_replaced(ledger) -> None:
    ledger.take("a", 5, "001")
    ledger.take("b", 8, "001")
    assert ledger.finish("a", 5, "001").outcome is Outcome.REFUSED
    assert ledger.rows() == ()
    assert ledger.finish("b", 8, "001").outcome is Outcome.WRITTEN
    assert [(row.job, row.who, row.token) for row in ledger.rows()] == [("001", "b", 8)]


def test_a_job_that_is_done_is_neither_taken_nor_done_again(ledger) -> None:
    ledger.take("a", 5, "001")
    ledger.finish("a", 5, "001")
    assert ledger.take("b", 8, "001").outcome is Outcome.ALREADY
    assert ledger.finish("b", 8, "001").outcome is Outcome.ALREADY
    assert [(row.job, row.who) for row in ledger.rows()] == [("001", "a")]


def test_a_second_row_for_a_job_is_impossible_even_past_the_rule(ledger, path: Path) -> None:
    ledger.finish("a", 5, "001")
    database = sqlite3.connect(path)
    with pytest.raises(sqlite3.IntegrityError):
        database.execute("INSERT INTO ledger VALUES ('001', 'b', 9, 0.0)")
    database.close()


def test_many_writers_at_once_are_served_one_after_the_other(ledger, path: Path) -> None:
    def write(who: int) -> int:
        mine = Ledger(path)
        written = sum(
            mine.finish(f"w{who}", who, f"{n:03d}").outcome is Outcome.WRITTEN for n in range(50)
        )
        mine.close()
        return written

    writers = [Job(lambda who=who: write(who)) for who in range(1, 5)]
    assert sum(writer.result() for writer in writers) == 50
    assert len(ledger.rows()) == 50
    assert [row.seq for row in ledger.log()] == sorted(row.seq for row in ledger.log())
