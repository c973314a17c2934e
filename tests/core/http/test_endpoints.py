"""Endpoints: how they are written, and in which order they are asked."""

from __future__ import annotations

import dataclasses
import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etcd_recipes.core.http.endpoints import Ring, parse_endpoints

# -- how they are written ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "endpoints"),
    [
        ("http://127.0.0.1:2379", ("http://127.0.0.1:2379",)),
        ("https://etcd.example:2379", ("https://etcd.example:2379",)),
        ("HTTP://Etcd.Example:2379", ("http://etcd.example:2379",)),
        ("localhost", ("http://localhost:2379",)),
        ("localhost:4001", ("http://localhost:4001",)),
        ("10.0.0.7", ("http://10.0.0.7:2379",)),
        ("http://etcd.example", ("http://etcd.example",)),
        ("https://etcd.example", ("https://etcd.example",)),
        ("http://etcd.example:2379/", ("http://etcd.example:2379",)),
        ("http://etcd.example:2379/etcd/", ("http://etcd.example:2379/etcd",)),
        ("http://[::1]:2379", ("http://[::1]:2379",)),
        ("[::1]:2379", ("http://[::1]:2379",)),
        ("[::1]", ("http://[::1]:2379",)),
        ("http://[FD00::ABCD]:2379", ("http://[fd00::abcd]:2379",)),
        ("a:1,b:2", ("http://a:1", "http://b:2")),
        (" a:1 , b:2 ,", ("http://a:1", "http://b:2")),
        (["a:1", "https://b:2"], ("http://a:1", "https://b:2")),
        (("a:1", " b:2 "), ("http://a:1", "http://b:2")),
        (iter(["a:1"]), ("http://a:1",)),
        ("b:2,a:1,http://b:2,http://a:1/", ("http://b:2", "http://a:1")),
    ],
)
def test_an_endpoint_is_written_in_one_way_inside(spec, endpoints: tuple[str, ...]) -> None:
    assert parse_endpoints(spec) == endpoints


@pytest.mark.parametrize(
    "spec",
    [
        "ftp://a:1",
        "unix:///run/etcd.sock",
        "http://",
        "http://:2379",
        "http://a:port",
        "http://a:99999",
        "http://a b:1",
        "http://[::1",
    ],
)
def test_what_is_no_endpoint_is_refused_by_its_name(spec: str) -> None:
    with pytest.raises(ValueError, match=re.escape(repr(spec))) as raised:
        parse_endpoints(["http://good:1", spec])
    assert raised.type is ValueError


@pytest.mark.parametrize("spec", ["", " ", ",", [], ["", " "], ()])
def test_no_endpoint_at_all_is_refused(spec) -> None:
    with pytest.raises(ValueError, match="no etcd endpoint given"):
        parse_endpoints(spec)


@pytest.mark.parametrize(
    "spec", ["http://a:1?x=1", "http://a:1/#part", "http://a:1/?", "http://a:1/path?timeout=5"]
)
def test_a_query_is_refused_and_not_dropped_in_silence(spec: str) -> None:
    if spec.endswith("?"):
        assert parse_endpoints(spec) == ("http://a:1",)
        return
    with pytest.raises(ValueError, match="no query and no fragment"):
        parse_endpoints(spec)


@pytest.mark.parametrize(
    "spec",
    [
        "http://root:s3cret@a:1",
        "root:s3cret@a:1",
        "https://root:s3cret@a",
        "http://:s3cret@a:1",
        "http://root:s3cret@more@a:1",
        "http://root:s3cret@a:1?x=1",
        "http://root:s3cret@a:port",
        "http://root:s3cret@a:99999",
        "http://root:s3cret@[::1",
        "http://root:s3cret@",
        "http://root:s3cret@*.example:1",
        "http://root:s3cret/@a:1",
        "ftp://root:s3cret@a:1",
    ],
)
def test_credentials_are_refused_and_the_password_is_not_shown(spec: str) -> None:
    with pytest.raises(ValueError, match=r"expected|credentials") as raised:
        parse_endpoints(spec)
    assert "s3cret" not in str(raised.value)
    assert raised.value.__context__ is None or raised.value.__suppress_context__


