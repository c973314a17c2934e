"""What the cluster looks like, asked through v2: for `Client.sync`."""

from __future__ import annotations

from etcd_recipes.core.context import Context
from etcd_recipes.core.errors import ClusterError, ResponseError
from etcd_recipes.core.http.cluster import Cluster
from etcd_recipes.core.http.sync import View
from etcd_recipes.core.v2 import admin, admin_replies, replies

__all__ = ["look"]


def look(cluster: Cluster, ctx: Context, at: str | None, leader: bool) -> View:
    """Give the members' client URLs. GET /v2/members, and /v2/members/leader if that is wanted too."""
    reply = cluster.send(admin.members_list(), ctx, replies.judge, at=at)
    urls = [url for member in admin_replies.members(reply) for url in member.client_urls]
    leads: tuple[str, ...] = ()
    if leader:
        try:
            found = cluster.send(admin.members_leader(), ctx, replies.judge, at=at)
            leads = admin_replies.member(found).client_urls
        except (ClusterError, ResponseError):
            pass  # there is none at the moment
    return View(reply.headers.get("x-etcd-cluster-id", ""), tuple(urls), leads)
