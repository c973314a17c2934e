# ruff: noqa: A002 (`id` is the contract's name)
"""Leases of the v3 API. Each method is one request of the gateway, named in its docstring.

Each raises ClusterError, ResponseError (EtcdError for etcd's own errors, with its code and words) or the
Context's error; an argument that makes no sense is a TypeError or a ValueError, and nothing is sent. A
lease id is an int64. etcd gives out positive ones; one that somebody else chose may be negative, and is
taken everywhere but in `grant`.
"""

from __future__ import annotations

import math

from etcd_recipes.core.context import Context, limit
from etcd_recipes.core.errors import LeaseNotFound
from etcd_recipes.core.v3 import replies, requests
from etcd_recipes.core.v3.gateway import Gateway
from etcd_recipes.core.v3.values import LeaseGrant, LeaseStatus, to_int64

__all__ = ["Lease"]


class Lease:
    """``client.v3.lease``."""

    def __init__(self, gateway: Gateway, default_timeout: float) -> None:
        self._gateway = gateway
        self._default_timeout = default_timeout

    def grant(
        self,
        ttl: float,
        *,
        id: int = 0,
        timeout: float | None = None,
        ctx: Context | None = None,
    ) -> LeaseGrant:
        """Grant a lease of `ttl` seconds, rounded up to whole ones. POST /v3/lease/grant.

        The server may grant more: its minimum is 1.5 election timeouts, which is 2 s if it was not told
        otherwise. Without an `id` of your own (0) it is not repeated when its reply is lost, and a lease
        that nobody knows of may then live for its ttl: ClusterError.maybe_applied. With one it is.

        LeaseExists if `id` is in use, maybe by this call's own first copy. ValueError for a ttl that is not
        above 0, EtcdError (code 11) for one that the server finds too large (9,000,000,000 s).
        """
        action = requests.lease_grant(_whole_seconds(ttl), to_int64(id, "a lease id", least=0))
        return self._gateway.call(action, self._limit(timeout, ctx)).read(replies.lease_grant)

    def keep_alive_once(
        self,
        id: int,
        *,
        timeout: float | None = None,
        ctx: Context | None = None,
    ) -> int:
        """Start the ttl anew and give it, in seconds. POST /v3/lease/keepalive. LeaseNotFound if it is gone.

        Count the ttl from when you called, not from when this returned. Some servers (before 3.4.38, 3.5.23
        and 3.6.5) may renew a lease that was revoked a moment ago: `time_to_live` is the second witness.
        """
        action = requests.keep_alive(to_int64(id, "a lease id"))
        answer = self._gateway.call(action, self._limit(timeout, ctx))
        ttl = answer.read(replies.keep_alive_ttl)
        if ttl <= 0:  # etcd has no words for it here, so these are the ones that it has elsewhere
            raise LeaseNotFound(
                "etcdserver: requested lease not found",
                code=5,
                cause=f"lease {id:x}",
                endpoint=answer.endpoint,
            )
        return ttl

    def time_to_live(
        self,
        id: int,
        *,
        keys: bool = False,
        timeout: float | None = None,
        ctx: Context | None = None,
    ) -> LeaseStatus:
        """Give what is left of a lease, with its keys if asked for. POST /v3/lease/timetolive.

        ``ttl`` is -1 when there is no such lease, and 0 in the last second of one that still lives.
        """
        action = requests.time_to_live(to_int64(id, "a lease id"), keys=keys)
        return self._gateway.call(action, self._limit(timeout, ctx)).read(replies.lease_status)

    def revoke(
        self,
        id: int,
        *,
        timeout: float | None = None,
        ctx: Context | None = None,
    ) -> None:
        """End a lease and delete its keys, at one revision. POST /v3/lease/revoke.

        LeaseNotFound if there is none, maybe because this call's own first copy has ended it: it is
        repeated when its reply is lost.
        """
        action = requests.lease_revoke(to_int64(id, "a lease id"))
        self._gateway.call(action, self._limit(timeout, ctx))

    def list(self, *, timeout: float | None = None, ctx: Context | None = None) -> tuple[int, ...]:
        """Give the ids of all leases. POST /v3/lease/leases."""
        return self._gateway.call(requests.lease_list(), self._limit(timeout, ctx)).read(
            replies.lease_ids
        )

    def _limit(self, timeout: float | None, ctx: Context | None) -> Context:
        return limit(timeout, ctx, default=self._default_timeout)


def _whole_seconds(ttl: float) -> int:
    if isinstance(ttl, bool) or not isinstance(ttl, int | float):
        raise TypeError(f"a ttl is a number of seconds, not {type(ttl).__name__}")
    if not 0 < ttl < math.inf:
        raise ValueError(f"a ttl is a number of seconds above 0, not {ttl!r}")
    return to_int64(math.ceil(ttl), "a ttl")
