# ruff: noqa: A002 (`id` is the contract's name)
"""``client.v3.cluster``: the members of the cluster.

Each method is one request of the gateway, named in its docstring. Besides the errors that a method names,
each raises ClusterError, ResponseError (EtcdError for etcd's own) or the Context's error; `timeout` is in
seconds. Of the changes only a removal is sent again when its answer is lost; otherwise
ClusterError.maybe_applied.

A member that comes as a learner never costs the cluster its quorum::

    learner = client.v3.cluster.add("http://10.0.0.4:2380", learner=True)
    # start etcd there, with --initial-cluster-state existing; when it has caught up:
    client.v3.cluster.promote(learner.id)

etcd refuses changes that would endanger the quorum (``--strict-reconfig-check``). In the first five seconds
after its members have found each other, and while one of them is not there, a cluster calls itself
unhealthy: that is a ClusterError, nothing was done, and it may be tried again.
"""

from __future__ import annotations

from collections.abc import Iterable

from etcd_recipes.core.context import Context
from etcd_recipes.core.v3.admin import replies as admin_replies
from etcd_recipes.core.v3.admin import requests as admin_requests
from etcd_recipes.core.v3.admin.service import AdminService
from etcd_recipes.core.v3.admin.values import Member
from etcd_recipes.core.v3.gateway import Gateway

__all__ = ["Membership"]


class Membership:
    """See the module's docstring."""

    def __init__(self, gateway: Gateway, default_timeout: float) -> None:
        self._service = AdminService(gateway, default_timeout)

    def members(
        self,
        *,
        linearizable: bool = False,
        timeout: float | None = None,
        ctx: Context | None = None,
    ) -> tuple[Member, ...]:
        """Give all members, as the one that answers knows them; also without a quorum.

        POST /v3/cluster/member/list. With `linearizable` all changes that were answered are in it, at the
        price of needing a quorum; etcd 3.4 cannot, and answers as without.
        """
        return self._service.ask(
            admin_requests.member_list(linearizable=linearizable),
            self._service.limit(timeout, ctx),
            admin_replies.members,
        )

    def add(
        self,
        peer_urls: str | Iterable[str],
        *,
        learner: bool = False,
        timeout: float | None = None,
        ctx: Context | None = None,
    ) -> Member:
        """Announce a member that will come at these URLs, and give it; MemberExists if one is there.

        POST /v3/cluster/member/add. A member counts for the quorum from now on, whether it comes or not: a
        cluster of one stops until the second one is there. A `learner` does not; `promote` it when it has
        caught up. EtcdError for what is no peer URL, and for a second learner.
        """
        return self._service.ask(
            admin_requests.member_add(peer_urls, learner=learner),
            self._service.limit(timeout, ctx),
            lambda body: admin_replies.member(body["member"]),
        )

    def remove(self, id: int, *, timeout: float | None = None, ctx: Context | None = None) -> None:
        """Remove a member; MemberNotFound if there is none of that id (any more).

        POST /v3/cluster/member/remove. Sent again when its answer is lost, so MemberNotFound may also mean
        that this very call has removed it.
        """
        action = admin_requests.member_remove(id)
        self._service.call(action, self._service.limit(timeout, ctx))

    def update(
        self,
        id: int,
        peer_urls: str | Iterable[str],
        *,
        timeout: float | None = None,
        ctx: Context | None = None,
    ) -> None:
        """Give a member other peer URLs; MemberNotFound, MemberExists. POST /v3/cluster/member/update.

        EtcdError for what is no peer URL. Do not do it to a learner: etcd 3.4 and 3.5 then list it as a
        member that votes.
        """
        action = admin_requests.member_update(id, peer_urls)
        self._service.call(action, self._service.limit(timeout, ctx))

    def promote(self, id: int, *, timeout: float | None = None, ctx: Context | None = None) -> None:
        """Give a learner a vote; MemberNotFound, EtcdError if it is none, or has not caught up yet.

        POST /v3/cluster/member/promote.
        """
        action = admin_requests.member_promote(id)
        self._service.call(action, self._service.limit(timeout, ctx))
