"""The rules of a double barrier's rounds, without etcd."""

from __future__ import annotations

import json

from etcd_recipes.coordination.rounds import View, look, members_in, parties_in
from etcd_recipes.core.store import Entry

ROUND = json.dumps({"members": ["a", "b"]})


def at(*keys: tuple[str, int]) -> View:
    """Look at these keys below ``n/``, each with the revision of its creation; round 5 is at hand."""
    entries = [Entry("n/round", ROUND, 5, 5), *(Entry(f"n/{k}", "", rev, rev) for k, rev in keys)]
    return look("n", {entry.key: entry for entry in entries})


HERE = (("parties/a", 1), ("parties/b", 2))


def test_it_is_open_when_all_have_said_in_and_not_when_all_are_only_there() -> None:
    assert not at(*HERE).opened
    assert not at(*HERE, ("5/in/a", 6)).opened
    assert at(*HERE, ("5/in/a", 6), ("5/in/b", 7)).opened


def test_a_void_before_the_last_in_keeps_it_shut_and_one_after_it_does_nothing() -> None:
    early = at(*HERE, ("5/in/a", 6), ("5/void", 7), ("5/in/b", 8))
    late = at(*HERE, ("5/in/a", 6), ("5/in/b", 7), ("5/void", 8))
    assert (early.opened, early.over) == (False, True)
    assert (late.opened, late.over) == (True, False)


def test_marks_of_another_round_count_for_nothing() -> None:
    view = at(*HERE, ("4/in/a", 3), ("4/in/b", 4), ("4/void", 3), ("5/in/a", 6))
    assert (view.opened, view.over, len(view.strays)) == (False, False, 3)


def test_who_is_gone_without_a_word_has_died() -> None:
    assert at(HERE[0], ("5/left/b", 9)).dead == ()
    assert at(HERE[0]).dead == ("b",)
    assert not at(HERE[0], ("5/left/b", 9)).all_left
    assert at(("5/left/a", 8), ("5/left/b", 9)).all_left


def test_it_is_over_when_no_member_is_there_whoever_waits() -> None:
    assert at(("parties/c", 9)).over
    assert not at(HERE[1], ("parties/c", 9)).over


def test_the_eldest_is_the_first_that_came() -> None:
    assert at(("parties/z", 1), ("parties/a", 2)).eldest == "z"


def test_what_is_not_ours_is_no_error() -> None:
    assert members_in("x") == members_in("[]") == members_in("{}") == ()
    assert parties_in("x") is parties_in("[]") is None
    assert at(("parties/a/deeper", 1), ("somebody", 2), ("7", 3)).parties == {}
