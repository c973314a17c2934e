"""What a network or a server can do to an exchange; FaultProxy injects it.

Rules of this file
1. A fault sees whole requests, and answers as they come: the head once, in one piece, then the body. Its
   two hooks pass bytes on, or do not.
2. A fault has no memory of exchanges, so one object serves all connections, those open now included.
3. Whatever waits, waits for `over` as well: when the fault ends, what it held flows again, in order, as
   it would when a cable is plugged back in.
4. No socket and no thread: the proxy has those. All of this runs in the proxy's event loop.
"""

from __future__ import annotations

import asyncio
import random
from typing import Literal, Protocol

__all__ = [
    "Blackhole",
    "Break",
    "Delay",
    "Fault",
    "Garbage",
    "Hold",
    "Link",
    "LoseReply",
    "Stop",
    "Trickle",
]

Part = Literal["head", "body"]

GARBAGE = b"\x00\xfe<!gar\r\nbage\xff"
"""Neither HTTP nor JSON nor UTF-8; with a line end in it, so that whoever reads lines gets one."""


class Link(Protocol):
    """One connection through the proxy, as a fault sees it."""

    @property
    def body_sent(self) -> int:
        """How many bytes of the answer's body have passed."""

    async def to_server(self, data: bytes) -> None:
        """Pass bytes of a request on; nothing happens if the server has gone."""

    async def to_client(self, head: bytes, body: bytes) -> None:
        """Pass bytes of an answer on; nothing happens if the client has gone."""

    async def answered(self) -> None:
        """Wait until the server has begun to answer the request, or has gone."""

    def close(self, *, reset: bool = False) -> None:
        """End the connection on both sides: in good order, or with a reset."""


class Fault:
    """Lets everything pass. `only` and `times` limit a fault to some requests, as FaultProxy says."""

    def __init__(self, only: bytes = b"", times: int | None = None) -> None:
        self.over = asyncio.Event()
        self._only = only
        self._left = times

    @property
    def limited(self) -> bool:
        """True if not every request is hit."""
        return self._only != b"" or self._left is not None

    def takes(self, request: bytes) -> bool:
        """Tell whether this request is to be hit, and count it if so."""
        if self._only not in request or self._left == 0:
            return False
        if self._left is not None:
            self._left -= 1
        return True

    async def request(self, link: Link, data: bytes) -> None:
        """Do with a request what the fault does; b"" is the client's goodbye."""
        await link.to_server(data)

    async def reply(self, link: Link, head: bytes, body: bytes) -> None:
        """Do with the next piece of an answer what the fault does; two times b"" is the server's goodbye."""
        await link.to_client(head, body)

    async def _pause(self, seconds: float) -> None:
        """Wait so long, or until the fault is over."""
        try:
            await asyncio.wait_for(self.over.wait(), seconds)
        except TimeoutError:
            pass


class Break(Fault):
    """Connections end: all of them at once, or each when it carries a request that is hit."""

    def __init__(self, only: bytes = b"", times: int | None = None, *, reset: bool) -> None:
        super().__init__(only, times)
        self._reset = reset

    def end(self, link: Link) -> None:
        """End this connection."""
        link.close(reset=self._reset)

    async def request(self, link: Link, data: bytes) -> None:  # noqa: ARG002
        """Break, in place of passing the request on."""
        self.end(link)


