"""Keys of the v3 API, against a real server."""

from __future__ import annotations

import base64
import json
from contextlib import suppress

import pytest

from etcd_recipes.core.context import Context
from etcd_recipes.core.errors import (
    Cancelled,
    ClusterError,
    Compacted,
    DeadlineExceeded,
    EtcdError,
    LeaseExists,
    LeaseNotFound,
)
from etcd_recipes.core.v3 import requests
from etcd_recipes.core.v3.api import V3
from etcd_recipes.core.v3.gateway import Gateway
from etcd_recipes.core.v3.txn import Compare, Op
from etcd_recipes.core.v3.values import DeleteResult, PutResult, RangeResult, TxnResult
from etcd_recipes.testing import EtcdProcess, FaultProxy
from tests.core.calls import SOON, Call, within
from tests.core.clusters import cluster_of
from tests.core.servers import Peer, Server, always, answer, refusing, silent


def compact(gateway: Gateway, revision: int) -> None:
    body = {"revision": str(revision), "physical": True}
    gateway.call(requests.unary("kv/compaction", body, replay=False, what="compact"), Context(5.0))


# -- one key -------------------------------------------------------------------------------------------------


def test_what_is_put_is_got(v3: V3, name: str) -> None:
    first = v3.kv.put(name, "one")
    second = v3.kv.put(name, b"two")
    kv = v3.kv.get(name)
    assert kv is not None
    assert (kv.key, kv.value, kv.text) == (name.encode(), b"two", "two")
    assert (kv.create_revision, kv.mod_revision, kv.version, kv.lease) == (
        first.revision,
        second.revision,
        2,
        0,
    )
    assert v3.kv.get(name, serializable=True) == kv


def test_a_key_that_is_not_there_is_none(v3: V3, name: str) -> None:
    assert v3.kv.get(name) is None
    found = v3.kv.range(name)
    assert (found.kvs, found.count, found.more) == ((), 0, False)
    assert found.revision > 0


@pytest.mark.parametrize("raw", [b"\x00", b"\xff\xff", b"a\x00b\xff", "ž好🙂".encode(), b"/", b" "])
def test_keys_and_values_are_any_bytes(v3: V3, name: str, raw: bytes) -> None:
    key = name.encode() + b"/" + raw
    v3.kv.put(key, raw)
    kv = v3.kv.get(key)
    assert kv is not None
    assert (kv.key, kv.value) == (key, raw)
    assert v3.kv.delete(key).deleted == 1


def test_an_empty_value_is_a_value(v3: V3, name: str) -> None:
    v3.kv.put(name)
    kv = v3.kv.get(name)
    assert kv is not None
    assert kv.value == b""


def test_a_put_can_give_what_was_there(v3: V3, name: str) -> None:
    assert v3.kv.put(name, "one", prev_kv=True).prev_kv is None
    before = v3.kv.put(name, "two", prev_kv=True).prev_kv
    assert before is not None
    assert before.value == b"one"


def test_a_put_can_keep_the_value_or_the_lease(v3: V3, name: str) -> None:
    lease = v3.lease.grant(60).id
    v3.kv.put(name, "kept", lease=lease)
    v3.kv.put(name, "new", ignore_lease=True)
    kv = v3.kv.get(name)
    assert kv is not None
    assert (kv.value, kv.lease) == (b"new", lease)
    v3.kv.put(name, ignore_value=True)
    kv = v3.kv.get(name)
    assert kv is not None
    assert (kv.value, kv.lease, kv.version) == (b"new", 0, 3)
    v3.lease.revoke(lease)


def test_a_put_with_a_lease_that_is_not_there_writes_nothing(v3: V3, name: str) -> None:
    with pytest.raises(LeaseNotFound) as raised:
        v3.kv.put(name, "v", lease=4711)
    assert raised.value.code == 5
    assert v3.kv.get(name) is None


def test_a_delete_says_how_many_and_what(v3: V3, name: str) -> None:
    v3.kv.put(name, "v")
    deleted = v3.kv.delete(name, prev_kv=True)
    assert deleted.deleted == 1
    assert [kv.value for kv in deleted.prev_kvs] == [b"v"]
    assert v3.kv.delete(name, prev_kv=True) == DeleteResult(0, deleted.revision)


