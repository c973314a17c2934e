"""``client.v3.auth.roles``: what users may do. Its errors are those of ``client.v3.auth``.

A permission is for one key, for all keys from one up to another, or (`prefix`) for all that begin alike;
``prefix=True`` with an empty key is for all keys. A request needs its whole range to be permitted.
"""

from __future__ import annotations

from etcd_recipes.core.context import Context
from etcd_recipes.core.v3.admin import replies as admin_replies
from etcd_recipes.core.v3.admin import requests as admin_requests
from etcd_recipes.core.v3.admin.service import AdminService
from etcd_recipes.core.v3.admin.values import Access, Role
from etcd_recipes.core.v3.values import span

__all__ = ["Roles"]


class Roles:
    """See the module's docstring."""

    def __init__(self, service: AdminService) -> None:
        self._service = service

    def list(self, *, timeout: float | None = None, ctx: Context | None = None) -> tuple[str, ...]:
        """Give the names of all roles. POST /v3/auth/role/list."""
        return self._service.ask(
            admin_requests.role_list(),
            self._service.limit(timeout, ctx),
            lambda body: admin_replies.names(body, "roles"),
        )

    def get(self, name: str, *, timeout: float | None = None, ctx: Context | None = None) -> Role:
        """Give the role with its permissions; RoleNotFound. POST /v3/auth/role/get."""
        return self._service.ask(
            admin_requests.role_get(name),
            self._service.limit(timeout, ctx),
            lambda body: admin_replies.role(body, name),
        )

    def add(self, name: str, *, timeout: float | None = None, ctx: Context | None = None) -> None:
        """Make a role without permissions; RoleExists. POST /v3/auth/role/add. ValueError for an empty name."""
        action = admin_requests.role_add(name)
        self._service.call(action, self._service.limit(timeout, ctx))

    def delete(
        self, name: str, *, timeout: float | None = None, ctx: Context | None = None
    ) -> None:
        """Delete the role, and take it from its users; RoleNotFound. POST /v3/auth/role/delete.

        EtcdError for "root" while auth is on.
        """
        action = admin_requests.role_delete(name)
        self._service.call(action, self._service.limit(timeout, ctx))

    def grant(
        self,
        role: str,
        key: str | bytes,
        range_end: str | bytes | None = None,
        *,
        prefix: bool = False,
        permission: Access = "readwrite",
        timeout: float | None = None,
        ctx: Context | None = None,
    ) -> None:
        """Give the role a permission, in place of one for the same keys; RoleNotFound.

        POST /v3/auth/role/grant. ValueError for keys that there cannot be.
        """
        start, end = span(key, range_end, prefix)
        action = admin_requests.role_grant(role, start, end, permission)
        self._service.call(action, self._service.limit(timeout, ctx))

    def revoke(
        self,
        role: str,
        key: str | bytes,
        range_end: str | bytes | None = None,
        *,
        prefix: bool = False,
        timeout: float | None = None,
        ctx: Context | None = None,
    ) -> None:
        """Take from the role the permission for just these keys; RoleNotFound, EtcdError if it has none.

        POST /v3/auth/role/revoke. A part of a range cannot be taken out of it.
        """
        start, end = span(key, range_end, prefix)
        action = admin_requests.role_revoke(role, start, end)
        self._service.call(action, self._service.limit(timeout, ctx))
