"""One request to one endpoint: the only module that knows sockets, and the only one that imports requests.

The requests Session decides what a request carries: its headers, TLS verification, client certificate
and authentication. The bytes travel over http.client connections of our own, because ending a call that
is in flight takes the socket, and because it costs half of the client's CPU.

One exchange
1. Take an idle connection to the endpoint, if there is one that the server has not closed; else connect.
2. Register with the Context: a cancel shuts the socket down, from outside, whatever the call waits for.
3. Send. From the first byte on, nobody can tell any more whether the server acted: `maybe_applied`.
4. Read the head. Each receive may take what is left of the header timeout and of the deadline, so that
   neither silence nor one byte a second gets past them.
5. Read the body. Each receive may take the stall limit, and all of them together the deadline.
6. Give the connection back, if it is still in step; otherwise close it.

Rules of this file
* Every failure becomes an EndpointError (with `maybe_applied`) or the Context's own error.
* A connection belongs to one attempt at a time; the cancel of an attempt that is over cannot touch it.
* A child of fork starts with no connection.
"""

from __future__ import annotations

import errno
import http.client
import io
import os
import select
import socket
import ssl
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import SplitResult, urlsplit

import requests
from requests.auth import AuthBase

from etcd_recipes.core import runtime
from etcd_recipes.core.context import Context
from etcd_recipes.core.errors import ContextError, DeadlineExceeded, EndpointError
from etcd_recipes.core.http.action import Action, Reply

__all__ = ["Stream", "Wire"]

_IDLE_PER_ENDPOINT = 32
_CHUNK = 65536
STALL = 5.0
"""Seconds without a byte in the middle of an answer after which the endpoint is given up."""


class Wire:
    """Sends Actions to endpoints.

    `session` is a requests.Session that decides headers, TLS and authentication; without one, a Session
    is made that takes nothing from the environment (a proxy meant for the internet would swallow etcd
    calls). `ca`, `cert` and `key` are file names.
    """

    def __init__(
        self,
        session: requests.Session | None = None,
        *,
        ca: str | None = None,
        cert: str | None = None,
        key: str | None = None,
    ) -> None:
        self._session = session or _plain_session()
        if ca is not None:
            self._session.verify = ca
        if cert is not None:
            self._session.cert = (cert, key) if key is not None else cert
        self._routes: dict[str, _Route] = {}
        runtime.at_fork(self)

    def exchange(
        self, endpoint: str, action: Action, ctx: Context, header_timeout: float | None
    ) -> Reply:
        """Send `action` to `endpoint` and give its whole answer.

        Raises EndpointError when there is none, and the Context's error when that ends first.
        """
        route = self._route(endpoint)
        attempt = _Attempt(endpoint, ctx, header_timeout)
        with attempt:
            connection, response = attempt.begin(route, action)
            body = response.read()
            headers = _Headers(response.headers)
            reusable = not response.will_close and response.isclosed()
        if reusable:
            route.give_back(connection)
        else:
            connection.close()
        return Reply(response.status, headers, body, endpoint)

    def open(
        self, endpoint: str, action: Action, ctx: Context, header_timeout: float | None
    ) -> Stream:
        """Send `action` and give the answer as a stream, as soon as its headers are there.

        Raises EndpointError when no headers come, and the Context's error when that ends first. The
        stream ends with `ctx`.
        """
        route = self._route(endpoint)
        attempt = _Attempt(endpoint, ctx, header_timeout)
        attempt.__enter__()
        try:
            connection, response = attempt.begin(route, action)
        except BaseException as error:
            attempt.__exit__(type(error), error, None)
            raise
        return Stream(endpoint, attempt, connection, response)

    def close(self) -> None:
        """Close all idle connections; calls in flight go on to their end."""
        for route in list(self._routes.values()):
            route.close()

    def after_fork_in_child(self) -> None:
        """Forget the parent's connections: two processes on one socket would read each other's answers."""
        # Dropped without close(): closing a TLS socket would say goodbye on the parent's connection.
        for route in self._routes.values():
            route.forget()
        self._routes = {}

    def _route(self, endpoint: str) -> _Route:
        route = self._routes.get(endpoint)
        if route is None:
            route = self._routes[endpoint] = _Route(endpoint, self._session)
        return route


