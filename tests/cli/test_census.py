from __future__ import annotations

import json

import pytest

from etcd_recipes.cli.view.census import Census, Thing, take
from etcd_recipes.core.store import Entry

ME = {"host": "h", "pid": 7, "since": 100.5, "id": "abc"}


def me(**wish: object) -> str:
    return json.dumps({**ME, **wish})


def entries(*each: tuple[str, str, int]) -> list[Entry]:
    """Keys with value and lease, created one after the other, the last one given first."""
    made = [Entry(k, v, n, n, lease) for n, (k, v, lease) in enumerate(each, 1)]
    return made[::-1]


def one(*each: tuple[str, str, int], api: str = "v3") -> Thing:
    found = take(entries(*each), api=api)
    (thing,) = found.things
    return thing


def who(thing: Thing) -> tuple[list[str], list[str]]:
    return [p.entry.key for p in thing.holders], [p.entry.key for p in thing.waiters]


def test_the_oldest_of_a_line_holds_a_lock() -> None:
    thing = one(("jobs/a/1f", me(), 0x1F), ("jobs/a/2", me(), 2), ("jobs/a/9", "", 9))
    assert (thing.kind, thing.name, thing.state) == ("lock", "jobs/a", "held")
    assert who(thing) == (["jobs/a/1f"], ["jobs/a/2", "jobs/a/9"])
    holder, theirs = thing.holders[0], thing.waiters[1]
    assert (holder.who, holder.since, holder.token, holder.ours) == ("h/7/abc", 100.5, 1, True)
    assert (theirs.who, theirs.since, theirs.ours) == ("9", None, False)  # etcdctl's, Go's


def test_what_somebody_proposes_makes_an_election() -> None:
    thing = one(("e/1", "web-1", 1), ("e/2", "web-2", 2))
    assert (thing.kind, thing.state) == ("election", "led")
    assert [p.role for p in (*thing.holders, *thing.waiters)] == ["web-1", "web-2"]


def test_readers_hold_together_up_to_the_first_writer() -> None:
    thing = one(
        ("d/1-0", me(kind="read"), 1),
        ("d/2-0", me(kind="read"), 2),
        ("d/3-0", me(kind="write"), 3),
        ("d/4-1", me(kind="read"), 4),
    )
    assert thing.kind == "rwlock"
    assert who(thing) == (["d/1-0", "d/2-0"], ["d/3-0", "d/4-1"])
    assert [p.role for p in thing.waiters] == ["write", "read"]


def test_a_semaphore_goes_by_its_stored_limit() -> None:
    line = (
        ("s/1-0", me(weight=2, permits=3), 1),
        ("s/2-0", me(weight=1, permits=3), 2),
        ("s/3-0", me(weight=1, permits=3), 3),
    )
    thing = one(*line)
    assert (thing.kind, thing.used, thing.limit) == ("semaphore", 3, 3)
    assert who(thing)[1] == ["s/3-0"]
    limit = ("s.limit", '{"permits":4,"was":3}', 0)
    assert (one(*line, limit).used, one(*line, limit).limit) == (4, 4)
    assert (one(limit).name, one(limit).state) == ("s", "0 of 4 taken")


def test_the_keys_of_the_v2_store() -> None:
    line = ("l/00000000000000000007", me(weight=1, permits=1), 1)
    limit = ("l/.limit", '{"permits":2,"was":1}', 0)
    assert (one(line, limit, api="v2").kind, one(line, limit, api="v2").limit) == ("semaphore", 2)
    held = ("b/1", json.dumps({"id": "x", "by": ME}), 5)  # a barrier with a ttl
    assert one(held, api="v2").kind == "barrier"
    assert take(entries(("n/00000000000000000007", "x", 0)), api="v2").things == ()  # not sealed


def test_barriers_closed_and_open() -> None:
    value, other = json.dumps({"id": "x", "by": ME}), json.dumps({"id": "y", "by": ME})
    closed = one(("b/1.released", other, 0), ("b/2", value, 0))
    assert (closed.kind, closed.state, closed.holders[0].who) == ("barrier", "closed", "h/7/abc")
    assert one(("b/2.released", value, 0), ("b/2", value, 0)).state == "open"
    assert one(("b/2.released", value, 0)).state == "open"


def test_double_barriers_gather_and_are_inside() -> None:
    parties = [(f"p/parties/{n:016x}", me(parties=2), n) for n in (1, 2, 3)]
    gathering = one(parties[0])
    assert (gathering.kind, gathering.state) == ("double-barrier", "1 of 2 came")
    members = json.dumps({"members": [f"{n:016x}" for n in (1, 2)]})
    said = [(f"p/4/in/{n:016x}", me(), 0) for n in (1, 2)]
    inside = one(*parties, ("p/round", members, 0), *said)
    assert (inside.state, len(inside.holders), len(inside.waiters)) == ("inside", 2, 1)


def test_latches_and_services() -> None:
    count = json.dumps({"count": 2, "by": ME})
    assert one(("l/a", count, 0)).state == "1 to come"
    assert one(("l/a", count, 0), ("l/b", count, 0)).state == "open"
    ours = one(("services/api/i1", '{"address":"a:1","owner":"o","draining":true}', 3))
    assert (ours.kind, ours.name, ours.state) == ("service", "services/api", "0 of 1 ready")
    go = one(("services/web/a:1", '{"Op":0,"Addr":"a:1","Metadata":null}', 3))
    assert (go.name, go.holders[0].who) == ("services/web", "a:1")


def test_gos_rwmutex() -> None:
    thing = one(("m/read/1700000000000000001", "", 1), ("m/write/1700000000000000002", "", 2))
    assert (thing.kind, len(thing.holders), len(thing.waiters)) == ("rwlock", 1, 1)


@pytest.mark.parametrize(
    ("key", "value", "lease"),
    [
        ("a/1f", "", 0),  # without a lease
        ("a/1f", "", 0x2F),  # under another one's
        ("a/01f", "", 0x1F),  # padded
        ("1f", "", 0x1F),  # of no name
        ("a/b", '{"address":"a:1"}', 1),  # no owner
        ("a/b", '{"count":true,"by":{}}', 0),
        ("a/1", '{"id":"x","by":[]}', 0),
        ("a/parties/0000000000000001", "[" * 10_000, 1),
        ("a/parties/0000000000000001", '{"parties":1e999}', 1),
        ("a.limit", '{"permits":0,"was":0}', 0),
        (".limit", '{"permits":1,"was":1}', 0),
        ("a/read/1700000000000000001", "", 0),
    ],
)
def test_what_is_not_ours_is_not_listed(key: str, value: str, lease: int) -> None:
    assert take(entries((key, value, lease))) == Census((), tuple(entries((key, value, lease))))


def test_keys_below_a_line_that_are_no_contenders_are_told() -> None:
    found = take(entries(("l/1", me(), 1), ("l/path/1", "x", 0), ("lx", "y", 0)))
    assert found.things[0].foreign == ("l/path/1",)
    assert [e.key for e in found.others] == ["l/path/1", "lx"]
