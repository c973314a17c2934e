"""An answer that goes on: its bytes as they come.

Rules of this file
* One thread reads; any thread may `abort`.
* A connection goes back to the others only when the answer was read to its end, and nothing broke on the way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from etcd_recipes.core.context import Context
from etcd_recipes.core.http.attempt import BROKEN, Attempt
from etcd_recipes.core.http.connection import Connection, Response

__all__ = ["Stream"]


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
        self.headers: Mapping[str, str] = response.headers
        self._attempt = attempt
        self._connection = connection
        self._response = response
        self._give_back = give_back
        self._broken = False
        self._closed = False

    def lend(self, ctx: Context) -> None:
        """Let `ctx` limit the stream from now on, in place of the one before; by the reader's thread only."""
        self._attempt.lend(ctx)

    def ready(self, quiet: float | None = None) -> bool:
        """Wait until `read` would not have to; False when nothing came for `quiet` seconds or in time.

        Unlike a `read` that was quiet for too long, this leaves the stream as it was.
        """
        self._attempt.set_stall(quiet)
        try:
            self._response.wait()
        except TimeoutError:
            return False
        except BROKEN:
            pass  # what is wrong, `read` will say
        return True

    def read(self, quiet: float | None = None) -> bytes:
        """Give the next bytes, or b"" when the server has ended the stream properly.

        Raises EndpointError when the connection breaks, when `abort` is called, or when nothing comes
        for `quiet` seconds (then with `silent`); and the Context's error when that ends. The stream
        cannot be read again after an error.
        """
        self._attempt.set_stall(quiet)
        try:
            return self._response.read_some()
        except BROKEN as error:
            self._broken = True
            raise self._attempt.translate(error) from error

    def hear(self, quiet: float) -> bytes | None:
        """As `read`, but None when nothing came for `quiet` seconds or in time: that leaves the stream as it was."""
        self._attempt.set_stall(quiet)
        try:
            return self._response.read_some()
        except TimeoutError:
            return None
        except BROKEN as error:
            self._broken = True
            raise self._attempt.translate(error) from error

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
        if keep and self._response.is_kept and not self._broken:
            self._give_back(self._connection)
        else:
            self._connection.close()
