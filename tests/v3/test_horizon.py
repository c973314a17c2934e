"""The horizon: answers from the past are refused, until the past is all there is."""

from __future__ import annotations

import sys

from etcd_recipes.core.v3.horizon import PATIENCE, Horizon
from tests.tools import Job


def test_an_answer_from_before_what_was_seen_is_refused() -> None:
    horizon = Horizon()
    horizon.note("c", 10)
    before = horizon.seen()
    assert horizon.admit("c", 10, before, now=0)
    assert horizon.admit("c", 11, before, now=0)
    assert not horizon.admit("c", 9, before, now=0)


def test_an_answer_may_be_older_than_what_was_seen_while_it_was_under_way() -> None:
    horizon = Horizon()
    before = horizon.seen()
    horizon.note("c", 10)
    assert horizon.admit("c", 9, before, now=0)


def test_another_cluster_has_another_history() -> None:
    horizon = Horizon()
    horizon.note("c", 10)
    assert horizon.admit("d", 1, horizon.seen(), now=0)


def test_when_every_answer_is_old_for_long_enough_the_history_has_gone_back() -> None:
    horizon = Horizon()
    horizon.note("c", 10)
    before = horizon.seen()
    assert not horizon.admit("c", 3, before, now=100)
    assert not horizon.admit("c", 4, before, now=100 + PATIENCE - 0.1)
    assert horizon.admit("c", 4, before, now=100 + PATIENCE)
    assert horizon.seen() == {"c": 4}
    assert not horizon.admit("c", 3, horizon.seen(), now=200)


def test_one_fresh_answer_in_between_ends_the_suspicion() -> None:
    horizon = Horizon()
    horizon.note("c", 10)
    before = horizon.seen()
    assert not horizon.admit("c", 3, before, now=100)
    assert horizon.admit("c", 10, before, now=110)
    assert not horizon.admit("c", 3, before, now=100 + PATIENCE + 1)


def test_what_was_seen_does_not_change_under_the_one_who_asked() -> None:
    horizon = Horizon()
    horizon.note("c", 10)
    before = horizon.seen()
    horizon.note("c", 11)
    assert (before, horizon.seen()) == ({"c": 10}, {"c": 11})


def test_nothing_is_lost_when_many_threads_note_at_once() -> None:
    """A dictionary that is replaced as a whole would lose what another thread has put in meanwhile."""
    horizon, often = Horizon(), sys.getswitchinterval()

    def note(cluster: str) -> None:
        for revision in range(1, 3000):
            horizon.note(cluster, revision)
            assert horizon.seen()[cluster] == revision

    sys.setswitchinterval(1e-6)
    try:
        for job in [Job(lambda name=name: note(name)) for name in "abcd"]:
            job.result(20.0)
    finally:
        sys.setswitchinterval(often)
