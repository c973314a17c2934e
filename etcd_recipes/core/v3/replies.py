"""Replies of the v3 gateway, read: pure parsers, for both of its JSON forms (etcd up to 3.5, and 3.6 on).

Rules of this file
1. Bytes in, values or errors out: no socket, no clock, no thread.
2. Absent means zero, false or empty. int64 comes as a string. White space may be anywhere. What is there
   and is something else (a number that etcd cannot hold, "false" for false, no base64) makes the answer none.
3. Whether a request was carried out is read from etcd's own code and words, never from the HTTP status:
   the same refusal is 400 on one version and 412 on the next.

What an answer that is not a result means (`judge`)
    "no leader", or `_BEFORE_IT_BEGAN`      this member cannot; not carried out; ask the next
    code 14 (unavailable), 13, 4, 1         nobody can tell; ask the next only if it may be replayed
    code 2 with words that are unknown      the same: "context deadline exceeded", and other failures of
                                            etcd's insides that have no code of their own
    HTTP 5xx without etcd's JSON            a proxy in front of a dead member: nobody can tell
    any other code of etcd                  etcd's own answer, nothing was done: an EtcdError
    anything else                           not etcd: InvalidResponse or EmptyResponse
"leader changed", for one, is code 14: the read was not served, a write may have been carried out.
"""

from __future__ import annotations

import json
from binascii import a2b_base64
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, TypeVar

from etcd_recipes.core.errors import (
    Compacted,
    EmptyResponse,
    EndpointError,
    EtcdError,
    FutureRevision,
    InvalidResponse,
    KeyNotFound,
    LeaseExists,
    LeaseNotFound,
    MemberExists,
    MemberNotFound,
    NoLeader,
    NoSpace,
    PermissionDenied,
    RequestTooLarge,
    ResponseError,
    RoleExists,
    RoleNotFound,
    Unauthenticated,
    UserExists,
    UserNotFound,
)
from etcd_recipes.core.http.action import Reply, excerpt
from etcd_recipes.core.v3.values import (
    DeleteResult,
    Event,
    KeyValue,
    LeaseGrant,
    LeaseStatus,
    PutResult,
    RangeResult,
    TxnResult,
    made_event,
    made_key_value,
)

__all__ = [
    "NoGateway",
    "auth_is_off",
    "bad_json",
    "cluster_of",
    "decode",
    "error_of",
    "flag",
    "header_of",
    "judge",
    "number",
    "raw",
    "stream_error",
]

T = TypeVar("T")

_decode = json.JSONDecoder().raw_decode  # `decode` is this, and two searches for white space
_SPACE = " \t\n\r"

_CANCELLED, _UNKNOWN, _DEADLINE, _INTERNAL, _UNAVAILABLE = 1, 2, 4, 13, 14


class NoGateway(InvalidResponse):
    """The path is not there: the request was not carried out."""


# -- is it an answer? ----------------------------------------------------------------------------------------


def judge(reply: Reply) -> EndpointError | None:
    """Give None if `reply` is a result, or why this endpoint could not answer; raises ResponseError."""
    if reply.status == 200:
        return _judge_stream_form(reply)
    body = _error_body(reply)
    if body is None or not _has_code(body):
        if reply.status >= 500 and reply.status != 501:  # 501: a web server that knows no POST
            return EndpointError(
                reply.endpoint,
                f"HTTP status {reply.status}: {reply.shown}",
                maybe_applied=True,
            )
        raise _not_etcd(reply)
    return _judge_error(body, reply.endpoint)


def _has_code(body: Mapping[str, Any]) -> bool:
    """Tell whether it is etcd's own error; proxies and others send a message alone."""
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
    certain = isinstance(error, NoLeader) or any(w in error.message for w in _BEFORE_IT_BEGAN)
    if not certain and not _in_doubt(error):
        raise error
    return EndpointError(
        endpoint,
        error.message,
        maybe_applied=not certain,
        code=error.code,
        message=error.message,
    )