def _plain_session() -> requests.Session:
    session = requests.Session()
    session.trust_env = False
    session.headers.clear()
    session.headers["User-Agent"] = "etcd-recipes"
    return session


# -- an endpoint's connections ---------------------------------------------------------------------------


class _Route:
    """How to reach one endpoint: what the Session says about it, and its idle connections."""

    def __init__(self, endpoint: str, session: requests.Session) -> None:
        self._url: SplitResult = urlsplit(endpoint)
        prepared = session.prepare_request(requests.Request("POST", endpoint))
        skipped = ("content-length", "accept-encoding", "transfer-encoding")
        self._headers = {k: v for k, v in prepared.headers.items() if k.lower() not in skipped}
        self._sign = session.auth if isinstance(session.auth, AuthBase) else None
        settings = session.merge_environment_settings(endpoint, {}, None, None, None)
        self._tls = (
            _tls_context(settings["verify"], settings["cert"])
            if self._url.scheme == "https"
            else None
        )
        self._idle: deque[_Connection] = deque(maxlen=None)

    def request(self, action: Action) -> bytes:
        """Give the bytes of a request: head and body in one piece, for they are to be one packet.

        (http.client sends them apart, which costs a system call here and another one in the server.)
        """
        headers = {**self._headers, **action.headers}
        if self._sign is not None:
            self._let_sign(action, headers)
        lines = [
            f"{action.method} {self._url.path}{action.path} HTTP/1.1",
            f"Host: {self._url.netloc}",
        ]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        lines += [f"Content-Length: {len(action.body)}", "", ""]
        return "\r\n".join(lines).encode("latin-1") + action.body

    def _let_sign(self, action: Action, headers: dict[str, str]) -> None:
        """Let an authentication of the user's own look at each request, as requests itself would."""
        url = self._url.geturl() + action.path
        request = requests.Request(
            action.method, url, data=action.body, headers=headers, auth=self._sign
        )
        skipped = ("content-length", "host")
        headers |= {k: v for k, v in request.prepare().headers.items() if k.lower() not in skipped}

    def take(self) -> _Connection | None:
        """Give the idle connection that was used last, if the server has not closed it."""
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return None
            if connection.in_step():
                return connection
            connection.close()

    def connection(self) -> _Connection:
        """Make a connection that is not connected yet."""
        host, port = self._url.hostname or "", self._url.port
        if self._tls is not None:
            return _TlsConnection(host, port, context=self._tls)
        return _Connection(host, port)

    def give_back(self, connection: _Connection) -> None:
        """Keep a connection for the next attempt."""
        if len(self._idle) >= _IDLE_PER_ENDPOINT:
            connection.close()
        else:
            self._idle.append(connection)

    def close(self) -> None:
        """Close the idle connections."""
        while (connection := self.take()) is not None:
            connection.close()

    def forget(self) -> None:
        """Drop the idle connections without a word to the server."""
        for connection in self._idle:
            connection.forget()
        self._idle.clear()


def _tls_context(verify: bool | str | None, cert: str | tuple[str, str] | None) -> ssl.SSLContext:
    if verify is False:
        context = ssl._create_unverified_context()  # noqa: S323 (the user's Session asks for it)
    else:
        context = ssl.create_default_context(
            cafile=verify if isinstance(verify, str) else requests.certs.where()
        )
    if isinstance(cert, str):
        context.load_cert_chain(cert)
    elif cert is not None:
        context.load_cert_chain(*cert)
    return context


