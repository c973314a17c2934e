"""FaultProxy: a TCP proxy in front of one endpoint, for the faults that only a network has.

How it works
1. One thread runs an event loop; a connection is two pumps: requests up, answers down.
2. Requests are read whole, so that a fault can be for some of them only. Each begins an exchange; the
   bytes that the server sends from then on are its answer.
3. Each piece asks anew which fault there is. So a fault that is set now hits what is open now.
4. What is not HTTP/1.1 (TLS, HTTP/2, a websocket) passes as bytes without names.

Rules of this file
* When a call returns, what it promises is so: refused means that the port is closed.
* The port is kept for life by a socket that is bound and never listens: nobody else gets it while the
  proxy refuses.
* `close` leaves no thread, no connection and no descriptor.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections import Counter
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Literal, Self, TypeVar
from urllib.parse import urlsplit

from etcd_recipes.core import runtime
from etcd_recipes.testing import faults
from etcd_recipes.testing.command import HOST

__all__ = ["FaultProxy"]

T = TypeVar("T")

_PIECE = 65536
_LARGEST_HEAD = 1024 * 1024
_HEAD_END = b"\r\n\r\n"
_PATIENCE = 10.0
"""Seconds; the event loop answers within a few milliseconds, or never."""


class FaultProxy:
    """A proxy in front of `target`, an endpoint's URL; it serves from now on, until `close`.

    Give `endpoint` to a client, and then let things go wrong::

        with FaultProxy(etcd.endpoint) as proxy, Client(proxy.endpoint) as client:
            proxy.lose_reply(only=b"/v3/kv/put")
            client.v3.kv.put("a", "1")     # ClusterError with maybe_applied; the key is there

    There is one fault at a time: setting one ends the one before, and `heal` ends it. A fault hits the
    connections that are open and those that come, and each request on a kept-alive connection. Where a
    fault takes `only`, it hits only requests that contain these bytes, in head or body (`b"/v3/watch"`,
    `b"POST"`); with `times`, only the first so many. Over TLS nothing can be seen: there `only` hits
    nothing, and the answer's head passes as part of its body.
    """

    def __init__(self, target: str) -> None:
        url = urlsplit(target)
        if url.scheme not in ("http", "https") or url.hostname is None:
            raise ValueError(f"the target of a proxy is an http or https URL, not {target!r}")
        self._target = (url.hostname, url.port or {"http": 80, "https": 443}[url.scheme])
        self._opaque = url.scheme == "https"
        self._place = _bound((HOST, 0))
        self._address: tuple[str, int] = self._place.getsockname()
        self._endpoint = f"{url.scheme}://{HOST}:{self._address[1]}"
        self._fault = faults.Fault()
        self._links: dict[_Link, asyncio.Task[None]] = {}
        self._server: asyncio.Server | None = None
        self._hits = 0
        self._connections = 0
        self._requests: Counter[str] = Counter()
        self._loop = asyncio.new_event_loop()
        self._thread = runtime.spawn(self._loop.run_forever, "etcd-recipes fault proxy")
        self._do(self._inject(self._fault))

    # -- what goes wrong -----------------------------------------------------------------------------------

    def heal(self) -> None:
        """End the fault: all passes again, and what was held back flows."""
        self._do(self._inject(faults.Fault()))

    def refuse(self) -> None:
        """Close the port, and reset all connections, as when the server's process is dead."""
        self._do(self._inject(faults.Break(reset=True), listen=False))

    def reset(self, *, only: bytes = b"", times: int | None = None) -> None:
        """Reset the connections: all of them, and new ones when they are accepted; or on a request."""
        self._do(self._inject(faults.Break(only, times, reset=True)))

    def cut(
        self,
        where: Literal["connection", "head", "body"] = "connection",
        *,
        after: int | None = None,
        only: bytes = b"",
        times: int | None = None,
    ) -> None:
        """Close the connections: now, and new ones when they are accepted; or in the middle of an answer.

        In the answer's "head" or "body", `after` so many bytes of it (None: half of what is there).
        """
        if where == "connection":
            self._do(self._inject(faults.Break(only, times, reset=False)))
        else:
            self._stop_at(where, after, only, times, silent=False)

    def stall(
        self,
        where: Literal["head", "body"] = "body",
        *,
        after: int | None = 0,
        only: bytes = b"",
        times: int | None = None,
    ) -> None:
        """Let answers go silent after so many bytes of the part (None: half of it); usually after the head."""
        self._stop_at(where, after, only, times, silent=True)

    def blackhole(
        self,
        *,
        requests: bool = True,
        replies: bool = True,
        only: bytes = b"",
        times: int | None = None,
    ) -> None:
        """Let nothing pass, both ways or one way, with all connections open; ``requests=False`` is half-open.

        New connections are accepted all the same, as by a stopped process.
        """
        self._do(self._inject(faults.Blackhole(only, times, requests=requests, replies=replies)))

    def delay(
        self, seconds: float, *, jitter: float = 0.0, only: bytes = b"", times: int | None = None
    ) -> None:
        """Let answers come so many `seconds` later, plus up to `jitter` seconds by chance."""
        self._do(self._inject(faults.Delay(only, times, seconds=seconds, jitter=jitter)))

    def trickle(self, rate: float, *, only: bytes = b"", times: int | None = None) -> None:
        """Let answers come byte by byte, `rate` bytes per second; ValueError if that is not more than 0."""
        if not rate > 0:
            raise ValueError(f"a rate is more than 0 bytes per second, not {rate!r}")
        self._do(self._inject(faults.Trickle(only, times, rate=rate)))

    def garbage(
        self,
        where: Literal["head", "body"] = "head",
        *,
        data: bytes = faults.GARBAGE,
        only: bytes = b"",
        times: int | None = None,
    ) -> None:
        """Replace the answer's head or body by `data`, over and over, of the same length; ValueError if empty."""
        if not data:
            raise ValueError("garbage needs some data to be made of")
        self._do(self._inject(faults.Garbage(only, times, part=where, data=data)))

    def lose_reply(self, *, only: bytes = b"", times: int | None = None) -> None:
        """Let requests pass and the server answer them, and close the connection in place of the answer."""
        self._do(self._inject(faults.LoseReply(only, times)))

    def hold(self, *, only: bytes = b"", times: int | None = None) -> None:
        """Keep requests back until `heal`; then the server gets them, though their clients may have left."""
        self._do(self._inject(faults.Hold(only, times)))

    def _stop_at(
        self,
        part: Literal["head", "body"],
        after: int | None,
        only: bytes,
        times: int | None,
        *,
        silent: bool,
    ) -> None:
        stop = faults.Stop(only, times, part=part, after=after, silent=silent)
        self._do(self._inject(stop))

    # -- what was seen -------------------------------------------------------------------------------------

    @property
    def endpoint(self) -> str:
        """The URL to give to a client; the same for life."""
        return self._endpoint

    @property
    def connections(self) -> int:
        """How many connections were accepted so far."""
        return self._connections

    @property
    def requests(self) -> dict[str, int]:
        """How many requests came so far, by path, those included that the server never got."""
        return dict(self._requests)

    @property
    def hits(self) -> int:
        """How many requests were hit by a fault so far."""
        return self._hits

    # -- inside --------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Close the port and all connections, and end the thread; as often as you like."""
        if self._loop.is_closed():
            return
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._place.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        host, port = self._target
        return f"<FaultProxy {self._endpoint} -> {host}:{port} ({type(self._fault).__name__})>"

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` in the event loop, and wait until it is done."""
        if self._loop.is_closed():
            work.close()
            raise ValueError("the proxy was closed")
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_PATIENCE)

    async def _inject(self, fault: faults.Fault, *, listen: bool = True) -> None:
        before, self._fault = self._fault, fault
        before.over.set()
        if isinstance(fault, faults.Break) and not fault.limited:
            for link in list(self._links):
                fault.end(link)
        if listen and self._server is None:
            self._server = await asyncio.start_server(
                self._accepted, sock=_bound(self._address), limit=_LARGEST_HEAD
            )
        elif not listen:
            await self._stop_listening()

    async def _stop_listening(self) -> None:
        server, self._server = self._server, None
        if server is None:
            return
        # What was accepted just now becomes a link first, in the loop's next turns: a server that is closed takes
        # none (its assertion fails), and asyncio drops the socket, still open.
        for listener in server.sockets:
            self._loop.remove_reader(listener.fileno())
        for _ in range(3):
            await asyncio.sleep(0)
        server.close()

    async def _end(self) -> None:
        await self._stop_listening()
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            for link, task in list(self._links.items()):
                link.close(reset=True)
                task.cancel()
            await asyncio.wait(others, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.sleep(0)  # an aborted transport lets go of its socket in the loop's next turn

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        link = _Link(self, reader, writer)
        task = self._links[link] = asyncio.ensure_future(self._serve(link))
        task.add_done_callback(lambda _: self._links.pop(link))

    async def _serve(self, link: _Link) -> None:
        with contextlib.suppress(asyncio.CancelledError):  # by `_end`
            await link.run()
            await link.closed()

    def _count(self, path: str) -> None:
        self._requests[path] += 1


class _Exchange:
    """A request, and how far its answer has come."""

    def __init__(self, request: bytes = b"", *, opaque: bool = False) -> None:
        self.request = request
        self.fault: faults.Fault | None = None
        self.body_sent = 0
        self.begun = asyncio.Event()
        self._head = b""
        self._in_head = not opaque

    def split(self, data: bytes) -> tuple[bytes, bytes] | None:
        """Give the head, if it is complete now, and what there is of the body; None if there is more to come."""
        if not self._in_head:
            return b"", data
        self._head += data
        head, end, body = self._head.partition(_HEAD_END)
        if not end and data:
            return None
        self._in_head = False
        return head + end, body


class _Link:
    """One connection through the proxy; what the faults see of it is `faults.Link`."""

    def __init__(
        self, proxy: FaultProxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._proxy = proxy
        self._from_client, self._client = reader, writer
        self._server: asyncio.StreamWriter | None = None
        self._opaque = proxy._opaque
        self._exchange = _Exchange(opaque=True)

    # -- for the faults ------------------------------------------------------------------------------------

    @property
    def body_sent(self) -> int:
        """How many bytes of the answer's body have passed."""
        return self._exchange.body_sent

    async def to_server(self, data: bytes) -> None:
        """Pass bytes of a request on."""
        await _send(self._server, data)

    async def to_client(self, head: bytes, body: bytes) -> None:
        """Pass bytes of an answer on."""
        self._exchange.body_sent += len(body)
        await _send(self._client, head + body)

    async def answered(self) -> None:
        """Wait until the server has begun to answer, or has gone."""
        await self._exchange.begun.wait()

    def close(self, *, reset: bool = False) -> None:
        """End the connection on both sides."""
        for writer in (self._client, self._server):
            if writer is None:
                continue
            if reset:
                _reset(writer)
            else:
                writer.close()

    async def closed(self) -> None:
        """Wait until what was passed on before the end has left, on both sides."""
        for writer in filter(None, (self._client, self._server)):
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    # -- the pumps -----------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Pass bytes both ways until one side has gone."""
        fault = self._proxy._fault
        if isinstance(fault, faults.Break) and not fault.limited:
            fault.end(self)
            return
        try:
            from_server, self._server = await asyncio.open_connection(*self._proxy._target)
        except OSError:
            self.close(reset=True)
            return
        pumps = [
            asyncio.ensure_future(self._requests()),
            asyncio.ensure_future(self._replies(from_server)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            ends = await asyncio.gather(*pumps, return_exceptions=True)
            self.close(reset=any(isinstance(end, ConnectionResetError) for end in ends))

    async def _requests(self) -> None:
        while data := await self._next_request():
            await self._fault().request(self, data)
        await self._fault(goodbye=True).request(self, b"")

    async def _replies(self, server: asyncio.StreamReader) -> None:
        data = b"?"
        while data:
            data = await server.read(_PIECE)
            self._exchange.begun.set()
            if (parts := self._exchange.split(data)) is not None:
                await self._fault(goodbye=not data).reply(self, *parts)

    def _fault(self, *, goodbye: bool = False) -> faults.Fault:
        """Give the fault that is there now, if it hits the exchange under way.

        A goodbye is none: it is hit with the exchange that it ends, or with all there is.
        """
        fault, exchange = self._proxy._fault, self._exchange
        if exchange.fault is not fault:
            if goodbye:
                return _NO_FAULT if fault.limited else fault
            if not fault.takes(exchange.request):
                return _NO_FAULT
            exchange.fault = fault
            if type(fault) is not faults.Fault:
                self._proxy._hits += 1
        return fault

    async def _next_request(self) -> bytes:
        """Read the next request as a whole, or b"" when the client has gone; begins an exchange."""
        if self._opaque:
            return await self._from_client.read(_PIECE)
        try:
            head = await self._from_client.readuntil(_HEAD_END)
            method, path, fields = _parse(head)
            self._opaque = method == "PRI" or "upgrade" in fields
            request = head + await self._body(fields)
        except asyncio.IncompleteReadError:
            return b""
        self._exchange = _Exchange(request, opaque=self._opaque)
        self._proxy._count(path)
        return request

    async def _body(self, fields: dict[str, str]) -> bytes:
        if "chunked" not in fields.get("transfer-encoding", ""):
            return await self._from_client.readexactly(int(fields.get("content-length", 0)))
        pieces = []
        while True:
            size = await self._from_client.readuntil(b"\r\n")
            pieces += [size, await self._from_client.readexactly(int(size.split(b";")[0], 16) + 2)]
            if len(pieces[-1]) == 2:  # the last chunk; trailers in requests are unheard of
                return b"".join(pieces)


_NO_FAULT = faults.Fault()


def _parse(head: bytes) -> tuple[str, str, dict[str, str]]:
    first, *lines = head.decode("latin-1").splitlines()
    method, path, *_ = [*first.split(" "), "", ""]
    parts = (line.partition(":") for line in lines)
    fields = {name.strip().lower(): value.strip() for name, _, value in parts}
    return method, path.partition("?")[0], fields


def _bound(address: tuple[str, int]) -> socket.socket:
    """Make a socket that shares its place with others of this kind; the one that listens gets the calls."""
    sock = socket.socket()
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(address)
    except BaseException:
        sock.close()
        raise
    return sock


async def _send(writer: asyncio.StreamWriter | None, data: bytes) -> None:
    if not data or writer is None or writer.is_closing():
        return
    writer.write(data)
    with contextlib.suppress(OSError):
        await writer.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    if (sock := writer.get_extra_info("socket")) is not None:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
