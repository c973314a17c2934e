"""Connections: sockets whose every wait is bounded, and which another thread can end; and the answers they bring.

Connecting and TLS are http.client's, what an answer means is `framing`'s; waiting is ours.

Rules of this file
* A wait on the socket takes no longer than `limit()` says at that moment, which is asked before each, and `_NEAR`.
* `shut_down` may be called from any thread, at any time: it ends whatever waits on the socket.
"""

from __future__ import annotations

import _socket
import errno
import http.client
import ipaddress
import os
import select
import socket
import ssl
from collections.abc import Callable
from typing import Any

from etcd_recipes.core import runtime
from etcd_recipes.core.http import framing
from etcd_recipes.core.http.guest import GuestTls

__all__ = ["Connection", "Response", "TlsConnection"]

_PIECE = 65536
"""Bytes that are received at once, at most."""

_NEAR = 0.005
"""Seconds by which a wait may be longer than its limit: to set it anew is a call of the system."""

_KEEP_ALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPALIVE": 10, "TCP_KEEPINTVL": 3, "TCP_KEEPCNT": 3}
"""Seconds of silence until the system asks, between two questions, and how many of them; macOS has its own name
for the first. So a peer that has lost the connection without a word is found out within 20 s.
"""


class Connection(http.client.HTTPConnection):
    """An http.client connection whose every wait is bounded, and which another thread can end."""

    def __init__(self, host: str, port: int | None = None, **options: Any) -> None:
        super().__init__(host, port, **options)
        self.limit: Callable[[], float | None] = _no_limit
        self.look: Callable[[], None] = _see_nothing
        self.tls: ssl.SSLContext | None = None
        self._known: runtime.Event | None = None  # of a name that is being looked up
        self._poll: select.poll | None = None  # of the socket, once it has been idle
        self._create_connection = self._dial  # http.client's own hook for making the socket

    def _dial(self, address: tuple[str, int], *_: object) -> socket.socket:
        """Connect to the first address that takes us; like socket.create_connection, but abortable."""
        failure: OSError | None = None
        for family, kind, proto, _name, place in self._look_up(*address):
            sock: socket.socket = runtime.original("socket", "socket")(family, kind, proto)
            try:
                self._connect(sock, place)
            except OSError as error:
                sock.close()
                failure = error
            else:
                _keep_alive(sock)
                sock.settimeout(self.limit())
                return sock
        raise failure or OSError("the name has no address")

    def _connect(self, sock: socket.socket, place: Any) -> None:
        """Start to connect, and only then wait: a shutdown does nothing to a socket that has not begun."""
        sock.setblocking(False)
        begun = sock.connect_ex(place)
        self.sock = sock
        self.look()
        if begun not in (0, errno.EINPROGRESS):
            raise OSError(begun, os.strerror(begun))
        left = self.limit()
        poll = runtime.original("select", "poll")()
        poll.register(sock, select.POLLOUT)
        if not poll.poll(None if left is None else left * 1000):
            raise TimeoutError
        if failure := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(failure, os.strerror(failure))
        self.look()

    def _look_up(self, host: str, port: int) -> list[Any]:
        """Give the addresses of a host, on a thread: a name service cannot be interrupted, only left."""
        if _is_numeric(host):
            return _addresses(host, port)
        answer: list[Any] = []
        known = self._known = runtime.new_event()

        def ask() -> None:
            try:
                answer.append(_addresses(host, port))
            except (OSError, UnicodeError) as error:
                answer.append(error)
            known.set()

        self.look()
        try:
            runtime.spawn(ask, "etcd-recipes-look-up")
        except RuntimeError:
            ask()  # no thread is to be had: then it takes as long as it takes
        known.wait(self.limit())
        self.look()
        if not answer:
            raise TimeoutError
        if isinstance(answer[0], UnicodeError):
            raise socket.gaierror(socket.EAI_NONAME, "not a host name")
        if isinstance(answer[0], OSError):
            raise answer[0]
        found: list[Any] = answer[0]
        return found

    def in_step(self) -> bool:
        """Tell whether an idle connection can be used: the server has neither closed it nor sent anything."""
        if self.sock is None:
            return False
        if self._poll is None:
            self._poll = select.poll()
            self._poll.register(self.sock, select.POLLIN)
        return not self._poll.poll(0)

    def hear_out(self) -> None:
        """Raise what the server said before it hung up on what we were sending; only TLS has words for it."""

    def shut_down(self) -> None:
        """End whatever waits on the socket, from any thread; the owner closes it afterwards."""
        if self._known is not None:
            self._known.set()
        sock = self.sock
        if sock is not None:
            try:
                # The plain socket's method also for TLS: SSLSocket.shutdown would pull the TLS object
                # out from under the thread that reads. And gevent's would touch another thread's loop.
                _socket.socket.shutdown(getattr(sock, "_sock", sock), socket.SHUT_RDWR)
            except OSError:
                pass  # not connected yet, or gone already

    def forget(self) -> None:
        """Close the descriptor and nothing else."""
        sock, self.sock = self.sock, None
        if sock is not None:
            socket.close(sock.detach())

    def receive(self) -> bytes:
        """Receive what is there, waiting no longer than the limit allows; b"" when the server has hung up."""
        self.set_limit()
        received: bytes = self.sock.recv(_PIECE)
        return received

    def set_limit(self) -> None:
        """Have the next wait on the socket end by the limit; raises what `limit` raises."""
        limit, longest = self.limit(), self.sock.gettimeout()
        if limit is None or longest is None or not limit <= longest <= limit + _NEAR:
            self.sock.settimeout(limit)


