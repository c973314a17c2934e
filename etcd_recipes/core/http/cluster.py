"""The failover loop: one Action, one walk over the endpoints.

The walk
1. Ask the pinned endpoint; on failure the next one, in the ring's order, each one once.
2. Not carried out (refused, never sent, or the server says so): go on to the next, whatever the Action.
3. Sent, and no answer: go on only if the Action may be replayed; otherwise stop after that one attempt,
   with `maybe_applied`. Either way the next call starts at the next endpoint.
4. An answer pins its endpoint. Whether it *is* an answer, the dialect decides (`Judge`): a member that
   has lost its leader answers too, but not for the cluster.
5. After trouble (any attempt that got no answer) an endpoint is first asked the Action's preflight, and
   gets the Action itself only when it has answered that. While members elect a leader, those that have not
   noticed yet take a write, pass it to the leader that is gone, and never come back to it, though they
   answer a read the moment that there is a new leader. So a write waits as long as the election, not in
   steps of the header timeout, and none is sent whose outcome nobody will ever know.
6. A redirect is followed, method and body kept, if the Action says so; what goes wrong on the way has
   gone wrong at the endpoint that redirected. Each hop has a header timeout of its own.
7. The Context's end ends the walk, at once.

Rules of this file
* No keys, no JSON, no retry: a second walk is a policy's business.
* An endpoint that stays silent loses its streams as well: a watch on a stopped member would stay quiet
  for ever, while the calls beside it have long found out.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol, TypeVar

from etcd_recipes.core import runtime
from etcd_recipes.core.context import Context
from etcd_recipes.core.errors import (
    ClusterError,
    ContextError,
    DeadlineExceeded,
    EmptyResponse,
    EndpointError,
    InvalidResponse,
    ResponseError,
)
from etcd_recipes.core.http import redirects
from etcd_recipes.core.http.action import Action, Doubt, Reply
from etcd_recipes.core.http.endpoints import Ring
from etcd_recipes.core.http.wire import Stream, Wire
from etcd_recipes.core.log import event_logger, is_heard

__all__ = ["Cluster", "Judge"]

T = TypeVar("T")
A = TypeVar("A", Reply, Stream)
A_co = TypeVar("A_co", Reply, Stream, covariant=True)

Judge = Callable[[Reply], EndpointError | None]
"""Says whether a reply counts: None, or why this endpoint could not answer. May raise ResponseError."""


_REPLACED = "the wire was replaced"


class _Way(Protocol[A_co]):
    """`Wire.exchange` or `Wire.open`."""

    def __call__(
        self,
        endpoint: str,
        action: Action,
        ctx: Context,
        header_timeout: float | None,
        *,
        foreign: bool = False,
    ) -> A_co: ...


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
        self._in_trouble = False
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

    @property
    def header_timeout(self) -> float | None:
        """How long one endpoint may take to begin its answer, in seconds; None for as long as the call has."""
        return self._header_timeout

    def set_endpoints(self, endpoints: tuple[str, ...]) -> None:
        """Use these endpoints from the next call on; the pinned one stays pinned if it is among them."""
        pinned = self._ring.pinned
        self._endpoints = endpoints
        self._ring = Ring.shuffled(endpoints, runtime.rng()).pin(pinned)

    @property
    def wire(self) -> Wire:
        """What sends the requests."""
        return self._wire

    def use(self, wire: Wire) -> None:
        """Send by another wire from now on, and hear no more of the one before, which stays open."""
        self._wire = wire
        for stream in self._open_streams():
            stream.abort(_REPLACED)

    def _check_wire(self, wire: Wire, endpoint: str) -> None:
        """Refuse an answer that came by a wire which was replaced meanwhile."""
        if wire is not self._wire:
            raise EndpointError(endpoint, _REPLACED, maybe_applied=True)

    def pin(self, endpoint: str) -> None:
        """Ask `endpoint` first from the next call on, if it is one of the endpoints."""
        self._ring = self._ring.pin(endpoint)

    def send(
        self,
        action: Action,
        ctx: Context,
        judge: Judge,
        *,
        at: str | None = None,
        doubt: Doubt | None = None,
    ) -> Reply:
        """Give the first answer that counts; with `at`, only that endpoint is asked, and none is pinned.

        `doubt` is what earlier walks for the same call have left open; it stands in the answer and in every
        error (`maybe_applied`). Raises ClusterError when no endpoint gave one, ResponseError when `judge` does, and the
        Context's error when that ends first.
        """

        def ask(endpoint: str) -> Reply:
            if self._in_trouble and action.preflight is not None:
                self._clear(endpoint, action.preflight, ctx, judge)
            wire = self._wire
            reply = self._ask(wire.exchange, endpoint, action, ctx)
            self._check_wire(wire, endpoint)
            if (refusal := judge(reply)) is not None:
                raise refusal
            return reply

        doubt = doubt or Doubt()
        reply = self._walk(action, ctx, ask, None if at is None else (at,), doubt)
        return replace(reply, doubt=True) if doubt.is_there else reply

    def open(
        self,
        action: Action,
        ctx: Context,
        judge: Judge,
        begin: Callable[[Stream], T],
        *,
        after: str | None = None,
        at: str | None = None,
    ) -> T:
        """Give what `begin` makes of the first stream that an endpoint opens with status 200.

        Errors as for `send`; an EndpointError of `begin` means that this endpoint has not answered either.
        With `after`, the walk starts at the endpoint that follows that one, and pins none; with `at`,
        only that endpoint is asked.
        """

        def ask(endpoint: str) -> T:
            wire = self._wire
            stream = self._ask(wire.open, endpoint, action, ctx)
            if stream.status != 200:
                raise _refusal(stream, judge)
            try:
                with self._lock:
                    self._streams.add(stream)
                self._check_wire(wire, endpoint)
                return begin(stream)
            except BaseException:
                stream.close(keep=False)
                raise

        order = (at,) if at is not None else None if after is None else self._ring.order(after)
        return self._walk(action, ctx, ask, order, Doubt())

    def _clear(self, endpoint: str, preflight: Action, ctx: Context, judge: Judge) -> None:
        """Step 5: the trouble is over if `endpoint` answers, else it is left, and nothing was sent to it."""
        for last in (False, True):  # a read that an election ends is answered the second time
            try:
                refusal = judge(self._ask(self._wire.exchange, endpoint, preflight, ctx))
            except ResponseError:
                refusal = (
                    None  # not allowed to read, say: refused by a member that had to ask its leader
                )
            except EndpointError as error:
                refusal = error
            except ContextError as error:
                error.maybe_applied = False
                raise
            if refusal is None:
                self._in_trouble = False
                return
            if last or refusal.silent:
                refusal.maybe_applied = False
                raise refusal

    def _walk(
        self,
        action: Action,
        ctx: Context,
        ask: Callable[[str], T],
        order: tuple[str, ...] | None,
        doubt: Doubt,
    ) -> T:
        """Give what the first endpoint answers; `doubt` says whether a copy sent before it is in doubt.

        An `order` of the caller's own says nothing about where others should begin.
        """
        errors: list[EndpointError] = []
        for endpoint in order or self._ring.order():
            begun = not ctx.done
            try:
                answer = ask(endpoint) if not is_heard() else _told(endpoint, ask)
            except EndpointError as error:
                self._in_trouble = True
                errors.append(error)
                doubt.add(error.maybe_applied)
                self._leave(error, endpoint)
                if error.maybe_applied and not action.replay:
                    break
            except ContextError as error:
                if isinstance(error, DeadlineExceeded) and begun:
                    # It was silent for all the time that the caller had: others begin elsewhere, or
                    # callers in a hurry would come back to it for ever.
                    self._in_trouble = True
                    self._ring = self._ring.leave(endpoint)
                error.maybe_applied = doubt.add(error.maybe_applied)
                raise
            except ResponseError as error:
                error.maybe_applied = doubt.add(error.maybe_applied)
                if isinstance(error, InvalidResponse | EmptyResponse):
                    self._ring = self._ring.leave(endpoint)  # whatever it is, it is not etcd
                raise
            else:
                if order is None:
                    self._ring = self._ring.pin(endpoint)
                return answer
        raise ClusterError(
            errors, what=action.what, harmless=action.replay, in_doubt=doubt.is_there
        )

    def _ask(self, way: _Way[A], endpoint: str, action: Action, ctx: Context) -> A:
        """Give one endpoint's answer, or that of the one it redirects to (step 5)."""
        patience = action.header_timeout or self._header_timeout
        answer = way(endpoint, action, ctx, patience)
        here, hop = endpoint, action
        for _ in range(redirects.MAX_REDIRECTS):
            if not action.follow or answer.status // 100 != 3:
                return answer
            try:
                here, path = redirects.target(here, hop.path, answer.headers.get("location"))
            except ValueError as error:
                raise EndpointError(answer.endpoint, str(error)) from error
            finally:
                _drop(answer)
            foreign = not redirects.is_own(here, self._endpoints)
            if foreign and action.secret:
                raise EndpointError(
                    endpoint, f"a redirect to {here}, which is not to see this request"
                )
            hop = replace(action, path=path)
            answer = way(here, hop, ctx, patience, foreign=foreign)
        if answer.status // 100 != 3:
            return answer
        _drop(answer)
        raise EndpointError(endpoint, f"more than {redirects.MAX_REDIRECTS} redirects")

    def close(self) -> None:
        """Close the idle connections and end all streams."""
        for stream in self._open_streams():
            stream.abort("the client was closed")
        self._wire.close()

    def after_fork_in_child(self) -> None:
        """Forget the parent's streams."""
        self._lock = runtime.new_lock()
        self._streams = weakref.WeakSet()

    def _leave(self, error: EndpointError, walked: str | None = None) -> None:
        self._ring = self._ring.leave(walked or error.endpoint)
        if error.silent:
            for stream in self._open_streams():
                if stream.endpoint == error.endpoint:
                    stream.abort("the endpoint stays silent in other calls")

    def _open_streams(self) -> list[Stream]:
        with self._lock:
            return list(self._streams)


