"""The wire of a simulated process: `Wire`'s three methods, over pipes of the simulated network.

What limits an attempt, what a cancel does to it, and which error each failure becomes, is the library's own
`Attempt`: only its socket is another one.

Rules of this file
* A pipe is the client's end of a connection. The network puts in what arrives; one task reads.
* What arrived while a process was stopped counts when it wakes, even if its time is up by then: so a socket does it.
"""

from __future__ import annotations

import http.client
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from etcd_recipes.core.context import Context
from etcd_recipes.core.http.action import Action, Reply
from etcd_recipes.core.http.attempt import BROKEN, Attempt
from tests.simulation.scheduler import Process, Task

if TYPE_CHECKING:
    from tests.simulation.network import Network

__all__ = ["Pipe", "SimStream", "SimWire"]

Limit = Callable[[], float | None]


class Pipe:
    """One connection for one exchange; `host` is the number of the member, `epoch` the life of it that it knows."""

    __slots__ = (
        "_network", "_reader", "broken", "closed", "down", "ended", "epoch", "handle", "head", "host",
        "not_before", "number", "pieces", "process", "silenced", "what",
    )  # fmt: skip

    def __init__(self, network: Network, process: Process, host: int, number: int) -> None:
        self._network = network
        self._reader: Task | None = None
        self.process = process
        self.host = host
        self.number = number
        self.epoch = -1
        self.head: tuple[int, Mapping[str, str]] | None = None
        self.pieces: deque[bytes] = deque()
        self.ended = False  # properly, by the server
        self.broken = False  # by a reset, or an end in the middle
        self.down = False  # shut down on this side
        self.closed = False
        self.silenced = False  # nothing comes through any more
        self.not_before = 0.0
        self.handle: Any = None  # of the watch at the other end
        self.what = ""

    # -- the network's side ----------------------------------------------------------------------------------

    def wake(self) -> None:
        if self._reader is not None:
            self._network.scheduler.wake(self._reader)

    # -- the reader's side -------------------------------------------------------------------------------------

    def wait(self, limit: Limit, ready: Callable[[], bool]) -> None:
        """Wait until `ready`; what BROKEN lists if the connection breaks, TimeoutError when `limit` says so."""
        scheduler = self._network.scheduler
        left = limit()
        until = None if left is None else scheduler.time + left
        self._reader = scheduler.task()
        try:
            while not ready():
                self._check()
                if until is not None and scheduler.time >= until:
                    raise TimeoutError
                scheduler.block(None if until is None else until - scheduler.time)
        finally:
            self._reader = None

    def wait_for(self, limit: Limit, seconds: float) -> None:
        """Let `seconds` pass; errors as for `wait`."""
        scheduler = self._network.scheduler
        until = scheduler.time + seconds
        left = limit()
        give_up = None if left is None else scheduler.time + left
        self._reader = scheduler.task()
        try:
            while scheduler.time < until:
                self._check()
                if give_up is not None and scheduler.time >= give_up:
                    raise TimeoutError
                next_ = until if give_up is None else min(until, give_up)
                scheduler.block(next_ - scheduler.time)
        finally:
            self._reader = None

    def _check(self) -> None:
        if self.broken:
            raise ConnectionResetError("reset")
        if self.down:
            raise http.client.RemoteDisconnected("shut down")

    def shut_down(self) -> None:
        self.down = True
        self.wake()

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self._network.closed(self)


class _Attempt(Attempt):
    """The library's attempt, over a pipe."""

    def start(self, wire: SimWire, action: Action) -> Pipe:
        """Connect, send, and wait for the head."""
        pipe, self._fresh = wire.take(self._endpoint)
        with self._lock:
            self._connection = pipe  # type: ignore[assignment]
        if self._fresh:
            wire.network.connect(pipe, self._left)
        self._check_not_ended()
        self._left()
        self._sent = True
        wire.network.send(pipe, action)
        pipe.wait(self._left, lambda: pipe.head is not None)
        self._in_head = False
        return pipe


