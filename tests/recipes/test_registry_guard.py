"""The mass-drop guard: its decisions over sequences, and a view that is guarded."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etcd_recipes import Client, Instance
from etcd_recipes.recipes.registry.guard import Rule, is_mass_drop
from etcd_recipes.recipes.registry.roster import InstanceEvent, Roster
from etcd_recipes.testing import EtcdProcess, FaultProxy
from tests.recipes.operator import remove, revoke, write
from tests.tools import eventually


def one(id_: str, **fields: object) -> Instance:
    return replace(Instance("api", id_, f"{id_}:80"), **fields)


def roster_of(ids: str, rule: Rule | None = None) -> Roster:
    roster = Roster(rule or Rule(0.5, 10.0))
    roster.apply([(id_, one(id_)) for id_ in ids], 0.0)
    return roster


def told(events: list[InstanceEvent]) -> list[str]:
    """Each event as its kind's first letter and the id."""
    return [e.kind[0] + (e.new or e.old).id for e in events]  # type: ignore[union-attr]


def leave(roster: Roster, ids: str, now: float) -> list[str]:
    return told(roster.apply([(id_, None) for id_ in ids], now))


def listed(roster: Roster) -> str:
    return "".join(instance.id for instance in roster.listed())


# -- decisions -----------------------------------------------------------------------------------------


def test_few_departures_are_believed_at_once() -> None:
    roster = roster_of("abcdef")
    assert leave(roster, "a", 1.0) == ["ra"]
    assert leave(roster, "bc", 2.0) == ["rb", "rc"], "half is not more than half"
    assert (listed(roster), roster.due) == ("def", None)
    pair = roster_of("ab")
    assert leave(pair, "ab", 1.0) == ["ra", "rb"], "two are believed whatever share they are"


def test_many_at_once_are_kept_and_nothing_is_told_until_etcd_confirms() -> None:
    roster = roster_of("abcd")
    assert leave(roster, "abc", 1.0) == []
    assert (listed(roster), sorted(roster.suspects), roster.due) == ("abcd", ["a", "b", "c"], 11.0)
    assert roster.settle(10.9, there=()) == []
    assert told(roster.settle(11.0, there=())) == ["ra", "rb", "rc"]
    assert (listed(roster), roster.due) == ("d", None)


def test_those_that_come_back_were_never_away() -> None:
    roster = roster_of("abcd")
    leave(roster, "abcd", 1.0)
    assert told(roster.apply([("a", one("a")), ("b", one("b", weight=2))], 2.0)) == ["ub"]
    assert sorted(roster.suspects) == ["c", "d"]
    assert told(roster.settle(11.0, there=())) == ["rc", "rd"]


def test_leases_that_end_one_after_the_other_are_one_drop_and_the_first_ones_are_listed_again() -> (
    None
):
    roster = roster_of("abcde")
    assert [leave(roster, id_, now) for now, id_ in enumerate("ab", 1)] == [["ra"], ["rb"]]
    assert leave(roster, "c", 3.0) == ["aa", "ab"]
    assert (listed(roster), sorted(roster.suspects)) == ("abcde", ["a", "b", "c"])
    assert leave(roster, "d", 9.0) == [], "while there are suspects, the drop goes on"
    assert told(roster.settle(13.0, there=())) == ["ra", "rb", "rc"]
    assert roster.due == 19.0


def test_departures_of_different_times_are_no_drop() -> None:
    roster = roster_of("abcde")
    assert [leave(roster, id_, now) for now, id_ in enumerate("abcde", 0)][:2] == [["ra"], ["rb"]]
    slow = roster_of("abcde")
    for number, id_ in enumerate("abcde"):
        assert leave(slow, id_, 11.0 * number) == [f"r{id_}"]


def test_drained_ones_leave_at_once_and_do_not_count() -> None:
    roster = roster_of("abcd")
    roster.apply([(id_, one(id_, draining=True)) for id_ in "abc"], 1.0)
    assert leave(roster, "abc", 2.0) == ["ra", "rb", "rc"]
    assert leave(roster, "d", 3.0) == ["rd"]


def test_the_guard_can_be_off() -> None:
    assert leave(roster_of("abcd", Rule(max_drop=1.0)), "abcd", 1.0) == ["ra", "rb", "rc", "rd"]


def test_what_etcd_has_after_all_and_what_could_not_be_asked_waits_again() -> None:
    roster = roster_of("abcd")
    leave(roster, "abcd", 1.0)
    assert roster.settle(11.0, there=None) == []
    assert roster.due == 21.0
    assert told(roster.settle(21.0, there={"a"})) == ["rb", "rc", "rd"]
    assert (listed(roster), roster.due) == ("a", 31.0)
    roster.postpone(40.0)
    assert roster.due == 50.0


@pytest.mark.parametrize(
    "numbers", [(-0.1, 1), (1.1, 1), (float("nan"), 1), (0.5, -1), (0.5, float("inf"))]
)
def test_a_rule_of_numbers_that_make_no_sense_is_refused(numbers: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match=r"max_drop|confirm"):
        Rule(*numbers)