# -- many keys -----------------------------------------------------------------------------------------------


@pytest.fixture
def five(v3: V3, name: str) -> str:
    """Five keys below a name, and one beside it; created in the order e, d, c, b, a; a written last."""
    for letter in "edcba":
        v3.kv.put(f"{name}/{letter}", str("edcba".index(letter)))
    v3.kv.put(f"{name}/c", "changed")
    v3.kv.put(f"{name}0", "beside")
    return f"{name}/"


def letters(found: RangeResult) -> str:
    return "".join(kv.key.decode()[-1] for kv in found.kvs)


def test_a_prefix_is_all_that_begins_with_it(v3: V3, five: str) -> None:
    found = v3.kv.range(five, prefix=True)
    assert letters(found) == "abcde"
    assert (found.count, found.more) == (5, False)


def test_a_range_ends_before_its_end(v3: V3, five: str) -> None:
    assert letters(v3.kv.range(f"{five}b", f"{five}d")) == "bc"
    assert letters(v3.kv.range(f"{five}c", b"\x00", limit=1)) == "c"


def test_a_limit_says_that_there_is_more(v3: V3, five: str) -> None:
    found = v3.kv.range(five, prefix=True, limit=2)
    assert (letters(found), found.count, found.more) == ("ab", 5, True)


@pytest.mark.parametrize(
    ("options", "order"),
    [
        ({"sort_by": "KEY"}, "abcde"),
        ({"descending": True}, "edcba"),
        ({"sort_by": "CREATE"}, "edcba"),
        ({"sort_by": "CREATE", "descending": True, "limit": 2}, "ab"),
        ({"sort_by": "MOD"}, "edbac"),
        ({"sort_by": "VERSION", "limit": 4}, "abde"),
        ({"sort_by": "VALUE"}, "edbac"),
    ],
    ids=str,
)
def test_a_range_is_sorted_by_what_it_says(v3: V3, five: str, options, order: str) -> None:
    assert letters(v3.kv.range(five, prefix=True, **options)) == order


def test_a_range_can_leave_out_values_or_keys(v3: V3, five: str) -> None:
    assert {kv.value for kv in v3.kv.range(five, prefix=True, keys_only=True).kvs} == {b""}
    counted = v3.kv.range(five, prefix=True, count_only=True)
    assert (counted.kvs, counted.count) == ((), 5)


def test_a_range_at_an_old_revision_is_what_was_there(v3: V3, five: str) -> None:
    now = v3.kv.range(five, prefix=True)
    v3.kv.delete(five, prefix=True)
    assert v3.kv.range(five, prefix=True).count == 0
    assert v3.kv.range(five, prefix=True, revision=now.revision).kvs == now.kvs


def test_a_delete_takes_a_range_or_a_prefix(v3: V3, five: str, name: str) -> None:
    assert v3.kv.delete(f"{five}b", f"{five}d").deleted == 2
    assert v3.kv.delete(five, prefix=True).deleted == 3
    assert v3.kv.get(f"{name}0") is not None


def test_a_range_end_and_a_prefix_exclude_each_other(v3: V3) -> None:
    for call in (v3.kv.range, v3.kv.delete):
        with pytest.raises(ValueError, match="either range_end or prefix"):
            call("a", "b", prefix=True)


def test_the_empty_prefix_is_every_key(v3: V3, five: str) -> None:
    everything = v3.kv.range("", prefix=True)
    assert everything.count >= 6
    assert f"{five}a".encode() in {kv.key for kv in everything.kvs}
    result = v3.kv.txn([], [Op.get("", prefix=True)])
    assert result.responses[0].count == everything.count


# -- transactions --------------------------------------------------------------------------------------------


@pytest.fixture
def key(v3: V3, name: str) -> str:
    """A key at version 2, with the value "b" and a lease."""
    v3.kv.put(name, "a")
    v3.kv.put(name, "b", lease=v3.lease.grant(60).id)
    return name


