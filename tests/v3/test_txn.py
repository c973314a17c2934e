"""Transactions on both servers: built, nested, and never decided by what a member alone believes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from etcd_recipes import Client, ClusterError, ContextError
from etcd_recipes.core.v3 import (
    Compare,
    DeleteResult,
    Op,
    PendingTxn,
    PutResult,
    RangeResult,
    Txn,
    TxnResult,
)
from etcd_recipes.core.v3.api import V3
from etcd_recipes.testing import EtcdCluster, EtcdProcess, FaultProxy
from tests.requests_seen import requests_seen
from tests.tools import eventually
from tests.versions import SERVERS, binary_of


def value(v3: V3, key: str) -> bytes | None:
    kv = v3.kv.get(key)
    return None if kv is None else kv.value


# -- built ---------------------------------------------------------------------------------------------------


def test_a_transaction_reads_as_it_is_carried_out(v3: V3, name: str) -> None:
    a, b, c = (f"{name}/{letter}" for letter in "abc")
    v3.kv.put(a, "1")
    v3.kv.put(b, "x")
    move = (
        v3.kv.when(Compare.value(a) == "1", Compare.version(b) > 0)
        .then(Op.put(a, "2"), Op.get(b), Op.delete(f"{name}/", f"{name}/a"))
        .otherwise(Op.get(a), Op.put(c, "late"))
    )
    done = move.commit()
    assert done.succeeded
    assert done.revision == v3.kv.get(a).mod_revision
    put, got, deleted = done.responses
    assert put == PutResult(done.revision)
    assert isinstance(got, RangeResult)
    assert got.kvs[0].value == b"x"
    assert deleted == DeleteResult(0, done.revision)
    again = move.commit(timeout=5.0)
    assert not again.succeeded
    got, put = again.responses
    assert isinstance(got, RangeResult)
    assert got.kvs[0].value == b"2"
    assert put == PutResult(again.revision)
    assert value(v3, c) == b"late"


def test_without_a_condition_it_is_carried_out(v3: V3, name: str) -> None:
    assert v3.kv.when().then(Op.put(name, "v")).commit().succeeded
    assert value(v3, name) == b"v"


def test_it_may_be_built_far_from_a_client(v3: V3, name: str) -> None:
    txn = Txn().when(Compare.create_revision(name) == 0).then(Op.put(name, "first"))
    assert v3.kv.txn(txn).succeeded
    assert not v3.kv.txn(txn).succeeded
    bound = v3.kv.when(Compare.create_revision(name) == 0)
    assert isinstance(bound, PendingTxn)
    assert bound.then(Op.put(name, "second")) == v3.kv.when(*txn.compare).then(
        Op.put(name, "second")
    )
    assert not v3.kv.txn(bound.then(Op.put(name, "second"))).succeeded
    with pytest.raises(TypeError, match="built already"):
        v3.kv.txn(txn, [Op.get(name)])


def test_transactions_nest_in_each_other(v3: V3, name: str) -> None:
    a, b = f"{name}/a", f"{name}/b"
    innermost = v3.kv.when(Compare.value(b) == "2").then(Op.get(b)).otherwise(Op.put(b, "2"))
    inner = Txn().when(Compare.value(a) != "0").then(Op.txn(innermost), Op.get(a))
    outer = v3.kv.when().then(Op.put(a, "1"), Op.txn(inner), Op.txn([], [], [Op.get(a)]))
    v3.kv.put(a, "")
    first, second = outer.commit(), outer.commit()
    for result, done in ((first, False), (second, True)):
        put, middle, empty = result.responses
        assert put == PutResult(result.revision)
        assert empty == TxnResult(True, (), result.revision)
        assert isinstance(middle, TxnResult)
        assert middle.succeeded
        deepest, got = middle.responses
        assert isinstance(got, RangeResult)
        assert got.kvs[0].value == b"1"
        assert isinstance(deepest, TxnResult)
        assert deepest.succeeded is done
        assert isinstance(deepest.responses[0], RangeResult if done else PutResult)


def test_all_comparisons_are_of_the_time_before_and_reads_see_what_was_put_beside_them(
    v3: V3, name: str
) -> None:
    """As etcd does it: it chooses all branches first, the nested ones too, and then begins."""
    inner = Txn().when(Compare.version(name) == 0).then(Op.get(name))
    put, nested = v3.kv.when().then(Op.put(name, "v"), Op.txn(inner)).commit().responses
    assert isinstance(nested, TxnResult)
    assert nested.succeeded
    assert nested.responses[0].kvs[0].mod_revision == put.revision


def test_a_comparison_of_a_range_holds_for_every_key_in_it(v3: V3, name: str) -> None:
    for letter in "abc":
        v3.kv.put(f"{name}/{letter}", letter)
    holds = [
        (Compare.value(f"{name}/a", f"{name}/c") < "c", True),
        (Compare.value(f"{name}/a", f"{name}/d") < "c", False),
        (Compare.version(f"{name}/", prefix=True) == 1, True),
        (
            Compare.version(f"{name}/c", f"{name}/a") == 0,
            True,
        ),  # no key at all: one that is not there
        (Compare.version(f"{name}/c", f"{name}/a") > 0, False),
        (Compare.value(f"{name}/x", prefix=True) != "c", False),
    ]
    for comparison, holding in holds:
        assert v3.kv.txn([comparison]).succeeded is holding, comparison


def test_a_transaction_reads_the_past_and_writes_the_present(v3: V3, name: str) -> None:
    old = v3.kv.put(name, "old").revision
    v3.kv.put(name, "new")
    result = v3.kv.txn([], [Op.get(name, revision=old), Op.put(name, "newest"), Op.get(name)])
    then, _, now = result.responses
    assert (then.kvs[0].value, now.kvs[0].value) == (b"old", b"newest")


# -- what it costs, and what it may be answered from ---------------------------------------------------------


def test_a_transaction_is_one_request_and_gives_what_was_asked_for(
    v3: V3, name: str, server: EtcdProcess
) -> None:
    before = requests_seen(server.endpoint)
    for compare in ([], [Compare.version(name) == 0], [Compare.version(name) > 0]):
        assert v3.kv.txn(compare).responses == ()
    seen = requests_seen(server.endpoint) - before
    assert (seen["Txn"], seen["Range"]) == (3, 0)


@pytest.fixture(params=list(SERVERS))
def members(request: pytest.FixtureRequest) -> Iterator[EtcdCluster]:
    with EtcdCluster(3, binary=binary_of(request.param)) as cluster:
        yield cluster


def test_a_transaction_of_comparisons_alone_is_not_decided_by_a_member_that_is_cut_off(
    members: EtcdCluster,
) -> None:
    """etcd itself would: at a member whose others are stopped, a fence of yesterday still holds."""
    alone, *others = members.members
    with Client(alone.endpoint, header_timeout=None) as client:
        kv = client.v3.kv
        kv.put("fence", "mine")
        fence = kv.when(Compare.value("fence") == "mine")
        eventually(lambda: fence.commit().succeeded, what="the fence")
        for other in others:
            other.pause()
        for txn in (fence, Txn(fence.compare)):
            with pytest.raises((ContextError, ClusterError)):
                kv.txn(txn, timeout=0.3)
        for other in others:
            other.resume()
        members.leader()
        eventually(lambda: _holds(client, fence), timeout=10.0, what="the fence")


def _holds(client: Client, fence: Txn) -> bool:
    try:
        return client.v3.kv.txn(fence, timeout=2.0).succeeded
    except (ContextError, ClusterError):
        return False


# -- a lost reply --------------------------------------------------------------------------------------------


def test_a_transaction_is_sent_twice_if_its_caller_says_that_it_may(
    v3: V3, name: str, server: EtcdProcess
) -> None:
    """The second copy finds the first one's work, so `failure` reads back who it was."""
    guarded = (
        Txn()
        .when(Compare.create_revision(name) == 0)
        .then(Op.put(name, "me"))
        .otherwise(Op.get(name))
    )
    with FaultProxy(server.endpoint) as proxy, Client([proxy.endpoint, server.endpoint]) as client:
        client._cluster.pin(proxy.endpoint)
        proxy.lose_reply(only=b"/v3/kv/txn")
        with pytest.raises(ClusterError) as raised:
            client.v3.kv.txn(guarded)
        assert raised.value.maybe_applied
        assert len(raised.value.errors) == 1
        v3.kv.delete(name)
        client._cluster.pin(proxy.endpoint)
        result = client.v3.kv.txn(guarded, replay=True)
        assert not result.succeeded
        assert result.responses[0].kvs[0].value == b"me"
        v3.kv.delete(name)
        client._cluster.pin(proxy.endpoint)
        again = client.v3.kv.when(*guarded.compare).then(*guarded.success).commit(replay=True)
        assert not again.succeeded
        assert proxy.hits == 3
