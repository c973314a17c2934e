"""``client.v3.auth``: whether requests need a user, who the users are, and what they may do.

Each method is one request of the gateway, named in its docstring. Besides the errors that a method names,
each raises ClusterError, ResponseError (EtcdError for etcd's own; Unauthenticated and PermissionDenied for
all but root once auth is on) or the Context's error; `timeout` is in seconds. No change is sent again when
its answer is lost: ClusterError.maybe_applied.

To switch auth on there has to be a user "root" that has a role "root"::

    auth = client.v3.auth
    auth.users.add("root", password)
    auth.roles.add("root")
    auth.users.grant_role("root", "root")

    auth.users.add("worker", another_password)
    auth.roles.add("jobs")
    auth.roles.grant("jobs", "jobs/", prefix=True)
    auth.users.grant_role("worker", "jobs")

    auth.enable()

From then on requests without a user are refused: make a Client with `username` and `password`.
"""

from __future__ import annotations

from etcd_recipes.core.context import Context
from etcd_recipes.core.errors import EtcdError, Unauthenticated
from etcd_recipes.core.v3 import replies, requests
from etcd_recipes.core.v3.admin import replies as admin_replies
from etcd_recipes.core.v3.admin import requests as admin_requests
from etcd_recipes.core.v3.admin.roles import Roles
from etcd_recipes.core.v3.admin.service import AdminService
from etcd_recipes.core.v3.admin.users import Users
from etcd_recipes.core.v3.admin.values import AuthStatus
from etcd_recipes.core.v3.gateway import Gateway

__all__ = ["Auth"]


class Auth:
    """See the module's docstring; `users` and `roles` are its other two parts."""

    def __init__(self, gateway: Gateway, default_timeout: float) -> None:
        self._service = AdminService(gateway, default_timeout)
        self.users = Users(self._service)
        self.roles = Roles(self._service)

    def status(self, *, timeout: float | None = None, ctx: Context | None = None) -> AuthStatus:
        """Tell whether auth is on; while it is, etcd tells only those who have a user. POST /v3/auth/status.

        etcd 3.4 does not know the question. There it is found out, without a count of changes, from what
        it says to a log-in that cannot succeed (POST /v3/auth/authenticate).
        """
        call = self._service.limit(timeout, ctx)
        try:
            return self._service.ask(admin_requests.auth_status(), call, admin_replies.auth_status)
        except replies.NoGateway:
            return AuthStatus(self._wants_users(call))

    def _wants_users(self, ctx: Context) -> bool:
        try:
            self._service.call(requests.authenticate("", ""), ctx)
        except Unauthenticated:
            return True
        except EtcdError as error:
            if not replies.auth_is_off(error):
                raise
            return False
        return True

    def enable(self, *, timeout: float | None = None, ctx: Context | None = None) -> None:
        """Switch auth on; EtcdError without a user "root" that has the role "root". POST /v3/auth/enable."""
        self._service.call(admin_requests.auth_enable(), self._service.limit(timeout, ctx))

    def disable(self, *, timeout: float | None = None, ctx: Context | None = None) -> None:
        """Switch auth off, or find it off. POST /v3/auth/disable. Users and roles stay."""
        self._service.call(admin_requests.auth_disable(), self._service.limit(timeout, ctx))
