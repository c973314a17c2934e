"""The gateway: Actions out, decoded JSON back; one place that knows what every v3 call has in common.

One call, from the outside in
1. The client's own policy, if it was given one, walks again when no endpoint answered.
2. The call carries the token of the client's user. If etcd refuses the token, a new one is fetched and
   the call made once more: what is refused was not carried out.
3. A path below ``/v3`` that is not there is tried below ``/v3beta``, where older servers have it.
4. The cluster walks the endpoints. An answer counts if it is etcd's, and, when it must be fresh, not older
   than what this client has seen (see `horizon`).

Rules of this file
* No endpoint, no socket: the cluster walks. No keys: the requests and replies modules know those.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from etcd_recipes.core import retry, runtime
from etcd_recipes.core.context import Context
from etcd_recipes.core.errors import (
    ClusterError,
    ContextError,
    DeadlineExceeded,
    EmptyResponse,
    EndpointError,
    EtcdError,
    InvalidResponse,
    PermissionDenied,
    ResponseError,
    Unauthenticated,
)
from etcd_recipes.core.http.action import Action, Doubt, Reply
from etcd_recipes.core.http.cluster import Cluster
from etcd_recipes.core.http.wire import Stream
from etcd_recipes.core.log import event_logger
from etcd_recipes.core.v3 import replies, requests
from etcd_recipes.core.v3.horizon import Horizon
from etcd_recipes.core.v3.messages import Messages
from etcd_recipes.core.v3.tokens import Token, Tokens

__all__ = ["Answer", "Gateway"]

T = TypeVar("T")

_ROOTS = ("/v3", "/v3beta")


class Answer:
    """A decoded answer: its JSON object, the endpoint it came from, and whether an earlier copy is in doubt."""

    __slots__ = ("body", "doubt", "endpoint")

    def __init__(self, body: dict[str, Any], endpoint: str, *, doubt: bool) -> None:
        self.body = body
        self.endpoint = endpoint
        self.doubt = doubt

    def read(self, parse: Callable[[Mapping[str, Any]], T]) -> T:
        """Give what `parse` reads of it; InvalidResponse for whatever is malformed in it."""
        return replies.read(parse, self.body, self.endpoint)


class Gateway:
    """etcd's JSON gateway, on whichever endpoint answers; `user` is a name and a password."""

    def __init__(
        self,
        cluster: Cluster,
        *,
        user: tuple[str, str] | None = None,
        policy: retry.Policy | None = None,
    ) -> None:
        self._cluster = cluster
        self._user = user
        self._tokens = None if user is None else Tokens(self._fetch_token)
        self._policy = policy
        self._horizon = Horizon()
        self._proven: dict[str, float] = {}  # when a fresh answer was asked for, by endpoint
        self._root = _ROOTS[0]

    @property
    def endpoints(self) -> tuple[str, ...]:
        """The endpoints that calls go to."""
        return self._cluster.endpoints

    @property
    def header_timeout(self) -> float | None:
        """How long one endpoint may take to begin its answer, in seconds; None for as long as the call has."""
        return self._cluster.header_timeout

    def call(self, action: Action, ctx: Context, *, at: str | None = None) -> Answer:
        """Send one request and give its decoded answer, from whichever endpoint, or from `at` alone.

        Raises ClusterError, ResponseError (EtcdError for etcd's own) or the Context's error.
        """
        doubt = Doubt()
        return self._made(action, ctx, lambda ready: self._send(ready, ctx, at, doubt), doubt)

    def stream(
        self,
        action: Action,
        ctx: Context,
        *,
        begin: Callable[[Messages], None] = lambda _: None,
        after: str | None = None,
        at: str | None = None,
    ) -> Messages:
        """Open a stream and give its messages; errors as for `call`.

        An endpoint counts as having answered when `begin` returns. With `after` the endpoint that follows
        that one is asked first, and no endpoint is pinned; with `at`, only that endpoint is asked.
        """

        def begun(stream: Stream) -> Messages:
            messages = Messages(stream, self._horizon)
            begin(messages)
            return messages

        return self._made(
            action,
            ctx,
            lambda ready: self._cluster.open(ready, ctx, replies.judge, begun, after=after, at=at),
            Doubt(),
        )

    @property
    def epoch(self) -> int:
        """How often the cluster's history has gone back under this client."""
        return self._horizon.epoch

    def prove(self, endpoint: str, ctx: Context, within: float) -> None:
        """Make sure that `endpoint` serves its cluster: EndpointError if not; ContextError if `ctx` ends.

        An answer to any fresh call that was sent within the last seconds is proof enough; otherwise one
        linearizable read is made, which takes a member that its cluster knows.
        """
        now = runtime.now()
        proven = self._proven.get(endpoint)
        if proven is not None and now - proven < within:
            return
        self._proven[endpoint] = now  # others need not ask as well, while this is under way
        try:
            self._probe(endpoint, ctx, within)
        except BaseException:
            self._proven.pop(endpoint, None)
            raise

    def _probe(self, endpoint: str, ctx: Context, within: float) -> None:
        limited = ctx.child((self.header_timeout or within) + 0.05)  # so that the first one ends it
        try:
            self.call(requests.PROBE, limited, at=endpoint)
        except EtcdError:
            pass  # not allowed to read it, say: refused by a member that had to ask its cluster first
        except ClusterError as error:
            raise error.errors[0] from error
        except ResponseError as error:
            raise EndpointError(endpoint, str(error)) from error
        except DeadlineExceeded as error:
            ctx.check()
            raise EndpointError(endpoint, "no answer in time", silent=True) from error

    # -- steps 1 to 3 ----------------------------------------------------------------------------------------

    def _made(self, action: Action, ctx: Context, make: Callable[[Action], T], doubt: Doubt) -> T:
        """Step 1."""
        if self._policy is None:
            return self._signed(action, ctx, make, doubt)
        return retry.walk(
            self._policy, ctx, lambda: self._signed(action, ctx, make, doubt), replay=action.replay
        )

    def _signed(self, action: Action, ctx: Context, make: Callable[[Action], T], doubt: Doubt) -> T:
        """Step 2. A watch whose token has died is told that its permission is denied."""
        if self._tokens is None:
            return self._rooted(action, make)
        token = self._token(self._tokens, ctx, doubt)
        try:
            return self._rooted(_with_token(action, token), make)
        except (Unauthenticated, PermissionDenied) as error:
            hidden = isinstance(error, PermissionDenied) and action.path.endswith("/watch")
            if not hidden and not isinstance(error, Unauthenticated):
                raise
        newer = self._token(self._tokens, ctx, doubt, refused=token)
        return self._rooted(_with_token(action, newer), make)

    def _token(
        self, tokens: Tokens, ctx: Context, doubt: Doubt, refused: Token | None = None
    ) -> Token:
        try:
            return tokens.get(ctx, refused)
        except (ClusterError, ContextError, ResponseError) as error:
            error.maybe_applied = doubt.is_there  # of the call: what failed here was not it
            raise

    def _fetch_token(self, ctx: Context) -> Token:
        assert self._user is not None
        action, doubt = requests.authenticate(*self._user), Doubt()
        try:
            answer = self._rooted(action, lambda ready: self._send(ready, ctx, None, doubt))
        except EtcdError as error:
            if replies.auth_is_off(error):
                return ""
            raise
        return answer.read(lambda body: _header_value(body["token"]))

    def _rooted(self, action: Action, make: Callable[[Action], T]) -> T:
        """Step 3."""
        root = self._root
        try:
            return make(action if root is _ROOTS[0] else _below(root, action))
        except replies.NoGateway:
            other = _ROOTS[1 - _ROOTS.index(root)]
            try:
                made = make(_below(other, action))
            except replies.NoGateway:
                pass  # it is not there either: the first answer tells more
            else:
                self._root = other
                return made
            raise

    # -- step 4 ----------------------------------------------------------------------------------------------

    def _send(self, action: Action, ctx: Context, at: str | None, doubt: Doubt) -> Answer:
        before, sent = self._horizon.seen(), runtime.now()
        body: dict[str, Any] = {}

        def judge(reply: Reply) -> EndpointError | None:
            nonlocal body
            try:
                if (refusal := replies.judge(reply)) is not None:
                    return refusal
                body = replies.decode(reply)
            except (InvalidResponse, EmptyResponse) as error:
                error.maybe_applied = reply.status == 200 and _writes(action)
                raise
            return self._too_old(action, reply.endpoint, body, before, sent)

        # The reply that it gives is the one that was judged last: `body` is its.
        reply = self._cluster.send(action, ctx, judge, at=at, doubt=doubt)
        if action.fresh:
            self._proven[reply.endpoint] = sent
        return Answer(body, reply.endpoint, doubt=reply.doubt)

    def _too_old(
        self,
        action: Action,
        endpoint: str,
        body: dict[str, Any],
        before: Mapping[str, int],
        sent: float,
    ) -> EndpointError | None:
        """Give the reason to refuse an answer from the past, or None."""
        cluster, revision = replies.read(replies.header_of, body, endpoint)
        if not revision:
            return None
        seen = before.get(cluster, 0)
        if action.fresh and not self._horizon.admit(cluster, revision, before, sent):
            event_logger("http").warning(
                "answer.too_old", endpoint=endpoint, revision=revision, seen=seen
            )
            return EndpointError(
                endpoint,
                f"its answer is of revision {revision}, but the cluster has been at {seen}: "
                "this member is behind, or was restored from a backup",
                maybe_applied=_writes(action),
            )
        if action.fresh and revision < seen:
            event_logger("http").error("history.went_back", revision=revision, seen=seen)
        self._horizon.note(cluster, revision)
        return None


def _writes(action: Action) -> bool:
    return action.preflight is not None


def _header_value(token: object) -> Token:
    """Give the token; ValueError, without a word of it, when it would not stay one header."""
    if not isinstance(token, str) or not token.isascii() or not token.isprintable():
        raise ValueError("the token is none")
    return token


def _with_token(action: Action, token: Token) -> Action:
    if not token:
        return action
    return replace(action, headers={**action.headers, "Authorization": token})


def _below(root: str, action: Action) -> Action:
    if root == _ROOTS[0]:
        return action
    return replace(action, path=root + action.path.removeprefix(_ROOTS[0]))