def test_a_refusal_of_credentials_says_where_they_belong() -> None:
    with pytest.raises(ValueError, match=r"\(a:1\); use username= and password="):
        parse_endpoints("http://root:s3cret@a:1")


@given(st.text(max_size=40))
@settings(max_examples=200)
def test_any_text_is_an_endpoint_or_a_value_error(text: str) -> None:
    try:
        endpoints = parse_endpoints(text)
    except UnicodeError:
        raise
    except ValueError:
        return
    assert parse_endpoints(endpoints) == endpoints


# -- in which order they are asked -------------------------------------------------------------------

ENDPOINTS = tuple(f"http://e{number}:2379" for number in range(6))

rings = st.integers(1, 6).flatmap(
    lambda size: st.builds(Ring, st.just(ENDPOINTS[:size]), st.integers(0, size - 1))
)
anything = st.sampled_from((*ENDPOINTS, "http://stranger:1"))
moves = st.lists(st.tuples(st.sampled_from(["pin", "leave"]), anything), max_size=12)


def moved(ring: Ring, steps: list[tuple[str, str]]) -> Ring:
    for verb, endpoint in steps:
        ring = getattr(ring, verb)(endpoint)
    return ring


@given(rings, moves)
def test_the_order_is_a_rotation_that_begins_with_the_pinned_one(ring: Ring, steps) -> None:
    ring = moved(ring, steps)
    order = ring.order()
    assert order[0] == ring.pinned
    assert " ".join(order) in " ".join(ring.endpoints * 2)
    assert len(order) == len(ring.endpoints)


@given(rings, moves)
def test_no_endpoint_is_ever_lost(ring: Ring, steps) -> None:
    assert sorted(moved(ring, steps).order()) == sorted(ring.endpoints)


@given(rings, anything)
def test_pin_asks_that_endpoint_first_and_a_stranger_changes_nothing(ring: Ring, one: str) -> None:
    expected = one if one in ring.endpoints else ring.pinned
    assert ring.pin(one).pinned == expected


@given(rings, anything)
def test_only_the_failure_of_the_pinned_one_turns_the_ring(ring: Ring, one: str) -> None:
    """Of many calls that fail at one endpoint at once, the first turns the ring, and only that one."""
    left = ring.leave(one)
    if one == ring.pinned:
        assert left.order() == (*ring.order()[1:], ring.pinned)
        assert len(ring.endpoints) == 1 or left.leave(one) == left
    else:
        assert left is ring


@given(rings, anything)
def test_the_order_after_an_endpoint_begins_with_the_one_that_follows_it(
    ring: Ring, one: str
) -> None:
    order = ring.order(after=one)
    assert sorted(order) == sorted(ring.endpoints)
    assert " ".join(order) in " ".join(ring.endpoints * 2)
    if one in ring.endpoints:
        assert order[-1] == one
    else:
        assert order == ring.order()


def test_a_failed_walk_ends_where_it_began() -> None:
    ring = Ring(ENDPOINTS, 2)
    assert moved(ring, [("leave", endpoint) for endpoint in ring.order()]) == ring


def test_the_last_endpoint_is_never_left_out() -> None:
    ring = Ring(("http://only:1",))
    assert ring.leave("http://only:1").order() == ("http://only:1",)


def test_a_ring_is_a_value() -> None:
    ring = Ring(ENDPOINTS, 1)
    assert ring == Ring(ENDPOINTS, 1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        ring.first = 2
    assert ring.pin(ENDPOINTS[4]) == Ring(ENDPOINTS, 4)
    assert ring.first == 1


def test_clients_of_a_fleet_do_not_all_begin_with_the_same_member() -> None:
    rings = [Ring.shuffled(ENDPOINTS, random.Random(seed)) for seed in range(60)]
    assert {ring.pinned for ring in rings} == set(ENDPOINTS)
    assert all(sorted(ring.order()) == sorted(ENDPOINTS) for ring in rings)
    assert Ring.shuffled(ENDPOINTS, random.Random(7)) == Ring.shuffled(ENDPOINTS, random.Random(7))


def test_without_a_scheme_it_is_https_where_there_are_certificates() -> None:
    assert parse_endpoints("a, http://b:1,c:7", secure=True) == (
        "https://a:2379",
        "http://b:1",
        "https://c:7",
    )
