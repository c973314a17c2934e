"""Suspension: a client whose requests do not reach etcd, for as long as a ``with`` body runs.

It takes the place of the wire, below everything that fails over, retries and renews, so all of that is the
real thing. What a network does to half-written bytes is the business of `FaultProxy`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

from etcd_recipes.core.context import Context
from etcd_recipes.core.errors import EndpointError

if TYPE_CHECKING:
    from etcd_recipes.core.http.action import Action

__all__ = ["suspend"]


@contextmanager
def suspend(client: Any, *, silent: bool = False) -> Iterator[None]:
    """While the body runs, nothing that the client sends reaches etcd; then all goes on by itself.

    Every endpoint refuses, as when there is no server; or, when `silent`, says nothing until a call's limit
    or the client's `header_timeout` ends the wait, as when the network swallows everything. Watches break off, and come
    back afterwards. A session becomes SUSPENDED with its next renewal, and is LOST when the body runs for longer
    than its ttl: then the lease ends at the server as well, and others get what was held.

    `client` is a client or a client for asyncio; TypeError for a `NoEtcd`, which sends nothing.
    """
    cluster = vars(getattr(client, "blocking", client)).get("_cluster")
    if cluster is None:
        raise TypeError(f"{client!r} has no connection that could be suspended")
    wire = cluster.wire
    nowhere = _Nowhere(wire, silent=silent)
    cluster.use(nowhere)
    try:
        yield
    finally:
        cluster.use(wire)
        nowhere.end()


class _Nowhere:
    """A wire that leads nowhere."""

    def __init__(self, wire: Any, *, silent: bool) -> None:
        self._wire = wire
        self._silent = silent
        self._over = Context()

    def exchange(
        self,
        endpoint: str,
        action: Action,  # noqa: ARG002 (whatever it is)
        ctx: Context,
        header_timeout: float | None,
        *,
        foreign: bool = False,  # noqa: ARG002
    ) -> NoReturn:
        """Send nothing, and say so at once, or when the endpoint's time is over."""
        if self._silent:
            limited = ctx.child(header_timeout)
            with self._over.on_cancel(limited.cancel):
                limited.wait()
            ctx.check()
        # A client cannot know whether what it hears nothing of was swallowed on the way there or back.
        raise EndpointError(
            endpoint,
            "suspended by a test",
            maybe_applied=self._silent,
            silent=self._silent,
        )

    open = exchange

    def close(self) -> None:
        """Close the real one."""
        self._wire.close()

    def end(self) -> None:
        """Let go of those who wait."""
        self._over.cancel()