class SimWire:
    """Sends Actions through the simulated network, for one process."""

    def __init__(self, network: Network, process: Process) -> None:
        self.network = network
        self.process = process
        self._idle: dict[
            str, list[int]
        ] = {}  # the epochs of the members' lives that they belong to

    def exchange(
        self,
        endpoint: str,
        action: Action,
        ctx: Context,
        header_timeout: float | None,
        *,
        foreign: bool = False,
    ) -> Reply:
        attempt = _Attempt(endpoint, ctx, header_timeout)
        with attempt:
            pipe = attempt.start(self, action)
            pipe.wait(attempt._left, lambda: pipe.ended)
            assert pipe.head is not None
            status, headers = pipe.head
            body = b"".join(pipe.pieces)
        self.give_back(pipe)
        return Reply(status, _lower(headers), body, endpoint)

    def open(
        self,
        endpoint: str,
        action: Action,
        ctx: Context,
        header_timeout: float | None,
        *,
        foreign: bool = False,
    ) -> SimStream:
        attempt = _Attempt(endpoint, ctx, header_timeout)
        attempt.__enter__()
        try:
            pipe = attempt.start(self, action)
        except BaseException as error:
            attempt.__exit__(type(error), error, None)
            raise
        return SimStream(endpoint, attempt, pipe, self)

    def close(self) -> None:
        self._idle.clear()

    def take(self, endpoint: str) -> tuple[Pipe, bool]:
        """Give a pipe, and whether it has to be connected first."""
        host = self.network.host_of(endpoint)
        pipe = self.network.pipe(self.process, host)
        epoch = self.network.epoch(host)
        idle = self._idle.get(endpoint)
        while idle:
            if idle.pop() == epoch:  # a connection that the server has closed is found out
                pipe.epoch = epoch
                return pipe, False
        return pipe, True

    def give_back(self, pipe: Pipe) -> None:
        if not pipe.silenced:
            self._idle.setdefault(self.network.endpoint(pipe.host), []).append(pipe.epoch)
        pipe.close()


class SimStream:
    """An answer that goes on; as `core.http.stream.Stream`, its hash being its number."""

    def __init__(self, endpoint: str, attempt: _Attempt, pipe: Pipe, wire: SimWire) -> None:
        assert pipe.head is not None
        self.endpoint = endpoint
        self.status = pipe.head[0]
        self.headers: Mapping[str, str] = _lower(pipe.head[1])
        self._attempt = attempt
        self._pipe = pipe
        self._wire = wire
        self._broken = False
        self._closed = False

    def __hash__(self) -> int:
        return self._pipe.number

    def lend(self, ctx: Context) -> None:
        self._attempt.lend(ctx)

    def _is_ready(self) -> bool:
        return bool(self._pipe.pieces) or self._pipe.ended

    def ready(self, quiet: float | None = None) -> bool:
        self._attempt.set_stall(quiet)
        try:
            self._pipe.wait(self._attempt._left, self._is_ready)
        except TimeoutError:
            return False
        except BROKEN:
            pass  # what is wrong, `read` will say
        return True

    def read(self, quiet: float | None = None) -> bytes:
        self._attempt.set_stall(quiet)
        try:
            self._pipe.wait(self._attempt._left, self._is_ready)
        except BROKEN as error:
            self._broken = True
            raise self._attempt.translate(error) from error
        return self._pipe.pieces.popleft() if self._pipe.pieces else b""

    def hear(self, quiet: float) -> bytes | None:
        return self.read(quiet) if self.ready(quiet) else None

    def abort(self, why: str) -> None:
        self._attempt.abort(why)

    def close(self, *, keep: bool = True) -> None:
        if self._closed:
            return
        self._closed = True
        self._attempt.__exit__(None, None, None)
        if keep and self._pipe.ended and not self._pipe.pieces and not self._broken:
            self._wire.give_back(self._pipe)
        else:
            self._pipe.close()


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}
