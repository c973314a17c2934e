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
* A TLS connection is used as long as its context is the current one: see `tls`.
* A host that a redirect named, and that the user did not, is sent no header of the Session's.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

import requests
from requests.auth import AuthBase, HTTPBasicAuth

from etcd_recipes.core import runtime
from etcd_recipes.core.context import Context
from etcd_recipes.core.errors import EndpointError
from etcd_recipes.core.http import curl
from etcd_recipes.core.http.action import Action, Reply
from etcd_recipes.core.http.attempt import Attempt
from etcd_recipes.core.http.connection import Connection, Response, TlsConnection
from etcd_recipes.core.http.stream import Stream
from etcd_recipes.core.http.tls import Tls
from etcd_recipes.core.log import event_logger

if TYPE_CHECKING:
    import ssl

__all__ = ["HttpSession", "Stream", "Wire", "unverified_session"]

HttpSession = requests.Session
"""What a user may bring along; named here, so that no other module imports requests."""

_log = logging.getLogger("etcd_recipes.http")

_IDLE_PER_ENDPOINT = 32
_FOREIGN = 32
_HEADS = 16


class Wire:
    """Sends Actions to endpoints.

    `session` is a requests.Session that decides headers, TLS and authentication; without one, a Session
    is made that takes nothing from the environment (a proxy meant for the internet would swallow etcd
    calls). `ca`, `cert` and `key` are file names; `auth` is a user's name and password. ValueError for a
    file that cannot be loaded.
    """

    def __init__(
        self,
        session: requests.Session | None = None,
        *,
        ca: str | None = None,
        cert: str | None = None,
        key: str | None = None,
        auth: tuple[str, str] | None = None,
    ) -> None:
        self._session = session or _plain_session()
        if auth is not None:
            # As bytes: requests would put text into Latin-1, which has no word for most passwords.
            self._session.auth = HTTPBasicAuth(*(part.encode() for part in auth))
        if ca is not None:
            ca = self._session.verify = os.fspath(ca)
        if cert is not None:
            self._session.cert = (cert, key) if key is not None else cert
        if self._session.verify is False:
            event_logger("http")  # will be wanted: its import is to be no part of a call's time
        self._tls: dict[tuple[str | None, ...], Tls] = {}
        if not ca is cert is key is None:
            self._tls_of(ca or True, (cert, key)).current()  # what cannot work is said now
        self._routes: dict[str, _Route] = {}
        self._foreign_routes: dict[str, _Route] = {}
        runtime.at_fork(self)

    def exchange(
        self,
        endpoint: str,
        action: Action,
        ctx: Context,
        header_timeout: float | None,
        *,
        foreign: bool = False,
    ) -> Reply:
        """Send `action` to `endpoint` and give its whole answer; without credentials if it is `foreign`.

        Raises EndpointError when there is none, and the Context's error when that ends first.
        """
        attempt = Attempt(endpoint, ctx, header_timeout)
        with attempt:
            route = self._route(endpoint, foreign)
            connection, response = route.begin(attempt, action)
            body = response.read()
        if response.is_kept:
            route.give_back(connection)
        else:
            connection.close()
        return Reply(response.status, response.headers, body, endpoint, secret=action.secret)

    def open(
        self,
        endpoint: str,
        action: Action,
        ctx: Context,
        header_timeout: float | None,
        *,
        foreign: bool = False,
    ) -> Stream:
        """Send `action` and give the answer as a stream, as soon as its headers are there.

        Raises EndpointError when no headers come, and the Context's error when that ends first. The
        stream ends with `ctx`.
        """
        attempt = Attempt(endpoint, ctx, header_timeout)
        attempt.__enter__()
        try:
            route = self._route(endpoint, foreign)
            connection, response = route.begin(attempt, action)
        except BaseException as error:
            attempt.__exit__(type(error), error, None)
            raise
        return Stream(endpoint, attempt, connection, response, route.give_back)

    def close(self) -> None:
        """Close all idle connections; calls in flight go on to their end, and then close theirs."""
        for route in self._all_routes():
            route.close()

    def after_fork_in_child(self) -> None:
        """Forget the parent's connections: two processes on one socket would read each other's answers."""
        # Dropped without close(): closing a TLS socket would say goodbye on the parent's connection.
        for route in self._all_routes():
            route.forget()
        self._routes, self._foreign_routes = {}, {}
        for tls in self._tls.values():
            tls.forget()

    def _all_routes(self) -> list[_Route]:
        return [*self._routes.values(), *self._foreign_routes.values()]

    def _route(self, endpoint: str, foreign: bool = False) -> _Route:
        routes = self._routes_of(foreign)
        route = routes.get(endpoint)
        if route is None:
            # Two threads may meet here; the one that comes second must not lose the first one's
            # connections.
            made = _Route(endpoint, self._session, self._tls_for(endpoint), foreign=foreign)
            if foreign and len(routes) >= _FOREIGN:
                self._forget_foreign()
            route = self._routes_of(foreign).setdefault(endpoint, made)
        return route

    def _routes_of(self, foreign: bool) -> dict[str, _Route]:
        return self._foreign_routes if foreign else self._routes

    def _forget_foreign(self) -> None:
        """Close what redirects have led to: a server may invent ever more hosts, and each keeps connections."""
        routes, self._foreign_routes = self._foreign_routes, {}
        for route in list(routes.values()):
            route.close()

    def _tls_for(self, endpoint: str) -> Tls | None:
        if not endpoint.startswith("https:"):
            return None
        # What was given by name wins over what the environment says.
        given = self._session.verify if isinstance(self._session.verify, str) else None
        settings = self._session.merge_environment_settings(endpoint, {}, None, given, None)
        return self._tls_of(settings["verify"], settings["cert"])

    def _tls_of(
        self, verify: bool | str | None, cert: str | tuple[str | None, str | None] | None
    ) -> Tls:
        """Give the one Tls of these settings, in the form that requests has for them."""
        ca: str | None = verify if isinstance(verify, str) else requests.certs.where()  # type: ignore[attr-defined]
        if verify is False:
            ca = None
        own = cert if isinstance(cert, tuple) else (cert, None)
        tls = self._tls.setdefault((ca, *own), made := Tls(ca, *own))
        if ca is None and tls is made:
            event_logger("http").warning("tls.unverified")
        return tls


