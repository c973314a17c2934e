"""Replies of the v3 gateway, read: pure parsers, for both of its JSON forms (etcd up to 3.5, and 3.6 on).

Rules of this file
1. Bytes in, values or errors out: no socket, no clock, no thread.
2. Absent means zero, false or empty. int64 comes as a string. White space may be anywhere.
3. Whether a request was carried out is read from etcd's own code and words, never from the HTTP status:
   the same refusal is 400 on one version and 412 on the next.

What an answer that is not a result means (`judge`)
    code 14 (unavailable), "no leader"      this member cannot; not carried out; ask the next
    code 14, "leader changed"               the read was not served; a write may have been
    code 14, 13, 4, 2 with time out, 1      nobody can tell; ask the next only if it may be replayed
    HTTP 5xx without etcd's JSON            a proxy in front of a dead member: nobody can tell
    any other code of etcd                  etcd's own answer: an EtcdError
    anything else                           not etcd: InvalidResponse or EmptyResponse
"""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Mapping
from typing import Any

from etcd_recipes.core.errors import (
    Compacted,
    EmptyResponse,
    EndpointError,
    EtcdError,
    InvalidResponse,
    LeaseExists,
    LeaseNotFound,
    NoLeader,
    PermissionDenied,
    ResponseError,
    Unauthenticated,
)
from etcd_recipes.core.http.action import Reply
from etcd_recipes.core.v3.values import (
    DeleteResult,
    Event,
    KeyValue,
    LeaseStatus,
    PutResult,
    RangeResult,
    TxnResult,
)

__all__ = ["bad_json", "decode", "error_of", "judge", "stream_error"]

_CANCELLED, _UNKNOWN, _DEADLINE, _INTERNAL, _UNAVAILABLE = 1, 2, 4, 13, 14


# -- is it an answer? ----------------------------------------------------------------------------------------


def judge(reply: Reply) -> EndpointError | None:
    """Give None if `reply` is a result, or why this endpoint could not answer; raises ResponseError."""
    if reply.status == 200:
        return _judge_stream_form(reply)
    body = _error_body(reply)
    if body is None or (reply.status >= 500 and not _has_code(body)):
        if reply.status >= 500 and reply.status != 501:  # 501: a web server that knows no POST
            return EndpointError(
                reply.endpoint,
                f"HTTP status {reply.status}: {_excerpt(reply.body)}",
                maybe_applied=True,
            )
        raise _not_etcd(reply)
    return _judge_error(body, reply.endpoint)


def _has_code(body: Mapping[str, Any]) -> bool:
    """Tell whether it is etcd's own error; a proxy in front of a dead member sends a message alone."""
    return "code" in body or "grpc_code" in body


def _judge_stream_form(reply: Reply) -> EndpointError | None:
    """A unary call of a streaming method (keepalive) reports its errors inside a 200."""
    if b'"error"' in reply.body and b'"result"' not in reply.body:
        body = decode(reply).get("error")
        if isinstance(body, dict):
            return _judge_error(body, reply.endpoint)
    return None


def _judge_error(body: Mapping[str, Any], endpoint: str) -> EndpointError | None:
    error = error_of(body, endpoint)
    if error.code == _UNAVAILABLE or isinstance(error, NoLeader):
        certain = isinstance(error, NoLeader)
        return EndpointError(endpoint, error.message, maybe_applied=not certain)
    timed_out = error.code == _UNKNOWN and "deadline exceeded" in error.message
    if timed_out or error.code in (_CANCELLED, _DEADLINE, _INTERNAL):
        return EndpointError(endpoint, error.message, maybe_applied=True)
    raise error


def _error_body(reply: Reply) -> Mapping[str, Any] | None:
    """Give etcd's error object in `reply`, whichever form it has, or None."""
    body = _loaded(reply.body)
    if body is None:
        return None
    inner = body.get("error")
    if isinstance(inner, dict):
        return inner
    return body if "message" in body or "error" in body else None


def error_of(body: Mapping[str, Any], endpoint: str = "") -> EtcdError:
    """Give the error for etcd's error object: ``code`` or ``grpc_code``, ``message`` or ``error``."""
    try:
        code = int(body.get("code") or body.get("grpc_code") or 0)
    except (TypeError, ValueError, OverflowError):
        code = 0
    message = str(body.get("message") or body.get("error") or "unknown error")
    return _class_of(code, message)(message, code=code, endpoint=endpoint)


_BY_WORDS: tuple[tuple[str, type[EtcdError]], ...] = (
    ("no leader", NoLeader),
    ("not a primary lessor", NoLeader),
    ("requested lease not found", LeaseNotFound),
    ("lease already exists", LeaseExists),
    ("required revision has been compacted", Compacted),
    ("permission denied", PermissionDenied),
    ("invalid auth token", Unauthenticated),
    ("user name is empty", Unauthenticated),
    ("authentication failed", Unauthenticated),
    ("auth revision", Unauthenticated),
    ("revision of auth store is old", Unauthenticated),
)


def _class_of(code: int, message: str) -> type[EtcdError]:
    for words, kind in _BY_WORDS:
        if words in message:
            return kind
    return {7: PermissionDenied, 16: Unauthenticated}.get(code, EtcdError)


def _not_etcd(reply: Reply) -> ResponseError:
    if reply.status == 404:
        hint = "etcd's v3 gateway is not there: is this etcd, and is its gateway on (--enable-grpc-gateway)?"
    elif 300 <= reply.status < 400:
        hint = "a redirect, which etcd's v3 gateway never sends: is this etcd?"
    else:
        hint = "not an answer of etcd's v3 gateway: is this etcd?"
    return InvalidResponse(
        f"{reply.endpoint} answered with HTTP status {reply.status} and {_excerpt(reply.body)}; {hint}",
        endpoint=reply.endpoint,
    )