@given(
    st.lists(
        st.tuples(st.sampled_from("abcdef"), st.sampled_from("+-d"), st.floats(0, 6)), max_size=40
    )
)
def test_events_and_list_always_agree_and_nothing_is_kept_for_longer_than_twice_the_window(
    steps: list[tuple[str, str, float]],
) -> None:
    rule = Rule(0.5, 10.0)
    roster, now, mirror = Roster(rule), 0.0, {}
    truth: dict[str, Instance] = {}
    gone_at: dict[str, float] = {}

    def follow(events: list[InstanceEvent]) -> None:
        for event in events:
            id_ = (event.new or event.old).id  # type: ignore[union-attr]
            assert mirror.get(id_) == event.old
            mirror.pop(id_, None) if event.new is None else mirror.update({id_: event.new})

    for id_, what, pause in steps:
        now += pause
        follow(roster.settle(now, there=()))
        new = None if what == "-" else one(id_, draining=what == "d")
        if new is None:
            gone_at[id_] = now if id_ in truth else gone_at.get(id_, now)
        truth.pop(id_, None) if new is None else truth.update({id_: new})
        follow(roster.apply([(id_, new)], now))
        assert tuple(v for _, v in sorted(mirror.items())) == roster.listed()
        assert mirror.items() >= truth.items()
        extra = mirror.keys() - truth.keys()
        assert extra == set(roster.suspects)
        assert all(now - gone_at[e] <= 2 * rule.confirm for e in extra)


def test_half_of_them_is_the_most_that_is_believed_and_two_always_are() -> None:
    rule = Rule(0.5)
    drops = [(gone, present) for gone in range(6) for present in range(6)]
    assert [d for d in drops if is_mass_drop(*d, rule)] == [
        (gone, present) for gone, present in drops if gone >= 3 and gone > present
    ]
    assert not is_mass_drop(9, 0, Rule(max_drop=1.0))


# -- a view ----------------------------------------------------------------------------------------------


def fill(client: Client, name: str, api: str, ids: str) -> None:
    for id_ in ids:
        write(client, f"{name}/api/{id_}", f'{{"address":"{id_}:80"}}', api)


def test_a_view_keeps_what_vanished_in_a_crowd_until_it_is_confirmed(
    client: Client, other: Client, name: str, api: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "etcd_recipes")
    fill(client, name, api, "abcd")
    with other.registry(name).follow("api", confirm=1.0) as view:
        changes = view.events(timeout=10)
        for id_ in "abc":
            remove(client, f"{name}/api/{id_}", api)
        eventually(lambda: len(view.suspects) == 3)
        assert [i.id for i in view.instances] == ["a", "b", "c", "d"]
        assert {view.pick(s).id for s in ("random", "round_robin", "sticky") for _ in range(4)} == {
            "d"
        }  # type: ignore[attr-defined]
        write(client, f"{name}/api/d", "no instance any more", api)
        eventually(lambda: len(view.suspects) == 4 or not view.suspects)
        eventually(lambda: view.instances == (), 5, "the confirmation")
        assert view.suspects == ()
        shown = told([next(changes) for _ in range(8)])
        assert shown[:4] == ["ra", "rb", "aa", "ab"]
        assert sorted(shown[4:]) == ["ra", "rb", "rc", "rd"]

    def said() -> list[str]:
        return [r.getMessage() for r in caplog.records if "drop" in r.getMessage()]

    # The view of the test before may have spoken last; and this one shows what it has confirmed before it says so.
    warned = said().index("discovery.mass_drop")
    eventually(lambda: "discovery.drop_confirmed" in said()[warned:])


def test_a_suspect_is_picked_when_there_is_nobody_else_and_one_dead_instance_goes_at_once(
    client: Client, other: Client, name: str, api: str
) -> None:
    fill(client, name, api, "abcdef")
    with other.registry(name).follow("api", confirm=60) as view:
        changes = view.events(timeout=10)
        remove(client, f"{name}/api/a", api)
        assert told([next(changes)]) == ["ra"]
        assert [i.id for i in view.instances] == list("bcdef")
        for id_ in "bcdef":
            remove(client, f"{name}/api/{id_}", api)
        eventually(lambda: len(view.suspects) == 6)
        assert {view.pick().id for _ in range(6)} == set("abcdef")
        fill(client, name, api, "abcdef")
        eventually(lambda: view.suspects == ())
        assert len(view.instances) == 6


@pytest.mark.only_v3
def test_leases_that_all_end_at_once_are_no_event_for_those_who_heal(
    client: Client, other: Client, name: str, api: str
) -> None:
    made = [client.registry(name).register("api", f"{n}:80", ttl=2) for n in range(5)]
    with other.registry(name).follow("api") as view:
        changes = view.events(timeout=10)
        revoke(other, client.session(2), api)
        eventually(lambda: len(view.suspects) == 5, 5, "the drop")
        assert len(view.instances) == 5
        eventually(lambda: view.suspects == (), 5, "the healing")
        assert {i.id for i in view.instances} == {registration.instance.id for registration in made}
        client.registry(name).register("api", "last:80")
        assert (next(changes).new or made[0].instance).address == "last:80"


@pytest.mark.only_v3  # the dialect has no part in it, and it takes its time
def test_a_drop_is_not_confirmed_while_etcd_is_away(
    make_client: Callable[..., Client], etcd: EtcdProcess, name: str, api: str
) -> None:
    client = make_client()
    fill(client, name, api, "abc")
    with FaultProxy(etcd.endpoint) as proxy:
        reader = make_client(proxy.endpoint, header_timeout=0.3)
        with reader.registry(name).follow("api", confirm=1.0) as view:
            changes = view.events(timeout=10)
            for id_ in "abc":
                remove(client, f"{name}/api/{id_}", api)
            eventually(lambda: len(view.suspects) == 3)
            proxy.refuse()
            eventually(lambda: view.stale)
            assert len(view.suspects) == 3
            begun = view.age
            eventually(lambda: view.age > begun + 1.5)
            assert len(view.suspects) == 3
            fill(client, name, api, "ab")
            proxy.heal()
            eventually(lambda: [i.id for i in view.instances] == ["a", "b"], 10)
            assert told([next(changes) for _ in range(5)]) == ["ra", "rb", "aa", "ab", "rc"]
