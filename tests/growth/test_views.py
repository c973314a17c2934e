"""What a change and a pick cost in a view, however many instances it has."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etcd_recipes import Instance
from etcd_recipes.recipes.registry.guard import Rule
from etcd_recipes.recipes.registry.pick import STRATEGIES, Asking
from etcd_recipes.recipes.registry.pool import Pool
from etcd_recipes.recipes.registry.roster import Roster
from tests.growth.work import steps
from tests.tools import long

FEW, MANY = 50, long(1000, 10_000)
RNG = random.Random(7)


def one(number: int, **fields: object) -> Instance:
    ids = f"{number * 2654435761 % 2**32:08x}"  # in no order
    return replace(Instance("api", ids, f"10.0.0.1:{number}"), **fields)


def roster_of(count: int, **rule: float) -> Roster:
    roster = Roster(Rule(**rule))
    roster.apply([(i.id, i) for i in map(one, range(count))], 0.0)
    return roster


def test_a_change_costs_the_same_in_a_small_view_and_in_a_big_one() -> None:
    def cost(count: int) -> int:
        roster = roster_of(count)
        new = one(count)
        roster.workers.fit.nearest("the ring is kept up, too")
        return steps(
            lambda: [
                roster.apply([(new.id, new)], 1.0),
                roster.apply([(new.id, replace(new, weight=3))], 2.0),
                roster.apply([(new.id, replace(new, draining=True))], 3.0),
                roster.apply([(new.id, new)], 4.0),
                roster.apply([(new.id, None)], 5.0),
            ]
        )

    assert cost(MANY) <= 1.2 * cost(FEW)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_pick_costs_the_same_in_a_small_view_and_in_a_big_one(strategy: str) -> None:
    def cost(count: int) -> int:
        pool = Pool(map(one, range(count)))
        choose: Callable[[Pool, Asking], Instance] = STRATEGIES[strategy]
        choose(pool, Asking(0, RNG))  # the first one makes what it needs
        turns = [Asking(turn, RNG, f"key {turn}", "") for turn in range(10)]
        return steps(lambda: [choose(pool, asking) for asking in turns])

    # A draw below a number that is no power of two may take a turn or two more.
    assert cost(MANY) <= 1.2 * cost(FEW) + 200


def test_all_departing_one_by_one_costs_each_the_same() -> None:
    """As when etcd ends ten thousand leases after an incident: believed, doubted, doubted, ..., confirmed."""

    def cost(count: int) -> float:
        roster = roster_of(count)
        ids = [one(number).id for number in range(count)]

        def all_go() -> None:
            for id_ in ids:
                roster.apply([(id_, None)], 1.0)
            assert len(roster.suspects) == count
            roster.settle(20.0, there=())
            assert not roster.listed()

        return steps(all_go) / count

    assert cost(MANY) <= 1.2 * cost(FEW)


def test_everybody_failing_costs_each_report_and_each_pick_the_same() -> None:
    def cost(count: int) -> float:
        workers = roster_of(count).workers

        def all_fail() -> None:
            for number in range(count):
                workers.failed(one(number), 1.0, RNG)
                workers.tick(1.0)
                assert workers.fit[number % len(workers.fit)]
            assert len(workers.out) == count // 2
            workers.tick(1000.0)
            assert len(workers.out) == 0

        return steps(all_fail) / count

    assert cost(MANY) <= 1.5 * cost(FEW)


# -- what is kept up change by change is what it would be if it were made anew -----------------------------

_CHANGES = st.lists(
    st.tuples(st.integers(0, 9), st.sampled_from(["", "a", "b"]), st.integers(0, 2)), max_size=40
)


@given(_CHANGES, st.booleans())
def test_a_pool_is_the_same_after_whatever_changes(
    changes: list[tuple[int, str, int]], ring: bool
) -> None:
    pool, truth = Pool(), dict[str, Instance]()
    for number, zone, weight in changes:
        instance = one(number, zone=zone, weight=weight)
        if weight == 0 and instance.id in truth:
            assert pool.drop(instance.id) == truth.pop(instance.id)
        else:
            pool.put(instance)
            truth[instance.id] = instance
        if ring and pool:
            pool.nearest("made early")
    anew = Pool(truth.values())
    assert list(pool) == sorted(truth.values(), key=lambda i: i.id) == [*pool[:]]
    assert {z: list(pool.of_zone(z)) for z in "ab"} == {z: list(anew.of_zone(z)) for z in "ab"}
    assert {w: list(i) for w, i in pool.by_weight()} == {w: list(i) for w, i in anew.by_weight()}
    if truth:
        keys = [f"key {n}" for n in range(20)]
        assert [pool.nearest(k) for k in keys] == [anew.nearest(k) for k in keys]


def test_a_departure_moves_only_the_keys_of_the_one_that_left_and_shares_are_even() -> None:
    pool = Pool(map(one, range(40)))
    keys = [f"user-{n}" for n in range(4000)]
    before = {key: pool.nearest(key).id for key in keys}
    shares = Counter(before.values())
    assert len(shares) == 40
    assert max(shares.values()) < 1.6 * len(keys) / 40
    gone = pool[17].id
    pool.drop(gone)
    after = {key: pool.nearest(key).id for key in keys}
    assert {key for key in keys if before[key] != after[key]} == {
        key for key in keys if before[key] == gone
    }


def test_weights_are_kept_to() -> None:
    pool = Pool([one(n, weight=n % 3) for n in range(9)])
    picks = Counter(STRATEGIES["weighted"](pool, Asking(0, RNG)).weight for _ in range(3000))
    assert picks.keys() == {1, 2}
    assert 1.7 < picks[2] / picks[1] < 2.3
