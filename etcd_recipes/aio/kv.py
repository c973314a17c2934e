"""Keys and watches of the v3 API, awaitable."""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from etcd_recipes.aio.calls import Calls
from etcd_recipes.aio.mirror import Mirror, Opening, requesting
from etcd_recipes.aio.stream import Stream
from etcd_recipes.core.context import Context
from etcd_recipes.core.errors import ContextError
from etcd_recipes.core.v3 import api, watcher
from etcd_recipes.core.v3 import kv as sync
from etcd_recipes.core.v3.assembly import EventBatch
from etcd_recipes.core.v3.txn import Condition, Txn
from etcd_recipes.core.v3.values import Event, KeyValue, RangeResult, TxnResult

__all__ = ["KV", "PendingTxn", "Watcher", "Watching", "watching"]

P = ParamSpec("P")
T = TypeVar("T")


def _walking(
    method: Callable[Concatenate[sync.KV, P], Iterator[T]],
) -> Callable[Concatenate[KV, P], Stream[T]]:
    """Make a method whose values come one after the other, for ``async for``, each within its `timeout`."""
    run: Callable[..., Iterator[T]] = method

    @functools.wraps(method)
    def walk(self: KV, /, *args: P.args, **kwargs: P.kwargs) -> Stream[T]:
        options: dict[str, Any] = dict(kwargs)
        ctx = options.pop("ctx", None)
        return Stream(partial(run, self._sync, *args, **options), self._calls, None, ctx)

    return walk


class KV(Mirror[sync.KV]):
    """``client.kv``; see ``client.v3.kv`` of the blocking client."""

    get = requesting(sync.KV.get)
    put = requesting(sync.KV.put)
    range = requesting(sync.KV.range)
    delete = requesting(sync.KV.delete)
    txn = requesting(sync.KV.txn)
    compact = requesting(sync.KV.compact)

    def when(self, *compare: Condition) -> PendingTxn:
        """Begin a transaction that is carried out if all these conditions hold; see the blocking one. No request.

        ``await kv.when(hold.guard).then(Op.put("b", "2")).commit()``.
        """
        return PendingTxn(compare, _kv=self)

    pages = _walking(sync.KV.pages)

    def scan(
        self,
        key: str | bytes,
        range_end: str | bytes | None = None,
        *,
        prefix: bool = False,
        page_size: int = 1000,
        revision: int = 0,
        keys_only: bool = False,
        serializable: bool = False,
        timeout: float | None = None,
        ctx: Context | None = None,
    ) -> AsyncIterator[KeyValue]:
        """Give the keys of a range one after the other, for ``async for``, all at one revision.

        They are read by `pages`, whose arguments and errors these are: memory holds one page at a time.
        """
        pages = self.pages(
            key,
            range_end,
            prefix=prefix,
            page_size=page_size,
            revision=revision,
            keys_only=keys_only,
            serializable=serializable,
            timeout=timeout,
            ctx=ctx,
        )
        return _keys_of(pages)


async def _keys_of(pages: AsyncIterator[RangeResult]) -> AsyncGenerator[KeyValue, None]:
    async for page in pages:
        for kv in page.kvs:
            yield kv


@dataclass(frozen=True, slots=True, repr=False)
class PendingTxn(Txn):
    """A `Txn` that knows its client: what ``kv.when(...)`` gives; `then` and `otherwise` add to it."""

    _kv: KV = field(kw_only=True, compare=False)

    async def commit(
        self,
        *,
        replay: bool = False,
        timeout: float | None = None,
        ctx: Context | None = None,
    ) -> TxnResult:
        """Carry it out, as ``kv.txn`` does; it may be committed again: each is a transaction of its own."""
        return await self._kv.txn(self, replay=replay, timeout=timeout, ctx=ctx)


class Watcher(Mirror[watcher.Watcher]):
    """A watch; see `etcd_recipes.core.v3.Watcher`. ``async for event in watcher``.

    A wait that is cancelled loses nothing: the next one goes on with the same event.
    """

    @property
    def revision(self) -> int:
        """The revision up to which everything was given: ``start_revision=revision + 1`` goes on from there."""
        return self._sync.revision

    @property
    def is_closed(self) -> bool:
        """True when it gives no more events."""
        return self._sync.is_closed

    async def next(self, *, timeout: float | None = None, ctx: Context | None = None) -> Event:
        """Wait for the next event; without `timeout` (seconds) or `ctx` for ever. See the blocking one."""
        before = self._sync.revision
        return await self._wait(
            partial(self._sync.next, timeout=timeout),
            ctx,
            undo=lambda event: self._sync.unread([event], before),
        )

    async def next_batch(
        self, *, timeout: float | None = None, ctx: Context | None = None
    ) -> EventBatch:
        """Wait for all events of the next revision. See the blocking one."""
        before = self._sync.revision
        return await self._wait(
            partial(self._sync.next_batch, timeout=timeout),
            ctx,
            undo=lambda batch: self._sync.unread(batch.events, before),
        )

    async def _wait(
        self, wait: Callable[..., T], ctx: Context | None, undo: Callable[[T], object]
    ) -> T:
        life = Context(parent=ctx)
        return await self._calls.wait(partial(wait, ctx=life), life, undo)

    async def batches(self) -> AsyncGenerator[EventBatch, None]:
        """Give every batch, for ever; ends when the watcher is closed."""
        while (batch := await self._unless_closed(self.next_batch)) is not None:
            yield batch

    async def _unless_closed(self, call: Callable[..., Any]) -> Any:
        try:
            return await call()
        except ContextError:
            if self._sync.is_closed:
                return None
            raise

    def __aiter__(self) -> Self:
        """Give the watcher itself: every event, for ever; ends when the watcher is closed."""
        return self

    async def __anext__(self) -> Event:
        """Wait for the next event."""
        event: Event | None = await self._unless_closed(self.next)
        if event is None:
            raise StopAsyncIteration
        return event

    async def close(self) -> None:
        """End the watcher: a `next` that waits raises Cancelled."""
        await self._calls.finish(self._sync.close)

    async def __aenter__(self) -> Self:
        """Give the watcher itself."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        await self.close()


class Watching(Opening[Watcher]):
    """A watch on its way: ``async for`` goes through its events, ``async with`` or ``await`` gives the Watcher."""

    _watcher: Watcher | None = None

    def __aiter__(self) -> Self:
        """Give the iteration itself; the watch is opened by its first step."""
        return self

    async def __anext__(self) -> Event:
        """Wait for the next event."""
        if self._watcher is None:
            self._watcher = await self
        return await self._watcher.__anext__()


def watching(
    method: Callable[Concatenate[api.V3, P], watcher.Watcher],
) -> Callable[Concatenate[Any, P], Watching]:
    """Make the awaitable ``client.watch`` of the blocking one."""
    run: Callable[..., watcher.Watcher] = method

    @functools.wraps(method)
    def watch(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> Watching:
        options: dict[str, Any] = dict(kwargs)
        ctx, timeout = options.pop("ctx", None), options.pop("timeout", None)
        calls: Calls = self._calls

        async def open_() -> Watcher:
            life = Context(parent=ctx)  # of the watcher; a cancel while it is opened ends that, too
            patience = calls.limit(timeout, ctx).remaining()
            function = partial(run, self._sync.v3, *args, timeout=patience, ctx=life, **options)
            made = await calls.wait(function, life, undo=watcher.Watcher.close)
            return Watcher(made, calls)

        return Watching(open_)

    return watch
