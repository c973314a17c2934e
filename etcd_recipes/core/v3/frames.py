"""Frames: a stream of JSON objects, cut into objects.

Rules of this file
1. Bytes in, objects or an InvalidResponse out: no socket, no clock, no thread.
2. What has been parsed is not parsed again: a large event arrives in many pieces.
"""

from __future__ import annotations

import json
import re
from typing import Any

from etcd_recipes.core.v3.replies import bad_json

__all__ = ["Frames"]

_SMALL = 65536
_NO_OBJECT = re.compile(
    rb"\s*[^\s{]"
)  # looks at the beginning alone: a large event comes in many pieces
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

    def feed(self, piece: bytes) -> list[dict[str, Any]]:
        """Give the objects that `piece` completes; InvalidResponse if what arrives is not JSON objects."""
        buffer = self._buffer
        buffer += piece
        found: list[dict[str, Any]] = []
        if b"\n" in piece:
            end = buffer.rfind(b"\n") + 1
            lines = bytes(buffer[:end])
            del buffer[:end]
            found, rest = self._objects(lines)
            if rest:
                raise bad_json(self._endpoint, rest)
        if buffer.endswith(b"}") and len(buffer) <= _SMALL:
            more, rest = self._objects(bytes(buffer))
            found += more
            buffer[:] = rest
        elif _NO_OBJECT.match(buffer):
            raise bad_json(self._endpoint, bytes(buffer))
        return found

    def _objects(self, data: bytes) -> tuple[list[dict[str, Any]], bytes]:
        """Give the objects in `data`, and what follows the last one that is whole."""
        found: list[dict[str, Any]] = []
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            return found, data
        at = 0
        while at < len(text) and (rest := text[at:].lstrip() if text[at].isspace() else text[at:]):
            at = len(text) - len(rest)
            if text[at] != "{":
                raise bad_json(self._endpoint, rest.encode())
            try:
                value, at = _decoder.raw_decode(text, at)
            except ValueError:
                return found, rest.encode()
            except RecursionError:
                raise bad_json(self._endpoint, rest.encode()) from None
            found.append(value)
        return found, b""
