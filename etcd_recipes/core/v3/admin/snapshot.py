"""A member's database, streamed into a file that is whole or not there.

The algorithm
1. Make a file beside the target, which only its owner may read, and open the stream.
2. Each message is a piece of the database and how much of it is still to come. Write the piece, feed the
   checksum, tell the progress. Nothing that has been written is kept in memory.
3. The last 32 bytes are the SHA-256 of all that came before them: a database, whose size is a multiple of
   512 bytes. What does not fit is not a snapshot.
4. Flush to the disk, rename over the target, flush the folder: at no moment is there half a snapshot under
   the target's name.
5. Whatever ends this early (the stream, the caller, the disk, the checksum), the file is removed.

Rules of this file
* What the local disk refuses stays an OSError: the path is the caller's, and so is what to do about it.
* The stream is one member's: another one's database has other bytes, so there is no going on elsewhere.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

from etcd_recipes.core.context import Context
from etcd_recipes.core.errors import ClusterError, EndpointError, InvalidResponse
from etcd_recipes.core.v3 import replies
from etcd_recipes.core.v3.admin import replies as admin_replies
from etcd_recipes.core.v3.admin import requests as admin_requests
from etcd_recipes.core.v3.admin.requests import STALL
from etcd_recipes.core.v3.admin.values import Snapshot, Status
from etcd_recipes.core.v3.gateway import Gateway
from etcd_recipes.core.v3.messages import Messages

__all__ = ["check_path", "save"]

Progress = Callable[[int, int], object]

_DIGEST = 32
_PAGE = 512


def check_path(path: Path) -> Path:
    """Give `path` back; IsADirectoryError if it is a folder, which would otherwise be found out at the end."""
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; a snapshot is a file")
    return path


def save(
    gateway: Gateway, begun: Status, path: Path, ctx: Context, progress: Progress | None
) -> Snapshot:
    """Save the database of the member whose status is `begun`; see the module's docstring."""
    action, seal = admin_requests.snapshot(), _Seal()
    try:
        with (
            _new_file(path) as file,
            closing(gateway.stream(action, ctx, at=begun.endpoint)) as messages,
        ):
            for blob, left in _pieces(messages, ctx):
                file.write(blob)
                seal.add(blob)
                if progress is not None:
                    progress(seal.size, seal.size + (left + _DIGEST if left else seal.missing))
            if (fault := seal.fault) is not None:
                raise InvalidResponse(
                    f"what {begun.endpoint} sent is not a whole snapshot: {fault}; take another one",
                    endpoint=begun.endpoint,
                )
    except EndpointError as error:
        raise ClusterError([error], what=action.what, harmless=True) from error
    return Snapshot(path, seal.size, seal.hexdigest, begun.revision, begun.version, begun.endpoint)


def _pieces(messages: Messages, ctx: Context) -> Iterator[tuple[bytes, int]]:
    """Step 2: give the bytes of each message, and how many of the database are still to come."""
    while results := list(messages.read(STALL)):
        for result in results:
            ctx.check()  # what is buffered can be read without a look at the limit
            with replies.Reading(messages.endpoint):
                piece = admin_replies.piece(result)
            yield piece


class _Seal:
    """Step 3: the checksum of a stream that ends with its own."""

    def __init__(self) -> None:
        self.size = 0
        self._sum = sha256()
        self._tail = b""

    def add(self, blob: bytes) -> None:
        """Take the next bytes; the last 32 so far may be the checksum."""
        self.size += len(blob)
        data = self._tail + blob
        self._sum.update(data[:-_DIGEST])
        self._tail = data[-_DIGEST:]

    @property
    def missing(self) -> int:
        """How many bytes of the checksum are still to come, once the database is there."""
        return -(self.size - _DIGEST) % _PAGE

    @property
    def fault(self) -> str | None:
        """Say what is wrong with what has come, or None."""
        if self.size < _PAGE or self.size % _PAGE != _DIGEST:
            return f"after {self.size} bytes its checksum is missing"
        if self._sum.digest() != self._tail:
            return "its checksum is wrong"
        return None

    @property
    def hexdigest(self) -> str:
        """The digest of all of it, the checksum included."""
        whole = self._sum.copy()
        whole.update(self._tail)
        return whole.hexdigest()


@contextmanager
def _new_file(path: Path) -> Iterator[BinaryIO]:
    """Steps 1, 4 and 5: give a file that becomes `path` when the body ends well, and is gone when not."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    part = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise
    _flush_folder(path.parent)


def _flush_folder(folder: Path) -> None:
    """Have the new name survive a power cut, where the system offers that."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
