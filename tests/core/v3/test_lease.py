"""Leases of the v3 API, against a real server."""

from __future__ import annotations

import pytest

from etcd_recipes.core.errors import EtcdError, InvalidResponse, LeaseExists, LeaseNotFound
from etcd_recipes.core.v3.api import V3
from etcd_recipes.core.v3.gateway import Gateway
from tests.core.clusters import cluster_of
from tests.core.servers import Server, always, answer

NOBODY = 0x4711


def test_a_lease_lives_from_grant_to_revoke(v3: V3, name: str) -> None:
    lease = v3.lease.grant(60)
    assert lease.ttl == 60
    assert lease.revision > 0
    v3.kv.put(name, "v", lease=lease.id)
    status = v3.lease.time_to_live(lease.id, keys=True)
    assert (status.id, status.granted_ttl, status.keys) == (lease.id, 60, (name.encode(),))
    assert 55 <= status.ttl <= 60
    assert v3.lease.time_to_live(lease.id).keys == ()
    assert v3.lease.keep_alive_once(lease.id) == 60
    assert lease.id in v3.lease.list()
    v3.lease.revoke(lease.id)
    assert v3.kv.get(name) is None
    assert lease.id not in v3.lease.list()


def test_a_ttl_is_rounded_up_to_whole_seconds_and_to_the_servers_minimum(v3: V3) -> None:
    for asked, least in ((2.1, 3), (59.5, 60), (0.1, 1)):
        lease = v3.lease.grant(asked)
        assert lease.ttl >= least
        v3.lease.revoke(lease.id)


def test_an_id_of_ones_own_is_used_and_refused_when_it_is_in_use(v3: V3) -> None:
    lease = v3.lease.grant(60, id=2**63 - 1)
    assert lease.id == 2**63 - 1
    with pytest.raises(LeaseExists) as raised:
        v3.lease.grant(60, id=lease.id)
    assert raised.value.code == 9
    v3.lease.revoke(lease.id)


def test_a_lease_that_is_gone_is_told_in_every_way(v3: V3) -> None:
    for call in (v3.lease.keep_alive_once, v3.lease.revoke):
        with pytest.raises(LeaseNotFound) as raised:
            call(NOBODY)
        words = "etcdserver: requested lease not found"
        assert (raised.value.code, raised.value.message) == (5, words)
    status = v3.lease.time_to_live(NOBODY, keys=True)
    assert (status.ttl, status.granted_ttl, status.keys) == (-1, 0, ())


def test_a_ttl_that_is_too_large_is_refused_in_etcds_words(v3: V3) -> None:
    with pytest.raises(EtcdError, match="too large lease TTL") as raised:
        v3.lease.grant(10_000_000_000)
    assert raised.value.code == 11


@pytest.mark.parametrize(
    "body",
    [
        b'{"header":{"revision":"5"}}',
        b'{"ID":"x","TTL":"5"}',
        b'{"ID":"7"}',
        b'{"ID":[],"TTL":{}}',
        b'{"header":[],"ID":"7","TTL":"5"}',
    ],
)
def test_a_grant_of_an_unknown_shape_is_an_invalid_response(body: bytes) -> None:
    with (
        Server(always(answer(body))) as server,
        cluster_of(server.endpoint) as cluster,
        pytest.raises(InvalidResponse),
    ):
        V3(Gateway(cluster), 5.0).lease.grant(5)


@pytest.mark.parametrize("body", [b'{"leases":[{}]}', b'{"leases":7}', b'{"leases":[{"ID":"x"}]}'])
def test_a_list_of_an_unknown_shape_is_an_invalid_response(body: bytes) -> None:
    with (
        Server(always(answer(body))) as server,
        cluster_of(server.endpoint) as cluster,
        pytest.raises(InvalidResponse),
    ):
        V3(Gateway(cluster), 5.0).lease.list()