_BEFORE_IT_BEGAN = (
    "too many requests",  # the member is behind with what it has accepted already
    "rpc not supported for learner",
    "not capable",  # it is starting
    "raft proposal dropped",
    "unhealthy cluster",  # so that no change of its members is begun
)
"""What a member says that does not even begin with a request; another one may."""


def _in_doubt(error: EtcdError) -> bool:
    """Tell whether nobody knows what became of the request."""
    if error.code == _UNKNOWN:
        # Some refusals have it too: those whose words are known, and those of the auth store.
        return type(error) is EtcdError and not error.message.startswith("auth: ")
    return error.code in (_CANCELLED, _DEADLINE, _INTERNAL, _UNAVAILABLE)


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
    words = (body.get("message"), body.get("error"))
    message = next((w for w in words if isinstance(w, str) and w), "unknown error")
    return _class_of(code, message)(message, code=code, endpoint=endpoint)


_BY_WORDS: tuple[tuple[str, type[EtcdError]], ...] = (
    ("no leader", NoLeader),
    ("not a primary lessor", NoLeader),
    ("not leader", NoLeader),
    ("requested lease not found", LeaseNotFound),
    ("lease already exists", LeaseExists),
    ("required revision has been compacted", Compacted),
    ("required revision is a future revision", FutureRevision),
    ("etcdserver: key not found", KeyNotFound),
    ("request is too large", RequestTooLarge),
    ("received message larger than max", RequestTooLarge),
    ("database space exceeded", NoSpace),
    ("permission denied", PermissionDenied),
    ("invalid auth token", Unauthenticated),
    ("user name is empty", Unauthenticated),
    ("authentication failed", Unauthenticated),
    ("auth revision", Unauthenticated),
    ("revision of auth store is old", Unauthenticated),
    ("user name not found", UserNotFound),
    ("user name already exists", UserExists),
    ("role name not found", RoleNotFound),
    ("role name already exists", RoleExists),
    ("member not found", MemberNotFound),
    ("member ID already exist", MemberExists),
    ("Peer URLs already exists", MemberExists),
)


def _class_of(code: int, message: str) -> type[EtcdError]:
    for words, kind in _BY_WORDS:
        if words in message:
            return kind
    return {7: PermissionDenied, 16: Unauthenticated}.get(code, EtcdError)


def _not_etcd(reply: Reply) -> ResponseError:
    if reply.status == 404:
        return NoGateway(
            f"{reply.endpoint} answered with HTTP status 404 and {reply.shown}; etcd's v3 gateway "
            "is not there: is this etcd, and is its gateway on (--enable-grpc-gateway, which is off by "
            "default when etcd has a configuration file; a grpc-proxy has none)?",
            endpoint=reply.endpoint,
        )
    if 300 <= reply.status < 400:
        hint = "a redirect, which etcd's v3 gateway never sends: is this etcd?"
    else:
        hint = "not an answer of etcd's v3 gateway: is this etcd?"
    return InvalidResponse(
        f"{reply.endpoint} answered with HTTP status {reply.status} and {reply.shown}; {hint}",
        endpoint=reply.endpoint,
    )


def decode(reply: Reply) -> dict[str, Any]:
    """Give the JSON object in `reply`; EmptyResponse or InvalidResponse if there is none."""
    if not reply.body:
        raise EmptyResponse(
            f"{reply.endpoint} answered with HTTP status {reply.status} and an empty body",
            endpoint=reply.endpoint,
        )
    body = _loaded(reply.body)
    if body is None:
        raise _no_json(reply.endpoint, reply.shown)
    return body


def _loaded(body: bytes) -> dict[str, Any] | None:
    """Give the JSON object that `body` is, or None if it is none (or one too deep to be etcd's)."""
    try:
        text = body.decode().strip(_SPACE)
        value, end = _decode(text)
    except (ValueError, RecursionError):
        return None
    return value if end == len(text) and isinstance(value, dict) else None


