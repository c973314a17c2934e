"""The admission rules, proved over every line of up to six contenders."""

from __future__ import annotations

from itertools import combinations, permutations, product

import pytest

from etcd_recipes.coordination.contenders import FIRST_ONLY, PERMITS, READ, WRITE, Rule, split
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


def test_a_rule_that_admits_several_is_shared_and_sees_what_it_needs() -> None:
    assert (READ.ahead, WRITE.ahead, PERMITS.ahead) == (None, 1, None)
    assert READ.shared
    assert WRITE.shared
    assert PERMITS.shared
    assert not FIRST_ONLY.shared


# -- lines in which several may be in: every mix, every set of departures ----------------------------------

READER, WRITER = '{"kind":"read"}', '{"kind":"write"}'
STRANGER = ""


def wants(weight: int, permits: int) -> str:
    return f'{{"weight":{weight},"permits":{permits}}}'


Line = tuple[Entry, ...]
SAME_LIMIT = [wants(1, 3), wants(2, 3), wants(3, 3)]
MIXED_LIMITS = [wants(1, 2), wants(2, 2), wants(1, 3), wants(3, 4), STRANGER]
MIXES = [
    pytest.param(READ, [READER, WRITER, STRANGER], id="read-write"),
    pytest.param(PERMITS, SAME_LIMIT, id="one-limit"),
    pytest.param(PERMITS, MIXED_LIMITS, id="mixed-limits"),
]


def lines(kinds: list[str], longest: int = 6) -> list[Line]:
    return [
        tuple(Entry(f"line/{n:x}", value, n + 1, n + 1) for n, value in enumerate(values))
        for size in range(1, longest + 1)
        for values in product(kinds, repeat=size)
    ]


def in_the_way(rule: Rule, mine: Entry, ahead: Line) -> Line:
    """What the rule says of those `ahead`, given in the order of arrival."""
    return rule.blockers(Standing(mine, ahead[::-1], 100))


def shares(line: Line) -> list[tuple[int, int]]:
    known = {wants(w, p): (w, p) for p in range(1, 5) for w in range(1, p + 1)}
    return [known.get(entry.value, (1, 1)) for entry in line]


def test_readers_are_in_together_or_a_writer_alone() -> None:
    for line in lines([READER, WRITER, STRANGER]):
        inside, waiting = split(line, READ)
        assert inside, "somebody is always in"
        assert inside + waiting == line, "those in are the first of the line"
        writers = [entry for entry in inside if entry.value != READER]
        assert not writers or len(inside) == 1
        if waiting and not writers:
            assert waiting[0].value != READER, "a reader waits although only readers are ahead"


def test_what_is_held_is_within_the_limit_of_each_holder() -> None:
    for line in lines(MIXED_LIMITS, 5) + lines(SAME_LIMIT):
        inside, waiting = split(line, PERMITS)
        assert inside, "somebody is always in"
        assert inside + waiting == line, "a small request has overtaken a big one"
        held = sum(weight for weight, _ in shares(inside))
        assert all(held <= permits for _, permits in shares(inside))
        if waiting:
            with_next = shares(line[: len(inside) + 1])
            assert sum(w for w, _ in with_next) > min(p for _, p in with_next), "permits lie idle"


@pytest.mark.parametrize(("rule", "kinds"), MIXES)
def test_no_departures_put_a_holder_out_or_leave_an_admitted_waiter_asleep(
    rule: Rule, kinds: list[str]
) -> None:
    for *before, mine in lines(kinds, 6 if len(kinds) < 4 else 5):
        ahead = tuple(before)
        watched = in_the_way(rule, mine, ahead)
        assert not watched or in_the_way(rule, mine, watched[::-1]), "it would wake at once"
        for size in range(len(ahead)):
            for still_there in combinations(ahead, size):
                admitted = not in_the_way(rule, mine, still_there)
                seen = tuple(entry for entry in still_there if entry in watched)
                awake = not in_the_way(rule, mine, seen)
                if not watched:
                    assert admitted, "a holder was put out by departures"
                if admitted:
                    assert awake, "a waiter could go in and sleeps on"


