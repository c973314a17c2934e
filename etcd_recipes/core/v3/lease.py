# ruff: noqa: A002 (`id` is the contract's name)
"""Leases of the v3 API. Each method is one request of the gateway, named in its docstring."""

from __future__ import annotations

import math

from etcd_recipes.core.context import Context, limit
from etcd_recipes.core.errors import LeaseNotFound
from etcd_recipes.core.v3 import replies, requests
from etcd_recipes.core.v3.gateway import Gateway
from etcd_recipes.core.v3.values import LeaseGrant, LeaseStatus

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
        """Grant a lease of `ttl` seconds, rounded up. POST /v3/lease/grant. LeaseExists if `id` is in use.

        The server may grant more: its minimum is 1.5 election timeouts. Without an `id` of your own it
        is not repeated when its reply is lost.
        """
        answer = self._gateway.call(
            requests.lease_grant(math.ceil(ttl), id), self._limit(timeout, ctx)
        )
        with replies.Reading(answer.endpoint):
            body = answer.body
            return LeaseGrant(int(body["ID"]), int(body["TTL"]), replies.revision_of(body))

    def keep_alive_once(
        self,
        id: int,
        *,
        timeout: float | None = None,
        ctx: Context | None = None,
    ) -> int:
        """Start the ttl anew and give it, in seconds. POST /v3/lease/keepalive. LeaseNotFound if it is gone."""
        answer = self._gateway.call(requests.keep_alive(id), self._limit(timeout, ctx))
        with replies.Reading(answer.endpoint):
            ttl = replies.keep_alive_ttl(answer.body)
        if ttl <= 0:
            raise LeaseNotFound(f"lease {id:x} is gone", code=5, endpoint=answer.endpoint)
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

        ``ttl`` is -1 when there is no such lease.
        """
        answer = self._gateway.call(requests.time_to_live(id, keys=keys), self._limit(timeout, ctx))
        with replies.Reading(answer.endpoint):
            return replies.lease_status(answer.body)

    def revoke(
        self,
        id: int,
        *,
        timeout: float | None = None,
        ctx: Context | None = None,
    ) -> None:
        """End a lease and delete its keys. POST /v3/lease/revoke. LeaseNotFound if there is none."""
        self._gateway.call(requests.lease_revoke(id), self._limit(timeout, ctx))

    def list(self, *, timeout: float | None = None, ctx: Context | None = None) -> tuple[int, ...]:
        """Give the ids of all leases. POST /v3/lease/leases."""
        answer = self._gateway.call(requests.lease_list(), self._limit(timeout, ctx))
        with replies.Reading(answer.endpoint):
            return tuple(int(lease["ID"]) for lease in answer.body.get("leases", ()))

    def _limit(self, timeout: float | None, ctx: Context | None) -> Context:
        return limit(timeout, ctx, default=self._default_timeout)
