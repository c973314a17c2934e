"""What is counted, and how."""

from __future__ import annotations

import pytest

from benchmarks.aims import AIMS
from benchmarks.arithmetic import (
    contention,
    fairness,
    folded,
    handoffs,
    overlaps,
    percentile,
    ratio,
)
from benchmarks.peers import OURS
from benchmarks.results import Measured, Results


@pytest.mark.parametrize(
    ("numbers", "share", "is_"),
    [
        ([7.0], 0.99, 7.0),
        ([4.0, 1.0, 3.0, 2.0], 0.5, 2.0),
        (range(1, 101), 0.99, 99),
        (range(1, 101), 1.0, 100),
        (range(1, 102), 0.5, 51),
    ],
)
def test_a_percentile_is_one_of_the_numbers(numbers: list[float], share: float, is_: float) -> None:
    assert percentile(numbers, share) == is_


def test_there_is_no_percentile_of_nothing() -> None:
    with pytest.raises(ValueError, match="nothing"):
        percentile([], 0.5)


RAW = [{"us": 1.0}, {"us": 10.0}, {"us": 1.0}]


def test_a_ratio_is_the_median_of_the_rounds_not_a_ratio_of_medians() -> None:
    case = {"one": [{"us": 2.0}, {"us": 30.0}, {"us": 8.0}], "raw": RAW}
    assert ratio(case, "us", "one", "raw") == 3.0
    assert ratio(case, "us", "one", "nobody") is None


def test_a_round_in_which_one_failed_is_in_no_ratio_and_no_median() -> None:
    case = {"one": [{"failed": "x"}, {"us": 30.0}, {"us": None}], "raw": RAW}
    assert ratio(case, "us", "one", "raw") == 3.0
    assert folded(case["one"], "us") == 30.0
    assert folded(case["one"], "ms") is None
    assert folded(case["raw"], "us", "max") == 10.0


A = [(0.0, 0.1, 0.2), (0.2, 0.4, 0.5), (0.5, 0.5, 0.6)]
B = [(0.0, 0.2, 0.4), (0.4, 0.6, 0.7)]


def test_a_handoff_is_a_turn_of_somebody_else() -> None:
    assert handoffs([A, B]) == 3  # a b a a b
    assert handoffs([A]) == 0
    assert handoffs([[], []]) == 0


def test_turns_that_overlap_are_two_at_once_also_when_one_lies_within_another() -> None:
    assert overlaps([A, B]) == 0
    assert overlaps([[(0, 0.0, 1.0)], [(0, 0.2, 0.3)], [(0, 0.5, 0.6)]]) == 2
    assert overlaps([[(0, 0.0, 0.2)], [(0, 0.1, 0.3)]]) == 1


def test_fairness_is_told_only_where_each_had_enough_turns() -> None:
    def turns(*counts: int) -> list[list[tuple[float, float, float]]]:
        return [[(0.0, 0.0, 0.0)] * count for count in counts]

    assert fairness(turns(12, 10)) == 1.2
    assert fairness(turns(9, 10)) is None
    assert fairness(turns(40, 0)) == 40.0  # starved, and never called fair


def test_the_longest_wait_counts_those_who_still_wait() -> None:
    found = contention([A, B], [0.1, 5.0], 2.0)
    assert found["longest_wait"] == 5.0
    assert (found["handoffs"], found["turns"], found["fewest"]) == (1.5, 2.5, 2)
    assert contention([A, B], [None, 0.0], 2.0)["longest_wait"] == pytest.approx(0.2)


# -- aims ----------------------------------------------------------------------------------------------------------


def results_of(figure: str, case: str, rounds: dict[str, list[dict[str, object]]]) -> Results:
    return Results({figure: Measured("", "full", "", 0.0, 0.0, {}, {}, {case: rounds})})


def verdicts(results: Results) -> dict[str, tuple[float | None, bool | None, str]]:
    found = {aim.words: aim.reached(results) for aim in AIMS}
    return {w: (r.value, r.good, r.against) for w, r in found.items() if r.value is not None}


def test_nothing_is_reached_or_missed_without_figures() -> None:
    assert verdicts(Results()) == {}
    assert all(aim.reached(Results()).good is None for aim in AIMS)


def test_an_aim_is_against_the_best_of_the_peers_that_it_names() -> None:
    rounds = {name: [{"handoffs": float(n)}] for name, n in
              {OURS: 450, "etcd-sdk-python": 30, "etcd3gw": 300, "raw": 500, "kazoo": 400}.items()}  # fmt: skip
    found = verdicts(results_of("handoffs", "2 contenders, 0 ms", rounds))
    assert found["handoffs a second, 2 contenders"] == (450.0, True, "")
    waits = "handoffs, 2 contenders, x the best v3 peer that waits"
    assert found[waits] == (15.0, True, "etcd-sdk-python")  # etcd3gw does not wait
    pairs = {name: [{"pairs": float(n)}] for name, n in
             {OURS: 700, "etcd-sdk-python": 500, "etcd3gw": 200, "raw": 1000, "kazoo": 900}.items()}  # fmt: skip
    found = verdicts(results_of("pairs", "uncontended", pairs))
    assert found["free lock: pairs a second, x the fastest v3 peer"] == (1.4, False, "etcd-sdk-python")  # fmt: skip
    assert found["free lock: pairs a second, x floor"] == (0.7, False, "")


def test_one_event_lost_or_one_overlap_misses_the_aim() -> None:
    rounds = {OURS: [{"lost": 0}, {"lost": 1}], "etcd3gw": [{"lost": 9}]}
    lost = results_of("watch", "put one by one", rounds)
    assert verdicts(lost)["watch: events lost, in all"][:2] == (1, False)
    twice = results_of("handoffs", "x", {OURS: [{"two_at_once": 0, "fairness": None}]})
    assert verdicts(twice)["two holders at once, in all"][:2] == (0, True)