def test_only_those_who_can_go_in_now_wake_when_they_watch_all_who_hold() -> None:
    for *before, mine in lines(SAME_LIMIT):
        ahead = tuple(before)
        watched = in_the_way(PERMITS, mine, ahead)
        if watched != ahead[::-1]:
            continue  # too far back to care who holds
        for gone in ahead:
            left = tuple(entry for entry in ahead if entry is not gone)
            now = in_the_way(PERMITS, mine, tuple(e for e in left if e in watched))
            assert (not now) == (not in_the_way(PERMITS, mine, left))


def test_a_reader_waits_for_the_nearest_writer_so_that_it_wakes_once() -> None:
    values = [WRITER, READER, WRITER, READER]
    *ahead, mine = [Entry(f"line/{n:x}", value, n, n) for n, value in enumerate(values, 1)]
    assert in_the_way(READ, mine, tuple(ahead)) == (ahead[2],)


def test_one_far_back_watches_twice_the_permits_and_no_more() -> None:
    *ahead, mine = [Entry(f"line/{n:x}", wants(1, 5), n, n) for n in range(1, 202)]
    assert len(in_the_way(PERMITS, mine, tuple(ahead))) == 2 * 5


def test_a_downgrade_lets_in_exactly_the_readers_up_to_the_next_writer() -> None:
    for line in lines([READER, WRITER]):
        if line[0].value != WRITER:
            continue
        downgraded = Entry(line[0].key, READER, line[0].created, 99)
        now = (downgraded, *line[1:])
        inside, _ = split(now, READ)
        values = [entry.value for entry in now]
        assert len(inside) == (values.index(WRITER) if WRITER in values else len(values))
        for number, mine in enumerate(line[1:], 1):
            watched = in_the_way(READ, mine, line[:number])
            seen = tuple(downgraded if e.key == downgraded.key else e for e in watched[::-1])
            if mine.value == READER and mine in inside:
                assert not in_the_way(READ, mine, seen), "the downgrade did not wake a reader"


@pytest.mark.parametrize(
    "value",
    [
        *(
            "",
            "web-3",
            "[1]",
            "null",
            "{",
            "[" * 100_000,
            '{"weight":1}',
            '{"weight":0,"permits":3}',
        ),
        *('{"weight":4,"permits":3}', '{"weight":true,"permits":3}', '{"weight":"1","permits":3}'),
        *('{"kind":"write"}', '{"kind":["read"]}', '{"kind":"reader"}'),
    ],
)
def test_a_value_that_says_nothing_wants_everything_for_itself(value: str) -> None:
    stranger = Entry("line/1", value, 1, 1)
    for rule, polite in [(READ, READER), (PERMITS, wants(1, 9))]:
        other = Entry("line/2", polite, 2, 2)
        assert split([stranger, other], rule) == ((stranger,), (other,))
        assert split([other, stranger], rule) == ((other,), (stranger,))


def blockers(line: list[int], me: int) -> tuple[Entry, ...]:
    ahead = nearest([entry(n) for n in line], me, FIRST_ONLY.ahead)
    return FIRST_ONLY.blockers(Standing(entry(me), ahead, 100))


@pytest.mark.parametrize(
    ("key", "found"),
    [
        ("jobs/51e6a2038f341f05", "51e6a2038f341f05"),
        ("jobs/0", "0"),
        ("jobs/51e6a2038f341f05-1a", "51e6a2038f341f05-1a"),
        ("jobs/51e6-", None),
        ("jobs/51e6-1-1", None),
        ("jobs/-1", None),
        ("jobs/51E6", None),
        ("jobs/nightly/51e6", None),
        ("jobs/", None),
        ("jobs", None),
        ("jobsx/51e6", None),
        ("jobs/51e6a2038f341f05a", None),
        ("jobs/holder", None),
    ],
)
def test_a_contender_is_a_lease_in_hex_perhaps_with_a_seat_directly_below_the_line(
    key: str, found: str | None
) -> None:
    assert V3Store.contender_id(None, "jobs", key) == found  # type: ignore[arg-type]


def test_the_nearest_come_first() -> None:
    line = [entry(1), entry(3), entry(7), entry(9)]
    assert [e.created for e in nearest(line, 9, None)] == [7, 3, 1]
    assert [e.created for e in nearest(line, 9, 2)] == [7, 3]
    assert nearest(line, 1, 1) == ()