class _Connection(http.client.HTTPConnection):
    """An http.client connection whose every wait is bounded, and which another thread can end."""

    def __init__(self, host: str, port: int | None = None, **options: Any) -> None:
        super().__init__(host, port, **options)
        self.limit: Callable[[], float | None] = _no_limit
        self.look: Callable[[], None] = _see_nothing
        self.hung_up = False
        self._create_connection = self._dial  # http.client's own hook for making the socket

    def _dial(self, address: tuple[str, int], *_: object) -> socket.socket:
        """Connect to the first address that takes us; like socket.create_connection, but abortable."""
        failure: OSError | None = None
        for family, kind, proto, _name, place in socket.getaddrinfo(
            *address, 0, socket.SOCK_STREAM
        ):
            sock = socket.socket(family, kind, proto)
            try:
                self._connect(sock, place)
            except OSError as error:
                sock.close()
                failure = error
            else:
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
        poll = select.poll()
        poll.register(sock, select.POLLOUT)
        if not poll.poll(None if left is None else left * 1000):
            raise TimeoutError
        if failure := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(failure, os.strerror(failure))
        self.look()

    def in_step(self) -> bool:
        """Tell whether an idle connection can be used: the server has neither closed it nor sent anything."""
        sock = self.sock
        if sock is None:
            return False
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        return not poll.poll(0)

    def shut_down(self) -> None:
        """End whatever waits on the socket, from any thread; the owner closes it afterwards."""
        sock = self.sock
        if sock is not None:
            try:
                # The plain socket's method also for TLS: SSLSocket.shutdown would pull the TLS object
                # out from under the thread that reads.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)
            except OSError:
                pass  # not connected yet, or gone already

    def forget(self) -> None:
        """Close the descriptor and nothing else."""
        sock, self.sock = self.sock, None  # type: ignore[assignment]
        if sock is not None:
            socket.close(sock.detach())

    def receive_into(self, buffer: memoryview) -> int:
        """Receive what is there into `buffer`, waiting no longer than the limit allows."""
        self.sock.settimeout(self.limit())
        count = self.sock.recv_into(buffer)
        if count == 0:
            self.hung_up = True
        return count


class _TlsConnection(_Connection, http.client.HTTPSConnection):
    """The same over TLS: HTTPSConnection wraps the socket that `_dial` made."""


def _no_limit() -> float | None:
    return None


def _see_nothing() -> None:
    return None


class _Source(io.RawIOBase):
    """The connection as something that io.BufferedReader can read."""

    def __init__(self, connection: _Connection) -> None:
        self._connection = connection

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._connection.receive_into(buffer)

    def makefile(self, _mode: str) -> io.BufferedReader:
        """Stand in for the socket that http.client asks for its reading side."""
        return io.BufferedReader(self, _CHUNK)


class _Response(http.client.HTTPResponse):
    """An http.client response that reads through `_Source`."""

    def __init__(self, connection: _Connection, method: str) -> None:
        super().__init__(_Source(connection), method=method)  # type: ignore[arg-type]


class _Headers(dict[str, str]):
    """Response headers by lower-case name."""

    def __init__(self, message: http.client.HTTPMessage | Mapping[str, str]) -> None:
        super().__init__((name.lower(), value) for name, value in message.items())


# -- one attempt -------------------------------------------------------------------------------------------


