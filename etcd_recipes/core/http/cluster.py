"""The failover loop: one Action, one walk over the endpoints.

The walk
1. Ask the pinned endpoint; on failure the next one, in the ring's order, each one once.
2. Not carried out (refused, never sent, or the server says so): go on to the next, whatever the Action.
3. Sent, and no answer: go on only if the Action may be replayed; otherwise stop after that one attempt,
   with `maybe_applied`. Either way the next call starts at the next endpoint.
4. An answer pins its endpoint. Whether it *is* an answer, the dialect decides (`Judge`): a member that
   has lost its leader answers too, but not for the cluster.
5. The Context's end ends the walk, at once.

Rules of this file
* No keys, no JSON, no retry: a second walk is a policy's business.
* An endpoint that stays silent loses its streams as well: a watch on a stopped member would stay quiet
  for ever, while the calls beside it have long found out.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from etcd_recipes.core import runtime
from etcd_recipes.core.context import Context
from etcd_recipes.core.errors import ClusterError, ContextError, EndpointError
from etcd_recipes.core.http.action import Action, Reply
from etcd_recipes.core.http.endpoints import Ring
from etcd_recipes.core.http.wire import Stream, Wire

__all__ = ["Cluster", "Judge"]

T = TypeVar("T")

Judge = Callable[[Reply], EndpointError | None]
"""Says whether a reply counts: None, or why this endpoint could not answer. May raise ResponseError."""


class Cluster:
    """The endpoints of one etcd cluster; `header_timeout` is seconds per attempt, None for none."""

    def __init__(
        self, wire: Wire, endpoints: tuple[str, ...], *, header_timeout: float | None = 1.0
    ) -> None:
        self._wire = wire
        self._ring = Ring.shuffled(endpoints, runtime.rng())
        self._endpoints = endpoints
        self._header_timeout = header_timeout
        self._streams: weakref.WeakSet[Stream] = weakref.WeakSet()
        self._lock = runtime.new_lock()
        runtime.at_fork(self)

    @property
    def endpoints(self) -> tuple[str, ...]:
        """The endpoints, as they were given."""
        return self._endpoints

    @property
    def pinned(self) -> str:
        """The endpoint that is asked first."""
        return self._ring.pinned

    def set_endpoints(self, endpoints: tuple[str, ...]) -> None:
        """Use these endpoints from the next call on; the pinned one stays pinned if it is among them."""
        pinned = self._ring.pinned
        self._endpoints = endpoints
        self._ring = Ring.shuffled(endpoints, runtime.rng()).pin(pinned)

    def send(self, action: Action, ctx: Context, judge: Judge) -> Reply:
        """Give the first answer that counts.

        Raises ClusterError when no endpoint gave one, ResponseError when `judge` does, and the
        Context's error when that ends first.
        """

        def ask(endpoint: str) -> Reply:
            reply = self._wire.exchange(endpoint, action, ctx, self._header_timeout)
            if (refusal := judge(reply)) is not None:
                raise refusal
            return reply

        reply, doubt = self._walk(action, ask)
        return replace(reply, doubt=True) if doubt else reply

    def open(self, action: Action, ctx: Context, judge: Judge) -> Stream:
        """Give the first stream that an endpoint opens with status 200; errors as for `send`."""

        def ask(endpoint: str) -> Stream:
            stream = self._wire.open(endpoint, action, ctx, self._header_timeout)
            if stream.status != 200:
                raise _refusal(stream, judge)
            return stream

        stream, _ = self._walk(action, ask)
        with self._lock:
            self._streams.add(stream)
        return stream

    def _walk(self, action: Action, ask: Callable[[str], T]) -> tuple[T, bool]:
        """Give what the first endpoint answers, and whether a copy sent before it is in doubt."""
        errors: list[EndpointError] = []
        doubt = False
        for endpoint in self._ring.order():
            try:
                answer = ask(endpoint)
            except EndpointError as error:
                errors.append(error)
                doubt = doubt or error.maybe_applied
                self._leave(error)
                if error.maybe_applied and not action.replay:
                    break
            except ContextError as error:
                error.maybe_applied = error.maybe_applied or doubt
                raise
            else:
                self._ring = self._ring.pin(endpoint)
                return answer, doubt
        raise ClusterError(errors, what=action.what)

    def close(self) -> None:
        """Close the idle connections and end all streams."""
        for stream in self._open_streams():
            stream.abort("the client was closed")
        self._wire.close()

    def after_fork_in_child(self) -> None:
        """Forget the parent's streams."""
        self._lock = runtime.new_lock()
        self._streams = weakref.WeakSet()

    def _leave(self, error: EndpointError) -> None:
        self._ring = self._ring.leave(error.endpoint)
        if error.silent:
            for stream in self._open_streams():
                if stream.endpoint == error.endpoint:
                    stream.abort("the endpoint stays silent in other calls")

    def _open_streams(self) -> list[Stream]:
        with self._lock:
            return list(self._streams)


def _refusal(stream: Stream, judge: Judge) -> EndpointError:
    """Give the reason for a stream that was not opened; ResponseError if that is etcd's own error."""
    body = b""
    try:
        while len(body) < 65536 and (piece := stream.read(quiet=1.0)):
            body += piece
    finally:
        stream.close()
    reply = Reply(stream.status, stream.headers, body, stream.endpoint)
    return judge(reply) or EndpointError(
        stream.endpoint, f"no stream, but HTTP status {stream.status}"
    )