def unverified_session() -> requests.Session:
    """Make a Session that takes whatever answers over TLS for etcd; the log says so (``tls.unverified``)."""
    session = _plain_session()
    session.verify = False
    return session


def _plain_session() -> requests.Session:
    session = requests.Session()
    session.trust_env = False
    session.headers.clear()
    session.headers["User-Agent"] = "etcd-recipes"
    return session


# -- an endpoint's connections ---------------------------------------------------------------------------


class _Route:
    """How to reach one endpoint: what the Session says about it, and its idle connections."""

    def __init__(
        self, endpoint: str, session: requests.Session, tls: Tls | None, *, foreign: bool = False
    ) -> None:
        self._endpoint = endpoint
        self._tls = tls
        self._url: SplitResult = urlsplit(endpoint)
        prepared = session.prepare_request(requests.Request("POST", endpoint))
        skipped = ("content-length", "accept-encoding", "transfer-encoding")
        self._headers = {
            name: _text(value)
            for name, value in prepared.headers.items()
            if name.lower() not in skipped and (not foreign or name.lower() == "user-agent")
        }
        own_auth = isinstance(session.auth, AuthBase) and not isinstance(
            session.auth, HTTPBasicAuth
        )
        self._sign = session.auth if own_auth and not foreign else None
        self._lines: dict[tuple[tuple[str, str], ...], str] = {}  # of heads that were sent before
        self._idle: deque[Connection] = deque()
        self._closed = False

    def begin(self, attempt: Attempt, action: Action) -> tuple[Connection, Response]:
        """Steps 1, 3 and 4 of an exchange."""
        data = self._request(action)
        return attempt.begin(self._take(), self._connection, data)

    def _context(self) -> ssl.SSLContext | None:
        if self._tls is None:
            return None
        try:
            return self._tls.current()
        except ValueError as error:
            raise EndpointError(self._endpoint, str(error)) from error

    def _request(self, action: Action) -> bytes:
        """Give the bytes of a request: head and body in one piece, for they are to be one packet.

        (http.client sends them apart, which costs a system call here and another one in the server.)
        """
        kind = tuple(action.headers.items())
        lines = self._lines.get(kind)
        if lines is None or _log.isEnabledFor(logging.DEBUG):
            lines = self._lines_of(action)
            if self._sign is None:
                if len(self._lines) >= _HEADS:  # tokens come and go
                    self._lines = {}
                self._lines[kind] = lines
        head = (
            f"{action.method} {self._url.path}{action.path} HTTP/1.1\r\n"
            f"{lines}Content-Length: {len(action.body)}\r\n\r\n"
        )
        return head.encode("latin-1") + action.body

    def _lines_of(self, action: Action) -> str:
        """Give the lines of the head that are the same for all actions with these headers, if nobody signs them."""
        headers = {**self._headers, **action.headers}
        if self._sign is not None:
            self._let_sign(action, headers)
        if _log.isEnabledFor(logging.DEBUG):
            shown = curl.command(self._endpoint, action, headers)
            event_logger("http").debug("http.request", curl=shown)
        lines = [f"{name}: {value}\r\n" for name, value in headers.items()]
        return f"Host: {self._url.netloc}\r\n{''.join(lines)}"

    def _let_sign(self, action: Action, headers: dict[str, str]) -> None:
        """Let an authentication of the user's own look at each request, as requests itself would."""
        url = self._url.geturl() + action.path
        request = requests.Request(
            action.method, url, data=action.body, headers=headers, auth=self._sign
        )
        skipped = ("content-length", "host")
        signed = request.prepare().headers
        headers |= {k: _text(v) for k, v in signed.items() if k.lower() not in skipped}

    def _take(self) -> Connection | None:
        """Give the idle connection that was used last, if it is of the current context and still open."""
        context = self._context()
        while not runtime.is_guest() and (connection := self._pop()) is not None:
            if connection.tls is context and connection.in_step():
                return connection
            connection.close()
        return None

    def _pop(self) -> Connection | None:
        try:
            return self._idle.pop()
        except IndexError:
            return None

    def _connection(self) -> Connection:
        """Make a connection that is not connected yet."""
        context = self._context()
        host = self._url.hostname or ""
        port = self._url.port or (443 if context is not None else 80)
        if context is not None:
            return TlsConnection(host, port, context=context)
        return Connection(host, port)

    def give_back(self, connection: Connection) -> None:
        """Keep a connection for the next attempt."""
        if len(self._idle) >= _IDLE_PER_ENDPOINT or runtime.is_guest():
            connection.close()
            return
        self._idle.append(connection)
        if self._closed:
            self.close()  # it came back while, or after, the others were closed

    def close(self) -> None:
        """Close the idle connections, and from now on those that come back."""
        self._closed = True
        while (connection := self._pop()) is not None:
            connection.close()

    def forget(self) -> None:
        """Drop the idle connections without a word to the server."""
        for connection in self._idle:
            connection.forget()
        self._idle.clear()


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")
