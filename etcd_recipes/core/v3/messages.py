"""The messages of one stream, as they come.

Rules of this file
1. A stream is decoded here into messages; an error inside it becomes the EtcdError or EndpointError that a
   unary call would have raised.
2. What came before something wrong counts: it is given first, and what is wrong is said by the next read.
"""

from __future__ import annotations

from typing import Any

from etcd_recipes.core.context import Context
from etcd_recipes.core.errors import EndpointError, InvalidResponse, ResponseError
from etcd_recipes.core.http.wire import Stream
from etcd_recipes.core.v3 import replies
from etcd_recipes.core.v3.frames import Frames
from etcd_recipes.core.v3.horizon import Horizon

__all__ = ["Messages"]


class Messages:
    """The messages of one stream, in order."""

    def __init__(self, stream: Stream, horizon: Horizon) -> None:
        self._stream = stream
        self._horizon = horizon
        self._frames = Frames(stream.endpoint)
        self._failure: EndpointError | ResponseError | None = None
        self.endpoint = stream.endpoint

    def lend(self, ctx: Context) -> None:
        """Let `ctx` limit the stream from now on; only by the thread that reads."""
        self._stream.lend(ctx)

    def ready(self, quiet: float | None) -> bool:
        """Wait until `read` would not have to; False when nothing came for `quiet` seconds or in time."""
        return self._failure is not None or self._stream.ready(quiet)

    def read(self, quiet: float | None = None) -> list[dict[str, Any]]:
        """Give the results that arrive next, at least one; none when the server has ended the stream.

        Raises EndpointError when the connection broke or nothing came for `quiet` seconds, EtcdError
        when the server says why it ends, and the Context's error.
        """
        while (results := self.piece(quiet)) is not None:
            if results:
                return results
        return []

    def piece(self, quiet: float | None = None) -> list[dict[str, Any]] | None:
        """Give the results that the next bytes complete, maybe none; None when the server has ended it.

        Errors as for `read`; it receives once.
        """
        if self._failure is not None:
            raise self._failure
        piece = self._stream.read(quiet)
        return self._results(piece) if piece else None

    def hear(self, quiet: float) -> list[dict[str, Any]] | None:
        """Give the results that the next bytes complete, maybe none; None when nothing came for `quiet` seconds.

        Errors as for `read`, that it was quiet not being one; EndpointError when the server has ended the stream.
        """
        if self._failure is not None:
            raise self._failure
        piece = self._stream.hear(quiet)
        if piece:
            return self._results(piece)
        if piece is None:
            return None
        raise EndpointError(self.endpoint, "the server ended the watch")

    def _results(self, piece: bytes) -> list[dict[str, Any]]:
        """Give the results in `piece`; what is wrong after them is said when they have been taken."""
        results: list[dict[str, Any]] = []
        try:
            for message in self._frames.feed(piece):
                results.append(self._result(message))  # noqa: PERF401 (those before the wrong one count)
        except (EndpointError, ResponseError) as error:
            if not results:
                raise
            self._failure = error
        return results

    def _result(self, message: dict[str, Any]) -> dict[str, Any]:
        if "error" in message:
            self._check(message)
        result = message.get("result")
        if not isinstance(result, dict):
            raise InvalidResponse(
                f"{self.endpoint} sent a stream message of an unknown shape", endpoint=self.endpoint
            )
        self._horizon.note(*replies.read(replies.header_of, result, self.endpoint))
        return result

    def _check(self, message: dict[str, Any]) -> None:
        """Raise the error that the message carries, if it does."""
        error = replies.stream_error(message, self.endpoint)
        if error is None:
            return
        if error.code in (1, 2, 13, 14):  # the member goes away or has lost its leader
            raise EndpointError(self.endpoint, error.message) from error
        raise error

    def close(self) -> None:
        """End the stream."""
        self._stream.close()
