"""Reading, paging, writing and compacting, on both servers; pages across the death of a member."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytest

from etcd_recipes import (
    Cancelled,
    Client,
    Compacted,
    Context,
    DeadlineExceeded,
    EtcdError,
    FutureRevision,
    KeyNotFound,
)
from etcd_recipes.core.v3 import KeyValue, Op, RangeResult
from etcd_recipes.core.v3.api import V3
from etcd_recipes.testing import EtcdCluster, EtcdProcess
from tests.requests_seen import requests_seen
from tests.tools import QUICK, eventually
from tests.versions import SERVERS, binary_of


def names(kvs: Any) -> str:
    return "".join(kv.key.decode()[-1] for kv in kvs)


def fill(v3: V3, name: str, letters: str) -> dict[str, int]:
    """Put a key for each letter, and give the revision of each."""
    return {letter: v3.kv.put(f"{name}/{letter}", letter).revision for letter in letters}


# -- ranges --------------------------------------------------------------------------------------------------


def test_a_range_is_filtered_by_when_its_keys_were_made_and_changed(v3: V3, name: str) -> None:
    made = fill(v3, name, "abcde")
    changed = v3.kv.put(f"{name}/b", "again").revision
    for options, found in [
        ({"min_create_revision": made["c"]}, "cde"),
        ({"max_create_revision": made["c"]}, "abc"),
        ({"min_create_revision": made["b"], "max_create_revision": made["d"]}, "bcd"),
        ({"min_mod_revision": made["d"]}, "bde"),
        ({"max_mod_revision": made["d"]}, "acd"),
        ({"min_mod_revision": changed}, "b"),
        ({"min_mod_revision": changed + 1}, ""),
        ({"min_mod_revision": made["c"], "limit": 2, "sort_by": "MOD", "descending": True}, "be"),
        ({"max_create_revision": made["d"], "keys_only": True, "descending": True}, "dcba"),
    ]:
        result = v3.kv.range(f"{name}/", prefix=True, **options)
        assert (names(result.kvs), result.count) == (found, 5), options
        (inside,) = v3.kv.txn([], [Op.get(f"{name}/", prefix=True, **options)]).responses
        assert inside == result


def test_a_filter_and_a_limit_say_together_whether_there_is_more(v3: V3, name: str) -> None:
    made = fill(v3, name, "abcd")
    for limit, more in ((1, True), (2, False), (3, False)):
        found = v3.kv.range(f"{name}/", prefix=True, min_mod_revision=made["c"], limit=limit)
        assert (len(found.kvs), found.more) == (min(limit, 2), more)


def test_a_key_can_be_got_as_it_was(v3: V3, name: str) -> None:
    old = v3.kv.put(name, "old").revision
    v3.kv.put(name, "new")
    was = v3.kv.get(name, revision=old)
    assert was is not None
    assert was.value == b"old"
    assert v3.kv.get(name, revision=old - 1) is None


def test_a_range_that_ends_before_it_begins_has_nothing(v3: V3, name: str) -> None:
    fill(v3, name, "abc")
    for end in (f"{name}/a", f"{name}/", ""):
        expected = 1 if not end else 0  # an empty end is none
        assert v3.kv.range(f"{name}/b", end).count == expected
    assert v3.kv.delete(f"{name}/c", f"{name}/a").deleted == 0
    assert v3.kv.range(f"{name}/", prefix=True).count == 3


@pytest.mark.parametrize(
    "key", [b"\0", b"\0\0", b"\xff", b"\xff\xff", b"\xff\0", b"\0\xff", b"a\0", b"a\xff"]
)
def test_keys_of_the_first_and_the_last_byte_are_keys_like_others(v3: V3, key: bytes) -> None:
    v3.kv.put(key, key)
    kv = v3.kv.get(key)
    assert kv is not None
    assert (kv.key, kv.value) == (key, key)
    assert [kv.key for kv in v3.kv.range(key, prefix=True).kvs] == [key]
    assert [kv.key for kv in v3.kv.range(key, key + b"\0").kvs] == [key]
    assert key in {kv.key for kv in v3.kv.range(key, b"\0").kvs}
    assert v3.kv.txn([], [Op.delete(key)]).responses[0].deleted == 1
    assert v3.kv.get(key) is None


def test_a_prefix_of_last_bytes_is_the_end_of_the_keys_and_no_more(v3: V3) -> None:
    inside, outside = [b"\xff\xff", b"\xff\xff\0", b"\xff\xff\xff"], [b"\xff", b"\xff\xfe"]
    for key in (*inside, *outside):
        v3.kv.put(key)
    assert [kv.key for kv in v3.kv.range(b"\xff\xff", prefix=True).kvs] == inside
    assert v3.kv.delete(b"\xff\xff", prefix=True).deleted == 3
    assert v3.kv.delete(b"\xff", prefix=True).deleted == 2


# -- pages ---------------------------------------------------------------------------------------------------


def ranges_seen(server: EtcdProcess) -> int:
    return requests_seen(server.endpoint)["Range"]


def test_pages_are_of_one_revision_whatever_happens_meanwhile(v3: V3, name: str) -> None:
    made = fill(v3, name, "abcdefgh")
    pages = v3.kv.pages(f"{name}/", prefix=True, page_size=3)
    first = next(pages)
    v3.kv.put(f"{name}/f", "changed")
    v3.kv.put(f"{name}/ee", "new")
    v3.kv.delete(f"{name}/g")
    rest = list(pages)
    assert [names(page.kvs) for page in (first, *rest)] == ["abc", "def", "gh"]
    assert [page.more for page in (first, *rest)] == [True, True, False]
    kvs = [kv for page in (first, *rest) for kv in page.kvs]
    assert {kv.text: kv.mod_revision for kv in kvs} == made
    assert names(v3.kv.scan(f"{name}/", prefix=True, page_size=3)) == "abcdeefh"


def test_pages_can_be_of_an_old_revision(v3: V3, name: str) -> None:
    made = fill(v3, name, "abcde")
    v3.kv.delete(f"{name}/", prefix=True)
    then = v3.kv.scan(f"{name}/", prefix=True, page_size=2, revision=made["d"])
    assert names(then) == "abcd"


@pytest.mark.parametrize("size", [1, 2, 3, 4, 100])
def test_no_key_is_left_out_and_none_comes_twice(v3: V3, name: str, size: int) -> None:
    """Also those that differ in a NUL at their end, which the next page begins with."""
    ends = [b"", b"\0", b"\0\0", b"\0\x01", b"\x01", b"a", b"a\0", b"a\xff", b"\xff", b"\xff\xff"]
    keys = [f"{name}/".encode() + end for end in ends]
    for key in keys:
        v3.kv.put(key, "v")

    def scanned(*args: Any, **options: Any) -> list[bytes]:
        return [kv.key for kv in islice(v3.kv.scan(*args, page_size=size, **options), 20)]

    assert scanned(f"{name}/", prefix=True) == keys
    assert scanned(keys[2], keys[7]) == keys[2:7]
    assert scanned(keys[0], b"\0")[: len(keys)] == keys


def test_a_page_is_asked_for_when_it_is_wanted(v3: V3, name: str, server: EtcdProcess) -> None:
    fill(v3, name, "abcdef")
    before = ranges_seen(server)
    pages = v3.kv.pages(f"{name}/", prefix=True, page_size=2)
    assert ranges_seen(server) == before
    next(pages)
    assert ranges_seen(server) == before + 1
    assert len(list(pages)) == 2  # and none to find out that six keys are three pages
    assert ranges_seen(server) == before + 3
    scan = v3.kv.scan(f"{name}/", prefix=True, page_size=2)
    assert names([next(scan), next(scan)]) == "ab"
    assert ranges_seen(server) == before + 4


def test_there_is_a_page_where_there_is_no_key(v3: V3, name: str) -> None:
    (page,) = v3.kv.pages(f"{name}/", prefix=True)
    assert page == RangeResult((), 0, False, page.revision)
    assert page.revision > 0
    assert list(v3.kv.scan(f"{name}/", prefix=True)) == []


def test_pages_can_be_of_one_key_and_of_keys_alone(v3: V3, name: str) -> None:
    fill(v3, name, "ab")
    assert names(v3.kv.scan(f"{name}/a", page_size=1)) == "a"
    (a, b) = v3.kv.scan(f"{name}/", prefix=True, page_size=1, keys_only=True, serializable=True)
    assert (a.value, b.value) == (b"", b"")


def test_a_compaction_on_the_way_says_so_and_how_to_go_on(v3: V3, name: str) -> None:
    fill(v3, name, "abcd")
    pages = v3.kv.pages(f"{name}/", prefix=True, page_size=2)
    first = next(pages)
    v3.kv.compact(v3.kv.put(f"{name}/d", "late").revision)
    with pytest.raises(Compacted) as raised:
        next(pages)
    assert raised.value.code == 11
    (note,) = raised.value.__notes__
    assert f"{name}/b\\x00" in note
    assert f"revision {first.revision}" in note
    rest = v3.kv.scan(first.kvs[-1].key + b"\0", f"{name}0", page_size=2)
    assert [kv.text for kv in rest] == ["c", "late"]


def test_a_page_ends_in_its_time_and_all_of_them_with_their_context(own: EtcdProcess) -> None:
    with Client(own.endpoint, header_timeout=None) as client:
        fill(client.v3, "n", "abcdef")
        ctx = Context()
        pages = client.v3.kv.pages("n/", prefix=True, page_size=2, timeout=0.3)
        others = client.v3.kv.pages("n/", prefix=True, page_size=2, ctx=ctx)
        assert names(next(pages).kvs) == names(next(others).kvs) == "ab"
        ctx.cancel()
        with pytest.raises(Cancelled):
            next(others)
        own.pause()
        with pytest.raises(DeadlineExceeded, match=r"0\.3 s"):
            next(pages)


def test_the_time_between_pages_is_the_callers_own(v3: V3, name: str) -> None:
    fill(v3, name, "abcd")
    pages = v3.kv.pages(f"{name}/", prefix=True, page_size=2, timeout=0.7)
    first = next(pages)
    Context().wait(0.8)  # longer than any page may take
    assert names((*first.kvs, *next(pages).kvs)) == "abcd"


@pytest.fixture(params=list(SERVERS))
def own(request: pytest.FixtureRequest) -> Iterator[EtcdProcess]:
    """A server of the test's own, to be hurt."""
    with EtcdProcess(binary=binary_of(request.param), **QUICK) as process:
        yield process


