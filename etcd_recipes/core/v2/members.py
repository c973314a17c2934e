# ruff: noqa: A002 (`id` is the contract's name)
"""``client.v2.members``: the members of the cluster.

The requests are those of etcd's v2 members API (https://etcd.io/docs/v2.3/members_api/). Besides the errors
that a method names, each raises ClusterError, ResponseError (EtcdError for etcd's own) or the Context's
error; `timeout` is in seconds.
"""

from __future__ import annotations

from collections.abc import Iterable

from etcd_recipes.core.context import Context
from etcd_recipes.core.v2 import admin, admin_replies, replies
from etcd_recipes.core.v2.service import Service
from etcd_recipes.core.v2.values import Member

__all__ = ["Members"]


class Members:
    """See the module's docstring."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def list(
        self, *, timeout: float | None = None, ctx: Context | None = None
    ) -> tuple[Member, ...]:
        """Give all members, as the one that answers knows them; also without a quorum. GET /v2/members."""
        reply = self._service.call(admin.members_list(), self._service.limit(timeout, ctx))
        return admin_replies.members(reply)

    def leader(self, *, timeout: float | None = None, ctx: Context | None = None) -> Member:
        """Give the leader; ClusterError while there is none. GET /v2/members/leader."""
        reply = self._service.call(admin.members_leader(), self._service.limit(timeout, ctx))
        return admin_replies.member(reply)

    def add(
        self,
        peer_url: str | Iterable[str],
        *,
        timeout: float | None = None,
        ctx: Context | None = None,
    ) -> Member:
        """Announce a member that will come at this URL, and give it; MemberExists if one is there.

        POST /v2/members. ValueError for what is no peer URL. Not sent again when its answer is lost:
        ClusterError.maybe_applied. Announce one at a time: each counts for the quorum at once.
        """
        reply = self._service.call(admin.members_add(peer_url), self._service.limit(timeout, ctx))
        return admin_replies.member(reply)

    def update(
        self,
        id: str,
        peer_urls: str | Iterable[str],
        *,
        timeout: float | None = None,
        ctx: Context | None = None,
    ) -> None:
        """Give a member other peer URLs; MemberNotFound, or MemberExists if one of them is taken.

        PUT /v2/members/<id>. ValueError for what is no peer URL. Not sent again when its answer is lost.
        """
        self._service.call(admin.members_update(id, peer_urls), self._service.limit(timeout, ctx))

    def remove(self, id: str, *, timeout: float | None = None, ctx: Context | None = None) -> None:
        """Remove a member, or find it removed already; MemberNotFound if there never was one of that id.

        DELETE /v2/members/<id>. Sent again when its answer is lost: ids are not used twice.
        """
        self._service.call(
            admin.members_remove(id), self._service.limit(timeout, ctx), replies.judge_removal
        )
