"""Leases on both servers: what is granted, kept, counted and revoked."""

from __future__ import annotations

import pytest

from etcd_recipes import LeaseExists, LeaseNotFound
from etcd_recipes.core.v3 import LeaseStatus
from etcd_recipes.core.v3.api import V3
from tests.tools import eventually

NOBODY = 0x4711


def test_a_lease_lives_from_grant_to_revoke(v3: V3, name: str) -> None:
    lease = v3.lease.grant(60)
    assert (lease.ttl, lease.id > 0, lease.revision > 0) == (60, True, True)
    for key in (f"{name}/a", f"{name}/b"):
        v3.kv.put(key, "v", lease=lease.id)
    status = v3.lease.time_to_live(lease.id, keys=True)
    keys = tuple(f"{name}/{letter}".encode() for letter in "ab")
    assert (status.id, status.granted_ttl, tuple(sorted(status.keys))) == (lease.id, 60, keys)
    assert 50 <= status.ttl <= 60
    assert v3.lease.time_to_live(lease.id).keys == ()
    assert v3.lease.keep_alive_once(lease.id) == 60
    assert lease.id in v3.lease.list()
    before = v3.kv.range(f"{name}/", prefix=True).revision
    v3.lease.revoke(lease.id)
    after = v3.kv.range(f"{name}/", prefix=True)
    assert (after.kvs, after.revision) == ((), before + 1)  # both keys at one revision
    assert lease.id not in v3.lease.list()


def test_a_key_that_moves_to_another_lease_outlives_the_first(v3: V3, name: str) -> None:
    first, second = v3.lease.grant(60).id, v3.lease.grant(60).id
    v3.kv.put(name, "v", lease=first)
    v3.kv.put(name, "v", lease=second)
    v3.lease.revoke(first)
    kv = v3.kv.get(name)
    assert kv is not None
    assert (kv.lease, kv.version) == (second, 2)
    v3.lease.revoke(second)
    assert v3.kv.get(name) is None


@pytest.mark.parametrize(
    ("asked", "granted"),
    [(2, 2), (2.1, 3), (59.5, 60), (0.001, 2), (1, 2), (9_000_000_000, 9 * 10**9)],
)
def test_a_ttl_is_rounded_up_to_whole_seconds_and_to_the_servers_least(
    v3: V3, asked: float, granted: int
) -> None:
    lease = v3.lease.grant(asked)
    assert lease.ttl == granted
    v3.lease.revoke(lease.id)


@pytest.mark.parametrize("id_", [1, 0x7B, 2**63 - 1])
def test_an_id_of_ones_own_is_used_and_refused_when_it_is_in_use(v3: V3, id_: int) -> None:
    assert v3.lease.grant(60, id=id_).id == id_
    with pytest.raises(LeaseExists) as raised:
        v3.lease.grant(60, id=id_)
    assert (raised.value.code, raised.value.message) == (9, "etcdserver: lease already exists")
    v3.lease.revoke(id_)


def test_a_lease_that_is_gone_is_told_in_every_way(v3: V3) -> None:
    for call in (v3.lease.keep_alive_once, v3.lease.revoke):
        with pytest.raises(LeaseNotFound) as raised:
            call(NOBODY)
        words = "etcdserver: requested lease not found"
        assert (raised.value.code, raised.value.message) == (5, words)
    for keys in (False, True):
        status = v3.lease.time_to_live(NOBODY, keys=keys)
        assert status == LeaseStatus(NOBODY, -1, 0, (), status.revision)


def test_a_lease_that_is_not_kept_ends_and_takes_its_keys_along(v3: V3, name: str) -> None:
    lease = v3.lease.grant(2)
    v3.kv.put(name, "v", lease=lease.id)
    eventually(lambda: v3.kv.get(name) is None, timeout=10.0, what="the end of the lease")
    eventually(lambda: v3.lease.time_to_live(lease.id).ttl == -1, what="the end of the lease")
    with pytest.raises(LeaseNotFound):
        v3.lease.keep_alive_once(lease.id)
