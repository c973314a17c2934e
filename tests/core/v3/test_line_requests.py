"""What is asked of etcd for a line: written down by hand, and the same as what is made of operations."""

from __future__ import annotations

import json

import pytest

from etcd_recipes.core.http.action import Action
from etcd_recipes.core.v3 import line_requests, requests
from etcd_recipes.core.v3.txn import Compare, Op

LEASE = 2**63 - 1
NAMES = ["jobs/nightly", 'a "quoted" \\ name', "naïve/名前", "x\udcff"]


def same(written: Action, made: Action) -> bool:
    """Tell whether both are one request, in what is sent and in what is said of it."""
    assert json.loads(written.body) == json.loads(made.body)
    assert (written.path, written.method, written.headers) == (made.path, made.method, made.headers)
    assert (written.replay, written.fresh, written.preflight) == (
        made.replay,
        made.fresh,
        made.preflight,
    )
    assert (written.what, written.header_timeout) == (made.what, made.header_timeout)
    return True


def newest_first(line: str, limit: int, up_to: int = 0) -> Op:
    return Op.get(
        f"{line}/",
        prefix=True,
        sort_by="CREATE",
        descending=True,
        limit=limit,
        max_create_revision=up_to,
    )


@pytest.mark.parametrize("line", NAMES)
@pytest.mark.parametrize("beside", [None, "permits"])
@pytest.mark.parametrize("limit", [0, 1, 7])
def test_joining(line: str, beside: str | None, limit: int) -> None:
    key = f"{line}/{LEASE:x}"
    read = [] if beside is None else [Op.get(f"{line}.{beside}")]
    made = requests.txn(
        [Compare.create_revision(key) == 0],
        [newest_first(line, limit), Op.put(key, line, lease=LEASE), *read],
        replay=True,
        what=f"join line {line!r}",
    )
    place = None if beside is None else f"{line}.{beside}"
    assert same(line_requests.join(line, key, line, LEASE, limit=limit, beside=place), made)


@pytest.mark.parametrize("line", NAMES)
def test_joining_an_empty_line(line: str) -> None:
    key = f"{line}/{LEASE:x}"
    made = requests.txn(
        [Compare.create_revision(f"{line}/", prefix=True) == 0],
        [Op.put(key, "", lease=LEASE)],
        [Op.get(f"{line}/", prefix=True, sort_by="CREATE", limit=1)],
        replay=True,
        what=f"join line {line!r} if nobody is there",
    )
    assert same(line_requests.join_if_first(line, key, "", LEASE), made)


@pytest.mark.parametrize("key", NAMES)
def test_deleting_one_incarnation(key: str) -> None:
    made = requests.txn(
        [Compare.create_revision(key) == LEASE],
        [Op.delete(key)],
        replay=True,
        what=f"delete key {key!r}",
    )
    assert same(line_requests.delete(key, LEASE), made)


@pytest.mark.parametrize("line", NAMES)
@pytest.mark.parametrize(("limit", "up_to"), [(0, 0), (2, LEASE), (0, 5), (3, 0)])
def test_looking_at_a_line(line: str, limit: int, up_to: int) -> None:
    made = requests.range_(newest_first(line, limit, up_to))
    assert same(line_requests.newest_first(line, limit, up_to), made)


def test_what_utf8_cannot_hold_is_refused_before_anything_is_sent() -> None:
    with pytest.raises(ValueError, match="UTF-8"):
        line_requests.delete("\ud800", 1)
