"""The client: endpoints and options in, everything else wired up from them.

This is the only module that sees both the dialect and the recipes. It decides nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, Self, TypeVar

from etcd_recipes import settings
from etcd_recipes.coordination.names import check_name
from etcd_recipes.coordination.session import Session
from etcd_recipes.coordination.sessions import Sessions, check_ttl
from etcd_recipes.core.context import Context, check_timeout, limit
from etcd_recipes.core.http.cluster import Cluster
from etcd_recipes.core.http.endpoints import parse_endpoints
from etcd_recipes.core.http.sync import Sync, check_selection
from etcd_recipes.core.http.wire import Wire, unverified_session
from etcd_recipes.core.log import event_logger
from etcd_recipes.core.v3.api import V3
from etcd_recipes.core.v3.gateway import Gateway
from etcd_recipes.core.v3.store import V3Store
from etcd_recipes.recipes.barrier import Barrier
from etcd_recipes.recipes.double_barrier import DoubleBarrier
from etcd_recipes.recipes.election import Election
from etcd_recipes.recipes.latch import Latch
from etcd_recipes.recipes.lock import Lock, exclusive
from etcd_recipes.recipes.multi_lock import MultiLock
from etcd_recipes.recipes.registry import Codec, Registry
from etcd_recipes.recipes.rwlock import RWLock
from etcd_recipes.recipes.semaphore import Semaphore

if TYPE_CHECKING:
    from etcd_recipes.core.http.wire import HttpSession
    from etcd_recipes.core.retry import Retry
    from etcd_recipes.core.store import Store
    from etcd_recipes.core.v2.api import V2
    from etcd_recipes.core.v2.values import Version

__all__ = ["Client"]

P = ParamSpec("P")
R = TypeVar("R")


class Client:
    """A client of one etcd cluster; free to be used by many threads. Close it, or use it with ``with``.

    `endpoints` is a URL, several with commas between, or a sequence of them; one without a scheme is https
    if there are certificates, else http. Nothing is sent before the first call. ValueError for an endpoint
    that is none, a file that cannot be loaded, or a time that is negative.

    `api` is the store that the recipes use, "v3" or "v2"; the two do not see each other, so it is never
    guessed. `username` and `password` are etcd's: on v3 a token is fetched with them, shared by all calls and
    renewed when it has died; with ``api="v2"`` they are sent with every request. Either way to these
    endpoints and nobody else. `ca`, `cert` and `key` are files for TLS, loaded anew when they change.
    `header_timeout` is how long, in seconds, one endpoint may take to begin its answer before the next one
    is asked (None: as long as the call has).
    `default_timeout` bounds calls that were given neither `timeout` nor `ctx`. `selection` says which of
    the endpoints that `sync` finds is asked first: one at "random", or the "leader". `namespace` is put in
    front of the names of all recipes, as it stands. `session_ttl` is the lease of whatever has no ttl of
    its own: how long others wait when this process dies without a word. Without `retry` a call walks over
    the endpoints once; a Retry says how often, and after which pauses, it walks again when none answered
    (never with a write that may have been carried out). `http` is a requests.Session of
    your own, whose headers, TLS settings and authentication are then used.
    """

    def __init__(
        self,
        endpoints: str | Iterable[str] = "http://127.0.0.1:2379",
        *,
        api: Literal["v3", "v2"] = "v3",
        username: str | None = None,
        password: str | None = None,
        ca: str | None = None,
        cert: str | None = None,
        key: str | None = None,
        header_timeout: float | None = 1.0,
        default_timeout: float = 10.0,
        selection: Literal["random", "leader"] = "random",
        namespace: str = "",
        session_ttl: float = 15.0,
        retry: Retry | None = None,
        http: HttpSession | None = None,
    ) -> None:
        # Imports structlog, here in the caller's thread: a fork would cut an import by one of our own
        # threads in half, and the child would be left with half a module.
        event_logger("client")
        check_timeout(header_timeout, "header_timeout")
        check_timeout(default_timeout, "default_timeout")
        check_selection(selection)
        self._namespace = _check_namespace(namespace)
        self._default_timeout = default_timeout
        self._selection = selection
        self._secure = ca is not None or cert is not None
        self._retry = retry
        self._cluster = Cluster(
            Wire(http, ca=ca, cert=cert, key=key, auth=_basic(api, username, password)),
            parse_endpoints(endpoints, secure=self._secure),
            header_timeout=header_timeout,
        )
        user = None if api == "v2" else _user(username, password)
        self._gateway = Gateway(self._cluster, user=user, policy=retry)
        self.v3 = V3(self._gateway, default_timeout)
        self._sessions = Sessions(
            self._store(api),
            default_ttl=check_ttl(session_ttl),
            default_timeout=default_timeout,
        )

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, **overrides: Any) -> Self:
        """Make a client from the environment, whose names are etcdctl's; `overrides` are arguments, and win.

        ETCDCTL_ENDPOINTS, ETCDCTL_CACERT, ETCDCTL_CERT, ETCDCTL_KEY, ETCDCTL_USER and ETCDCTL_PASSWORD
        (or ETCDCTL_USER_FILE and ETCDCTL_PASSWORD_FILE), ETCDCTL_COMMAND_TIMEOUT (`default_timeout`),
        ETCDCTL_DIAL_TIMEOUT (`header_timeout`), ETCDCTL_INSECURE_TRANSPORT and
        ETCDCTL_INSECURE_SKIP_TLS_VERIFY. With ETCDCTL_DISCOVERY_SRV the endpoints are asked for by DNS,
        now; otherwise nothing is sent. `environ` stands in for the process's own environment.

        ValueError, with the variable's name, for what makes no sense; and the errors of
        `etcd_recipes.core.srv.discover`.
        """
        found = settings.from_environment(os.environ if environ is None else environ, overrides)
        options = found.options
        if (srv := found.srv) is not None:
            from etcd_recipes.core.srv import discover

            patience = options.get("default_timeout")
            there = discover(srv.domain, service=srv.service, timeout=patience)
            options["endpoints"] = srv.choose(there)
        if not found.verify:
            options["http"] = unverified_session()
        return cls(**options)

    @classmethod
    def from_url(cls, url: str, **overrides: Any) -> Self:
        """Make a client from one URL; `overrides` are arguments, and win. Nothing is sent.

        ``etcd://user:password@h1:2379,h2:2379/namespace?timeout=5``, and ``etcds://`` for TLS. The port is
        2379 where there is none. The namespace ends with a slash, given or not. Options: `timeout`
        (`default_timeout`), `header_timeout`, `ttl` (`session_ttl`), `api`, `ca`, `cert`, `key` and
        `selection`. What would be taken for something else is written with percent signs: a slash in a
        password is %2F. ValueError, without the password in it, for a URL that makes no sense.
        """
        return cls(**(settings.from_url(url) | overrides))

    def _named(self, name: str, what: str) -> str:
        # Checked by itself: with a namespace in front of it an empty name would be one.
        return self._namespace + check_name(name, what)

    def _store(self, api: Literal["v3", "v2"]) -> Store:
        if api == "v3":
            return V3Store(self._gateway)
        if api != "v2":
            raise ValueError(f"api is 'v3' or 'v2', not {api!r}")
        from etcd_recipes.core.v2.service import Service
        from etcd_recipes.core.v2.store import V2Store

        return V2Store(Service(self._cluster, self._default_timeout, self._retry))

    @property
    def endpoints(self) -> tuple[str, ...]:
        """The endpoints, as URLs."""
        return self._cluster.endpoints

    def set_endpoints(self, endpoints: str | Iterable[str]) -> None:
        """Use these endpoints from the next call on."""
        self._cluster.set_endpoints(parse_endpoints(endpoints, secure=self._secure))

    def sync(self, *, timeout: float | None = None, ctx: Context | None = None) -> tuple[str, ...]:
        """Use the endpoints that the cluster's members advertise, and give those in use afterwards.

        Each is asked first whether it is there and of the same cluster; if none is, those in use stay.
        With ``selection="leader"`` the leader is asked first from then on. POST /v3/cluster/member/list,
        or GET /v2/members. Raises ClusterError, ResponseError or the Context's error, and changes nothing.
        """
        return self._sync.once(limit(timeout, ctx, default=self._default_timeout))

    def auto_sync(self, interval: float = 60.0) -> None:
        """Call `sync` now and every `interval` seconds, in the background, until the client is closed.

        Errors do not end it: what fails is tried again, and said once in the log (``sync.failed``,
        ``sync.recovered``). Called again, it changes the interval. No request in this thread.
        """
        self._sync.every(interval, self._default_timeout)

    def version(self, *, timeout: float | None = None, ctx: Context | None = None) -> Version:
        """Give the version of the server that answers, and of its cluster. GET /version.

        Raises ClusterError, ResponseError or the Context's error.
        """
        from etcd_recipes.core.v2 import replies, requests

        call = limit(timeout, ctx, default=self._default_timeout)
        return replies.version(self._cluster.send(requests.version(), call, replies.judge))

    @cached_property
    def v2(self) -> V2:
        """The v2 API: keys, members, auth, users, roles."""
        from etcd_recipes.core.v2.api import V2

        return V2(self._cluster, self._default_timeout, self._retry)

    @cached_property
    def _sync(self) -> Sync:
        from etcd_recipes.core.v2.topology import look as look_by_v2
        from etcd_recipes.core.v3.topology import looking_through

        looks = (looking_through(self._gateway), look_by_v2)
        return Sync(self._cluster, looks, self._selection)

    def session(
        self, ttl: float | None = None, *, timeout: float | None = None, ctx: Context | None = None
    ) -> Session:
        """Give the client's shared session of this ttl (seconds), opening it if there is none that lives.

        1 request when it is opened. Raises ClusterError, ResponseError or the Context's error.
        """
        return self._sessions.get(ttl, self._sessions.limit(timeout, ctx))

    def lock(
        self,
        name: str,
        *,
        ttl: float | None = None,
        timeout: float | None = None,
        max_hold: float | None = None,
        heartbeat: float | None = None,
    ) -> Lock:
        """Make a lock; `timeout` is how long ``with`` waits (seconds, None for ever). No request.

        A hold is lost when it has lasted for `max_hold` seconds, or when ``hold.heartbeat()`` was not called
        for `heartbeat` seconds, though the process lives: so that work that hangs does not hold for ever.
        """
        return Lock(
            self._sessions,
            self._named(name, "lock name"),
            ttl=ttl,
            timeout=timeout,
            max_hold=max_hold,
            heartbeat=heartbeat,
        )

    def multi_lock(
        self,
        names: Sequence[str],
        *,
        ttl: float | None = None,
        timeout: float | None = None,
        max_hold: float | None = None,
        heartbeat: float | None = None,
    ) -> MultiLock:
        """Make a lock of several names: all of them or none. No request.

        The names may come in any order: multi-locks never wait for each other in a circle. `timeout` is for
        all of them together; the limits are those of `lock`, and count from when all are held.
        """
        return MultiLock(
            self._sessions,
            names,
            namespace=self._namespace,
            ttl=ttl,
            timeout=timeout,
            max_hold=max_hold,
            heartbeat=heartbeat,
        )

    def exclusive(
        self,
        name: str,
        *,
        on_busy: Literal["skip", "wait", "raise"] = "wait",
        ttl: float | None = None,
        max_hold: float | None = None,
        heartbeat: float | None = None,
    ) -> Callable[[Callable[P, R]], Callable[P, R | None]]:
        """Decorate a function so that one process at a time runs it.

        When the lock is taken, the call is skipped and gives None, waits, or raises NotAcquired. LockLost
        is raised at its end when the lock was lost while it ran. Inside, ``current_hold()`` gives the hold;
        the limits are those of `lock`.
        """

        def make() -> Lock:
            return self.lock(name, ttl=ttl, max_hold=max_hold, heartbeat=heartbeat)

        return exclusive(make, on_busy)

    def rwlock(
        self,
        name: str,
        *,
        ttl: float | None = None,
        timeout: float | None = None,
        max_hold: float | None = None,
        heartbeat: float | None = None,
    ) -> RWLock:
        """Make a read-write lock; `timeout` is how long ``with`` waits (seconds, None for ever). No request.

        The limits are those of `lock`, for readers and writers alike.
        """
        return RWLock(
            self._sessions,
            self._named(name, "read-write lock name"),
            ttl=ttl,
            timeout=timeout,
            max_hold=max_hold,
            heartbeat=heartbeat,
        )

    def semaphore(
        self,
        name: str,
        *,
        permits: int,
        weight: int = 1,
        ttl: float | None = None,
        timeout: float | None = None,
        max_hold: float | None = None,
        heartbeat: float | None = None,
    ) -> Semaphore:
        """Make a semaphore of `permits`, of which each holder takes `weight`.

        `timeout` is how long ``with`` waits (seconds, None for ever); the limits are those of `lock`. No
        request.
        """
        return Semaphore(
            self._sessions,
            self._named(name, "semaphore name"),
            permits=permits,
            weight=weight,
            ttl=ttl,
            timeout=timeout,
            max_hold=max_hold,
            heartbeat=heartbeat,
        )

    def election(
        self,
        name: str,
        *,
        value: str = "",
        ttl: float | None = None,
        max_hold: float | None = None,
        heartbeat: float | None = None,
    ) -> Election:
        """Make an election; `value` is what this candidate proposes, the limits are those of `lock`. No request."""
        return Election(
            self._sessions,
            self._named(name, "election name"),
            value=value,
            ttl=ttl,
            max_hold=max_hold,
            heartbeat=heartbeat,
        )

    def registry(
        self, name: str = "services", *, codec: Literal["json", "grpc"] | Codec = "json"
    ) -> Registry:
        """Make a registry whose keys lie below `name`. No request.

        `codec` is how instances stand there: "json", "grpc" (the format of Go's gRPC naming, so that Go's
        clients of ``etcd:///<name>/<service>`` resolve them), or a Codec of your own. ValueError for
        another.
        """
        return Registry(self._sessions, self._named(name, "registry name"), codec)

    def barrier(self, name: str, *, ttl: float | None = None) -> Barrier:
        """Make a barrier; with `ttl` (seconds) it opens when its holder's process dies. No request."""
        return Barrier(self._sessions, self._named(name, "barrier name"), ttl=ttl)

    def double_barrier(
        self,
        name: str,
        *,
        parties: int,
        ttl: float | None = None,
        timeout: float | None = None,
    ) -> DoubleBarrier:
        """Make a double barrier for so many `parties`; `timeout` is of ``with``, each way. No request."""
        name = self._named(name, "double barrier name")
        return DoubleBarrier(self._sessions, name, parties=parties, ttl=ttl, timeout=timeout)

    def latch(self, name: str, *, count: int) -> Latch:
        """Make a latch that opens when it was counted down `count` times. No request."""
        return Latch(self._sessions, self._named(name, "latch name"), count=count)

    def close(self) -> None:
        """Revoke the sessions, so that all they hold is released at once, and close all connections."""
        made = vars(self)
        if "_sync" in made:
            self._sync.close()
        self._sessions.close()
        if "v2" in made:
            self.v2.close()
        self.v3.close()
        self._cluster.close()

    def __enter__(self) -> Self:
        """Give the client itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()

    def __repr__(self) -> str:
        return f"<Client {','.join(self.endpoints)}>"


def _check_namespace(namespace: str) -> str:
    if not isinstance(namespace, str):
        raise TypeError(f"a namespace is a str, not {type(namespace).__name__}")
    return namespace


def _user(username: str | None, password: str | None) -> tuple[str, str] | None:
    """Give the user's name and password, None for nobody; ValueError for a password of nobody's."""
    for what, text in (("username", username), ("password", password)):
        if isinstance(text, str) and _is_broken(text):  # Python's own error would show it
            raise ValueError(f"the {what} is text that UTF-8 cannot hold")
    if username:
        return username, password or ""
    if password:
        raise ValueError("there is a password, but no username")
    return None


def _is_broken(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)


def _basic(api: str, username: str | None, password: str | None) -> tuple[str, str] | None:
    """Give what is sent with every request: on v2 the password, on v3 nothing, for it has tokens."""
    user = _user(username, password)
    if user is None or api != "v2":
        return None
    if ":" in user[0]:
        raise ValueError(
            "a username with a colon cannot be sent: basic authentication ends it there"
        )
    return user