def bad_json(endpoint: str, body: bytes) -> InvalidResponse:
    """Give the error for an answer that is not a JSON object."""
    return _no_json(endpoint, excerpt(body))


def _no_json(endpoint: str, shown: str) -> InvalidResponse:
    return InvalidResponse(
        f"{endpoint} answered with something that is not etcd's JSON: {shown}", endpoint=endpoint
    )


# -- results ---------------------------------------------------------------------------------------------------


_MALFORMED = (LookupError, ValueError, TypeError, AttributeError, OverflowError, RecursionError)


def _malformed(endpoint: str, error: BaseException) -> InvalidResponse:
    """Give the error for a decoded object in which something is malformed."""
    return InvalidResponse(
        f"{endpoint} answered with JSON of an unknown shape ({error})", endpoint=endpoint
    )


class Reading:
    """Reads one decoded object, so that whatever is malformed in it becomes one InvalidResponse."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, _MALFORMED):
            raise _malformed(self._endpoint, error) from error


def read(parse: Callable[[Mapping[str, Any]], T], body: Mapping[str, Any], endpoint: str) -> T:
    """Give what `parse` reads of an answer; InvalidResponse for whatever is malformed in it."""
    try:
        return parse(body)
    except _MALFORMED as error:
        raise _malformed(endpoint, error) from error


@lru_cache(maxsize=256)
def number(value: object) -> int:
    """Read a number of etcd's, signed or not; TypeError or ValueError when it is none that 64 bits hold.

    Versions, leases and the revision of a transaction come again and again. Errors are not remembered.
    """
    if type(value) is str and len(value) < _FITS:
        return int(value)
    return _checked(value)


def _checked(value: object) -> int:
    if type(value) is str and len(value) <= _DIGITS:
        value = int(value)
    if type(value) is not int:
        raise TypeError(f"{_shown(value)} is not a number")
    if not -(2**63) <= value < 2**64:
        raise ValueError("a number that 64 bits do not hold")
    return value


_FITS, _DIGITS = 19, 20
"""Fewer digits than the one fit into 64 bits for sure, more than the other never do."""


def flag(value: object) -> bool:
    """Read true or false; TypeError for all else."""
    if value is True or value is False:
        return value
    raise TypeError(f"{_shown(value)} is not true or false")


def raw(value: str) -> bytes:
    """Read bytes; ValueError or TypeError when they are not in base64."""
    return a2b_base64(value, strict_mode=True)


def _shown(value: object) -> str:
    return repr(value[:40]) if isinstance(value, str) else type(value).__name__


def revision_of(body: Mapping[str, Any]) -> int:
    """Give the revision in the header, 0 if there is none."""
    return number(body.get("header", {}).get("revision", 0))


def cluster_of(body: Mapping[str, Any]) -> str:
    """Give the cluster's id in the header, "" if there is none."""
    return str(body.get("header", {}).get("cluster_id", ""))


def header_of(body: Mapping[str, Any]) -> tuple[str, int]:
    """Give the cluster's id and the revision in the header, "" and 0 if there is none."""
    header = body.get("header", {})
    return str(header.get("cluster_id", "")), number(header.get("revision", 0))


def auth_is_off(error: EtcdError) -> bool:
    """Tell whether etcd gave no token because it wants none."""
    return error.code == 9 and "authentication is not enabled" in error.message


def key_value(body: Mapping[str, Any]) -> KeyValue:
    """Read a key."""
    get = body.get
    return made_key_value(
        a2b_base64(get("key", ""), strict_mode=True),
        a2b_base64(get("value", ""), strict_mode=True),
        number(get("create_revision", "0")),
        number(get("mod_revision", "0")),
        number(get("version", "0")),
        number(get("lease", "0")),
    )


def range_result(body: Mapping[str, Any], revision: int = 0) -> RangeResult:
    """Read what a range answered; `revision` is that of the transaction it stood in."""
    return _range_at(body, revision_of(body) or revision)