class TlsConnection(Connection, http.client.HTTPSConnection):
    """The same over TLS."""

    def __init__(self, host: str, port: int, *, context: ssl.SSLContext) -> None:
        super().__init__(host, port, context=context)
        self.tls: ssl.SSLContext = context

    def connect(self) -> None:
        """Connect and shake hands, with the socket in sight of `shut_down` all the time."""
        http.client.HTTPConnection.connect(self)
        if runtime.is_guest():
            self.sock = GuestTls(self.sock, self.tls, self.host)
        else:
            self.sock = self.tls.wrap_socket(
                self.sock, server_hostname=self.host, do_handshake_on_connect=False
            )
        self.look()
        self.sock.do_handshake()

    def hear_out(self) -> None:
        """Raise the alert that the server sent before it hung up, if it did."""
        try:
            self.sock.settimeout(0.0)
            self.sock.recv(1)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass  # it said nothing
        except ssl.SSLError:
            raise
        except OSError:
            pass


def _addresses(host: str, port: int) -> list[Any]:
    found: list[Any] = runtime.original("socket", "getaddrinfo")(host, port, 0, socket.SOCK_STREAM)
    return found


def _is_numeric(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def _keep_alive(sock: socket.socket) -> None:
    """Have the system ask whether the peer is there: who watches sends nothing, and would never find out."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEP_ALIVE.items():
        if (option := getattr(socket, name, None)) is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)


def _no_limit() -> float | None:
    return None


def _see_nothing() -> None:
    return None


class Response:
    """One answer: its head, which is read when it is made, and its body.

    Raises what `BROKEN` lists when the exchange breaks: whatever was received and not yet read stays.
    """

    __slots__ = ("_body", "_connection", "_keeps", "_piece", "headers", "status")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._piece = b""
        head, rest = self._head(b"")
        while head.status == http.client.CONTINUE:
            head, rest = self._head(rest)
        self.status, self.headers = head.status, head.headers
        self._keeps = head.keeps
        self._body = framing.body_of(head, rest)

    def _head(self, data: bytes) -> tuple[framing.Head, bytes]:
        """Give the next head, and what came after it."""
        while (end := data.find(framing.HEAD_END)) < 0:
            if data:
                framing.check_begun(data)
            received = self._connection.receive()
            if not received:
                raise http.client.RemoteDisconnected("the answer was cut off in its headers")
            data += received
        return framing.head_of(data[:end]), data[end + len(framing.HEAD_END) :]

    @property
    def is_kept(self) -> bool:
        """True if the connection is free for the next request: all of the answer was read, and nothing else came."""
        return self._keeps and self._body.is_exact and not self._piece

    def wait(self) -> None:
        """Wait until `read_some` would not have to."""
        if not self._piece:
            self._piece = self.read_some()

    def read_some(self) -> bytes:
        """Give what comes next of the body, b"" at its end."""
        piece, body = self._piece, self._body
        if piece:
            self._piece = b""
            return piece
        while not body.is_over and not (piece := body.take()) and not body.is_over:
            if received := self._connection.receive():
                body.add(received)
            else:
                body.hung_up()
        return piece

    def read(self) -> bytes:
        """Give the rest of the body."""
        piece = self.read_some()
        if self._body.is_over:
            return piece  # as mostly, it came in one
        pieces = []
        while piece:
            pieces.append(piece)
            piece = self.read_some()
        return b"".join(pieces)
