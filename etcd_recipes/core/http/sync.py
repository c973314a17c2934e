"""Sync: the endpoints that the cluster itself advertises, instead of those that the user wrote down.

One sync
1. Ask the cluster for its members' client URLs (how, the dialect knows: `Look`).
2. Ask each URL the same. Those that answer, and name the same cluster, are the endpoints from now on: a
   member may advertise an address that is good in its own container only, where from here there is nobody,
   or another etcd.
3. If none does, the endpoints stay as they are. If they are the same as before, so does the pinned one.
4. If the leader is to be asked first, pin it. While there is none, the pinned one stays.

A member that does not answer is left out until the next sync. Those that do are a majority (or the cluster
does not work), and every later majority has one of them in it: the client is never left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from etcd_recipes.core import runtime
from etcd_recipes.core.context import Context
from etcd_recipes.core.errors import (
    ClusterError,
    ContextError,
    EtcdRecipesError,
    ResponseError,
)
from etcd_recipes.core.http.cluster import Cluster
from etcd_recipes.core.http.endpoints import parse_endpoints
from etcd_recipes.core.log import event_logger

__all__ = ["Look", "Sync", "View", "advertised", "check_selection"]

_PROBE = 2.0
"""Seconds that one advertised endpoint may take to show itself."""


@dataclass(frozen=True, slots=True)
class View:
    """What an endpoint says of its cluster: all client URLs, and those of the leader if asked for."""

    cluster_id: str
    urls: tuple[str, ...]
    leader: tuple[str, ...] = ()


Look = Callable[[Cluster, Context, str | None, bool], View]
"""Asks the cluster, or one endpoint alone; the flag says whether the leader is wanted."""


def check_selection(selection: str) -> None:
    """Raise ValueError if there is no such way to choose the endpoint that is asked first."""
    if selection not in ("random", "leader"):
        raise ValueError(f"selection is 'random' or 'leader', not {selection!r}")


def advertised(urls: Iterable[str]) -> tuple[str, ...]:
    """Give the URLs that a client can use, each once; a unix socket, say, is none."""
    found: list[str] = []
    for url in urls:
        try:
            found += parse_endpoints([url])
        except ValueError:
            continue
    return tuple(dict.fromkeys(found))


class Sync:
    """The syncs of one client; `looks` are tried in turn, for a server may speak but one dialect."""

    def __init__(self, cluster: Cluster, looks: Sequence[Look], selection: str) -> None:
        self._cluster = cluster
        self._looks = looks
        self._to_leader = selection == "leader"
        self._interval: float | None = None
        self._call_timeout = 0.0
        self._failing = False
        self._life = Context()
        self._wake = runtime.new_event()
        self._thread: runtime.Thread | None = None
        runtime.at_fork(self)

    def once(self, ctx: Context) -> tuple[str, ...]:
        """Steps 1 to 4; gives the endpoints that are in use afterwards."""
        look, view = self._look(ctx)
        urls = advertised(view.urls)
        if not urls:
            raise ResponseError("no member of the cluster says where it serves clients")
        found = tuple(url for url in urls if self._is_there(look, url, view.cluster_id, ctx))
        if not found:
            event_logger("sync").warning("sync.unreachable", advertised=urls)
        elif set(found) != set(self._cluster.endpoints):
            event_logger("sync").info("sync.changed", endpoints=found)
            self._cluster.set_endpoints(found)
        for url in advertised(view.leader):
            if url in self._cluster.endpoints:
                self._cluster.pin(url)
                break
        return self._cluster.endpoints

    def _look(self, ctx: Context) -> tuple[Look, View]:
        refusal: ResponseError | None = None
        for look in self._looks:
            try:
                return look, look(self._cluster, ctx, None, self._to_leader)
            except ResponseError as error:
                refusal = refusal or error
        assert refusal is not None
        raise refusal

    def _is_there(self, look: Look, url: str, cluster_id: str, ctx: Context) -> bool:
        try:
            return look(self._cluster, ctx.child(_PROBE), url, False).cluster_id == cluster_id
        except (ClusterError, ResponseError, ContextError):
            ctx.check()
            return False

    # -- again and again -----------------------------------------------------------------------------------

    def every(self, interval: float, call_timeout: float) -> None:
        """Sync now and every `interval` seconds, in a thread; each may take `call_timeout` seconds."""
        if not interval > 0:
            raise ValueError(f"interval must be more than 0 seconds; got {interval!r}")
        self._life.check()
        self._interval, self._call_timeout = interval, call_timeout
        if self._thread is None:
            self._thread = runtime.spawn(self._run, "etcd-recipes sync")
        else:
            self._wake.set()

    def close(self) -> None:
        """End the thread."""
        self._life.cancel("the client was closed")
        self._wake.set()
        if self._thread is not None:
            self._thread.join(1.0)

    def after_fork_in_child(self) -> None:
        """Start a thread in the child too; it waits first, while the rest of the client finds its feet."""
        if self._thread is not None:
            self._wake = runtime.new_event()
            self._thread = None
            if not self._life.cancelled:
                self._thread = runtime.spawn(self._run_later, "etcd-recipes sync")

    def _run_later(self) -> None:
        self._wake.wait(self._interval)
        self._run()

    def _run(self) -> None:
        while not self._life.cancelled:
            self._wake.clear()
            self._try()
            if not self._life.cancelled:
                self._wake.wait(self._interval)

    def _try(self) -> None:
        try:
            self.once(self._life.child(self._call_timeout))
        except EtcdRecipesError as error:
            if not self._failing and not self._life.cancelled:
                event_logger("sync").warning("sync.failed", error=str(error))
            self._failing = True
            return
        if self._failing:
            event_logger("sync").info("sync.recovered", endpoints=self._cluster.endpoints)
        self._failing = False