class Stop(Fault):
    """Answers stop at one place: there the connection is cut, or goes silent.

    `after` counts bytes of the part (None: in the middle).
    """

    def __init__(
        self, only: bytes, times: int | None, *, part: Part, after: int | None, silent: bool
    ) -> None:
        super().__init__(only, times)
        self._part = part
        self._after = after
        self._silent = silent

    async def reply(self, link: Link, head: bytes, body: bytes) -> None:
        """Pass on what comes before the place; later, if ever, what comes behind it."""
        place = self._place_in_head(head) if self._part == "head" else self._place_in(link, body)
        if place is None:
            await link.to_client(head, body)
            return
        place += len(head) if self._part == "body" else 0
        await link.to_client(*_slice(head, body, 0, place))
        if not self._silent:
            link.close()
            return
        await self.over.wait()
        await link.to_client(*_slice(head, body, place, len(head) + len(body)))

    def _place_in_head(self, head: bytes) -> int | None:
        """Give where to stop; None if this piece has no head."""
        if not head:
            return None
        return len(head) // 2 if self._after is None else min(self._after, len(head))

    def _place_in(self, link: Link, body: bytes) -> int | None:
        """Give where to stop; None if the place lies behind this piece."""
        place = len(body) // 2 if self._after is None else max(0, self._after - link.body_sent)
        return place if place < len(body) else None


class Blackhole(Fault):
    """Nothing passes: neither way, or one way only. The connections stay open."""

    def __init__(self, only: bytes, times: int | None, *, requests: bool, replies: bool) -> None:
        super().__init__(only, times)
        self._requests = requests
        self._replies = replies

    async def request(self, link: Link, data: bytes) -> None:
        """Keep it until the fault is over."""
        if self._requests:
            await self.over.wait()
        await link.to_server(data)

    async def reply(self, link: Link, head: bytes, body: bytes) -> None:
        """Keep it until the fault is over."""
        if self._replies:
            await self.over.wait()
        await link.to_client(head, body)


class Delay(Fault):
    """Every piece of an answer comes later."""

    def __init__(self, only: bytes, times: int | None, *, seconds: float, jitter: float) -> None:
        super().__init__(only, times)
        self._seconds = seconds
        self._jitter = jitter

    async def reply(self, link: Link, head: bytes, body: bytes) -> None:
        """Wait, then pass it on."""
        await self._pause(self._seconds + random.uniform(0, self._jitter))  # noqa: S311
        await link.to_client(head, body)


class Trickle(Fault):
    """Answers come byte by byte."""

    def __init__(self, only: bytes, times: int | None, *, rate: float) -> None:
        super().__init__(only, times)
        self._rate = rate

    async def reply(self, link: Link, head: bytes, body: bytes) -> None:
        """Pass on a little at a time; the rest at once when the fault is over."""
        step = max(1, int(self._rate / 100))
        for place in range(0, len(head) + len(body), step):
            await link.to_client(*_slice(head, body, place, place + step))
            if not self.over.is_set():
                await self._pause(step / self._rate)


class Garbage(Fault):
    """Something else comes in place of the head, or of the body; of the same length."""

    def __init__(self, only: bytes, times: int | None, *, part: Part, data: bytes) -> None:
        super().__init__(only, times)
        self._part = part
        self._data = data

    async def reply(self, link: Link, head: bytes, body: bytes) -> None:
        """Pass on what is not to be spoilt, and garbage for the rest."""
        if self._part == "head":
            await link.to_client(self._garbage(head), body)
        else:
            await link.to_client(head, self._garbage(body))

    def _garbage(self, data: bytes) -> bytes:
        return (self._data * (len(data) // len(self._data) + 1))[: len(data)]


class LoseReply(Fault):
    """The server acts and answers; the connection is closed in place of the answer."""

    async def reply(self, link: Link, head: bytes, body: bytes) -> None:  # noqa: ARG002
        """Close."""
        link.close()


class Hold(Fault):
    """Requests wait here, and reach the server when the fault is over, however late."""

    async def request(self, link: Link, data: bytes) -> None:
        """Wait, pass it on, and stay: etcd drops the request of a client that has left."""
        if data:
            await self.over.wait()
        await link.to_server(data)
        if data:
            await link.answered()


def _slice(head: bytes, body: bytes, start: int, end: int) -> tuple[bytes, bytes]:
    """Give the bytes from `start` to `end` of the two together, still apart."""
    behind = len(head)
    return head[start:end], body[max(0, start - behind) : max(0, end - behind)]
