"""The awaitable client: the blocking one, and the threads that call it.

Rules of this file
1. Wiring only: each method is the blocking client's, and gives the mirror of what that gives.
2. Nothing here belongs to one event loop.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, Self, TypeVar

from etcd_recipes.aio.barriers import Barrier, DoubleBarrier, Latch
from etcd_recipes.aio.calls import Calls
from etcd_recipes.aio.election import Election
from etcd_recipes.aio.kv import KV, watching
from etcd_recipes.aio.locks import Lock, MultiLock, RWLock, Semaphore, exclusive
from etcd_recipes.aio.mirror import Mirror, making, requesting
from etcd_recipes.aio.registry import Registry
from etcd_recipes.client import Client as Blocking
from etcd_recipes.core.v3.api import V3

if TYPE_CHECKING:
    from etcd_recipes.core.http.wire import HttpSession
    from etcd_recipes.core.retry import Retry

__all__ = ["Client"]

P = ParamSpec("P")
R = TypeVar("R")


class Client(Mirror[Blocking]):
    """A client for asyncio; arguments and methods are those of `etcd_recipes.Client`. Use it with ``async with``.

    `blocking` is the client that it stands on, with all that is not here: call that on a thread
    (``asyncio.to_thread``). It may be used by several event loops, one after the other or at once. A task that
    waits for a lock, a term or an event takes a thread for as long as it waits; requests share 16.
    """

    def __init__(
        self,
        endpoints: str | Iterable[str] = "http://127.0.0.1:2379",
        *,
        api: Literal["v3", "v2"] = "v3",
        username: str | None = None,
        password: str | None = None,
        ca: str | None = None,
        cert: str | None = None,
        key: str | None = None,
        header_timeout: float | None = 1.0,
        default_timeout: float = 10.0,
        selection: Literal["random", "leader"] = "random",
        namespace: str = "",
        session_ttl: float = 15.0,
        retry: Retry | None = None,
        http: HttpSession | None = None,
    ) -> None:
        blocking = Blocking(
            endpoints,
            api=api,
            username=username,
            password=password,
            ca=ca,
            cert=cert,
            key=key,
            header_timeout=header_timeout,
            default_timeout=default_timeout,
            selection=selection,
            namespace=namespace,
            session_ttl=session_ttl,
            retry=retry,
            http=http,
        )
        self._stand_on(blocking, is_ours=True)

    def _stand_on(self, blocking: Blocking, *, is_ours: bool) -> None:
        super().__init__(blocking, Calls(blocking._default_timeout))
        self._is_ours = is_ours

    @classmethod
    def wrap(cls, client: Blocking) -> Self:
        """Make one that stands on `client`, with its sessions and connections; whose closing stays yours."""
        self = cls.__new__(cls)
        self._stand_on(client, is_ours=False)
        return self

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, **overrides: Any) -> Self:
        """Make a client from etcdctl's environment; see the blocking one.

        With ETCDCTL_DISCOVERY_SRV the DNS is asked, now: make it before the loop runs, or on a thread.
        """
        return cls._owning(Blocking.from_env(environ, **overrides))

    @classmethod
    def from_url(cls, url: str, **overrides: Any) -> Self:
        """Make a client from one URL; see the blocking one. Nothing is sent."""
        return cls._owning(Blocking.from_url(url, **overrides))

    @classmethod
    def _owning(cls, client: Blocking) -> Self:
        self = cls.wrap(client)
        self._is_ours = True
        return self

    @property
    def blocking(self) -> Blocking:
        """The client that this one stands on."""
        return self._sync

    @property
    def kv(self) -> KV:
        """The keys of the v3 API; see ``client.v3.kv`` of the blocking client."""
        return KV(self._sync.v3.kv, self._calls)

    @property
    def endpoints(self) -> tuple[str, ...]:
        """The endpoints, as URLs."""
        return self._sync.endpoints

    def set_endpoints(self, endpoints: str | Iterable[str]) -> None:
        """Use these endpoints from the next call on."""
        self._sync.set_endpoints(endpoints)

    def auto_sync(self, interval: float = 60.0) -> None:
        """Call `sync` now and every `interval` seconds, in the background, until the client is closed."""
        self._sync.auto_sync(interval)

    sync = requesting(Blocking.sync)
    version = requesting(Blocking.version)
    watch = watching(V3.watch)

    lock = making(Blocking.lock, Lock)
    multi_lock = making(Blocking.multi_lock, MultiLock)
    rwlock = making(Blocking.rwlock, RWLock)
    semaphore = making(Blocking.semaphore, Semaphore)
    election = making(Blocking.election, Election)
    registry = making(Blocking.registry, Registry)
    barrier = making(Blocking.barrier, Barrier)
    double_barrier = making(Blocking.double_barrier, DoubleBarrier)
    latch = making(Blocking.latch, Latch)

    def exclusive(
        self,
        name: str,
        *,
        on_busy: Literal["skip", "wait", "raise"] = "wait",
        ttl: float | None = None,
        max_hold: float | None = None,
        heartbeat: float | None = None,
    ) -> Callable[[Callable[P, Awaitable[R]]], Callable[P, Coroutine[Any, Any, R | None]]]:
        """Decorate a coroutine function so that one task among all processes runs it; see the blocking one.

        When the lock is lost while it runs, it is cancelled, and LockLost raised. Inside,
        ``aio.current_hold()`` gives the hold.
        """

        def make() -> Lock:
            return self.lock(name, ttl=ttl, max_hold=max_hold, heartbeat=heartbeat)

        return exclusive(make, on_busy)

    async def close(self) -> None:
        """Revoke the sessions, so that all they hold is released at once, and close all connections.

        One that was made by `wrap` leaves both to the client that it stands on.
        """
        try:
            if self._is_ours:
                await self._calls.finish(self._sync.close)
        finally:
            self._calls.close()

    async def __aenter__(self) -> Self:
        """Give the client itself."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        await self.close()
