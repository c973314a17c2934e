"""The client: endpoints and options in, everything else wired up from them.

This is the only module that sees both the dialect and the recipes. It decides nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Literal, ParamSpec, Self, TypeVar

from etcd_recipes.coordination.session import Session
from etcd_recipes.coordination.sessions import Sessions, check_ttl
from etcd_recipes.core.context import Context, check_timeout
from etcd_recipes.core.http.cluster import Cluster
from etcd_recipes.core.http.endpoints import parse_endpoints
from etcd_recipes.core.http.wire import Wire
from etcd_recipes.core.v3.api import V3
from etcd_recipes.core.v3.gateway import Gateway
from etcd_recipes.core.v3.store import V3Store
from etcd_recipes.recipes.election import Election
from etcd_recipes.recipes.lock import Lock, exclusive
from etcd_recipes.recipes.registry import Registry

if TYPE_CHECKING:
    from etcd_recipes.core.http.wire import HttpSession

__all__ = ["Client"]

P = ParamSpec("P")
R = TypeVar("R")


class Client:
    """A client of one etcd cluster; free to be used by many threads. Close it, or use it with ``with``.

    `endpoints` is a URL, several with commas between, or a sequence of them. Nothing is sent before the
    first call. ValueError for an endpoint that is none, or a time that is negative.

    `ca`, `cert` and `key` are files for TLS. `header_timeout` is how long, in seconds, one endpoint may
    take to begin its answer before the next one is asked (None: as long as the call has).
    `default_timeout` bounds calls that were given neither `timeout` nor `ctx`. `namespace` is put in
    front of the names of all recipes, as it stands. `session_ttl` is the lease of whatever has no ttl of
    its own: how long others wait when this process dies without a word. `http` is a requests.Session of
    your own, whose headers, TLS settings and authentication are then used.
    """

    def __init__(
        self,
        endpoints: str | Iterable[str] = "http://127.0.0.1:2379",
        *,
        ca: str | None = None,
        cert: str | None = None,
        key: str | None = None,
        header_timeout: float | None = 1.0,
        default_timeout: float = 10.0,
        namespace: str = "",
        session_ttl: float = 15.0,
        http: HttpSession | None = None,
    ) -> None:
        check_timeout(header_timeout, "header_timeout")
        check_timeout(default_timeout, "default_timeout")
        self._namespace = namespace
        self._cluster = Cluster(
            Wire(http, ca=ca, cert=cert, key=key),
            parse_endpoints(endpoints),
            header_timeout=header_timeout,
        )
        gateway = Gateway(self._cluster)
        self.v3 = V3(gateway, default_timeout)
        self._sessions = Sessions(
            V3Store(gateway), default_ttl=check_ttl(session_ttl), default_timeout=default_timeout
        )

    @property
    def endpoints(self) -> tuple[str, ...]:
        """The endpoints, as URLs."""
        return self._cluster.endpoints

    def set_endpoints(self, endpoints: str | Iterable[str]) -> None:
        """Use these endpoints from the next call on."""
        self._cluster.set_endpoints(parse_endpoints(endpoints))

    def session(
        self, ttl: float | None = None, *, timeout: float | None = None, ctx: Context | None = None
    ) -> Session:
        """Give the client's shared session of this ttl (seconds), opening it if there is none that lives.

        1 request when it is opened. Raises ClusterError, ResponseError or the Context's error.
        """
        return self._sessions.get(ttl, self._sessions.limit(timeout, ctx))

    def lock(self, name: str, *, ttl: float | None = None, timeout: float | None = None) -> Lock:
        """Make a lock; `timeout` is how long ``with`` waits (seconds, None for ever). No request."""
        return Lock(self._sessions, self._namespace + name, ttl=ttl, timeout=timeout)

    def exclusive(
        self,
        name: str,
        *,
        on_busy: Literal["skip", "wait", "raise"] = "wait",
        ttl: float | None = None,
    ) -> Callable[[Callable[P, R]], Callable[P, R | None]]:
        """Decorate a function so that one process at a time runs it.

        When the lock is taken, the call is skipped and gives None, waits, or raises NotAcquired. LockLost
        is raised at its end when the lock was lost while it ran.
        """
        return exclusive(lambda: self.lock(name, ttl=ttl), on_busy)

    def election(self, name: str, *, value: str = "", ttl: float | None = None) -> Election:
        """Make an election; `value` is what this candidate proposes. No request."""
        return Election(self._sessions, self._namespace + name, value=value, ttl=ttl)

    def registry(self, name: str = "services") -> Registry:
        """Make a registry whose keys lie below `name`. No request."""
        return Registry(self._sessions, self._namespace + name)

    def close(self) -> None:
        """Revoke the sessions, so that all they hold is released at once, and close all connections."""
        self._sessions.close()
        self._cluster.close()

    def __enter__(self) -> Self:
        """Give the client itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()

    def __repr__(self) -> str:
        return f"<Client {','.join(self.endpoints)}>"
