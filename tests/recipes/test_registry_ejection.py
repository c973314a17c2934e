"""Ejection and picking: who is left out, for how long, and never too many."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest

from etcd_recipes import Client, Instance
from etcd_recipes.recipes.registry import ejection
from etcd_recipes.recipes.registry.ejection import (
    FIRST,
    JITTER,
    LONGEST,
    Ejection,
    Workers,
    after_failure,
)
from etcd_recipes.recipes.registry.pick import STRATEGIES, Asking
from etcd_recipes.recipes.registry.pool import Pool
from tests.recipes.operator import remove, write
from tests.tools import eventually

RNG = random.Random(7)


def some(ids: str, **fields: object) -> list[Instance]:
    return [replace(Instance("api", id_, f"{id_}:80"), **fields) for id_ in ids]


def ids(instances: Sequence[Instance]) -> str:
    return "".join(instance.id for instance in instances)


def test_the_time_doubles_up_to_a_bound_with_jitter() -> None:
    now, last = 0.0, None
    for expected in (10, 20, 40, 80, 160, 300, 300):
        last = after_failure(last, now, RNG)
        lasts = last.until - now
        assert expected * (1 - JITTER) <= lasts <= expected
        now = last.until
    assert len({after_failure(None, 0.0, RNG).until for _ in range(20)}) > 10
    assert after_failure(Ejection(10**6, 0.0), 1.0, RNG).until <= 1.0 + LONGEST


def test_failures_of_calls_that_were_under_way_add_nothing() -> None:
    first = after_failure(None, 0.0, RNG)
    assert after_failure(first, first.until - 0.001, RNG) is first


def test_never_more_than_the_share_is_left_out_those_that_failed_most_first() -> None:
    def fit(share: float, ids_: str = "abcd", now: float = 1.0) -> str:
        workers = Workers(share)
        for instance in some(ids_):
            workers.put(instance)
        for failures, instance in enumerate(some(ids_), 1):
            for again in range(failures):
                workers.failed(instance, -1000.0 * (failures - again), RNG)
                workers.tick(-1000.0 * (failures - again) + 500)
            workers.failed(instance, 0.0, RNG)
        workers.tick(now)
        assert ids(sorted([*workers.fit, *workers.out], key=lambda i: i.id)) == ids_
        return ids(workers.fit)

    assert fit(0.5) == "ab"
    assert fit(0.8) == "a"
    assert fit(1.0) == "", "nobody left: all are asked again, see below"
    assert fit(0.0) == "abcd"
    assert fit(0.5, now=1000.0) == "abcd", "their time is over"
    assert fit(0.5, "a") == "a"
    assert fit(0.5, "") == ""


def test_a_zone_without_a_healthy_instance_falls_back_to_the_others() -> None:
    near, far = some("ab", zone="east"), some("cd", zone="west")
    ask = Asking(0, RNG, zone="east")
    assert {STRATEGIES["zone"](Pool(near + far), replace(ask, turn=n)).id for n in range(9)} == {
        "a",
        "b",
    }
    assert {STRATEGIES["zone"](Pool(far), replace(ask, turn=n)).id for n in range(9)} == {"c", "d"}
    everywhere = replace(ask, zone="")
    mixed = [*near, *some("e")]
    assert {
        STRATEGIES["zone"](Pool(mixed), replace(everywhere, turn=n)).id for n in range(9)
    } == set("abe")


def test_weights_of_any_size_are_borne() -> None:
    heavy = [replace(i, weight=2**31 - 1) for i in some("ab")]
    assert STRATEGIES["weighted"](Pool([*heavy, *some("c", weight=0)]), Asking(0, RNG)).id in "ab"
    idle = Pool(some("abc", weight=0))
    assert {STRATEGIES["weighted"](idle, Asking(0, RNG)).id for _ in range(50)} == set("abc")


def test_an_ejected_instance_that_restarts_elsewhere_is_not_punished_and_no_memory_is_kept_of_it(
    client: Client, other: Client, name: str, api: str
) -> None:
    for id_ in "ab":
        write(client, f"{name}/api/{id_}", f'{{"address":"{id_}:80"}}', api)
    with other.registry(name).follow("api") as view:
        bad, good = view.instances
        view.report(bad, ok=False)
        assert {view.pick().id for _ in range(4)} == {"b"}
        view.report(good, ok=False)
        assert {view.pick().id for _ in range(4)} != {"a", "b"}, "half of two is one"
        view.report(good, ok=True)
        write(client, f"{name}/api/a", '{"address":"elsewhere:80"}', api)
        eventually(lambda: {view.pick().address for _ in range(4)} == {"elsewhere:80", "b:80"})
        view.report(bad, ok=False)  # of its old address, which nobody has any more
        view.report(view.instances[1], ok=False)
        assert len(view._roster.workers._known) == 1
        remove(client, f"{name}/api/b", api)
        eventually(lambda: view._roster.workers._known == {})
    with pytest.raises(ValueError, match="max_ejection"):
        client.registry(name).follow("api", max_ejection=2)


def test_an_ejection_ends_by_itself(
    client: Client, name: str, api: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for id_ in "ab":
        write(client, f"{name}/api/{id_}", f'{{"address":"{id_}:80"}}', api)
    with client.registry(name).follow("api") as view:
        known = view._roster.workers._known
        assert FIRST * (1 - JITTER) > 5
        monkeypatch.setattr(ejection, "FIRST", 0.5)
        view.report(view.instances[0], ok=False)
        assert {view.pick().id for _ in range(4)} == {"b"}
        eventually(lambda: {view.pick().id for _ in range(4)} == {"a", "b"})
        view.report(view.instances[0], ok=False)
        assert next(iter(known.values())).failures == 2
        view.report(view.instances[0], ok=True)
        view.report(view.instances[0], ok=False)
        assert next(iter(known.values())).failures == 1, "a success forgets"


def test_all_of_them_are_asked_again_when_all_may_be_left_out(
    client: Client, name: str, api: str
) -> None:
    for id_ in "ab":
        write(client, f"{name}/api/{id_}", f'{{"address":"{id_}:80"}}', api)
    with client.registry(name).follow("api", max_ejection=1.0) as view:
        for instance in view.instances:
            view.report(instance, ok=False)
        assert {view.pick().id for _ in range(4)} == {"a", "b"}