@pytest.fixture(scope="module", params=list(SERVERS))
def members(request: pytest.FixtureRequest) -> Iterator[EtcdCluster]:
    with EtcdCluster(
        3, heartbeat=50, election_timeout=500, binary=binary_of(request.param)
    ) as cluster:
        yield cluster


def test_pages_go_on_at_their_revision_when_a_member_dies(members: EtcdCluster) -> None:
    leader = members.leader()
    victim = next(member for member in members.members if member is not leader)
    with Client(members.endpoints) as client:
        made = fill(client.v3, "pages", "abcdef")
        client._cluster.pin(victim.endpoint)
        pages = client.v3.kv.pages("pages/", prefix=True, page_size=2)
        kvs: list[KeyValue] = list(next(pages).kvs)
        client.v3.kv.put("pages/f", "changed")
        assert client._cluster.pinned == victim.endpoint
        victim.kill()
        try:
            for page in pages:
                kvs += page.kvs
        finally:
            victim.start()
    assert {kv.text: kv.mod_revision for kv in kvs} == made


# -- what a member alone can say -----------------------------------------------------------------------------


def test_a_member_without_a_leader_answers_what_its_own_state_will_do_for(
    members: EtcdCluster,
) -> None:
    alone, *others = members.members
    with Client(alone.endpoint) as client:
        kv = client.v3.kv
        put = kv.put("own/state", "v").revision
        eventually(lambda: kv.get("own/state", serializable=True), what="the member's catching up")
        for other in others:
            other.pause()
        try:
            eventually(lambda: _has_no_leader(client), what="the loss of the leader")
            assert kv.get("own/state", serializable=True) is not None
            assert [kv.text for kv in kv.scan("own/", prefix=True, serializable=True)] == ["v"]
            look = Op.get("own/state", serializable=True)
            assert kv.txn([], [look]).responses[0].kvs[0].mod_revision == put
        finally:
            for other in others:
                other.resume()
        eventually(members.leader, what="a leader")


