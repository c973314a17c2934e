"""What the cluster looks like, asked through v3: for `Client.sync`."""

from __future__ import annotations

from etcd_recipes.core.context import Context
from etcd_recipes.core.errors import ClusterError, ResponseError
from etcd_recipes.core.http.cluster import Cluster
from etcd_recipes.core.http.sync import View
from etcd_recipes.core.v3 import replies, requests

__all__ = ["look"]


def look(cluster: Cluster, ctx: Context, at: str | None, leader: bool) -> View:
    """Give the members' client URLs.

    POST /v3/cluster/member/list, and /v3/maintenance/status if the leader is wanted too.
    """
    listing = requests.unary("cluster/member/list", {}, replay=True, what="list the members")
    reply = cluster.send(listing, ctx, replies.judge, at=at)
    leads_id = _leader_id(cluster, ctx, at) if leader else ""
    body = replies.decode(reply)
    with replies.Reading(reply.endpoint):
        members = [(each["ID"], tuple(each.get("clientURLs", ()))) for each in body["members"]]
        return View(
            str(body["header"]["cluster_id"]),
            tuple(url for _, urls in members for url in urls),
            tuple(url for id_, urls in members if id_ == leads_id for url in urls),
        )


def _leader_id(cluster: Cluster, ctx: Context, at: str | None) -> str:
    status = requests.unary("maintenance/status", {}, replay=True, what="ask who leads")
    try:
        body = replies.decode(cluster.send(status, ctx, replies.judge, at=at))
    except (ClusterError, ResponseError):
        return ""  # there is none at the moment
    return str(body.get("leader", ""))
