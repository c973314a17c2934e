"""The events of a view: every one, in order, to whoever reads, and said when some are lost."""

from __future__ import annotations

import gc
import logging

import pytest

from etcd_recipes import Client, Context, DeadlineExceeded, Instance, InstanceEvent, RecipeError
from etcd_recipes.recipes.registry.events import KEPT, InstanceEvents
from tests.recipes.operator import remove, write
from tests.tools import Job, eventually


def test_a_reader_that_starts_late_gets_all_since_it_asked_in_order(
    client: Client, other: Client, name: str, api: str
) -> None:
    key = f"{name}/api/one"
    with other.registry(name).follow("api") as view:
        first = view.events(timeout=10)
        for weight in (2, 3, 3):
            write(client, key, f'{{"address":"a","weight":{weight}}}', api)
        remove(client, key, api)
        write(client, f"{name}/api/two", '{"address":"b"}', api)
        view.wait_for(1, 5)
        eventually(lambda: [i.id for i in view.instances] == ["two"])
        late = view.events(timeout=0.05)
        seen = [next(first) for _ in range(4)]
        assert [e.kind for e in seen] == ["added", "updated", "removed", "added"], (
            "the same again is no event"
        )
        assert [(e.old and e.old.weight, e.new and e.new.weight) for e in seen] == [
            *[(None, 2), (2, 3)],
            *[(3, None), (None, 1)],
        ]
        with pytest.raises(DeadlineExceeded):
            next(late)


def test_a_closed_view_gives_what_came_before_and_ends_its_readers(
    client: Client, other: Client, name: str, api: str
) -> None:
    view = other.registry(name).follow("api")
    changes, waiting = view.events(), view.events()
    write(client, f"{name}/api/one", '{"address":"a"}', api)
    view.wait_for(1, 5)
    reader = Job(lambda: list(waiting))
    waiter = Job(lambda: view.wait_for(9))
    view.close()
    view.close()
    assert [e.kind for e in changes] == ["added"]
    assert len(reader.result(5)) == 1
    assert list(view.events()) == []
    with pytest.raises(RecipeError, match="closed"):
        waiter.result(5)
    assert ([i.id for i in view.instances], view.stale) == (["one"], True)
    assert view.pick().id == "one"


def test_a_reader_far_behind_is_told_what_it_lost(
    client: Client, name: str, api: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "etcd_recipes")
    view = client.registry(name).follow("api")
    changes = view.events(timeout=5)

    def happen(count: int) -> None:
        added = [InstanceEvent("added", None, Instance("api", str(n), "a")) for n in range(count)]
        view._wake(view._show(added))

    def warnings() -> list[int]:
        return [r.dropped for r in caplog.records if r.getMessage() == "discovery.slow_consumer"]  # type: ignore[attr-defined]

    happen(KEPT)
    assert (changes.dropped, warnings()) == (0, [])
    happen(3)
    happen(2)
    assert (changes.dropped, warnings()) == (5, [3]), "said once"
    assert (next(changes).new or 0).id == "5"  # type: ignore[union-attr]
    for _ in range(KEPT - 1):
        next(changes)
    view.close()
    assert list(changes) == []
    happen(KEPT + 1)
    assert (changes.dropped, warnings()) == (6, [3, 6]), "and again after it had caught up"


def test_a_reader_that_nobody_has_any_more_costs_nothing(
    client: Client, name: str, api: str
) -> None:
    with client.registry(name).follow("api") as view:
        for _ in range(3):
            view.events()
        kept = view.events()
        gc.collect()
        assert list(view._readers) == [kept]


def test_the_last_event_before_the_end_is_not_lost() -> None:
    reader = InstanceEvents(Context(1), lambda: bool(reader.take([event])) or True)
    event = InstanceEvent("added", None, Instance("api", "i", "a"))
    assert next(reader) == event, "it came while the reader looked whether the view is over"