@pytest.mark.parametrize("target", ["version", "create_revision", "mod_revision", "lease", "value"])
@pytest.mark.parametrize("prefix", [False, True], ids=["key", "prefix"])
def test_every_comparison_holds_when_it_is_true_and_only_then(
    v3: V3, key: str, target: str, *, prefix: bool
) -> None:
    kv = v3.kv.get(key)
    side = getattr(Compare, target)(key, prefix=prefix)
    is_, less, more = {
        "value": (b"b", b"a", b"c"),
        "version": (2, 1, 3),
    }.get(target) or (getattr(kv, target), getattr(kv, target) - 1, getattr(kv, target) + 1)
    for comparison, holds in [
        (side == is_, True),
        (side == less, False),
        (side != more, True),
        (side != is_, False),
        (side > less, True),
        (side > is_, False),
        (side < more, True),
        (side < is_, False),
    ]:
        assert v3.kv.txn([comparison], []).succeeded is holds


def test_a_comparison_of_a_prefix_must_hold_for_every_key(v3: V3, five: str) -> None:
    assert v3.kv.txn([Compare.version(five, prefix=True) > 0], []).succeeded
    assert not v3.kv.txn([Compare.version(five, prefix=True) == 1], []).succeeded
    assert v3.kv.txn([Compare.create_revision(five + "no/", prefix=True) == 0], []).succeeded
    assert not v3.kv.txn([Compare.create_revision(five, prefix=True) == 0], []).succeeded


@pytest.mark.parametrize("absent", ["version", "create_revision", "mod_revision", "lease"])
def test_a_key_that_is_not_there_compares_as_zero(v3: V3, name: str, absent: str) -> None:
    assert v3.kv.txn([getattr(Compare, absent)(name) == 0], []).succeeded
    assert not v3.kv.txn([Compare.value(name) == ""], []).succeeded


def test_all_comparisons_must_hold_and_one_branch_is_taken_as_one_step(v3: V3, name: str) -> None:
    result = v3.kv.txn(
        [Compare.version(f"{name}/a") == 0, Compare.version(f"{name}/b") == 0],
        [Op.put(f"{name}/a", "1"), Op.put(f"{name}/b", "2"), Op.get(f"{name}/", prefix=True)],
        [Op.put(f"{name}/never", "")],
    )
    assert result.succeeded
    assert result.responses[:2] == (PutResult(result.revision), PutResult(result.revision))
    found = result.responses[2]
    assert isinstance(found, RangeResult)
    assert [(kv.value, kv.mod_revision) for kv in found.kvs] == [
        (b"1", result.revision),
        (b"2", result.revision),
    ]
    again = v3.kv.txn(
        [Compare.version(f"{name}/a") == 0],
        [Op.put(f"{name}/never", "")],
        [Op.get(f"{name}/a"), Op.delete(f"{name}/b", prev_kv=True), Op.get(f"{name}/never")],
    )
    assert not again.succeeded
    there, deleted, nothing = again.responses
    assert isinstance(there, RangeResult)
    assert there.kvs[0].value == b"1"
    assert isinstance(deleted, DeleteResult)
    assert (deleted.deleted, deleted.prev_kvs[0].value) == (1, b"2")
    assert nothing == RangeResult((), 0, False, again.revision)


def test_transactions_nest(v3: V3, name: str) -> None:
    inner = Op.txn((Compare.version(name) == 0,), (Op.put(f"{name}/yes", ""),), (Op.get(name),))
    result = v3.kv.txn([], [Op.put(name, "v"), inner])
    put, nested = result.responses
    assert put == PutResult(result.revision)
    assert isinstance(nested, TxnResult)
    assert (nested.succeeded, nested.responses) == (True, (PutResult(result.revision),))
    assert v3.kv.get(f"{name}/yes") is not None
    (nested,) = v3.kv.txn([], [inner]).responses
    assert isinstance(nested, TxnResult)
    (found,) = nested.responses
    assert isinstance(found, RangeResult)
    assert (nested.succeeded, found.kvs[0].value) == (False, b"v")


