"""Replies of the v2 API, read: pure parsers.

Rules of this file
1. Bytes and headers in, values or errors out: no socket, no clock, no thread. Whatever arrives, nothing
   but the library's own errors leaves.
2. An answer that is not etcd's is named: the endpoint, and how it begins.

What an answer means (`judge`)
    200, 201, 204               a result
    5xx                         this endpoint could not; its own words are kept; nobody can tell whether a
                                write was carried out
    500 with "Not a file"       etcd 3.5 asked to change a directory's ttl: an answer, and final
    else, with an errorCode     etcd's own error, by its code
    else, with a message        the members and auth services, which have no codes: by their words;
                                `code` is then the HTTP status (110 for 401, which is a code of another kind)
    anything else               not etcd: InvalidResponse
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from etcd_recipes.core.errors import (
    CompareFailed,
    DirectoryNotEmpty,
    EmptyResponse,
    EndpointError,
    EtcdError,
    EventIndexCleared,
    InvalidResponse,
    KeyExists,
    KeyNotFound,
    MemberExists,
    MemberNotFound,
    NotADirectory,
    NotAFile,
    NotAuthorized,
    ResponseError,
    RoleExists,
    RoleNotFound,
    UserExists,
    UserNotFound,
)
from etcd_recipes.core.http.action import Reply
from etcd_recipes.core.v2.values import Node, Response, Version

__all__ = [
    "Reading",
    "decode",
    "index_of",
    "judge",
    "judge_removal",
    "response",
    "text",
    "written",
]

_decode = json.JSONDecoder().decode

WATCHER_CLEARED = 400
"""The errorCode of a watch that the server dropped because it restored a snapshot."""

_BY_CODE: Mapping[int, type[EtcdError]] = {
    100: KeyNotFound,
    101: CompareFailed,
    102: NotAFile,
    104: NotADirectory,
    105: KeyExists,
    108: DirectoryNotEmpty,
    110: NotAuthorized,
    401: EventIndexCleared,
}

_BY_WORDS: tuple[tuple[re.Pattern[str], type[EtcdError]], ...] = (
    (re.compile(r"User .* (does not|doesn't) exist", re.DOTALL), UserNotFound),
    (re.compile(r"Role .* (does not|doesn't) exist", re.DOTALL), RoleNotFound),
    (re.compile(r"User .* already exists", re.DOTALL), UserExists),
    (re.compile(r"Role .* already exists", re.DOTALL), RoleExists),
    (re.compile(r"No such member|Member permanently removed"), MemberNotFound),
    (re.compile(r"peerURL exists"), MemberExists),
)


# -- is it an answer? --------------------------------------------------------------------------------------


def judge(reply: Reply) -> EndpointError | None:
    """Give None if `reply` is a result, or why this endpoint could not answer; raises ResponseError."""
    if reply.status in (200, 201, 204):
        return None
    body = _object(reply.body)
    if reply.status >= 500:
        return _unable(reply, body or {})
    raise _not_etcd(reply) if body is None else error_of(reply, body)


def judge_removal(reply: Reply) -> EndpointError | None:
    """Judge the removal of a member: one that is gone already (410) is removed."""
    return None if reply.status == 410 else judge(reply)


def _unable(reply: Reply, body: Mapping[str, Any]) -> EndpointError:
    code, message, cause = _code(body), _text(body, "message"), _text(body, "cause")
    if code == 300 and "Not a file" in cause:
        raise NotAFile(message, code=code, cause=cause, endpoint=reply.endpoint)
    said = f"{message} ({cause}) [code {code}]" if code else message or reply.shown
    return EndpointError(
        reply.endpoint,
        f"HTTP status {reply.status}: {said}",
        maybe_applied=True,
        code=code,
        message=message,
        cause=cause,
    )


def error_of(reply: Reply, body: Mapping[str, Any]) -> ResponseError:
    """Give the error for etcd's error object."""
    code, message = _code(body), _text(body, "message")
    if not code and not message:
        return _not_etcd(reply)
    if code:
        kind = _BY_CODE.get(code, EtcdError)
    else:
        code = 110 if reply.status == 401 else reply.status
        kind = NotAuthorized if reply.status == 401 else _by_words(message)
    error = kind(
        message or "unknown error",
        code=code,
        cause=_text(body, "cause"),
        index=_number(body.get("index")),
        endpoint=reply.endpoint,
    )
    if isinstance(error, EventIndexCleared):
        error.resume_from = error.index
    return error


def _by_words(message: str) -> type[EtcdError]:
    for pattern, kind in _BY_WORDS:
        if pattern.search(message):
            return kind
    return EtcdError


