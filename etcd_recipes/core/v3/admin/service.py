"""What the administrative calls of the v3 API have in common: a limit, a request, its answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from etcd_recipes.core.context import Context, limit
from etcd_recipes.core.http.action import Action
from etcd_recipes.core.v3 import replies
from etcd_recipes.core.v3.gateway import Answer, Gateway

__all__ = ["AdminService"]

T = TypeVar("T")


class AdminService:
    """The gateway, for calls that are bounded by `default_timeout` seconds if the caller gives no limit."""

    def __init__(self, gateway: Gateway, default_timeout: float) -> None:
        self._gateway = gateway
        self._default_timeout = default_timeout

    def limit(self, timeout: float | None, ctx: Context | None) -> Context:
        """Make the Context of one call."""
        return limit(timeout, ctx, default=self._default_timeout)

    def first_limit(self, ctx: Context) -> Context:
        """Make the Context of a short call that comes before a long one."""
        return ctx.child(self._default_timeout)

    def call(self, action: Action, ctx: Context, *, at: str | None = None) -> Answer:
        """Send one request, to whichever endpoint or to `at` alone, and give its answer."""
        return self._gateway.call(action, ctx, at=at)

    def ask(self, action: Action, ctx: Context, read: Callable[[Mapping[str, Any]], T]) -> T:
        """Send one request and give what `read` makes of its answer; InvalidResponse if it cannot."""
        answer = self.call(action, ctx)
        with replies.Reading(answer.endpoint):
            return read(answer.body)
