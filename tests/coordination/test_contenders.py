"""The admission rules, proved over every line of up to six contenders."""

from __future__ import annotations

from itertools import permutations

import pytest

from etcd_recipes.coordination.contenders import FIRST_ONLY
from etcd_recipes.core.store import Entry, Standing, nearest
from etcd_recipes.core.v3.store import V3Store


def entry(number: int) -> Entry:
    return Entry(f"line/{number:x}", "", number, number)


@pytest.mark.parametrize("size", range(1, 7))
def test_first_only_admits_exactly_the_oldest_whatever_the_order_of_departures(size: int) -> None:
    for departures in permutations(range(1, size + 1)):
        line = list(range(1, size + 1))
        for gone in departures:
            admitted = [n for n in line if not blockers(line, n)]
            assert admitted == line[:1]
            for waiter in line[1:]:
                # Whoever is watched is there: its departure will wake the waiter.
                assert all(b.created in line and b.created < waiter for b in blockers(line, waiter))
            line.remove(gone)


def blockers(line: list[int], me: int) -> tuple[Entry, ...]:
    ahead = nearest([entry(n) for n in line], me, FIRST_ONLY.ahead)
    return FIRST_ONLY.blockers(Standing(entry(me), ahead, 100))


@pytest.mark.parametrize(
    ("key", "found"),
    [
        ("jobs/51e6a2038f341f05", "51e6a2038f341f05"),
        ("jobs/0", "0"),
        ("jobs/51E6", None),
        ("jobs/nightly/51e6", None),
        ("jobs/", None),
        ("jobs", None),
        ("jobsx/51e6", None),
        ("jobs/51e6a2038f341f05a", None),
        ("jobs/holder", None),
    ],
)
def test_a_contender_is_a_lease_in_hex_directly_below_the_line(key: str, found: str | None) -> None:
    assert V3Store.contender_id(None, "jobs", key) == found  # type: ignore[arg-type]


def test_the_nearest_come_first() -> None:
    line = [entry(1), entry(3), entry(7), entry(9)]
    assert [e.created for e in nearest(line, 9, None)] == [7, 3, 1]
    assert [e.created for e in nearest(line, 9, 2)] == [7, 3]
    assert nearest(line, 1, 1) == ()