def _told(endpoint: str, ask: Callable[[str], T]) -> T:
    """Ask, and tell listeners what came of it and how long it took."""
    began, outcome = runtime.now(), "answered"
    try:
        return ask(endpoint)
    except EndpointError as error:
        outcome = "silent" if error.silent else "failed"
        raise
    except ContextError:
        outcome = "ended"  # by the caller's limit
        raise
    except (InvalidResponse, EmptyResponse):
        outcome = "invalid"
        raise
    except ResponseError:
        outcome = "refused"  # an answer all the same
        raise
    finally:
        took = round(runtime.now() - began, 5)
        event_logger("http").debug("http.attempt", endpoint=endpoint, outcome=outcome, took=took)


def _drop(answer: Reply | Stream) -> None:
    if isinstance(answer, Stream):
        answer.close()


def _refusal(stream: Stream, judge: Judge) -> EndpointError:
    """Give the reason for a stream that was not opened; ResponseError if that is etcd's own error."""
    body = b""
    try:
        while len(body) < 65536 and (piece := stream.read(quiet=1.0)):
            body += piece
    finally:
        stream.close(keep=False)
    reply = Reply(stream.status, stream.headers, body, stream.endpoint)
    return judge(reply) or EndpointError(
        stream.endpoint, f"no stream, but HTTP status {stream.status}"
    )
