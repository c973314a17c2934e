"""An HTTP/1.1 answer out of bytes: what its head says, and where its body ends.

The standard library makes an e-mail message of every head; that alone was more work than all the rest of a call.

Rules of this file
1. Bytes in, values or errors out, http.client's own: no socket, no clock, no thread.
2. Nobody may understand an answer differently: one that leaves open where it ends (two lengths, a length beside
   chunks, a length that is no number, a coding that is not known, a line without a name) is none.
3. All that is collected has a limit, as http.client has it; a body has none but its own end.
"""

from __future__ import annotations

import http.client
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache

__all__ = ["HEAD_END", "Body", "Head", "body_of", "check_begun", "head_of"]

HEAD_END = b"\r\n\r\n"

_LARGEST = 65536
"""Bytes of a head, of the line before a chunk, or of what follows the last one."""

_OFTEN = 1024
"""Bytes of a head below which it is remembered; etcd's have 200."""

_MOST_HEADERS = 100
_STATUS = re.compile(r"HTTP/1\.(\d) +([1-9]\d\d)(?: .*)?")
_FOLD = re.compile(r"\r\n[ \t]+")
_LENGTH = re.compile(r"\d{1,18}", re.ASCII)


# -- the head ------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Head:
    """What stands before the body: `headers` by lower-case name; `keeps` if the connection outlives the answer.

    `length` is that of the body in bytes, `CHUNKED`, or `ENDLESS`: until the server hangs up.
    """

    status: int
    headers: dict[str, str]
    keeps: bool
    length: int


CHUNKED, ENDLESS = -1, -2


def check_begun(data: bytes) -> None:
    """Raise BadStatusLine, or LineTooLong, if `data` cannot be the beginning of a head."""
    if not data.startswith(b"HTTP/1."[: len(data)]):
        raise http.client.BadStatusLine(repr(data[:40]))
    if len(data) > _LARGEST:
        raise http.client.LineTooLong("head")


def head_of(raw: bytes) -> Head:
    """Read a head, without its end; HTTPException for what is none.

    Within a second, an endpoint sends the same few heads again and again. So it may be one that others have, too: it
    is not to be changed.
    """
    return _known_head(raw) if len(raw) < _OFTEN else _head(raw)


def _head(raw: bytes) -> Head:
    check_begun(raw)
    text = raw.decode("latin-1")
    if "\r\n " in text or "\r\n\t" in text:  # lines of old that go on in the next one
        text = _FOLD.sub(" ", text)
    first, *lines = text.split("\r\n")
    status = _STATUS.fullmatch(first)
    if status is None or text.count("\n") != len(lines):  # a line end within a line
        raise http.client.BadStatusLine(repr(first[:40]))
    headers = _headers(lines)
    keeps = status[1] != "0" and "close" not in headers.get("connection", "").lower()
    code = int(status[2])
    return Head(code, headers, keeps, _length(code, headers))


_known_head = lru_cache(maxsize=64)(_head)


def _length(status: int, headers: dict[str, str]) -> int:
    """Give how long the body is; HTTPException if nobody can tell."""
    if status < 200 or status in (204, 304):
        return 0
    coding, length = headers.get("transfer-encoding"), headers.get("content-length")
    if coding is not None:
        if coding.lower() != "chunked" or length is not None:
            raise http.client.HTTPException("an answer whose end is not known")
        return CHUNKED
    if length is None:
        return ENDLESS
    if _LENGTH.fullmatch(length) is None:
        raise http.client.HTTPException("an answer whose length is no number")
    return int(length)


def _headers(lines: list[str]) -> dict[str, str]:
    if len(lines) > _MOST_HEADERS:
        raise http.client.HTTPException(f"more than {_MOST_HEADERS} headers")
    headers = dict(map(_header, lines))
    if len(headers) < len(lines):  # what comes more than once is a list
        headers = {}
        for name, value in map(_header, lines):
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


@lru_cache(maxsize=64)
def _header(line: str) -> tuple[str, str]:
    """Read one line: in a head that is not known, the v2 API's with their indexes, most of the lines are."""
    name, colon, value = line.partition(":")
    if not colon or not name or name[-1].isspace():
        raise http.client.HTTPException("a header that is none")
    return name.lower(), value.strip(" \t")


# -- the body ------------------------------------------------------------------------------------------------