def _excerpt(body: bytes) -> str:
    if not body:
        return "an empty body"
    text = body[:80].decode("utf-8", "replace")
    return repr(text) + ("..." if len(body) > 80 else "")


def decode(reply: Reply) -> dict[str, Any]:
    """Give the JSON object in `reply`; EmptyResponse or InvalidResponse if there is none."""
    if not reply.body:
        raise EmptyResponse(
            f"{reply.endpoint} answered with HTTP status {reply.status} and an empty body",
            endpoint=reply.endpoint,
        )
    body = _loaded(reply.body)
    if body is None:
        raise bad_json(reply.endpoint, reply.body)
    return body


def _loaded(body: bytes) -> dict[str, Any] | None:
    """Give the JSON object that `body` is, or None if it is none (or one too deep to be etcd's)."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def bad_json(endpoint: str, body: bytes) -> InvalidResponse:
    """Give the error for an answer that is not a JSON object."""
    return InvalidResponse(
        f"{endpoint} answered with something that is not etcd's JSON: {_excerpt(body)}",
        endpoint=endpoint,
    )


# -- results ---------------------------------------------------------------------------------------------------


_MALFORMED = (LookupError, ValueError, TypeError, AttributeError, OverflowError, RecursionError)


class Reading:
    """Reads one decoded object, so that whatever is malformed in it becomes one InvalidResponse."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, _MALFORMED):
            raise InvalidResponse(
                f"{self._endpoint} answered with JSON of an unknown shape ({error})",
                endpoint=self._endpoint,
            ) from error


def revision_of(body: Mapping[str, Any]) -> int:
    """Give the revision in the header, 0 if there is none."""
    return int(body.get("header", {}).get("revision", 0))


def key_value(body: Mapping[str, Any]) -> KeyValue:
    """Read a key."""
    return KeyValue(
        b64decode(body.get("key", "")),
        b64decode(body.get("value", "")),
        int(body.get("create_revision", 0)),
        int(body.get("mod_revision", 0)),
        int(body.get("version", 0)),
        int(body.get("lease", 0)),
    )


def range_result(body: Mapping[str, Any], revision: int = 0) -> RangeResult:
    """Read what a range answered; `revision` is that of the transaction it stood in."""
    return RangeResult(
        tuple(key_value(kv) for kv in body.get("kvs", ())),
        int(body.get("count", 0)),
        bool(body.get("more", False)),
        revision_of(body) or revision,
    )


def put_result(body: Mapping[str, Any], revision: int = 0) -> PutResult:
    """Read what a put answered."""
    prev = body.get("prev_kv")
    return PutResult(revision_of(body) or revision, key_value(prev) if prev else None)


def delete_result(body: Mapping[str, Any], revision: int = 0) -> DeleteResult:
    """Read what a delete answered."""
    return DeleteResult(
        int(body.get("deleted", 0)),
        revision_of(body) or revision,
        tuple(key_value(kv) for kv in body.get("prev_kvs", ())),
    )


def txn_result(body: Mapping[str, Any], revision: int = 0) -> TxnResult:
    """Read what a transaction answered."""
    revision = revision_of(body) or revision
    return TxnResult(
        bool(body.get("succeeded", False)),
        tuple(_op_result(response, revision) for response in body.get("responses", ())),
        revision,
    )


def _op_result(
    body: Mapping[str, Any], revision: int
) -> RangeResult | PutResult | DeleteResult | TxnResult:
    if "response_range" in body:
        return range_result(body["response_range"], revision)
    if "response_put" in body:
        return put_result(body["response_put"], revision)
    if "response_delete_range" in body:
        return delete_result(body["response_delete_range"], revision)
    return txn_result(body["response_txn"], revision)


def keep_alive_ttl(body: Mapping[str, Any]) -> int:
    """Read the ttl that a renewal granted; 0 when the lease is gone (etcd says so by leaving it out)."""
    return int(body.get("result", {}).get("TTL", 0))


def lease_status(body: Mapping[str, Any]) -> LeaseStatus:
    """Read what is left of a lease; in its last second etcd leaves the ttl out, though it still lives."""
    return LeaseStatus(
        int(body.get("ID", 0)),
        int(body.get("TTL", 0)),
        int(body.get("grantedTTL", 0)),
        tuple(b64decode(key) for key in body.get("keys", ())),
        revision_of(body),
    )


# -- streams ---------------------------------------------------------------------------------------------------


def stream_error(body: Mapping[str, Any], endpoint: str) -> EtcdError | None:
    """Give the error that a stream's message carries, or None."""
    error = body.get("error")
    return error_of(error, endpoint) if isinstance(error, dict) else None


def cancel_error(result: Mapping[str, Any], endpoint: str) -> EtcdError:
    """Give the error for a watch that the server cancelled."""
    compacted = int(result.get("compact_revision", 0))
    if compacted:
        error = Compacted(
            f"the events up to revision {compacted} have been compacted away",
            code=11,
            endpoint=endpoint,
        )
        error.resume_from = compacted
        return error
    reason = str(result.get("cancel_reason", "the server cancelled the watch"))
    message = reason.rpartition("desc = ")[2] or reason
    return _class_of(0, message)(message, endpoint=endpoint)


def event(body: Mapping[str, Any]) -> Event:
    """Read one event of a watch."""
    prev = body.get("prev_kv")
    return Event(
        "DELETE" if body.get("type") in ("DELETE", 1) else "PUT",
        key_value(body.get("kv", {})),
        key_value(prev) if prev else None,
    )