def _range_at(body: Mapping[str, Any], revision: int) -> RangeResult:
    return RangeResult(
        tuple([key_value(kv) for kv in body.get("kvs", ())]),
        number(body.get("count", 0)),
        flag(body.get("more", False)),
        revision,
    )


def put_result(body: Mapping[str, Any], revision: int = 0) -> PutResult:
    """Read what a put answered."""
    prev = body.get("prev_kv")
    return PutResult(revision_of(body) or revision, key_value(prev) if prev else None)


def delete_result(body: Mapping[str, Any], revision: int = 0) -> DeleteResult:
    """Read what a delete answered."""
    return DeleteResult(
        number(body.get("deleted", 0)),
        revision_of(body) or revision,
        tuple(key_value(kv) for kv in body.get("prev_kvs", ())),
    )


def txn_result(body: Mapping[str, Any], revision: int = 0) -> TxnResult:
    """Read what a transaction answered."""
    succeeded, own = outcome(body)
    revision = own or revision
    return TxnResult(
        succeeded,
        tuple(_op_result(response, revision) for response in body.get("responses", ())),
        revision,
    )


def outcome(body: Mapping[str, Any]) -> tuple[bool, int]:
    """Tell whether a transaction took its first branch, and give its revision."""
    return flag(body.get("succeeded", False)), revision_of(body)


def range_in(body: Mapping[str, Any], index: int, revision: int) -> RangeResult:
    """Read the range that stands at `index` in the branch that a transaction took, and that is of its `revision`."""
    return _range_at(body["responses"][index]["response_range"], revision)


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


def lease_grant(body: Mapping[str, Any]) -> LeaseGrant:
    """Read a lease as it was granted."""
    return LeaseGrant(number(body["ID"]), number(body["TTL"]), revision_of(body))


def lease_ids(body: Mapping[str, Any]) -> tuple[int, ...]:
    """Read the ids of all leases."""
    return tuple(number(lease["ID"]) for lease in body.get("leases", ()))


def keep_alive_ttl(body: Mapping[str, Any]) -> int:
    """Read the ttl that a renewal granted; 0 when the lease is gone (etcd says so by leaving it out)."""
    return number(body.get("result", {}).get("TTL", 0))


def lease_status(body: Mapping[str, Any]) -> LeaseStatus:
    """Read what is left of a lease; in its last second etcd leaves the ttl out, though it still lives."""
    return LeaseStatus(
        number(body.get("ID", 0)),
        number(body.get("TTL", 0)),
        number(body.get("grantedTTL", 0)),
        tuple(raw(key) for key in body.get("keys", ())),
        revision_of(body),
    )


# -- streams ---------------------------------------------------------------------------------------------------


def stream_error(body: Mapping[str, Any], endpoint: str) -> EtcdError | None:
    """Give the error that a stream's message carries, or None."""
    error = body.get("error")
    return error_of(error, endpoint) if isinstance(error, dict) else None


def cancel_error(result: Mapping[str, Any], endpoint: str) -> EtcdError:
    """Give the error for a watch that the server cancelled."""
    compacted = number(result.get("compact_revision", 0))
    if compacted:
        error = Compacted(
            f"the events up to revision {compacted} have been compacted away",
            code=11,
            endpoint=endpoint,
        )
        error.resume_from = compacted
        return error
    said = result.get("cancel_reason")
    reason = said if isinstance(said, str) and said else "the server cancelled the watch"
    message = reason.rpartition("desc = ")[2] or reason
    return _class_of(0, message)(message, endpoint=endpoint)


def event(body: Mapping[str, Any]) -> Event:
    """Read one event of a watch."""
    prev = body.get("prev_kv")
    return made_event(
        "DELETE" if body.get("type") in ("DELETE", 1) else "PUT",
        key_value(body.get("kv", {})),
        key_value(prev) if prev else None,
    )
