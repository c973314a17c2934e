"""Election, awaitable: terms whose work is cancelled, and has ended, before anything else happens."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress
from functools import partial
from types import TracebackType
from typing import Self

from etcd_recipes.aio.calls import Calls, outlast
from etcd_recipes.aio.hold import FAREWELL, Hold
from etcd_recipes.aio.locks import give_back
from etcd_recipes.aio.mirror import Mirror, confirming, opening, requesting
from etcd_recipes.aio.stream import Stream
from etcd_recipes.coordination.identity import Contender
from etcd_recipes.core.context import Context
from etcd_recipes.core.errors import LockLost, RecipeError
from etcd_recipes.core.log import event_logger
from etcd_recipes.recipes import election as sync
from etcd_recipes.recipes.election.leadership import check_value

__all__ = ["Background", "Election", "Leadership", "Term"]


class Leadership(Hold):
    """A term; see `etcd_recipes.Leadership`. ``async with`` cancels its body when it is lost."""

    _sync: sync.Leadership

    def __init__(self, term: sync.Leadership, calls: Calls) -> None:
        super().__init__(term, calls)  # nothing more: it gives this class its own argument

    @property
    def value(self) -> str:
        """The proposal."""
        return self._sync.value

    proclaim = requesting(sync.Leadership.proclaim)

    async def resign(self, *, timeout: float | None = None, ctx: Context | None = None) -> bool:
        """Give leadership up; the same as `release`."""
        return await self.release(timeout=timeout, ctx=ctx)

    transfer = confirming(sync.Leadership.transfer)


class Term(Leadership):
    """A term of ``election.terms()``: when it is lost, ``async with`` ends its body and raises nothing.

    The loop goes on with the next term. So all work stands inside of the ``async with``.
    """

    async def __aexit__(  # type: ignore[override]
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        """Resign, or end the body that lost its term."""
        over = isinstance(error, LockLost) and not self.is_held  # what `check` and `sleep` raise
        try:
            await super().__aexit__(kind, error, trace)
        except LockLost:
            return True
        return over


class Election(Mirror[sync.Election]):
    """See `etcd_recipes.Election`; ``async with election.campaign() as term``, or ``await`` it for the term."""

    def __init__(self, election: sync.Election, calls: Calls) -> None:
        super().__init__(election, calls)
        self.name = election.name
        self.value = election.value

    leader = requesting(sync.Election.leader)
    candidates = requesting(sync.Election.candidates)
    evict = requesting(sync.Election.evict)

    campaign = opening(sync.Election.campaign, Leadership, undo=give_back, waits=True)

    def observe(
        self, *, timeout: float | None = None, ctx: Context | None = None
    ) -> Stream[Contender | None]:
        """Give who leads now, and again at every change; for ``async for``. See the blocking one."""
        return Stream(self._sync.observe, self._calls, timeout, ctx)

    def terms(
        self, *, ctx: Context | None = None, value: str | None = None
    ) -> AsyncGenerator[Term, None]:
        """For ever: campaign and give the term; it is resigned when the loop comes back or is left.

        ``async for term in election.terms(): async with term: ...``: the body is cancelled when its term is
        lost, and the loop goes on with the next one. Raises the error of `ctx` when that ends, ResponseError
        when etcd refuses, SessionLost when the client is closed.
        """
        return self._terms(self.value if value is None else check_value(value), ctx)

    async def _terms(self, value: str, ctx: Context | None) -> AsyncGenerator[Term, None]:
        while True:
            life = Context(
                parent=ctx
            )  # of one campaign: a cancel ends it, and not that of the next loop
            elected = partial(self._sync._elected, value, life)
            term = Term(await self._calls.wait(elected, life, undo=give_back), self._calls)
            try:
                yield term
            finally:
                if term.is_held:
                    await term.release(timeout=FAREWELL)

    async def run(
        self,
        lead: Callable[[Leadership], Awaitable[object]],
        *,
        ctx: Context | None = None,
    ) -> None:
        """For ever: campaign, await ``lead(term)``, resign. Raises the error of `ctx` when that ends.

        When the term is lost, `lead` is cancelled, and awaited to its end, before the next campaign begins.
        When it returns, the term is resigned and the campaign begins anew; what it raises is raised.
        """
        async with aclosing(self.terms(ctx=ctx)) as terms:
            async for term in terms:
                try:
                    async with term:
                        await lead(term)
                except LockLost:  # before it began
                    if term.is_held:  # about something else that `lead` holds
                        raise

    def background(
        self,
        on_elected: Callable[[], object] | None = None,
        on_lost: Callable[[], object] | None = None,
    ) -> Background:
        """Campaign in a task of its own while an ``async with`` body runs.

        ``on_elected()`` is called when this process becomes the leader, ``on_lost()`` when it is not the
        leader any more; what they give is awaited if it can be. Both run in that task.
        """
        return Background(self, on_elected, on_lost)


class Background:
    """A campaign in the background; made by ``election.background()``, used with ``async with``."""

    def __init__(
        self,
        election: Election,
        on_elected: Callable[[], object] | None,
        on_lost: Callable[[], object] | None,
    ) -> None:
        self._election = election
        self._on_elected = on_elected
        self._on_lost = on_lost
        self._term: Leadership | None = None
        self._task: asyncio.Task[None] | None = None
        self._error: BaseException | None = None
        self._log = event_logger("election").bind(election=election.name)

    @property
    def term(self) -> Leadership | None:
        """The term, while this process leads."""
        term = self._term
        return term if term is not None and term.is_held else None

    @property
    def is_leader(self) -> bool:
        """True while this process leads: local, cheap and honest."""
        return self.term is not None

    @property
    def error(self) -> BaseException | None:
        """What has ended the campaign for good (etcd refuses, the client was closed); None while it goes on."""
        return self._error

    async def __aenter__(self) -> Self:
        """Begin to campaign; RecipeError when it does so already."""
        if self._task is not None:
            raise RecipeError(
                f"this background campaign for {self._election.name!r} runs already; make another one"
            )
        self._error = None
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop campaigning, resign if leading, and wait for the task; raises what ended it before that."""
        task, self._task = self._task, None
        if task is None:
            return
        task.cancel()
        await outlast(task)
        if error is None:
            with suppress(asyncio.CancelledError):
                task.result()

    async def _run(self) -> None:
        try:
            await self._election.run(self._lead)
        except Exception as error:
            self._error = error
            self._log.exception("election.background_ended")
            raise

    async def _lead(self, term: Leadership) -> None:
        self._term = term
        try:
            await self._call(self._on_elected)
            await term.wait_lost()
        finally:
            self._term = None
            await self._call(self._on_lost)

    async def _call(self, callback: Callable[[], object] | None) -> None:
        if callback is None:
            return
        try:
            given = callback()
            if inspect.isawaitable(given):
                await given
        except Exception:  # noqa: BLE001 (the user's code: whatever it raises is logged)
            self._log.exception("election.callback_failed")
