"""``client.v2.roles``: what users may do.

The requests are those of etcd's v2 auth API (https://etcd.io/docs/v2.3/auth_api/). Besides the errors that
a method names, each raises ClusterError, ResponseError (EtcdError for etcd's own, NotAuthorized without
root's password once auth is on) or the Context's error; `timeout` is in seconds. No change is sent again
when its answer is lost: ClusterError.maybe_applied.

A right is for one key (``/a``) or for all that begin alike (``/a*``); a watch is a read, and a recursive
read needs the right to the prefix.
"""

from __future__ import annotations

from collections.abc import Iterable

from etcd_recipes.core.context import Context
from etcd_recipes.core.v2 import admin, admin_replies
from etcd_recipes.core.v2.admin import Access
from etcd_recipes.core.v2.service import Service
from etcd_recipes.core.v2.users import some
from etcd_recipes.core.v2.values import Role

__all__ = ["Roles"]


class Roles:
    """See the module's docstring."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def list(self, *, timeout: float | None = None, ctx: Context | None = None) -> tuple[str, ...]:
        """Give the names of all roles. GET /v2/auth/roles."""
        return admin_replies.roles(
            self._service.call(admin.roles(), self._service.limit(timeout, ctx))
        )

    def get(self, name: str, *, timeout: float | None = None, ctx: Context | None = None) -> Role:
        """Give the role with its rights; RoleNotFound. GET /v2/auth/roles/<name>."""
        return admin_replies.role(
            self._service.call(admin.role("GET", name), self._service.limit(timeout, ctx))
        )

    def add(self, name: str, *, timeout: float | None = None, ctx: Context | None = None) -> Role:
        """Make a role without rights; RoleExists. PUT /v2/auth/roles/<name>."""
        return admin_replies.role(
            self._service.call(admin.role("PUT", name), self._service.limit(timeout, ctx))
        )

    def grant(
        self,
        name: str,
        keys: str | Iterable[str],
        access: Access = "readwrite",
        *,
        timeout: float | None = None,
        ctx: Context | None = None,
    ) -> Role:
        """Give the role rights to these keys or prefixes; RoleNotFound, or EtcdError if it has one.

        PUT /v2/auth/roles/<name> with "grant".
        """
        action = admin.role("PUT", name, grant=some(keys), access=access)
        return admin_replies.role(self._service.call(action, self._service.limit(timeout, ctx)))

    def revoke(
        self,
        name: str,
        keys: str | Iterable[str],
        access: Access = "readwrite",
        *,
        timeout: float | None = None,
        ctx: Context | None = None,
    ) -> Role:
        """Take rights to these keys or prefixes from the role; RoleNotFound, or EtcdError without them.

        PUT /v2/auth/roles/<name> with "revoke".
        """
        action = admin.role("PUT", name, revoke=some(keys), access=access)
        return admin_replies.role(self._service.call(action, self._service.limit(timeout, ctx)))

    def remove(
        self, name: str, *, timeout: float | None = None, ctx: Context | None = None
    ) -> None:
        """Remove the role; RoleNotFound. EtcdError for "root". DELETE /v2/auth/roles/<name>."""
        self._service.call(admin.role("DELETE", name), self._service.limit(timeout, ctx))