class _Attempt:
    """One attempt at one endpoint: its limits, its cancel, and the translation of what goes wrong.

    Entered, it is registered with the Context; left, it is not, and its cancel has no more effect.
    """

    def __init__(self, endpoint: str, ctx: Context, header_timeout: float | None) -> None:
        self._endpoint = endpoint
        self._ctx = ctx
        self._header_timeout = header_timeout
        self._head_until = None if header_timeout is None else runtime.now() + header_timeout
        self._stall: float | None = STALL
        self._lock = runtime.new_lock()
        self._connection: _Connection | None = None
        self._sent = False
        self._in_head = True
        self._ended_from_outside: str | None = None
        self._number = 0

    def __enter__(self) -> _Attempt:
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
        if isinstance(error, OSError | http.client.HTTPException | ValueError):
            raise self.translate(error) from error

    def abort(self, why: str = "") -> None:
        """End the attempt from another thread; nothing happens when it is over."""
        with self._lock:
            self._ended_from_outside = why
            if self._connection is not None:
                self._connection.shut_down()

    def begin(self, route: _Route, action: Action) -> tuple[_Connection, http.client.HTTPResponse]:
        """Steps 1 to 4: connect, send, read the head."""
        connection = route.take() or route.connection()
        connection.limit = self._left
        connection.look = self._check_not_ended
        connection.hung_up = False
        with self._lock:
            self._connection = connection
        if connection.sock is None:
            connection.connect()
        self._send(connection, route, action)
        response = _Response(connection, action.method)
        response.begin()
        if connection.hung_up:
            # http.client takes a head that was cut off for a complete one.
            raise http.client.RemoteDisconnected("the answer was cut off in its headers")
        self._in_head = False
        return connection, response

    def _check_not_ended(self) -> None:
        # A cancel that came before there was a socket had nothing to shut down.
        with self._lock:
            if self._ended_from_outside is not None:
                raise OSError("ended from outside")

    def _send(self, connection: _Connection, route: _Route, action: Action) -> None:
        data = route.request(action)
        connection.sock.settimeout(self._left())
        self._sent = True
        connection.sock.sendall(data)

    def set_stall(self, seconds: float | None) -> None:
        """Set how long a receive in the body may take; None for a stream that may be quiet for ever."""
        self._stall = seconds

    def _left(self) -> float | None:
        """Give the seconds that the next wait may take; raises TimeoutError when there are none."""
        now = runtime.now()
        left = self._stall
        if self._in_head:
            left = None if self._head_until is None else self._head_until - now
        deadline = self._ctx.deadline
        if deadline is not None and (left is None or deadline - now < left):
            left = deadline - now
        if left is not None and left <= 0:
            raise TimeoutError
        return left

    def translate(self, error: Exception) -> EndpointError | ContextError:
        """Give the library's error for what went wrong: the Context's own if that has ended."""
        ended = self._ctx.error
        if ended is None and isinstance(error, TimeoutError) and self._deadline_is_next():
            ended = DeadlineExceeded("the call did not end within its deadline")
        if ended is not None:
            ended.maybe_applied = self._sent
            return ended
        return EndpointError(
            self._endpoint,
            self._reason(error),
            maybe_applied=self._sent,
            silent=isinstance(error, TimeoutError),
        )

    def _deadline_is_next(self) -> bool:
        # A socket's timeout is cut to whole milliseconds, so it may fire a hair before the deadline.
        remaining = self._ctx.remaining()
        return remaining is not None and remaining < 0.002

    def _reason(self, error: Exception) -> str:
        if self._ended_from_outside:
            return self._ended_from_outside
        if isinstance(error, TimeoutError):
            if self._in_head:
                return f"{'no answer' if self._sent else 'no connection'} within {self._header_timeout:g} s"
            return f"the answer stalled for {self._stall:g} s"
        if isinstance(error, ConnectionRefusedError):
            return "connection refused; is etcd running there?"
        if isinstance(error, socket.gaierror):
            return f"the host name was not found ({error.strerror or error})"
        if isinstance(error, ssl.SSLCertVerificationError):
            return f"the server's certificate was not accepted ({error.verify_message}); check ca="
        if isinstance(error, ssl.SSLError):
            return f"TLS failed ({error.reason or error}); is the endpoint https, and cert= the right one?"
        if isinstance(
            error, http.client.RemoteDisconnected | ConnectionResetError | BrokenPipeError
        ):
            return "the connection was closed without an answer"
        if isinstance(error, http.client.IncompleteRead):
            return "the answer was cut off"
        if isinstance(error, http.client.BadStatusLine):
            return "what answered does not speak HTTP/1.1 (a gRPC-only port?)"
        return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


class Stream:
    """An answer that goes on: bytes as they come, until the server ends it or `close` is called."""

    def __init__(
        self,
        endpoint: str,
        attempt: _Attempt,
        connection: _Connection,
        response: http.client.HTTPResponse,
    ) -> None:
        self.endpoint = endpoint
        self.status = response.status
        self.headers: Mapping[str, str] = _Headers(response.headers)
        self._attempt = attempt
        self._connection = connection
        self._response = response

    def read(self, quiet: float | None = None) -> bytes:
        """Give the next bytes, or b"" when the server has ended the stream properly.

        Raises EndpointError when the connection breaks, when `abort` is called, or when nothing comes
        for `quiet` seconds (then with `silent`); and the Context's error when that ends. The stream
        cannot be read again after an error.
        """
        self._attempt.set_stall(quiet)
        try:
            return self._response.read1(_CHUNK)
        except (OSError, http.client.HTTPException, ValueError, AttributeError) as error:
            raise self._attempt.translate(error) from error

    def abort(self, why: str) -> None:
        """Make the reader's `read` raise EndpointError with this reason; from any thread."""
        self._attempt.abort(why)

    def close(self) -> None:
        """End the stream and close its connection; the owner's thread, any number of times."""
        self._attempt.__exit__(None, None, None)
        self._connection.close()
