"""Scripted servers: what they send, when, and how they hang up stands in the test that uses them.

A server runs one handler per connection, each in a thread of its own. When it is closed it ends all of
them, waits until they have ended, and raises what went wrong in one of them.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Self

from tests.tools import eventually

__all__ = [
    "HANG",
    "HANG_UP",
    "RESET",
    "Peer",
    "Request",
    "Server",
    "always",
    "answer",
    "black_hole",
    "chunked",
    "each",
    "echo",
    "in_turn",
    "refusing",
    "script",
    "silent",
    "trickle",
]


@dataclass(frozen=True)
class Request:
    """What a client sent; header names are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    connection: int


class Peer:
    """The server's side of one connection."""

    def __init__(self, server: Server, sock: socket.socket, number: int) -> None:
        self.server = server
        self.number = number
        self._sock = sock
        self._file = sock.makefile("rb")

    def request(self) -> Request | None:
        """Read the next request, or None when the client has closed the connection."""
        first = self._file.readline().decode("latin-1").split()
        if len(first) != 3:
            return None
        headers = {}
        while line := self._file.readline().decode("latin-1").strip():
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        body = self._file.read(int(headers.get("content-length", 0)))
        request = Request(first[0], first[1], headers, body, self.number)
        with self.server.news:
            self.server.requests.append(request)
            self.server.news.notify_all()
        return request

    def send(self, data: bytes) -> None:
        self._sock.sendall(data)

    def pause(self, seconds: float | None = None) -> None:
        """Do nothing for so long, or until the server is closed."""
        self.server.closing.wait(seconds)
        if self.server.closing.is_set():
            raise ConnectionAbortedError("the server was closed")

    def client_hangs_up(self) -> bool:
        """Wait until the client has closed the connection; False if it said something else."""
        return self._file.read(1) == b""

    def hang_up(self) -> None:
        """Close the connection in good order."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._file.close()
        self._sock.close()

    def reset(self) -> None:
        """Close the connection with a reset."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._file.close()
        self._sock.close()


Handler = Callable[[Peer], None]


class Server:
    """A TCP server on a free port of 127.0.0.1, with a handler for its connections."""

    def __init__(self, handler: Handler, *, tls: ssl.SSLContext | None = None) -> None:
        self.handler = handler
        self.requests: list[Request] = []
        self.accepted = 0
        self.closing = threading.Event()
        self.news = threading.Condition()
        self._tls = tls
        self._threads: list[threading.Thread] = []
        self._peers: list[socket.socket] = []
        self._errors: list[BaseException] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._start(self._accept)

    @property
    def endpoint(self) -> str:
        """The URL; a name instead of an address where there is a certificate to match."""
        return f"https://localhost:{self.port}" if self._tls else f"http://127.0.0.1:{self.port}"

    def heard(self, count: int = 1, timeout: float = 5.0) -> list[Request]:
        """Wait until that many requests have come, and give all of them."""
        with self.news:
            assert self.news.wait_for(lambda: len(self.requests) >= count, timeout)
        return list(self.requests)

    def paths(self) -> list[str]:
        """Give what was asked for, in order."""
        return [request.path for request in self.requests]

    def close(self) -> None:
        """End all connections and threads."""
        self.closing.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for sock in self._peers:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5.0)
            assert not thread.is_alive(), "a handler does not end"
        if self._errors:
            raise self._errors[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self, target: Callable[[], None]) -> None:
        thread = threading.Thread(target=target, name="scripted server", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self.closing.is_set():
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            with self.news:
                self.accepted += 1
                self.news.notify_all()
            self._peers.append(sock)
            self._start(lambda sock=sock, number=self.accepted: self._serve(sock, number))

    def _serve(self, plain: socket.socket, number: int) -> None:
        sock = plain
        try:
            if self._tls is not None:
                sock = self._tls.wrap_socket(plain, server_side=True)
                self._peers.append(sock)
            peer = Peer(self, sock, number)
            try:
                self.handler(peer)
            finally:
                peer.hang_up()
        except (OSError, ValueError):
            pass  # the client went away, or the test is over
        except BaseException as error:
            self._errors.append(error)
        finally:
            sock.close()


# -- answers -----------------------------------------------------------------------------------------------


def answer(body: bytes = b"{}", *headers: str, status: int = 200, reason: str = "OK") -> bytes:
    """Give a whole answer with a length."""
    lines = [f"HTTP/1.1 {status} {reason}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def chunked(*pieces: bytes, end: bool = True, trailers: tuple[str, ...] = ()) -> bytes:
    """Give a whole answer in chunks; without its end if not `end`."""
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    body = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    last = "\r\n".join(["0", *trailers, "", ""]).encode() if end else b""
    return head + body + last


# -- handlers ----------------------------------------------------------------------------------------------


def each(reply: Callable[[Request], bytes]) -> Handler:
    """Answer every request, on a connection that is kept."""

    def handle(peer: Peer) -> None:
        while request := peer.request():
            peer.send(reply(request))

    return handle


def always(reply: bytes) -> Handler:
    """Answer every request with the same."""
    return each(lambda _request: reply)


echo = each(lambda request: answer(request.body))
"""Answer every request with its own body."""

HANG, HANG_UP, RESET = object(), object(), object()


def script(*steps: bytes | float | object) -> Handler:
    """Read a request, then send bytes, pause for seconds, HANG, HANG_UP or RESET; at the end hang up."""

    def handle(peer: Peer) -> None:
        peer.request()
        for step in steps:
            if isinstance(step, bytes):
                peer.send(step)
            elif isinstance(step, float):
                peer.pause(step)
            elif step is HANG:
                peer.client_hangs_up()
            elif step is RESET:
                peer.reset()
                return
            else:
                return

    return handle


def in_turn(*handlers: Handler) -> Handler:
    """Handle the first connection by the first one, the next by the next."""
    left = iter(handlers)

    def handle(peer: Peer) -> None:
        next(left)(peer)

    return handle


def trickle(data: bytes, every: float) -> Handler:
    """Read a request, and answer one byte at a time."""
    steps: list[bytes | float | object] = []
    for number in range(len(data)):
        steps += [data[number : number + 1], every]
    return script(*steps)


def silent(peer: Peer) -> None:
    """Read requests, and never say a word."""
    while peer.request():
        pass


# -- places where there is no server ---------------------------------------------------------------------------


@contextlib.contextmanager
def refusing() -> Iterator[str]:
    """Give an endpoint that refuses connections, for as long as the body runs."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))  # and not listening: the port is taken, and closed
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"


@contextlib.contextmanager
def black_hole() -> Iterator[str]:
    """Give an endpoint that does not answer the attempt to connect: its backlog is full."""
    with contextlib.ExitStack() as sockets:
        listener = sockets.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        place = listener.getsockname()

        def is_full() -> bool:
            sock = sockets.enter_context(socket.socket())
            sock.settimeout(0.05)
            try:
                sock.connect(place)
            except TimeoutError:
                return True
            return False

        eventually(is_full)
        yield f"http://127.0.0.1:{place[1]}"
