"""Requests of the v3 gateway, as Actions: pure builders.

Rules of this file
1. Values in, an Action out: no socket, no clock, no thread.
2. The replay rule is written here, next to the request it is about. Reads, leases with an id of our own
   and revocations may be repeated; a put or a transaction only when its caller says so.
3. int64 goes out as a JSON string, bytes as base64, and zero fields stay out, as the gateway writes them.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterable, Sequence
from typing import Any

from etcd_recipes.core.http.action import Action
from etcd_recipes.core.v3.values import Compare, Op

__all__ = [
    "keep_alive",
    "lease_grant",
    "lease_list",
    "lease_revoke",
    "op_body",
    "time_to_live",
    "txn",
    "unary",
    "watch",
]

REQUIRE_LEADER = {"Grpc-Metadata-hasleader": "true"}
"""Makes a member that has lost its leader say so in a millisecond, instead of holding the request for 7 s."""

_compact = json.JSONEncoder(separators=(",", ":")).encode


def _b64(raw: bytes) -> str:
    return b64encode(raw).decode("ascii")


def unary(path: str, body: dict[str, Any], *, replay: bool, what: str) -> Action:
    """Build one request with one answer."""
    return Action(
        f"/v3/{path}", _compact(body).encode(), replay=replay, what=what, headers=REQUIRE_LEADER
    )


# -- key-value -------------------------------------------------------------------------------------------------


def range_body(op: Op) -> dict[str, Any]:
    """Build the body of a range."""
    body: dict[str, Any] = {"key": _b64(op.key)}
    if op.range_end:
        body["range_end"] = _b64(op.range_end)
    if op.limit:
        body["limit"] = str(op.limit)
    if op.sort_by is not None:
        body["sort_target"] = op.sort_by
        body["sort_order"] = "DESCEND" if op.descending else "ASCEND"
    if op.keys_only:
        body["keys_only"] = True
    if op.max_create_revision:
        body["max_create_revision"] = str(op.max_create_revision)
    return body


def put_body(op: Op) -> dict[str, Any]:
    """Build the body of a put."""
    body: dict[str, Any] = {"key": _b64(op.key), "value": _b64(op.value)}
    if op.lease:
        body["lease"] = str(op.lease)
    if op.prev_kv:
        body["prev_kv"] = True
    return body


def delete_body(op: Op) -> dict[str, Any]:
    """Build the body of a delete."""
    body: dict[str, Any] = {"key": _b64(op.key)}
    if op.range_end:
        body["range_end"] = _b64(op.range_end)
    if op.prev_kv:
        body["prev_kv"] = True
    return body


def txn_body(
    compare: Iterable[Compare], success: Iterable[Op], failure: Iterable[Op] = ()
) -> dict[str, Any]:
    """Build the body of a transaction."""
    return {
        "compare": [_compare_body(c) for c in compare],
        "success": [op_body(op) for op in success],
        "failure": [op_body(op) for op in failure],
    }


def op_body(op: Op) -> dict[str, Any]:
    """Build one operation of a transaction."""
    if op.kind == "get":
        return {"request_range": range_body(op)}
    if op.kind == "put":
        return {"request_put": put_body(op)}
    if op.kind == "delete":
        return {"request_delete_range": delete_body(op)}
    return {"request_txn": txn_body(op.compare, op.success, op.failure)}


_OPERANDS = {
    "VALUE": "value",
    "VERSION": "version",
    "CREATE": "create_revision",
    "MOD": "mod_revision",
    "LEASE": "lease",
}


def _compare_body(compare: Compare) -> dict[str, Any]:
    operand = compare.operand
    body: dict[str, Any] = {
        "target": compare.target,
        "result": compare.result,
        "key": _b64(compare.key),
        _OPERANDS[compare.target]: _b64(operand) if isinstance(operand, bytes) else str(operand),
    }
    if compare.range_end:
        body["range_end"] = _b64(compare.range_end)
    return body


def range_(
    op: Op, *, serializable: bool = False, revision: int = 0, count_only: bool = False
) -> Action:
    """Build a range request."""
    body = range_body(op)
    if serializable:
        body["serializable"] = True
    if revision:
        body["revision"] = str(revision)
    if count_only:
        body["count_only"] = True
    return unary("kv/range", body, replay=True, what=f"read {_name(op)}")


def put(op: Op, *, ignore_value: bool = False, ignore_lease: bool = False) -> Action:
    """Build a put request: not to be replayed, for a late copy would undo somebody else's later put."""
    body = put_body(op)
    if ignore_value:
        body["ignore_value"] = True
        del body["value"]
    if ignore_lease:
        body["ignore_lease"] = True
    return unary("kv/put", body, replay=False, what=f"put {_name(op)}")


def delete(op: Op) -> Action:
    """Build a delete request: not to be replayed, for the reasons of `put`."""
    return unary("kv/deleterange", delete_body(op), replay=False, what=f"delete {_name(op)}")


def txn(
    compare: Iterable[Compare],
    success: Sequence[Op],
    failure: Sequence[Op] = (),
    *,
    replay: bool = False,
    what: str = "transaction",
) -> Action:
    """Build a transaction; `replay` only if carrying it out again, even much later, does no harm."""
    return unary("kv/txn", txn_body(compare, success, failure), replay=replay, what=what)


def _name(op: Op) -> str:
    shown = op.key.decode("utf-8", "backslashreplace")
    return f"{'range' if op.range_end else 'key'} {shown!r}"


# -- leases ------------------------------------------------------------------------------------------------------


def lease_grant(ttl: int, id_: int = 0) -> Action:
    """Build a grant: with an id of our own a second copy is refused, so it may be replayed."""
    body = {"TTL": str(ttl)} | ({"ID": str(id_)} if id_ else {})
    return unary("lease/grant", body, replay=id_ != 0, what="grant a lease")


def keep_alive(id_: int) -> Action:
    """Build one renewal."""
    return unary("lease/keepalive", {"ID": str(id_)}, replay=True, what=f"renew lease {id_:x}")


def time_to_live(id_: int, *, keys: bool) -> Action:
    """Build the question for what is left of a lease, and for the keys attached to it."""
    body: dict[str, Any] = {"ID": str(id_)} | ({"keys": True} if keys else {})
    return unary("lease/timetolive", body, replay=True, what=f"look at lease {id_:x}")


def lease_revoke(id_: int) -> Action:
    """Build a revocation."""
    return unary("lease/revoke", {"ID": str(id_)}, replay=True, what=f"revoke lease {id_:x}")


def lease_list() -> Action:
    """Build the question for all leases."""
    return unary("lease/leases", {}, replay=True, what="list the leases")


# -- watch -------------------------------------------------------------------------------------------------------


def watch_create(
    key: bytes,
    range_end: bytes = b"",
    *,
    start_revision: int = 0,
    prev_kv: bool = False,
    filters: Sequence[str] = (),
    progress_notify: bool = False,
) -> dict[str, Any]:
    """Build one create_request of a watch stream."""
    body: dict[str, Any] = {"key": _b64(key)}
    if range_end:
        body["range_end"] = _b64(range_end)
    if start_revision:
        body["start_revision"] = str(start_revision)
    if prev_kv:
        body["prev_kv"] = True
    if filters:
        body["filters"] = list(filters)
    if progress_notify:
        body["progress_notify"] = True
    return body


def watch(creates: Sequence[dict[str, Any]], *, what: str) -> Action:
    """Build a watch stream; several creates share it, one JSON object after the other."""
    body = "".join(_compact({"create_request": create}) for create in creates)
    return Action("/v3/watch", body.encode(), replay=True, what=what, headers=REQUIRE_LEADER)
