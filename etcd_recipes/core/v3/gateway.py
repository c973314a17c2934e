"""The gateway: Actions out, decoded JSON back; one place that knows what every v3 call has in common.

Rules of this file
1. No endpoint, no socket: the cluster walks. No keys: the requests and replies modules know those.
2. A stream is decoded here into messages; an error inside it becomes the EtcdError or EndpointError that
   a unary call would have raised.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from etcd_recipes.core.context import Context
from etcd_recipes.core.errors import EndpointError, InvalidResponse
from etcd_recipes.core.http.action import Action, Reply
from etcd_recipes.core.http.cluster import Cluster
from etcd_recipes.core.http.wire import Stream
from etcd_recipes.core.v3 import replies
from etcd_recipes.core.v3.frames import Frames

__all__ = ["Answer", "Gateway", "Messages"]


class Answer:
    """A decoded answer: its JSON object, the endpoint it came from, and whether an earlier copy is in doubt."""

    __slots__ = ("body", "doubt", "endpoint")

    def __init__(self, body: dict[str, Any], reply: Reply) -> None:
        self.body = body
        self.endpoint = reply.endpoint
        self.doubt = reply.doubt


class Gateway:
    """etcd's JSON gateway, on whichever endpoint answers."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    @property
    def endpoints(self) -> tuple[str, ...]:
        """The endpoints that calls go to."""
        return self._cluster.endpoints

    def call(self, action: Action, ctx: Context, *, at: str | None = None) -> Answer:
        """Send one request and give its decoded answer, from whichever endpoint, or from `at` alone.

        Raises ClusterError, ResponseError (EtcdError for etcd's own) or the Context's error.
        """
        reply = self._cluster.send(action, ctx, replies.judge, at=at)
        return Answer(replies.decode(reply), reply)

    def stream(
        self, action: Action, ctx: Context, *, after: str | None = None, at: str | None = None
    ) -> Messages:
        """Open a stream and give its messages; errors as for `call`.

        With `after` the endpoint that follows that one is asked first, and no endpoint is pinned; with
        `at`, only that endpoint is asked.
        """
        return Messages(self._cluster.open(action, ctx, replies.judge, after=after, at=at))


class Messages:
    """The messages of one stream, in order."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._frames = Frames(stream.endpoint)
        self.endpoint = stream.endpoint

    def read(self, quiet: float | None = None) -> Iterator[dict[str, Any]]:
        """Give the results that arrive next, at least one; nothing when the server has ended the stream.

        Raises EndpointError when the connection broke or nothing came for `quiet` seconds, EtcdError
        when the server says why it ends, and the Context's error.
        """
        while piece := self._stream.read(quiet):
            if messages := self._frames.feed(piece):
                return iter([self._result(message) for message in messages])
        return iter(())

    def _result(self, message: dict[str, Any]) -> dict[str, Any]:
        error = replies.stream_error(message, self.endpoint)
        if error is not None:
            if error.code in (1, 2, 13, 14):  # the member goes away or has lost its leader
                raise EndpointError(self.endpoint, error.message) from error
            raise error
        result = message.get("result")
        if not isinstance(result, dict):
            raise InvalidResponse(
                f"{self.endpoint} sent a stream message of an unknown shape", endpoint=self.endpoint
            )
        return result

    def close(self) -> None:
        """End the stream."""
        self._stream.close()
