"""What the cluster looks like, asked through v3: for `Client.sync`."""

from __future__ import annotations

from etcd_recipes.core.context import Context
from etcd_recipes.core.errors import ClusterError, ResponseError
from etcd_recipes.core.http.cluster import Cluster
from etcd_recipes.core.http.sync import Look, View
from etcd_recipes.core.v3 import replies, requests
from etcd_recipes.core.v3.gateway import Gateway

__all__ = ["looking_through"]


def looking_through(gateway: Gateway) -> Look:
    """Give what asks the cluster's members for their client URLs, as the gateway's user.

    POST /v3/cluster/member/list, and /v3/maintenance/status if the leader is wanted too.
    """

    def look(_cluster: Cluster, ctx: Context, at: str | None, leader: bool) -> View:
        listing = requests.unary("cluster/member/list", {}, replay=True, what="list the members")
        answer = gateway.call(listing, ctx, at=at)
        leads_id = _leader_id(gateway, ctx, at) if leader else ""
        body = answer.body
        with replies.Reading(answer.endpoint):
            members = [(each["ID"], tuple(each.get("clientURLs", ()))) for each in body["members"]]
            return View(
                replies.cluster_of(body),
                tuple(url for _, urls in members for url in urls),
                tuple(url for id_, urls in members if id_ == leads_id for url in urls),
            )

    return look


def _leader_id(gateway: Gateway, ctx: Context, at: str | None) -> str:
    status = requests.unary("maintenance/status", {}, replay=True, what="ask who leads")
    try:
        return str(gateway.call(status, ctx, at=at).body.get("leader", ""))
    except (ClusterError, ResponseError):
        return ""  # there is none at the moment
