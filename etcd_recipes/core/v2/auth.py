"""``client.v2.auth``: whether requests need a user.

The requests are those of etcd's v2 auth API (https://etcd.io/docs/v2.3/auth_api/). Besides the errors that
a method names, each raises ClusterError, ResponseError (EtcdError for etcd's own, NotAuthorized without
root's password once auth is on) or the Context's error; `timeout` is in seconds.

As soon as auth is on, requests without a user have the rights of the role "guest", which is made with full
access if there is none: revoke those, or anybody may still do everything.
"""

from __future__ import annotations

from etcd_recipes.core.context import Context
from etcd_recipes.core.v2 import admin, admin_replies
from etcd_recipes.core.v2.service import Service

__all__ = ["Auth"]


class Auth:
    """See the module's docstring."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def enabled(self, *, timeout: float | None = None, ctx: Context | None = None) -> bool:
        """Tell whether auth is on. GET /v2/auth/enable."""
        reply = self._service.call(admin.auth_enable("GET"), self._service.limit(timeout, ctx))
        return admin_replies.enabled(reply)

    def enable(self, *, timeout: float | None = None, ctx: Context | None = None) -> None:
        """Switch auth on; EtcdError when there is no user "root" yet, or it is on. PUT /v2/auth/enable.

        Not sent again when its answer is lost: ClusterError.maybe_applied.
        """
        self._service.call(admin.auth_enable("PUT"), self._service.limit(timeout, ctx))

    def disable(self, *, timeout: float | None = None, ctx: Context | None = None) -> None:
        """Switch auth off; EtcdError when it is off already. DELETE /v2/auth/enable.

        Not sent again when its answer is lost: ClusterError.maybe_applied.
        """
        self._service.call(admin.auth_enable("DELETE"), self._service.limit(timeout, ctx))
