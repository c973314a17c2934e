"""The horizon: answers from the past are refused, until the past is all there is."""

from __future__ import annotations

from etcd_recipes.core.v3.horizon import PATIENCE, Horizon


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
