"""``client.v3``: the v3 API, by its services."""

from __future__ import annotations

from etcd_recipes.core.v3.gateway import Gateway
from etcd_recipes.core.v3.kv import KV
from etcd_recipes.core.v3.lease import Lease

__all__ = ["V3"]


class V3:
    """The v3 API of one client: `kv` and `lease`. Keys are full keys: the client's namespace is not added."""

    def __init__(self, gateway: Gateway, default_timeout: float) -> None:
        self.kv = KV(gateway, default_timeout)
        self.lease = Lease(gateway, default_timeout)
