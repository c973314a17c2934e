"""``client.v2.users``: who may ask.

The requests are those of etcd's v2 auth API (https://etcd.io/docs/v2.3/auth_api/). Besides the errors that
a method names, each raises ClusterError, ResponseError (EtcdError for etcd's own, NotAuthorized without
root's password once auth is on) or the Context's error; `timeout` is in seconds. No change is sent again
when its answer is lost: ClusterError.maybe_applied.

etcd has one request for making a user and for changing a password, and does what fits: a new user may be
a stranger's old one with a new password. So `add` and `change_password` look first. Between the look and
the change somebody else may still come: etcd offers no way to exclude that.
"""

from __future__ import annotations

from collections.abc import Iterable

from etcd_recipes.core.context import Context
from etcd_recipes.core.errors import UserExists, UserNotFound
from etcd_recipes.core.v2 import admin, admin_replies
from etcd_recipes.core.v2.service import Service
from etcd_recipes.core.v2.values import User

__all__ = ["Users"]


class Users:
    """See the module's docstring."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def list(self, *, timeout: float | None = None, ctx: Context | None = None) -> tuple[str, ...]:
        """Give the names of all users. GET /v2/auth/users."""
        return admin_replies.users(
            self._service.call(admin.users(), self._service.limit(timeout, ctx))
        )

    def get(self, name: str, *, timeout: float | None = None, ctx: Context | None = None) -> User:
        """Give the user with its roles; UserNotFound. GET /v2/auth/users/<name>."""
        return self._get(name, self._service.limit(timeout, ctx))

    def add(
        self,
        name: str,
        password: str,
        *,
        timeout: float | None = None,
        ctx: Context | None = None,
    ) -> User:
        """Make a user; UserExists, and its password stays, if there is one.

        GET and PUT /v2/auth/users/<name>. ValueError for an empty password.
        """
        action = admin.user("PUT", name, password=password)
        call = self._service.limit(timeout, ctx)
        try:
            self._get(name, call)
        except UserNotFound:
            return admin_replies.user(self._service.call(action, call))
        raise UserExists(f"User {name} already exists", code=409)

    def change_password(
        self,
        name: str,
        password: str,
        *,
        timeout: float | None = None,
        ctx: Context | None = None,
    ) -> User:
        """Give the user another password; UserNotFound, and none is made, if there is none.

        GET and PUT /v2/auth/users/<name>. ValueError for an empty password.
        """
        action = admin.user("PUT", name, password=password)
        call = self._service.limit(timeout, ctx)
        self._get(name, call)
        return admin_replies.user(self._service.call(action, call))

    def grant(
        self,
        name: str,
        roles: str | Iterable[str],
        *,
        timeout: float | None = None,
        ctx: Context | None = None,
    ) -> User:
        """Give the user these roles; UserNotFound, RoleNotFound, or EtcdError if it has one of them.

        PUT /v2/auth/users/<name> with "grant".
        """
        action = admin.user("PUT", name, grant=some(roles))
        return admin_replies.user(self._service.call(action, self._service.limit(timeout, ctx)))

    def revoke(
        self,
        name: str,
        roles: str | Iterable[str],
        *,
        timeout: float | None = None,
        ctx: Context | None = None,
    ) -> User:
        """Take these roles from the user; UserNotFound, or EtcdError if it does not have one of them.

        PUT /v2/auth/users/<name> with "revoke".
        """
        action = admin.user("PUT", name, revoke=some(roles))
        return admin_replies.user(self._service.call(action, self._service.limit(timeout, ctx)))

    def remove(
        self, name: str, *, timeout: float | None = None, ctx: Context | None = None
    ) -> None:
        """Remove the user; UserNotFound. EtcdError for "root" while auth is on. DELETE /v2/auth/users/<name>."""
        self._service.call(admin.user("DELETE", name), self._service.limit(timeout, ctx))

    def _get(self, name: str, ctx: Context) -> User:
        return admin_replies.user(self._service.call(admin.user("GET", name), ctx))


def some(names: str | Iterable[str]) -> tuple[str, ...]:
    """Give one name or several as a tuple; ValueError for none, which etcd would take for a new password."""
    given = (names,) if isinstance(names, str) else tuple(names)
    if not given:
        raise ValueError("there is nothing to grant or revoke")
    return given
