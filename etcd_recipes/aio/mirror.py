"""Mirrors: how an awaitable class is made from a blocking one.

Rules of this file
1. No algorithm is written twice. A mirror holds the blocking object and hands calls to it; its methods are
   made from the blocking ones, so that names, arguments, types and docstrings are the same.
2. `requesting` is for what has the client's default timeout, `waiting` for what waits as long as it is told,
   `confirming` for what says False when its timeout has passed, and raises only when `ctx` ends.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine, Generator
from types import TracebackType
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, Self, TypeVar

from etcd_recipes.aio.calls import Calls
from etcd_recipes.core.context import Context

__all__ = ["Mirror", "Opening", "confirming", "local", "making", "opening", "requesting", "waiting"]

S = TypeVar("S")
S_co = TypeVar("S_co", covariant=True)
A = TypeVar("A")
R = TypeVar("R")
P = ParamSpec("P")


class Mirror(Generic[S]):
    """An awaitable view of a blocking object."""

    def __init__(self, sync: S, calls: Calls) -> None:
        self._sync = sync
        self._calls = calls

    def __repr__(self) -> str:
        return f"<aio {repr(self._sync).removeprefix('<')}"


class _Mirrored(Protocol[S_co]):
    @property
    def _sync(self) -> S_co: ...

    @property
    def _calls(self) -> Calls: ...


def requesting(
    method: Callable[Concatenate[S, P], R],
) -> Callable[Concatenate[_Mirrored[S], P], Coroutine[Any, Any, R]]:
    """Make an awaitable method of one that is a request or two."""
    run: Callable[..., R] = method

    @functools.wraps(method)
    async def call(self: _Mirrored[S], /, *args: P.args, **kwargs: P.kwargs) -> R:
        options: dict[str, Any] = dict(kwargs)
        limited = self._calls.limit(options.pop("timeout", None), options.pop("ctx", None))
        function = functools.partial(run, self._sync, *args, ctx=limited, **options)
        return await self._calls.request(function, limited)

    return call


def waiting(
    method: Callable[Concatenate[S, P], R],
) -> Callable[Concatenate[_Mirrored[S], P], Coroutine[Any, Any, R]]:
    """Make an awaitable method of one that waits."""
    run: Callable[..., R] = method

    @functools.wraps(method)
    async def call(self: _Mirrored[S], /, *args: P.args, **kwargs: P.kwargs) -> R:
        options: dict[str, Any] = dict(kwargs)
        limited = Context(parent=options.pop("ctx", None))
        function = functools.partial(run, self._sync, *args, ctx=limited, **options)
        return await self._calls.wait(function, limited)

    return call


def confirming(
    method: Callable[Concatenate[S, P], bool],
) -> Callable[Concatenate[_Mirrored[S], P], Coroutine[Any, Any, bool]]:
    """Make an awaitable method of one that tells whether it was confirmed in time; else the same as `requesting`."""
    run: Callable[..., bool] = method

    @functools.wraps(method)
    async def call(self: _Mirrored[S], /, *args: P.args, **kwargs: P.kwargs) -> bool:
        options: dict[str, Any] = dict(kwargs)
        ctx, timeout = options.pop("ctx", None), options.pop("timeout", None)
        patience = self._calls.patience(timeout, ctx)
        life = Context(parent=ctx)
        function = functools.partial(run, self._sync, *args, timeout=patience, ctx=life, **options)
        return await self._calls.wait(function, life)

    return call


def making(
    method: Callable[Concatenate[S, P], R], mirror: Callable[[R, Calls], A]
) -> Callable[Concatenate[_Mirrored[S], P], A]:
    """Make a method that gives the mirror of what `method` makes, without a request."""

    @functools.wraps(method)
    def make(self: _Mirrored[S], /, *args: P.args, **kwargs: P.kwargs) -> A:
        return mirror(method(self._sync, *args, **kwargs), self._calls)

    return make


def local(
    method: Callable[Concatenate[S, P], R],
) -> Callable[Concatenate[_Mirrored[S], P], R]:
    """Give a method of one that does not wait for anything, to be called as it is."""

    @functools.wraps(method)
    def call(self: _Mirrored[S], /, *args: P.args, **kwargs: P.kwargs) -> R:
        return method(self._sync, *args, **kwargs)

    return call


class _Entered(Protocol):
    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


E = TypeVar("E", bound=_Entered)


class Opening(Generic[E]):
    """What is on its way: ``await`` it to have it, or enter it with ``async with``; once."""

    def __init__(self, open_: Callable[[], Coroutine[Any, Any, E]]) -> None:
        self._open = open_
        self._opened: E | None = None

    def __await__(self) -> Generator[Any, None, E]:
        """Give what it is the opening of."""
        return self._open().__await__()

    async def __aenter__(self) -> E:
        """Open it, and enter what was opened."""
        self._opened = await self._open()
        return await self._opened.__aenter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave what was opened."""
        assert self._opened is not None
        await self._opened.__aexit__(kind, error, trace)


def opening(
    method: Callable[Concatenate[S, P], R],
    mirror: Callable[[R, Calls], E],
    *,
    undo: Callable[[R], object],
    waits: bool = False,
    adapt: Callable[[dict[str, Any]], None] = lambda _options: None,
) -> Callable[Concatenate[_Mirrored[S], P], Opening[E]]:
    """Make a method that gives the Opening of what `method` gives.

    What comes in the moment of a cancel is given to `undo`. `waits` is for what has no default timeout.
    `adapt` may change the arguments before they go to the thread.
    """
    run: Callable[..., R] = method

    @functools.wraps(method)
    def call(self: _Mirrored[S], /, *args: P.args, **kwargs: P.kwargs) -> Opening[E]:
        options: dict[str, Any] = dict(kwargs)
        adapt(options)
        ctx = options.pop("ctx", None)
        timeout = None if waits else options.pop("timeout", None)

        async def begin() -> E:
            limited = Context(parent=ctx) if waits else self._calls.limit(timeout, ctx)
            function = functools.partial(run, self._sync, *args, ctx=limited, **options)
            return mirror(await self._calls.wait(function, limited, undo), self._calls)

        return Opening(begin)

    return call