def test_ranges_in_a_transaction_can_be_limited_sorted_and_bounded(v3: V3, five: str) -> None:
    all_of_it = v3.kv.range(five, prefix=True, sort_by="CREATE").kvs
    newest = Op.get(five, prefix=True, sort_by="CREATE", descending=True, limit=2)
    before = Op.get(five, prefix=True, max_create_revision=all_of_it[1].create_revision)
    result = v3.kv.txn([], [newest, before, Op.get(five, prefix=True, keys_only=True)])
    assert [letters(found) for found in result.responses] == ["ab", "de", "abcde"]
    assert result.responses[0].more is True
    assert {kv.value for kv in result.responses[2].kvs} == {b""}


def test_too_many_operations_are_refused_as_a_whole(v3: V3, name: str) -> None:
    puts = [Op.put(f"{name}/{number}", "") for number in range(Op.MAX_PER_TXN + 1)]
    with pytest.raises(EtcdError, match="too many operations") as raised:
        v3.kv.txn([], puts)
    assert raised.value.code == 3
    assert v3.kv.txn([], puts[:-1]).succeeded
    assert v3.kv.range(f"{name}/", prefix=True).count == Op.MAX_PER_TXN


def test_a_key_that_is_written_twice_in_one_step_is_refused(v3: V3, name: str) -> None:
    with pytest.raises(EtcdError, match="duplicate key"):
        v3.kv.txn([], [Op.put(name, "1"), Op.put(name, "2")])


# -- errors and limits ---------------------------------------------------------------------------------------


def test_history_that_has_been_compacted_says_so(v3: V3, gateway: Gateway, name: str) -> None:
    old = v3.kv.put(name, "1").revision
    new = v3.kv.put(name, "2").revision
    compact(gateway, new)
    with pytest.raises(Compacted) as raised:
        v3.kv.range(name, revision=old)
    assert raised.value.code == 11
    with pytest.raises(EtcdError, match="future revision"):
        v3.kv.range(name, revision=new + 1000)


def test_what_etcd_refuses_is_raised_in_its_own_words(v3: V3, etcd: EtcdProcess) -> None:
    with pytest.raises(EtcdError, match="key is not provided") as raised:
        v3.kv.put("", "v")
    assert (raised.value.code, raised.value.endpoint) == (3, etcd.endpoint)
    with pytest.raises(EtcdError, match="too large"):
        v3.kv.put("k", "x" * 1_600_000)
    with pytest.raises(EtcdError, match="larger than max"):
        v3.kv.put("k", "x" * 3_000_000)


def test_a_large_value_comes_back_whole(v3: V3, name: str) -> None:
    value = bytes(range(256)) * 4000
    v3.kv.put(name, value)
    kv = v3.kv.get(name)
    assert kv is not None
    assert kv.value == value
    v3.kv.delete(name)


def test_a_call_without_limits_ends_after_the_default_timeout() -> None:
    with Server(silent) as server, cluster_of(server.endpoint, header_timeout=None) as cluster:
        v3 = V3(Gateway(cluster), default_timeout=0.2)
        with within(0.2 + SOON, at_least=0.2), pytest.raises(DeadlineExceeded):
            v3.kv.get("k")
        with within(0.1 + SOON, at_least=0.1), pytest.raises(DeadlineExceeded):
            v3.kv.get("k", timeout=0.1)


def test_a_physical_compaction_is_waited_for_longer_than_others_for_a_sign_of_life() -> None:
    def late(peer: Peer) -> None:
        while peer.request():
            peer.pause(0.6)
            peer.send(answer(b'{"header":{"revision":"9"}}'))

    with Server(late) as server, cluster_of(server.endpoint, header_timeout=0.2) as cluster:
        kv = V3(Gateway(cluster), default_timeout=5.0).kv
        kv.compact(7, physical=True)
        with pytest.raises(ClusterError, match=r"no answer within 0\.2 s"):
            kv.compact(7)


def test_cancel_ends_a_call_that_has_no_other_limit() -> None:
    with Server(silent) as server, cluster_of(server.endpoint, header_timeout=None) as cluster:
        v3, ctx = V3(Gateway(cluster), default_timeout=0.1), Context()
        call = Call(lambda: v3.kv.put("k", "v", ctx=ctx))
        server.heard()
        assert not ctx.wait(0.2)
        assert call.running  # the default is for calls that were given nothing
        with within(SOON):
            ctx.cancel()
            error = call.error()
        assert isinstance(error, Cancelled)
        assert error.maybe_applied


