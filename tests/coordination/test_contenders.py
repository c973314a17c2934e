"""The admission rules, proved over every line of up to six contenders."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from itertools import combinations, permutations, product
from unittest import mock

import pytest

from etcd_recipes.coordination import contenders
from etcd_recipes.coordination.contenders import (
    FIRST_ONLY,
    PERMITS,
    READ,
    WRITE,
    Limit,
    Rule,
    limit_in,
    objection,
    split,
)
from etcd_recipes.core.store import Entry, Standing, nearest
from etcd_recipes.core.v3.store import V3Store
from tests.tools import long


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


@pytest.fixture(autouse=True, scope="module")
def each_entry_is_read_once() -> Iterator[None]:
    """There are few of them in very many lines."""
    with mock.patch.object(contenders, "_wish", cache(contenders._wish)):
        yield


Line = tuple[Entry, ...]
SHARES = [wants(1, 3), wants(2, 3), wants(3, 3)]
WITH_STRANGERS = [wants(1, 3), wants(3, 3), STRANGER]


def stored(permits: int, was: int = 3) -> Entry:
    return Entry("line.limit", str(Limit(permits, was)), 1, 1)


LIMITS = [None, stored(1), stored(2), stored(5)]
MIXES = [
    pytest.param(READ, [READER, WRITER, STRANGER], None, 6, id="read-write"),
    pytest.param(PERMITS, SHARES, None, 6, id="not-stored"),
    pytest.param(PERMITS, SHARES, stored(2), 5, id="smaller"),
    pytest.param(PERMITS, SHARES, stored(5), 5, id="larger"),
    pytest.param(PERMITS, WITH_STRANGERS, None, 5, id="strangers"),
]


def lines(kinds: list[str], longest: int = 6) -> list[Line]:
    return [
        tuple(Entry(f"line/{n:x}", value, n + 1, n + 1) for n, value in enumerate(values))
        for size in range(1, longest + 1)
        for values in product(kinds, repeat=size)
    ]


def in_the_way(rule: Rule, mine: Entry, ahead: Line, beside: Entry | None = None) -> Line:
    """What the rule says of those `ahead`, given in the order of arrival."""
    return rule.blockers(Standing(mine, ahead[::-1], 100, beside=beside))


def permits(limit: Entry | None) -> int:
    """What counts: what is stored, or what all in these lines were made with."""
    found = limit_in(limit)
    return 3 if found is None else found.permits


WEIGHTS = {wants(w, 3): w for w in range(1, 4)}


def weight(entry: Entry, limit: int) -> int:
    return WEIGHTS.get(entry.value, limit)  # a stranger wants everything


def test_readers_are_in_together_or_a_writer_alone() -> None:
    for line in lines([READER, WRITER, STRANGER]):
        inside, waiting = split(line, READ)
        assert inside, "somebody is always in"
        assert inside + waiting == line, "those in are the first of the line"
        writers = [entry for entry in inside if entry.value != READER]
        assert not writers or len(inside) == 1
        if waiting and not writers:
            assert waiting[0].value != READER, "a reader waits although only readers are ahead"


@pytest.mark.parametrize("limit", LIMITS)
def test_what_is_held_is_within_the_limit_that_counts(limit: Entry | None) -> None:
    most = permits(limit)
    for line in lines(SHARES, 5) + lines(WITH_STRANGERS, 5):
        inside, waiting = split(line, PERMITS, limit)
        assert inside, "somebody is always in"
        assert inside + waiting == line, "a small request has overtaken a big one"
        held = sum(weight(entry, most) for entry in inside)
        # One at the head that wants more than all was let in by a larger limit.
        assert held <= most or len(inside) == 1
        if waiting:
            assert held + weight(waiting[0], most) > most, "permits lie idle"


@pytest.mark.parametrize(("rule", "kinds", "limit", "longest"), MIXES)
def test_no_departures_put_a_holder_out_or_leave_an_admitted_waiter_asleep(
    rule: Rule, kinds: list[str], limit: Entry | None, longest: int
) -> None:
    for *before, mine in lines(kinds, longest):
        ahead = tuple(before)
        watched = in_the_way(rule, mine, ahead, limit)
        assert not watched or in_the_way(rule, mine, watched[::-1], limit), "it would wake at once"
        for size in range(len(ahead)):
            for still_there in combinations(ahead, size):
                admitted = not in_the_way(rule, mine, still_there, limit)
                seen = tuple(entry for entry in still_there if entry in watched)
                awake = not in_the_way(rule, mine, seen, limit)
                if not watched:
                    assert admitted, "a holder was put out by departures"
                if admitted:
                    assert awake, "a waiter could go in and sleeps on"


# -- histories: departures, changes of the limit, and waiters that look late ---------------------------------


@dataclass(frozen=True)
class History:
    """A line at one moment: who is in it, who is in, who sleeps (and watches whom), the limit for all.

    Who is neither in nor asleep was woken (or has just come), and has not looked yet. `entitled` is who
    could have gone in at some moment, had it looked.
    """

    line: Line
    limit: Entry | None
    inside: frozenset[Entry] = frozenset()
    asleep: frozenset[tuple[Entry, Line]] = frozenset()
    entitled: frozenset[Entry] = frozenset()

    def blockers(self, mine: Entry, line: Line) -> Line:
        return in_the_way(PERMITS, mine, line[: line.index(mine)], self.limit)

    def fits(self) -> frozenset[Entry]:
        most, found, total = permits(self.limit), set(), 0
        for entry in self.line:
            total += weight(entry, most)
            if total <= most:
                found.add(entry)
        return frozenset(found)

    def to_look(self) -> Line:
        sleepers = {entry for entry, _ in self.asleep}
        return tuple(e for e in self.line if e not in sleepers and e not in self.inside)

    def looked(self, mine: Entry) -> History:
        ahead = self.line[: self.line.index(mine)]
        if objection(Standing(mine, ahead[::-1], 100, beside=self.limit)):
            return self.left(mine)
        watched = self.blockers(mine, self.line)
        if watched:
            return replace(self, asleep=self.asleep | {(mine, watched)})
        return replace(self, inside=self.inside | {mine})

    def left(self, gone: Entry) -> History:
        line = tuple(entry for entry in self.line if entry != gone)
        asleep = frozenset(
            (mine, watched)
            for mine, watched in self.asleep
            if mine in line
            and self.blockers(mine, tuple(e for e in line if e in watched or e == mine))
        )
        return replace(
            self,
            line=line,
            inside=self.inside - {gone},
            asleep=asleep,
            entitled=self.entitled - {gone},
        )

    def resized(self, limit: Entry | None) -> History:
        return replace(self, limit=limit, asleep=frozenset())

    def next(self) -> Iterator[History]:
        yield from (self.looked(entry) for entry in self.to_look())
        yield from (self.left(entry) for entry in self.line)
        yield from (self.resized(limit) for limit in LIMITS if limit != self.limit)


def every_history(lines: list[Line], step: Callable[[History], Iterable[History]]) -> set[History]:
    todo = [History(line, None) for line in lines]
    known: set[History] = set()
    while todo:
        now = todo.pop()
        new = now.fits() - now.entitled
        now = replace(now, entitled=now.entitled | new)
        if now not in known:
            known.add(now)
            check(now, new)
            todo += step(now)
    return known


def check(now: History, new: frozenset[Entry]) -> None:
    let_in = sum(weight(entry, 3) for entry in now.entitled)
    assert not new or let_in <= permits(now.limit), "somebody was let in beyond the limit"
    assert now.inside <= now.entitled, "somebody went in who never could"
    assert not now.fits() & {mine for mine, _ in now.asleep}, "a waiter could go in and sleeps"


def test_whatever_happens_no_more_are_let_in_than_the_limit_and_nobody_oversleeps() -> None:
    late = every_history(lines(SHARES, long(3, 4)), History.next)
    assert len(late) > 1_000


def test_the_same_in_longer_lines_whose_waiters_look_at_once() -> None:
    kinds = [wants(1, 3), wants(2, 3)]
    prompt = every_history(
        lines(kinds, long(5, 6)), lambda now: [all_looked(each) for each in now.next()]
    )
    assert len(prompt) > 1_000


UNITS = [tuple(Entry(f"line/{n:x}", wants(1, 3), n, n) for n in range(1, 12))]


@pytest.mark.parametrize("limit", [None, stored(1), stored(2)])
def test_a_departure_wakes_those_who_can_go_in_and_no_more_others_than_there_are_permits(
    limit: Entry | None,
) -> None:
    todo = [all_looked(History(line, limit)) for line in lines(SHARES[:2], 5) + UNITS]
    known: set[History] = set()
    while todo:
        now = todo.pop()
        if now in known:
            continue
        known.add(now)
        for gone in now.inside:  # the newest first, too: those far back do not watch the oldest
            after = now.left(gone)
            woken = {*after.to_look()}
            assert after.fits() <= woken | after.inside
            assert len(woken - after.fits()) < permits(limit), "a herd"
            todo.append(all_looked(after))


def test_a_change_of_the_limit_wakes_everybody_once() -> None:
    for line in lines(SHARES, 5):
        now = all_looked(History(line, stored(2)))
        after = now.resized(stored(3))
        assert {*after.to_look(), *after.inside} == set(after.line)
        assert all_looked(after).inside >= now.inside, "a holder was put out"


def all_looked(history: History) -> History:
    while waiting := history.to_look():
        history = history.looked(waiting[0])
    return history


def test_one_that_was_made_with_another_number_is_told_who_has_which() -> None:
    theirs = Entry("api/1", '{"host":"h","pid":7,"id":"ab","weight":1,"permits":3}', 1, 1)
    for value, limit, message in [
        (wants(1, 5), None, r"permits=5.* h/7/ab.* permits=3.* resize\(5\)"),
        (wants(1, 5), stored(4, was=3), r"is 4 \(it was 3\).* permits=5.* resize\(5\)"),
        (wants(3, 3), stored(2, was=3), r"^3 permits can never .* is 2 "),
    ]:
        mine = Entry("api/2", value, 2, 2)
        why = objection(Standing(mine, (theirs,), 9, beside=limit))
        assert why is not None
        assert re.search(message, why)
    for value, ahead, limit in [
        (wants(1, 3), theirs, None),
        (wants(3, 3), theirs, stored(5, was=3)),
        (wants(3, 5), theirs, stored(5, was=3)),
        (wants(1, 5), replace(theirs, value=STRANGER), None),
        (STRANGER, theirs, stored(5)),
    ]:
        assert objection(Standing(Entry("api/2", value, 2, 2), (ahead,), 9, beside=limit)) is None


@pytest.mark.parametrize(
    "value",
    [
        *("", "5", "[5]", "null", "{", "[" * 100_000, '{"permits":5}', '{"was":5}'),
        *('{"permits":0,"was":3}', '{"permits":5,"was":true}', '{"permits":"5","was":"3"}'),
        *('{"permits":1.5,"was":1}', '{"permits":' + "9" * 5000 + ',"was":1}'),
    ],
)
def test_a_limit_that_cannot_be_read_is_none(value: str) -> None:
    there = Entry("api.limit", value, 1, 1)
    assert limit_in(there) is None
    *ahead, mine = [Entry(f"api/{n}", wants(1, 3), n, n) for n in range(1, 5)]
    assert in_the_way(PERMITS, mine, tuple(ahead), there) == tuple(ahead[::-1])
    assert limit_in(replace(there, value=str(Limit(7, 4)))) == Limit(7, 4)
    assert limit_in(None) is None


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
