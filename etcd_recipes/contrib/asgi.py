"""ASGI: a web application whose workers elect a leader; for any framework, and for none.

The algorithm
1. The application's startup begins a campaign on a thread of its own, and does not wait for its end: workers that
   do not lead serve as well.
2. A term begins the work: a coroutine on the application's loop.
3. A loss, or the shutdown, cancels the coroutine, and it has ended before the term is resigned. Work that
   returns resigns; the campaign begins anew. Work that raises anything but LockLost ends the campaign, which
   the log and ``/healthz`` say: a supervisor starts the process again.
4. The shutdown stops the work, then resigns, so that the next one leads at once.

Rules of this file
1. No framework is imported. What is in ``state["leader"]`` is a `Leader`, in Starlette's and FastAPI's
   ``request.state.leader`` as in the scope of a bare application.
2. A liveness probe must not follow etcd, or an outage there would restart every worker: ``/healthz`` fails only
   when this process's own part is stuck or over.
"""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, MutableMapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from etcd_recipes.core import runtime
from etcd_recipes.core.context import Context
from etcd_recipes.core.errors import ContextError
from etcd_recipes.core.log import event_logger
from etcd_recipes.recipes.election import Election, Leadership

__all__ = ["HealthApp", "Leader", "LeaderMiddleware", "leader_lifespan"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Lifespan = Callable[[Any], AbstractAsyncContextManager[Any]]
Work = Callable[[Leadership], Coroutine[Any, Any, object]]


class Leader:
    """A campaign beside an application: `start` and `stop` it, or have a lifespan do so.

    ``work(term)``, a coroutine function, runs on the loop that called `start` while this process leads, and is
    cancelled when the term ends. What blocks belongs on a thread: ``await asyncio.to_thread(...)``.
    """

    def __init__(self, election: Election, work: Work | None = None) -> None:
        if work is not None and not inspect.iscoroutinefunction(work):
            raise TypeError(f"work is a coroutine function (async def), not {work!r}")
        self._election = election
        self._work = work
        self._ctx = Context()
        self._thread: runtime.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._term: Leadership | None = None
        self.error: BaseException | None = None
        """What has ended the campaign before its time."""
        self._log = event_logger("asgi").bind(election=election.name)

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
    def is_healthy(self) -> bool:
        """False when the campaign has ended by itself, or the lease is not looked after any more; local."""
        term = self._term
        running = self._thread is not None and self._thread.is_alive()
        return running and (term is None or term.session.is_kept)

    def start(self) -> None:
        """Begin to campaign; call it on the loop on which the work is to run. No request in this thread."""
        self._loop = asyncio.get_running_loop()
        self._ctx, self.error = Context(), None
        self._thread = runtime.spawn(self._run, "etcd-recipes-asgi")

    async def stop(self) -> None:
        """Stop the work, resign, and wait for both."""
        self._ctx.cancel("the application shuts down")
        thread, self._thread = self._thread, None
        if thread is not None:
            await asyncio.get_running_loop().run_in_executor(None, thread.join)

    def _run(self) -> None:
        try:
            self._election.run(self._lead, ctx=self._ctx)
        except ContextError:
            pass  # stopped
        except BaseException as error:  # noqa: BLE001 (it must be said, whatever it is)
            self.error = error
            self._log.exception("asgi.campaign_ended")

    def _lead(self, term: Leadership) -> None:
        self._term = term
        ended = runtime.new_event()
        work = None if self._work is None else _OnLoop(self._loop, self._work(term), ended.set)
        end = ended.set if work is None else work.cancel
        try:
            term.on_lost(lambda _reason: end())
            with self._ctx.on_cancel(end):
                ended.wait(None)
            if work is not None:
                work.result()
        finally:
            self._term = None

    @asynccontextmanager
    async def lifespan(self, _app: object = None) -> AsyncIterator[dict[str, Leader]]:
        """Start with the application and stop with it; for the argument `lifespan` of Starlette and FastAPI."""
        self.start()
        try:
            yield {"leader": self}
        finally:
            await self.stop()


class _OnLoop:
    """A coroutine that a thread has begun on a loop; ``ended()`` is called when it is over, by then for certain."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop | None,
        coroutine: Coroutine[Any, Any, object],
        ended: Callable[[], None],
    ) -> None:
        assert loop is not None  # set by `start`
        self._loop = loop
        self._ended = ended
        self._task: asyncio.Task[object] | None = None
        self._call(lambda: self._begin(coroutine))

    def cancel(self) -> None:
        """Have it cancelled: it ends when it has left its own ``finally``."""
        self._call(self._cancel)

    def result(self) -> None:
        """Raise what it raised; a cancel is an end like any other."""
        task = self._task
        if task is not None and not task.cancelled() and (error := task.exception()) is not None:
            raise error

    def _call(self, callback: Callable[[], None]) -> None:
        try:
            self._loop.call_soon_threadsafe(callback)
        except RuntimeError:
            self._ended()  # the loop is closed, and with it went what ran there

    def _begin(self, coroutine: Coroutine[Any, Any, object]) -> None:
        self._task = self._loop.create_task(coroutine)
        self._task.add_done_callback(lambda _task: self._ended())

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()


def leader_lifespan(election: Election, work: Work | None = None) -> Lifespan:
    """Give a lifespan that campaigns: ``FastAPI(lifespan=leader_lifespan(election, work))``.

    `work` is as of `Leader`, which is in the state as ``leader``. No request here.
    """
    return Leader(election, work).lifespan


class LeaderMiddleware:
    """Wraps any ASGI application: campaigns during its lifespan, and puts ``leader`` into each scope's state.

    The application may have a lifespan of its own, which then runs inside of the campaign, or none.
    """

    def __init__(self, app: App, leader: Leader) -> None:
        self._app = app
        self._leader = leader

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one scope."""
        scope.setdefault("state", {})["leader"] = self._leader
        if scope["type"] != "lifespan":
            await self._app(scope, receive, send)
            return
        first = await receive()  # lifespan.startup

        async def send_when_stopped(message: Message) -> None:
            # The server ends the loop as soon as it hears of the end.
            if message["type"] != "lifespan.startup.complete":
                await self._leader.stop()
            await send(message)

        async with self._leader.lifespan():
            await _its_own_lifespan(self._app, scope, first, receive, send_when_stopped)


async def _its_own_lifespan(
    app: App, scope: Scope, first: Message, receive: Receive, send: Send
) -> None:
    """Run the application's lifespan, and stand in for one that has none."""
    said = False

    async def receive_again() -> Message:
        nonlocal first
        message, first = first, {}
        return message or await receive()

    async def note(message: Message) -> None:
        nonlocal said
        said = True
        await send(message)

    try:
        await app(scope, receive_again, note)
    except Exception:
        if said:
            raise
    if not said:
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})


class HealthApp:
    """Answers ``/healthz`` and ``/leader``, alone or mounted below a path; JSON, and no request to etcd.

    ``/healthz``: 200, or 503 when `Leader.is_healthy` is not: for a liveness probe. ``/leader``: 200 on the leader
    and 503 elsewhere: for a load balancer that is to find it. Anything else is a 404.
    """

    def __init__(self, leader: Leader) -> None:
        self._leader = leader

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            raise RuntimeError(
                "HealthApp serves http alone: mount it, or wrap it in LeaderMiddleware"
            )
        status, body = self._answer(scope["path"].removeprefix(scope.get("root_path", "")))
        headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": json.dumps(body).encode()})

    def _answer(self, path: str) -> tuple[int, dict[str, Any]]:
        leader = self._leader
        if path == "/healthz":
            return (200 if leader.is_healthy else 503), {"healthy": leader.is_healthy}
        if path == "/leader":
            term = leader.term
            if term is None:
                return 503, {"leader": False}
            return 200, {"leader": True, "token": term.token, "remaining": term.remaining()}
        return 404, {"paths": ["/healthz", "/leader"]}