@pytest.mark.parametrize(
    ("call", "repeated"),
    [
        (lambda v3, name: v3.kv.get(name), True),
        (lambda v3, name: v3.kv.txn([], [Op.get(name)], [Op.get(name)]), True),
        (lambda v3, name: v3.kv.txn([], [Op.txn([], [Op.get(name)])]), True),
        (lambda v3, name: v3.kv.txn([Compare.version(name) == 0]), True),
        (lambda v3, name: list(v3.kv.pages(name)), True),
        (lambda v3, name: v3.kv.compact(1), True),
        (lambda v3, name: v3.kv.compact(1, physical=True), True),
        (lambda v3, name: v3.lease.list(), True),
        (lambda v3, name: v3.lease.grant(5, id=815), True),
        (lambda v3, name: v3.lease.keep_alive_once(815), True),
        (lambda v3, name: v3.lease.revoke(815), True),
        (lambda v3, name: v3.kv.put(name, "v"), False),
        (lambda v3, name: v3.kv.delete(name), False),
        (lambda v3, name: v3.kv.txn([], [], [Op.put(name, "v")]), False),
        (lambda v3, name: v3.kv.txn([], [Op.txn([], [], [Op.delete(name)])]), False),
        (lambda v3, name: v3.kv.when().then(Op.put(name, "v")).commit(), False),
        (lambda v3, name: v3.kv.when().then(Op.put(name, "v")).commit(replay=True), True),
        (lambda v3, name: v3.kv.txn([], [Op.put(name, "v")], replay=True), True),
        (lambda v3, name: v3.lease.grant(5), False),
    ],
    ids=[
        "get",
        "transaction that reads",
        "transaction that reads in a nest",
        "transaction that compares",
        "pages",
        "compaction",
        "physical compaction",
        "leases",
        "grant with an id",
        "keepalive",
        "revoke",
        "put",
        "delete",
        "transaction that writes",
        "transaction that writes in a nest",
        "transaction that was built",
        "transaction that was built, and said to be harmless",
        "transaction that is said to be harmless",
        "grant without an id",
    ],
)
def test_what_may_be_sent_twice_is_repeated_elsewhere_when_its_reply_is_lost(
    etcd: EtcdProcess, v3: V3, name: str, call, *, repeated: bool
) -> None:
    """A repeated grant finds its own first copy there, a repeated revoke finds nothing left."""
    if not v3.lease.time_to_live(815).granted_ttl:
        v3.lease.grant(60, id=815)
    with FaultProxy(etcd.endpoint) as proxy, cluster_of(proxy.endpoint, etcd.endpoint) as cluster:
        proxy.lose_reply()
        with suppress(LeaseExists, LeaseNotFound, Compacted):
            if repeated:
                call(V3(Gateway(cluster), 5.0), name)
            else:
                with pytest.raises(ClusterError) as raised:
                    call(V3(Gateway(cluster), 5.0), name)
                assert raised.value.maybe_applied
                assert len(raised.value.errors) == 1
        assert proxy.hits == 1


def test_a_refused_call_names_what_was_asked_and_no_value() -> None:
    with (
        refusing() as endpoint,
        cluster_of(endpoint) as cluster,
        pytest.raises(ClusterError) as raised,
    ):
        V3(Gateway(cluster), 5.0).kv.put("key", "s3cret")
    assert "put key 'key'" in str(raised.value)
    assert "s3cret" not in str(raised.value)
    assert base64.b64encode(b"s3cret").decode() not in str(raised.value)
    assert not raised.value.maybe_applied


def test_an_answer_of_the_newer_json_form_is_read() -> None:
    """As etcd 3.6 and 3.7 write it: with spaces."""
    body = {
        "header": {"revision": "7"},
        "kvs": [{"key": "aw==", "create_revision": "3", "mod_revision": "7", "version": "2"}],
        "count": "1",
    }
    with (
        Server(always(answer(json.dumps(body).encode()))) as server,
        cluster_of(server.endpoint) as cluster,
    ):
        kv = V3(Gateway(cluster), 5.0).kv.get("k")
    assert kv is not None
    assert (kv.key, kv.create_revision, kv.mod_revision, kv.version) == (b"k", 3, 7, 2)
