"""``client.v2``: the v2 API, by its services."""

from __future__ import annotations

from etcd_recipes.core.http.cluster import Cluster
from etcd_recipes.core.retry import Policy
from etcd_recipes.core.v2.auth import Auth
from etcd_recipes.core.v2.keys import Keys
from etcd_recipes.core.v2.members import Members
from etcd_recipes.core.v2.roles import Roles
from etcd_recipes.core.v2.service import Service
from etcd_recipes.core.v2.users import Users

__all__ = ["V2"]


class V2:
    """The v2 API of one client; `default_timeout` (seconds) bounds calls that were given no limit.

    `keys`, `members`, `auth`, `users` and `roles`. Keys are full keys: the client's namespace is not
    added. The server keeps this API and its store apart from v3: neither sees the other's keys.
    """

    def __init__(
        self, cluster: Cluster, default_timeout: float, policy: Policy | None = None
    ) -> None:
        service = Service(cluster, default_timeout, policy)
        self.keys = Keys(service)
        self.members = Members(service)
        self.auth = Auth(service)
        self.users = Users(service)
        self.roles = Roles(service)

    def close(self) -> None:
        """End all watchers."""
        self.keys.close()
