"""What goes over the wire: a request, an answer, and etcd's way with JSON.

Rules of this file
1. Values and pure functions.
2. int64 is a string in JSON, bytes are base64, and what is zero, false or empty is left out. Numbers come in
   as strings or as numbers.
"""

from __future__ import annotations

import json
from base64 import b64encode
from binascii import a2b_base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.simulation.model.errors import Refused

__all__ = [
    "Answer",
    "Request",
    "dump",
    "flag",
    "listed",
    "load",
    "message",
    "number",
    "raw",
    "text",
]

Json = dict[str, Any]

JSON_TYPE = {"Content-Type": "application/json"}
TEXT_TYPE = {"Content-Type": "text/plain; charset=utf-8"}


@dataclass(frozen=True, slots=True)
class Request:
    """One request; `path` with its query."""

    method: str
    path: str
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer, whole."""

    status: int
    headers: Mapping[str, str]
    body: bytes


dump = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode
_decoder = json.JSONDecoder()


def text(data: bytes) -> str:
    """Give bytes as JSON has them."""
    return b64encode(data).decode("ascii")


def load(data: bytes) -> Json:
    """Read one JSON object; nothing is an empty one."""
    try:
        found = _decoder.decode(data.decode()) if data else {}
    except ValueError as error:
        raise Refused(3, f"invalid character: {error}") from None
    if not isinstance(found, dict):
        raise Refused(3, "json: cannot unmarshal into Go value")
    return found


def load_many(data: bytes) -> list[Json]:
    """Read JSON objects that stand one after the other."""
    found, at = [], 0
    source = data.decode().strip()
    while at < len(source):
        try:
            value, at = _decoder.raw_decode(source, at)
        except ValueError as error:
            raise Refused(2, f"invalid character: {error}") from None
        found.append(value)
        while at < len(source) and source[at].isspace():
            at += 1
    return found


def number(body: Json, name: str) -> int:
    """Read an int64."""
    value = body.get(name)
    if value is None:
        return 0
    if type(value) is str or type(value) is int:
        try:
            return int(value)
        except ValueError:
            pass
    raise Refused(3, f"json: cannot unmarshal {name} into Go value of type int64")


def flag(body: Json, name: str) -> bool:
    """Read a bool."""
    value = body.get(name)
    if value is None or value is False:
        return False
    if value is True:
        return True
    raise Refused(3, f"json: cannot unmarshal {name} into Go value of type bool")


def raw(body: Json, name: str) -> bytes:
    """Read bytes."""
    value = body.get(name)
    if value is None:
        return b""
    try:
        return a2b_base64(value, strict_mode=True)
    except (ValueError, TypeError):
        raise Refused(3, "illegal base64 data at input byte 0") from None


def choice(body: Json, name: str, names: tuple[str, ...]) -> str:
    """Read an enum, by its name or its number."""
    value = body.get(name)
    if value is None:
        return names[0]
    if type(value) is int and 0 <= value < len(names):
        return names[value]
    if value in names:
        return str(value)
    raise Refused(3, f"unknown value {value!r} for enum {name}")


def listed(body: Json, name: str) -> list[Any]:
    """Read a repeated field."""
    value = body.get(name)
    if value is None:
        return []
    if type(value) is list:
        return value
    raise Refused(3, f"json: cannot unmarshal {name} into Go value of type []json.RawMessage")


def message(body: Json, name: str) -> Json:
    """Read a message within a message."""
    value = body.get(name)
    if value is None:
        return {}
    if type(value) is dict:
        return value
    raise Refused(3, f"json: cannot unmarshal {name} into Go value")
