"""One attempt at one endpoint: its limits, its cancel, and the translation of what goes wrong.

Rules of this file
* From the first byte sent on, nobody can tell whether the server acted: `maybe_applied`. But a server that
  refuses the client's certificate has not; with TLS 1.3 it says so only after the request was sent.
* Every failure becomes an EndpointError, or the Context's own error when that has ended.
* The cancel of an attempt that is over touches nothing: its connection may be at work for the next one.
"""

from __future__ import annotations

import errno
import http.client
import socket
import ssl
from collections.abc import Callable
from typing import Self

from etcd_recipes.core import runtime
from etcd_recipes.core.context import Context
from etcd_recipes.core.errors import ContextError, DeadlineExceeded, EndpointError
from etcd_recipes.core.http.connection import Connection, Response

__all__ = ["BROKEN", "STALL", "Attempt"]

STALL = 5.0
"""Seconds without a byte in the middle of an answer after which the endpoint is given up, at the latest."""

SHORTEST_STALL = 1.0
"""The same, at the earliest: a network may well lose a packet or two of a long answer."""

BROKEN = (
    OSError,
    http.client.HTTPException,
    ValueError,  # a host that is no name
    MemoryError,
)
"""What is raised when an exchange breaks."""


class Attempt:
    """One attempt at one endpoint: its limits, its cancel, and the translation of what goes wrong.

    Entered, it is registered with the Context; left, it is not, and its cancel has no more effect.
    """

    __slots__ = (
        "_connection", "_ctx", "_deadline", "_ended_from_outside", "_endpoint", "_fresh", "_generation", "_head_until",
        "_header_timeout", "_in_head", "_lock", "_number", "_sent", "_stall",
    )  # fmt: skip

    def __init__(self, endpoint: str, ctx: Context, header_timeout: float | None) -> None:
        self._endpoint = endpoint
        self._ctx, self._deadline = ctx, ctx.deadline
        self._header_timeout = header_timeout
        self._head_until = None if header_timeout is None else runtime.now() + header_timeout
        self._stall: float | None = _stall_limit(header_timeout)
        self._lock = runtime.new_lock()
        self._connection: Connection | None = None
        self._sent = False
        self._fresh = False
        self._in_head = True
        self._ended_from_outside: str | None = None
        self._number = 0
        self._generation = runtime.generation()

    def __enter__(self) -> Self:
        self._ctx.check()
        self._number = self._ctx.subscribe(self.abort)
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        self._ctx.unsubscribe(self._number)
        with self._lock:
            connection, self._connection = self._connection, None
        if error is None:
            return
        if connection is not None:
            connection.close()
        if isinstance(error, BROKEN):
            raise self.translate(error) from error

    def abort(self, why: str = "") -> None:
        """End the attempt from another thread; nothing happens when it is over.

        Nor in a forked child: a shutdown would end the parent's connection, which is the same socket.
        """
        if self._generation != runtime.generation():
            return
        with self._lock:
            self._ended_from_outside = why
            if self._connection is not None:
                self._connection.shut_down()

    def begin(
        self, idle: Connection | None, connect: Callable[[], Connection], data: bytes
    ) -> tuple[Connection, Response]:
        """Send `data` over the idle connection or a new one, and read the head of the answer."""
        connection = idle or connect()
        connection.limit = self._left
        connection.look = self._check_not_ended
        with self._lock:
            self._connection = connection
        if idle is None:
            self._fresh = True
            connection.connect()
        self._check_not_ended()
        connection.set_limit()
        self._sent = True
        try:
            connection.sock.sendall(data)
        except OSError:
            connection.hear_out()
            raise
        response = Response(connection)
        if response.status < 200:
            # 100 is skipped. After another one the answer is still to come, to somebody else.
            raise http.client.HTTPException(f"HTTP status {response.status}, which is no answer")
        self._in_head = False
        return connection, response

    def _check_not_ended(self) -> None:
        # A cancel that came before there was a socket had nothing to shut down. No lock: the connection was put
        # in under it before, so either this sees the end that was told, or who told it has seen the connection.
        if self._ended_from_outside is not None:
            raise OSError("ended from outside")

    def lend(self, ctx: Context) -> None:
        """Let `ctx` limit the attempt from now on, in place of the one before; by the reader's thread only."""
        number = ctx.subscribe(self.abort)
        self._ctx.unsubscribe(self._number)
        self._ctx, self._deadline, self._number = ctx, ctx.deadline, number

    def set_stall(self, seconds: float | None) -> None:
        """Set how long a receive in the body may take; None for a stream that may be quiet for ever."""
        self._stall = seconds

    def _left(self) -> float | None:
        """Give the seconds that the next wait may take; raises TimeoutError when there are none."""
        now = runtime.now()
        left = self._stall
        if self._in_head:
            left = None if self._head_until is None else self._head_until - now
        deadline = self._deadline
        if deadline is not None and (left is None or deadline - now < left):
            left = deadline - now
        if left is not None and left <= 0:
            raise TimeoutError
        return runtime.bearable(left)

    def translate(self, error: Exception) -> EndpointError | ContextError:
        """Give the library's error for what went wrong: the Context's own if that has ended."""
        ended = self._ctx.error
        if ended is None and isinstance(error, TimeoutError) and self._deadline_is_next():
            ended = DeadlineExceeded("the call did not end within its deadline")
        if ended is not None:
            ended.maybe_applied = self._sent
            return ended
        refused = self._fresh and self._in_head and is_refused_certificate(error)
        return EndpointError(
            self._endpoint,
            self._reason(error),
            maybe_applied=self._sent and not refused,
            silent=isinstance(error, TimeoutError),
        )

    def _deadline_is_next(self) -> bool:
        # A socket's timeout is cut to whole milliseconds, so it may fire a hair before the deadline.
        remaining = self._ctx.remaining()
        return remaining is not None and remaining < 0.002

    def _reason(self, error: Exception) -> str:
        if self._ended_from_outside:
            return self._ended_from_outside
        if not isinstance(error, TimeoutError) or error.errno == errno.ETIMEDOUT:
            return reason_of(error) + self._advice(error)
        if self._in_head:
            what = "no answer" if self._sent else "no connection"
            return f"{what} within {self._header_timeout:g} s"
        return f"the answer stalled for {self._stall:g} s"

    def _advice(self, error: Exception) -> str:
        """Say what to look at when the first contact over a connection fails: most often http for https."""
        if not self._fresh or not self._in_head or not isinstance(error, _CLOSED):
            return ""
        if self._endpoint.startswith("http:"):
            return "; if it speaks TLS, the endpoint is https"
        return "" if self._sent else ", in the TLS handshake; is the endpoint http?"


