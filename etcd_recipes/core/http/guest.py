"""TLS over a socket of the system's, for the one thread that gevent's loop does not carry.

gevent replaces `ssl` as a whole, and its sockets belong to a loop. A loop of the renewing thread's own would do,
but does not survive the end of the interpreter (measured: one program in four died of a corrupted heap). So that
thread does its own sending and receiving; TLS itself works between two buffers.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["GuestTls"]

T = TypeVar("T")

_PIECE = 65536


class GuestTls:
    """What a connection needs of an SSLSocket, over a plain socket whose timeouts bound every wait."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, name: str) -> None:
        self._sock = sock
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=name)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)  # settimeout, close, detach ...

    def do_handshake(self) -> None:
        """Shake hands."""
        self._run(self._tls.do_handshake)

    def sendall(self, data: bytes) -> None:
        """Send all of it."""
        self._run(lambda: self._tls.write(data))  # a buffer takes everything

    def recv(self, count: int) -> bytes:
        """Receive what is there; b"" at the end, announced or not, as an SSLSocket has it."""
        try:
            return self._run(lambda: self._tls.read(count))
        except ssl.SSLEOFError:
            return b""

    def _run(self, step: Callable[[], T]) -> T:
        """Take the step, sending and receiving what it asks for."""
        while True:
            try:
                done = step()
            except ssl.SSLWantReadError:
                self._flush()
            else:
                self._flush()
                return done
            if data := self._sock.recv(_PIECE):
                self._incoming.write(data)
            else:
                self._incoming.write_eof()

    def _flush(self) -> None:
        if self._outgoing.pending:
            self._sock.sendall(self._outgoing.read())
