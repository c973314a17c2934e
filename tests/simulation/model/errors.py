"""etcd's refusals on v3: codes and words, and the form that each version of the gateway gives them.

Rules of this file
1. Values and pure functions.
2. Up to 3.5 the gateway has the error's text twice; from 3.6 on once. What a code is in HTTP differs too.
"""

from __future__ import annotations

import json

__all__ = ["Refused", "is_new", "status_of", "stream_error", "unary_error"]


class Refused(Exception):
    """etcd refuses a request: a gRPC code and etcd's words."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


EMPTY_KEY = (3, "etcdserver: key is not provided")
KEY_NOT_FOUND = (3, "etcdserver: key not found")
VALUE_PROVIDED = (3, "etcdserver: value is provided")
LEASE_PROVIDED = (3, "etcdserver: lease is provided")
TOO_MANY_OPS = (3, "etcdserver: too many operations in txn request")
DUPLICATE_KEY = (3, "etcdserver: duplicate key given in txn request")
TOO_LARGE = (3, "etcdserver: request is too large")
COMPACTED = (11, "etcdserver: mvcc: required revision has been compacted")
FUTURE_REVISION = (11, "etcdserver: mvcc: required revision is a future revision")
LEASE_NOT_FOUND = (5, "etcdserver: requested lease not found")
LEASE_EXISTS = (9, "etcdserver: lease already exists")
LEASE_TOO_LARGE = (11, "etcdserver: too large lease TTL")
AUTH_NOT_ENABLED = (9, "etcdserver: authentication is not enabled")
INVALID_TOKEN = (16, "etcdserver: invalid auth token")
NO_LEADER = (14, "etcdserver: no leader")
TIMED_OUT = (14, "etcdserver: request timed out")
TIMED_OUT_LEADER = (
    14,
    "etcdserver: request timed out, possibly due to previous leader failure",
)
LEADER_CHANGED = (14, "etcdserver: leader changed")
DEADLINE = (2, "context deadline exceeded")

_STATUS = {
    1: 408,
    2: 500,
    3: 400,
    4: 504,
    5: 404,
    6: 409,
    7: 403,
    8: 429,
    9: 400,
    10: 409,
    11: 400,
    12: 501,
    13: 500,
    14: 503,
    15: 500,
    16: 401,
}
_PHRASES = {
    400: "Bad Request",
    401: "Unauthorized",
    404: "Not Found",
    408: "Request Timeout",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


def release(version: str) -> tuple[int, int]:
    """Give a version's first two numbers."""
    major, minor = version.split(".")[:2]
    return int(major), int(minor)


def is_new(version: str) -> bool:
    """Tell whether the gateway is that of 3.6 and later."""
    return release(version) >= (3, 6)


def status_of(version: str, code: int) -> int:
    """Give the HTTP status of a gRPC code."""
    if code == 9 and release(version) == (3, 4):
        return 412
    if code == 1 and is_new(version):
        return 499
    return _STATUS.get(code, 500)


def unary_error(version: str, code: int, message: str) -> bytes:
    """Give the body of an error answer."""
    if is_new(version):
        shape: dict[str, object] = {"code": code, "message": message}
    elif release(version) == (3, 4):
        shape = {"error": message, "message": message, "code": code}
    else:
        shape = {"error": message, "code": code, "message": message}
    return _dump(shape)


def stream_error(version: str, code: int, message: str) -> bytes:
    """Give the last message of a stream: it has no newline."""
    status = status_of(version, code)
    shape: dict[str, object] = {"grpc_code": code, "http_code": status, "message": message}
    shape["http_status"] = _PHRASES.get(status, "")
    if is_new(version):
        shape = {"code": code, "message": message}
    return _dump({"error": shape})


def _dump(shape: dict[str, object]) -> bytes:
    return json.dumps(shape, separators=(",", ":")).encode()
