"""The v2 service: Actions out, judged replies and polls back; what every v2 call has in common.

Rules of this file
1. No endpoint, no socket: the cluster walks. No keys: the requests and replies modules know those.
2. A poll is an answer that comes late: its head at once, its body when there is an event. It belongs to
   the Context of whoever waits for it at the moment (`lend`), so that it outlives a wait that times out.
"""

from __future__ import annotations

from etcd_recipes.core import retry
from etcd_recipes.core.context import Context, limit
from etcd_recipes.core.http.action import Action, Doubt, Reply
from etcd_recipes.core.http.cluster import Cluster, Judge
from etcd_recipes.core.http.wire import Stream
from etcd_recipes.core.v2 import replies

__all__ = ["Poll", "Service"]

_STALL = 5.0
"""Seconds that a body which has begun may take for its next byte."""


class Service:
    """etcd's v2 API, on whichever endpoint answers."""

    def __init__(
        self, cluster: Cluster, default_timeout: float, policy: retry.Policy | None = None
    ) -> None:
        self._cluster = cluster
        self._policy = policy
        self._default_timeout = default_timeout

    def limit(self, timeout: float | None, ctx: Context | None) -> Context:
        """Make the Context of one call."""
        return limit(timeout, ctx, default=self._default_timeout)

    def call(
        self,
        action: Action,
        ctx: Context,
        judge: Judge = replies.judge,
        *,
        at: str | None = None,
    ) -> Reply:
        """Send one request and give its answer, from whichever endpoint, or from `at` alone.

        Raises ClusterError, ResponseError (EtcdError for etcd's own) or the Context's error.
        """
        doubt = Doubt()
        return retry.walk(
            self._policy,
            ctx,
            lambda: self._cluster.send(action, ctx, judge, at=at, doubt=doubt),
            replay=action.replay,
        )

    def poll(
        self, action: Action, ctx: Context, *, after: str | None = None, at: str | None = None
    ) -> Poll:
        """Open a poll and give it as soon as its head is there; errors as for `call`.

        With `after` the endpoint that follows that one is asked first, and no endpoint is pinned; with `at`,
        only that endpoint is asked.
        """
        return self._cluster.open(action, ctx, replies.judge, Poll, after=after, at=at)


class Poll:
    """One long poll, whose head has been read."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self.endpoint = stream.endpoint

    @property
    def index(self) -> int:
        """The store's index when the poll began: it delivers the first event after that one."""
        head = Reply(self._stream.status, self._stream.headers, b"", self.endpoint)
        return replies.index_of(head)

    def lend(self, ctx: Context) -> None:
        """Let `ctx` limit it from now on; only by the thread that reads."""
        self._stream.lend(ctx)

    def ready(self, seconds: float | None) -> bool:
        """Wait until there is something to read, or the poll is broken; False when nothing came in time."""
        return self._stream.ready(seconds)

    def read(self) -> Reply:
        """Read the rest; EndpointError when it is cut off or stalls, the Context's error when that ends."""
        body = bytearray()
        while piece := self._stream.read(_STALL):
            body += piece
        return Reply(self._stream.status, self._stream.headers, bytes(body), self.endpoint)

    def abort(self, why: str) -> None:
        """End it from another thread."""
        self._stream.abort(why)

    def close(self) -> None:
        """Give its connection back if all was read, else close it."""
        self._stream.close()