def _stall_limit(header_timeout: float | None) -> float:
    """Give how long an answer may pause: as long as its head may take, within reason."""
    if header_timeout is None:
        return STALL
    return min(STALL, max(SHORTEST_STALL, header_timeout))


_CLOSED = (
    http.client.RemoteDisconnected,
    ConnectionResetError,
    BrokenPipeError,
    ssl.SSLEOFError,
    ssl.SSLZeroReturnError,  # in a handshake, from OpenSSL 3.0
)

_REFUSED = ("CERTIFICATE", "UNKNOWN_CA", "ACCESS_DENIED", "DECRYPT_ERROR", "HANDSHAKE_FAILURE")


def is_refused_certificate(error: Exception) -> bool:
    """Tell whether the server ends the handshake because of the client's certificate, or for want of one."""
    reason = (isinstance(error, ssl.SSLError) and error.reason) or ""
    return "_ALERT_" in reason and any(word in reason for word in _REFUSED)


def reason_of(error: Exception) -> str:
    """Say what went wrong, for people: what happened, and what to look at."""
    if isinstance(error, ConnectionRefusedError):
        return "connection refused; is etcd running there?"
    if isinstance(error, socket.gaierror):
        return f"the host name was not found ({error.strerror or error})"
    if isinstance(error, _CLOSED):
        return "the connection was closed without an answer"
    if isinstance(error, ssl.SSLError):
        return _tls_reason(error)
    if isinstance(error, http.client.IncompleteRead):
        return "the answer was cut off"
    if isinstance(error, TimeoutError):
        return "the connection timed out in the network"
    if isinstance(error, http.client.BadStatusLine):
        return "what answered does not speak HTTP/1.1 (a gRPC-only port?)"
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _tls_reason(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        why = error.verify_message.rstrip(".")
        return f"the server's certificate was not accepted ({why}); {_remedy(error.verify_code)}"
    if is_refused_certificate(error):
        said = error.reason.rpartition("_ALERT_")[2].replace("_", " ").lower()
        return (
            f"the server refused the client's certificate, or the lack of one ({said}); "
            "check cert= and key=, and whether the server trusts their authority"
        )
    if error.reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST"):
        return "what answered does not speak TLS; is the endpoint http?"
    return f"TLS failed ({error.reason or error})"


def _remedy(code: int) -> str:
    """Say what to do about a certificate, by OpenSSL's number for what is wrong with it."""
    if code in (62, 64):
        return "use a name for the endpoint that is in the certificate"
    if code in (9, 10):
        return "check the clocks here and there, or have the certificate renewed"
    return "check ca=, the authority that signed it"