def _not_etcd(reply: Reply) -> InvalidResponse:
    if reply.status == 404:
        hint = "is this etcd, and is its v2 API on (--enable-v2; etcd 3.6 has none)?"
    else:
        hint = "is this etcd?"
    return InvalidResponse(
        f"{reply.endpoint} answered with HTTP status {reply.status} and {reply.shown}; {hint}",
        endpoint=reply.endpoint,
    )


def _object(body: bytes) -> dict[str, Any] | None:
    """Give the JSON object in `body`, or None."""
    try:
        found = _decode(body.decode())
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _code(body: Mapping[str, Any]) -> int:
    return _number(body.get("errorCode"))


def _number(value: object) -> int:
    return value if type(value) is int and 0 <= value < 2**64 else 0


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    return text(value) if isinstance(value, str) else ""


# -- results -------------------------------------------------------------------------------------------------


class Reading:
    """Reads one answer, so that whatever is malformed in it becomes one InvalidResponse."""

    def __init__(self, reply: Reply) -> None:
        self._reply = reply

    def __enter__(self) -> dict[str, Any]:
        """Give the JSON object in the answer."""
        return decode(self._reply)

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        malformed = (
            LookupError | ValueError | TypeError | AttributeError | OverflowError | RecursionError
        )
        if isinstance(error, malformed):
            endpoint = self._reply.endpoint
            raise InvalidResponse(
                f"{endpoint} answered with JSON of an unknown shape "
                f"({type(error).__name__}: {error}): {self._reply.shown}",
                endpoint=endpoint,
            ) from error


def decode(reply: Reply) -> dict[str, Any]:
    """Give the JSON object in `reply`; EmptyResponse or InvalidResponse if there is none."""
    if not reply.body or reply.body.isspace():
        raise EmptyResponse(
            f"{reply.endpoint} answered with HTTP status {reply.status} and an empty body",
            endpoint=reply.endpoint,
        )
    body = _object(reply.body)
    if body is None:
        raise InvalidResponse(
            f"{reply.endpoint} answered with something that is not etcd's JSON: {reply.shown}",
            endpoint=reply.endpoint,
        )
    return body


def response(reply: Reply, *, bare: bool = False) -> Response:
    """Read an answer about keys; one without a node is malformed, unless `bare`."""
    with Reading(reply) as body:
        found = body.get("node")
        if found is None and not bare:
            raise KeyError("node")
        prev = body.get("prevNode")
        action = text(body["action"])
        return Response(
            action,
            None if found is None else node(found),  # type: ignore[arg-type]
            None if prev is None else node(prev),
            index_of(reply),
            reply.headers.get("x-etcd-cluster-id", ""),
            reply.doubt and action != "get",
        )


def written(reply: Reply, *, bare: bool = False) -> Response:
    """Read what a write was answered; when that cannot be read, it says that the write may be done."""
    try:
        return response(reply, bare=bare)
    except ResponseError as error:
        error.maybe_applied = True
        raise


def index_of(reply: Reply) -> int:
    """Give X-Etcd-Index, 0 if there is none; InvalidResponse if it is not a number."""
    text = reply.headers.get("x-etcd-index", "0")
    if not (text.isascii() and text.isdigit() and len(text) <= 20 and int(text) < 2**64):
        raise InvalidResponse(
            f"{reply.endpoint} answered with an X-Etcd-Index that is not a number: {text[:80]!r}",
            endpoint=reply.endpoint,
        )
    return int(text)


def node(body: Any) -> Node:
    """Read a node and all below it."""
    expiration = body.get("expiration")
    ttl = body.get("ttl", None if expiration is None else 0)
    return Node(
        text(body.get("key", "/")),
        text(body.get("value", "")),
        _flag(body.get("dir", False)),
        tuple([node(child) for child in body.get("nodes") or ()]),
        _index(body.get("createdIndex", 0)),
        _index(body.get("modifiedIndex", 0)),
        None if ttl is None else _int(ttl),
        None if expiration is None else datetime.fromisoformat(text(expiration)),
    )


def version(reply: Reply) -> Version:
    """Read what /version answers."""
    with Reading(reply) as body:
        return Version(text(body["etcdserver"]), text(body.get("etcdcluster", "")))


def text(value: object) -> str:
    """Read text; TypeError when it is none. JSON may hold halves of characters, etcd's text does not."""
    if not isinstance(value, str):
        raise TypeError(f"{_shown(value)} is not a string")
    return value if value.isascii() else value.encode("utf-8", "replace").decode()


def _shown(value: object) -> str:
    return repr(value[:40]) if isinstance(value, str) else type(value).__name__


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{_shown(value)} is not true or false")
    return value


def _int(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{_shown(value)} is not a whole number")
    if not -(2**63) <= value < 2**64:
        raise ValueError("a number that 64 bits do not hold")
    return value


def _index(value: object) -> int:
    number = _int(value)
    if number < 0:
        raise ValueError(f"{number} is not an index")
    return number
