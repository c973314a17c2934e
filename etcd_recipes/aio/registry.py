"""Registry and discovery, awaitable."""

from __future__ import annotations

import asyncio
import inspect
from functools import partial
from types import TracebackType
from typing import Any, Self, cast

from etcd_recipes.aio.calls import BLINK, Calls
from etcd_recipes.aio.mirror import Mirror, confirming, local, opening, requesting, waiting
from etcd_recipes.aio.stream import Stream
from etcd_recipes.core.context import Context
from etcd_recipes.recipes import registry as sync

__all__ = ["Discovery", "InstanceEvents", "Registration", "Registry"]

_CHECK_PATIENCE = 5.0
"""Seconds after which an async check has not passed."""


class Registration(Mirror[sync.Registration]):
    """An instance that is registered until `close`; see `etcd_recipes.Registration`."""

    @property
    def instance(self) -> sync.Instance:
        """The instance, as it was given last."""
        return self._sync.instance

    @property
    def is_published(self) -> bool:
        """True while its key is provably in etcd: local and cheap."""
        return self._sync.is_published

    async def update(
        self, *, timeout: float | None = None, ctx: Context | None = None, **changes: Any
    ) -> bool:
        """Change fields of the instance: address, metadata, weight, zone, draining. See the blocking one."""
        life = Context(parent=ctx)  # its end is an error, that of the timeout is not
        patience = self._calls.patience(timeout, ctx)
        change = partial(self._sync.update, timeout=patience, ctx=life, **changes)
        return await self._calls.wait(change, life)

    drain = confirming(sync.Registration.drain)

    async def close(self, *, timeout: float | None = None) -> bool:
        """Take the registration back, for good; idempotent. Tells whether etcd confirmed it.

        A cancel waits for its end: what is closed must not stay listed.
        """
        return await self._calls.finish(partial(self._sync.close, timeout=timeout))

    async def __aenter__(self) -> Self:
        """Give the registration itself."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        await self.close()


class InstanceEvents(Stream[sync.InstanceEvent]):
    """The changes of a view, for ``async for``; see `etcd_recipes.InstanceEvents`."""

    @property
    def dropped(self) -> int:
        """How many were lost because this reader was too far behind: read ``view.instances`` again."""
        return cast("sync.InstanceEvents", self._iterator).dropped


class Discovery(Mirror[sync.Discovery]):
    """A live view of one service; see `etcd_recipes.Discovery`. Reading it is not awaited."""

    @property
    def service(self) -> str:
        """The name of the service."""
        return self._sync.service

    @property
    def instances(self) -> tuple[sync.Instance, ...]:
        """Those that take work, in the order of their ids, as last known; `suspects` are among them."""
        return self._sync.instances

    @property
    def closed(self) -> bool:
        """True when it follows no more: closed, or its client is, or this process is a forked child."""
        return self._sync.closed

    @property
    def suspects(self) -> tuple[sync.Instance, ...]:
        """Those that vanished together with so many others that it is not believed yet; see the blocking one."""
        return self._sync.suspects

    @property
    def draining(self) -> tuple[sync.Instance, ...]:
        """Those that are registered and want no new work, as last known."""
        return self._sync.draining

    @property
    def age(self) -> float:
        """The seconds since etcd last confirmed the list; infinite before the first time."""
        return self._sync.age

    @property
    def stale(self) -> bool:
        """True while etcd cannot be followed: the list is the last known one."""
        return self._sync.stale

    pick = local(sync.Discovery.pick)
    report = local(sync.Discovery.report)
    wait_for = waiting(sync.Discovery.wait_for)

    def events(self, *, timeout: float | None = None, ctx: Context | None = None) -> InstanceEvents:
        """Give every change from now on, for ``async for``, until the view is closed. See the blocking one."""
        return InstanceEvents(self._sync.events, self._calls, timeout, ctx)

    async def close(self) -> None:
        """Stop following; the last list stays readable. Idempotent. No request."""
        self._sync.close()

    async def __aenter__(self) -> Self:
        """Give the view itself."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        await self.close()


def _take_async_check(options: dict[str, Any]) -> None:
    """Make a check that a thread can call of a coroutine function, which then runs on this loop."""
    check = options.get("check")
    if not inspect.iscoroutinefunction(check):
        return
    loop = asyncio.get_running_loop()

    async def bounded() -> object:
        return await asyncio.wait_for(check(), _CHECK_PATIENCE)

    def ask() -> object:
        asked = bounded()
        try:
            future = asyncio.run_coroutine_threadsafe(asked, loop)
        except RuntimeError:  # the loop is closed: the instance is not what it was
            asked.close()
            return False
        try:
            return future.result(_CHECK_PATIENCE)
        finally:
            future.cancel()

    options["check"] = ask


class Registry(Mirror[sync.Registry]):
    """See `etcd_recipes.Registry`; ``async with registry.register(...)``, or ``await`` it, and so with `follow`.

    The `check` of a registration may be a coroutine function: it runs on this loop, so an instance whose
    loop is stuck for 5 s is not listed.
    """

    def __init__(self, registry: sync.Registry, calls: Calls) -> None:
        super().__init__(registry, calls)
        self.name = registry.name

    instances = requesting(sync.Registry.instances)
    services = requesting(sync.Registry.services)

    register = opening(
        sync.Registry.register,
        Registration,
        undo=lambda registration: registration.close(timeout=BLINK),
        adapt=_take_async_check,
    )
    follow = opening(sync.Registry.follow, Discovery, undo=sync.Discovery.close)
