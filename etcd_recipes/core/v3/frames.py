"""Frames: a stream of JSON objects, cut into objects.

Rules of this file
1. Bytes in, objects or an InvalidResponse out: no socket, no clock, no thread.
2. What has been parsed is not parsed again: a large event arrives in many pieces. Nor is white space kept.
3. An object has an end: one that is longer than any message of gRPC is none.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Iterable, Iterator
from typing import Any

from etcd_recipes.core.v3.replies import bad_json

__all__ = ["Frames"]

_SMALL = 65536
_LONGEST = 3 << 30
"""Bytes: the 2 GiB of gRPC's largest message, in base64, and what stands around it."""
_SPACE = re.compile(r"\s*")
_decoder = json.JSONDecoder()


class Frames:
    """Cuts a stream of JSON objects into objects, whatever pieces it arrives in.

    A message ends with a newline, which may come in a piece of its own; but the error that ends a stream
    has none, so what looks whole is tried without waiting for it (while it is small: a large event
    arrives in many pieces, and is parsed once).
    """

    def __init__(self, endpoint: str = "") -> None:
        self._endpoint = endpoint
        self._buffer = bytearray()

    def feed(self, piece: bytes) -> Iterable[dict[str, Any]]:
        """Give the objects that `piece` completes, one by one.

        InvalidResponse, after those that came before it, for what is no JSON object.
        """
        if piece[:1] == b"{" and piece.find(b"\n") == len(piece) - 1 and not self._buffer:
            try:
                text = piece.decode()
                value, end = _decoder.raw_decode(text)
            except (ValueError, RecursionError):
                pass  # what is wrong with it, `_cut` will say
            else:
                if end == len(text) - 1:
                    return (value,)  # one whole line, as mostly
        return self._cut(piece)

    def _cut(self, piece: bytes) -> Iterator[dict[str, Any]]:
        buffer = self._buffer
        if not buffer and piece.endswith(b"\n"):  # whole lines
            rest = yield from self._objects(piece)
            if rest:
                raise bad_json(self._endpoint, rest)
            return
        buffer += piece
        if b"\n" in piece:
            end = buffer.rfind(b"\n") + 1
            lines = bytes(buffer[:end])
            del buffer[:end]
            rest = yield from self._objects(lines)
            if rest:
                raise bad_json(self._endpoint, rest)
        if buffer[:1].isspace():
            buffer[:] = buffer.lstrip()
        if buffer.endswith(b"}") and len(buffer) <= _SMALL:
            buffer[:] = yield from self._objects(bytes(buffer))
        if buffer and (buffer[:1] != b"{" or len(buffer) > _LONGEST):
            raise bad_json(self._endpoint, bytes(buffer[:200]))

    def _objects(self, data: bytes) -> Generator[dict[str, Any], None, bytes]:
        """Give the objects in `data`; the generator's own value is what follows the last whole one."""
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            return data
        at = 0
        while (at := _space_after(text, at)) < len(text):
            if text[at] != "{":
                raise bad_json(self._endpoint, text[at:].encode())
            try:
                value, at = _decoder.raw_decode(text, at)
            except ValueError:
                return text[at:].encode()
            except RecursionError:
                raise bad_json(self._endpoint, text[at:].encode()) from None
            yield value
        return b""


def _space_after(text: str, at: int) -> int:
    """Give the place of the first character from `at` on that is not white space."""
    space = _SPACE.match(text, at)
    assert space is not None
    return space.end()
