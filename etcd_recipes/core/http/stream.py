"""An answer that goes on: its bytes as they come.

Rules of this file
* One thread reads; any thread may `abort`.
* A connection goes back to the others only when the answer was read to its end, and nothing broke on the way.
"""

from __future__ import annotations

import http.client
from collections.abc import Callable, Mapping
from typing import Any

from etcd_recipes.core.context import Context
from etcd_recipes.core.http.attempt import BROKEN, Attempt
from etcd_recipes.core.http.connection import Connection, Response

__all__ = ["Headers", "Stream"]

_CHUNK = 65536


class Headers(dict[str, str]):
    """Response headers by lower-case name."""

    def __init__(self, message: http.client.HTTPMessage | Mapping[str, str]) -> None:
        super().__init__((name.lower(), value) for name, value in message.items())


class Stream:
    """An answer that goes on: bytes as they come, until the server ends it or `close` is called."""

    def __init__(
        self,
        endpoint: str,
        attempt: Attempt,
        connection: Connection,
        response: Response,
        give_back: Callable[[Connection], None],
    ) -> None:
        self.endpoint = endpoint
        self.status = response.status
        self.headers: Mapping[str, str] = Headers(response.headers)
        self._attempt = attempt
        self._connection = connection
        self._response = response
        self._give_back = give_back
        self._broken = False
        self._closed = False
        self._owed = 2  # bytes of the line end after a chunk that are still to come

    def lend(self, ctx: Context) -> None:
        """Let `ctx` limit the stream from now on, in place of the one before; by the reader's thread only."""
        self._attempt.lend(ctx)

    def ready(self, quiet: float | None = None) -> bool:
        """Wait until `read` would not have to; False when nothing came for `quiet` seconds or in time.

        Unlike a `read` that was quiet for too long, this leaves the stream as it was.
        """
        response = self._response
        self._attempt.set_stall(quiet)
        try:
            if not response.isclosed() and response.length != 0:
                self._finish_chunk()
                response.fp.peek(1)
        except TimeoutError:
            return False
        except BROKEN:
            pass  # what is wrong, `read` will say
        return True

    def _finish_chunk(self) -> None:
        """Take the line end that follows a chunk which has been read: it is not yet the next one."""
        response: Any = self._response
        if not response.chunked or response.chunk_left != 0:
            return
        while self._owed and (there := len(response.fp.peek(1))):
            self._owed -= len(response.fp.read(min(there, self._owed)))  # never waits half-way
        response.chunk_left = None  # as http.client has it before a chunk
        self._owed = 2

    def read(self, quiet: float | None = None) -> bytes:
        """Give the next bytes, or b"" when the server has ended the stream properly.

        Raises EndpointError when the connection breaks, when `abort` is called, or when nothing comes
        for `quiet` seconds (then with `silent`); and the Context's error when that ends. The stream
        cannot be read again after an error.
        """
        self._attempt.set_stall(quiet)
        try:
            self._finish_chunk()
            piece = self._response.read1(_CHUNK)
            if not piece and self._response.length:
                raise http.client.IncompleteRead(b"", self._response.length)
            if self._response.length == 0:
                self._response.close()  # http.client leaves that to a read past the end
        except BROKEN as error:
            self._broken = True
            raise self._attempt.translate(error) from error
        return piece

    def abort(self, why: str) -> None:
        """Make the reader's `read` raise EndpointError with this reason; from any thread."""
        self._attempt.abort(why)

    def close(self, *, keep: bool = True) -> None:
        """End the stream; to `keep` its connection for other requests, the answer must have been read.

        The owner's thread, any number of times.
        """
        if self._closed:
            return
        self._closed = True
        self._attempt.__exit__(None, None, None)
        response = self._response
        if keep and response.isclosed() and not response.will_close and not self._broken:
            self._give_back(self._connection)
        else:
            self._connection.close()