def _has_no_leader(client: Client) -> bool:
    try:
        client.v3.kv.get("own/state", timeout=1.0)
    except DeadlineExceeded:
        return False
    except EtcdError as error:
        raise AssertionError(f"it is passed over, not raised: {error}") from error
    except Exception as error:
        return "no leader" in str(error)
    return False


# -- writing -------------------------------------------------------------------------------------------------


def test_a_put_can_leave_the_value_or_the_lease_as_it_is(v3: V3, name: str) -> None:
    lease = v3.lease.grant(60).id
    for call in (
        lambda **options: v3.kv.put(name, **options),
        lambda **options: v3.kv.txn([], [Op.put(name, **options)]),
    ):
        v3.kv.put(name, "kept")
        call(lease=lease, ignore_value=True)
        kv = v3.kv.get(name)
        assert kv is not None
        assert (kv.value, kv.lease) == (b"kept", lease)
        call(value="new", ignore_lease=True)
        kv = v3.kv.get(name)
        assert kv is not None
        assert (kv.value, kv.lease) == (b"new", lease)
        v3.kv.delete(name)
        for ignored in ("ignore_value", "ignore_lease"):
            with pytest.raises(KeyNotFound) as raised:
                call(**{ignored: True})
            assert (raised.value.code, raised.value.message) == (3, "etcdserver: key not found")
    v3.lease.revoke(lease)


# -- history -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("physical", [False, True])
def test_a_compaction_forgets_what_was_before_and_nothing_else(
    v3: V3, name: str, *, physical: bool
) -> None:
    old = v3.kv.put(name, "old").revision
    kept = v3.kv.put(name, "kept").revision
    now = v3.kv.put(name, "now").revision
    v3.kv.compact(kept, physical=physical)
    for call in (
        lambda: v3.kv.get(name, revision=old),
        lambda: v3.kv.compact(kept),
        lambda: v3.kv.compact(old, physical=physical),
        lambda: v3.kv.txn([], [Op.get(name, revision=old)]),
    ):
        with pytest.raises(Compacted) as raised:
            call()
        assert raised.value.code == 11
    for revision, value in ((kept, b"kept"), (now, b"now")):
        kv = v3.kv.get(name, revision=revision)
        assert kv is not None
        assert kv.value == value
    with pytest.raises(FutureRevision):
        v3.kv.compact(now + 1)
