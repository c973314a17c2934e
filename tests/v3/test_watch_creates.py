"""A watch request with more creates than the gateway reads at first."""

from __future__ import annotations

from etcd_recipes import Client, Context
from etcd_recipes.testing import EtcdProcess


def test_every_create_of_a_long_request_is_confirmed(server: EtcdProcess) -> None:
    keys = [f"creates/{'x' * 40}/{number}" for number in range(40)]
    with Client(server.endpoint, header_timeout=5) as client:
        for _ in range(20):
            with client._sessions.store.watch(Context(10), keys=keys) as feed:
                assert feed.revision
