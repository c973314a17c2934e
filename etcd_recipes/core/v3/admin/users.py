"""``client.v3.auth.users``: who may ask. Its errors are those of ``client.v3.auth``."""

from __future__ import annotations

from etcd_recipes.core.context import Context
from etcd_recipes.core.v3.admin import replies as admin_replies
from etcd_recipes.core.v3.admin import requests as admin_requests
from etcd_recipes.core.v3.admin.service import AdminService
from etcd_recipes.core.v3.admin.values import User

__all__ = ["Users"]


class Users:
    """See the module's docstring."""

    def __init__(self, service: AdminService) -> None:
        self._service = service

    def list(self, *, timeout: float | None = None, ctx: Context | None = None) -> tuple[str, ...]:
        """Give the names of all users. POST /v3/auth/user/list."""
        return self._service.ask(
            admin_requests.user_list(),
            self._service.limit(timeout, ctx),
            lambda body: admin_replies.names(body, "users"),
        )

    def get(self, name: str, *, timeout: float | None = None, ctx: Context | None = None) -> User:
        """Give the user with its roles; UserNotFound. POST /v3/auth/user/get."""
        return self._service.ask(
            admin_requests.user_get(name),
            self._service.limit(timeout, ctx),
            lambda body: admin_replies.user(body, name),
        )

    def add(
        self,
        name: str,
        password: str | None = None,
        *,
        timeout: float | None = None,
        ctx: Context | None = None,
    ) -> None:
        """Make a user without roles; UserExists, and nothing changes, if there is one. POST /v3/auth/user/add.

        A user without a password cannot log in by one: it is for a client certificate's CommonName, which
        etcd does not take through the gateway, and cannot be given a password later. ValueError for an
        empty name or password.
        """
        action = admin_requests.user_add(name, password)
        self._service.call(action, self._service.limit(timeout, ctx))

    def delete(
        self, name: str, *, timeout: float | None = None, ctx: Context | None = None
    ) -> None:
        """Delete the user; UserNotFound. POST /v3/auth/user/delete. EtcdError for "root" while auth is on."""
        action = admin_requests.user_delete(name)
        self._service.call(action, self._service.limit(timeout, ctx))

    def change_password(
        self,
        name: str,
        password: str,
        *,
        timeout: float | None = None,
        ctx: Context | None = None,
    ) -> None:
        """Give the user another password; UserNotFound. POST /v3/auth/user/changepw.

        Its tokens end with the old one. ValueError for an empty password.
        """
        action = admin_requests.user_change_password(name, password)
        self._service.call(action, self._service.limit(timeout, ctx))

    def grant_role(
        self, name: str, role: str, *, timeout: float | None = None, ctx: Context | None = None
    ) -> None:
        """Give the user a role, or find it given; UserNotFound, RoleNotFound. POST /v3/auth/user/grant."""
        action = admin_requests.user_grant_role(name, role)
        self._service.call(action, self._service.limit(timeout, ctx))

    def revoke_role(
        self, name: str, role: str, *, timeout: float | None = None, ctx: Context | None = None
    ) -> None:
        """Take a role from the user; UserNotFound, EtcdError if it does not have it. POST /v3/auth/user/revoke."""
        action = admin_requests.user_revoke_role(name, role)
        self._service.call(action, self._service.limit(timeout, ctx))