def body_of(head: Head, data: bytes) -> Body:
    """Give the body that belongs to `head` and begins with `data`."""
    length = head.length
    if length >= 0:
        return _Sized(data, length)
    return _Chunks(data) if length == CHUNKED else _Endless(data)


class Body(ABC):
    """A body that comes piece by piece: what arrives is added, what can be read is taken."""

    __slots__ = ("_data", "is_over")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.is_over = False

    def add(self, data: bytes) -> None:
        """Hear what has arrived."""
        self._data = self._data + data if self._data else data

    def hung_up(self) -> None:
        """Hear that nothing more will; IncompleteRead unless that is the body's end."""
        raise http.client.IncompleteRead(b"")

    @abstractmethod
    def take(self) -> bytes:
        """Give what can be read now, b"" for nothing; HTTPException for nonsense, after what came before it."""

    @property
    def is_exact(self) -> bool:
        """True if the body is over, and nothing came that does not belong to it."""
        return self.is_over and not self._data


class _Sized(Body):
    """A body whose length was announced."""

    __slots__ = ("_left",)

    def __init__(self, data: bytes, length: int) -> None:
        super().__init__(data)
        self._left = length
        self.is_over = length == 0

    def take(self) -> bytes:
        data, left = self._data, self._left
        taken, self._data = (data, b"") if len(data) <= left else (data[:left], data[left:])
        self._left = left = left - len(taken)
        self.is_over = left == 0
        return taken


class _Endless(Body):
    """A body that ends when the server hangs up, as most of what speaks HTTP/1.0 sends it."""

    __slots__ = ()

    def hung_up(self) -> None:
        self.is_over = True

    def take(self) -> bytes:
        taken, self._data = self._data, b""
        return taken

    @property
    def is_exact(self) -> bool:
        return False  # its connection has ended with it


class _Chunks(Body):
    r"""A body in chunks: ``<size in hex>;<extensions>\r\n<data>\r\n``, and so on; a size of 0 is the last.

    The line end after a chunk is read with the line of the next one: there is nothing to wait for before.
    """

    __slots__ = ("_left", "_line")

    _FIRST = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;.*?)?\r\n", re.DOTALL)
    _NEXT = re.compile(rb"\r\n([0-9A-Fa-f]{1,16})[ \t]*(?:;.*?)?\r\n", re.DOTALL)
    _SHORTEST = 3
    """Bytes of a line, with its end; what is left between two messages, the end of a chunk, is less."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._left = 0  # bytes of the chunk that are still to come
        self._line = self._FIRST

    def take(self) -> bytes:
        data = self._data
        if not self._left and not self.is_over:
            if len(data) < self._SHORTEST:
                return b""  # as mostly, after a message
            if line := self._line.match(data):
                begin = line.end()
                end = begin + int(line[1], 16)
                if begin < end <= len(data) < end + self._SHORTEST:  # one whole chunk, as mostly
                    self._data, self._line = data[end:], self._NEXT
                    return data[begin:end]
        return self._take(data)

    def _take(self, data: bytes) -> bytes:
        at, taken = 0, []
        try:
            while at < len(data) and not self.is_over:
                if self._left:
                    part = data[at : at + self._left]
                    taken.append(part)
                    self._left -= len(part)
                    at += len(part)
                elif len(data) - at < self._SHORTEST:
                    break
                elif (begin := self._begin_chunk(data, at)) > at:
                    at = begin
                else:
                    break
        except http.client.HTTPException:
            if not taken:
                raise  # else it is still there, for the next call to meet
        self._data = data[at:]
        return taken[0] if len(taken) == 1 else b"".join(taken)

    def _begin_chunk(self, data: bytes, at: int) -> int:
        """Read the line at `at`, if it is there; give where the chunk's data begins, or what follows the last one."""
        line = self._line.match(data, at)
        if line is None:
            if data.find(b"\r\n", at + (2 if self._line is self._NEXT else 0)) >= 0:
                raise http.client.HTTPException("a chunk that is none")
            return self._wait(data, at)
        size = int(line[1], 16)
        if size == 0:
            # Trailers, which nobody reads, end with an empty line.
            last = data.find(HEAD_END, line.end() - 2)
            if last < 0:
                return self._wait(data, at)
            self.is_over = True
            return last + len(HEAD_END)
        self._left, self._line = size, self._NEXT
        return line.end()

    @staticmethod
    def _wait(data: bytes, at: int) -> int:
        if len(data) - at > _LARGEST:
            raise http.client.LineTooLong("chunk")
        return at
