"""Requests of the v3 gateway, as Actions: pure builders.

Rules of this file
1. Values in, an Action out: no socket, no clock, no thread.
2. The replay rule is written here, next to the request it is about. Reads, leases with an id of our own
   and revocations may be repeated; a put or a transaction only when its caller says so.
3. int64 goes out as a JSON string, bytes as base64, and zero fields stay out, as the gateway writes them. So nothing
   in a key-value request needs escaping, and its JSON is written down as text: that is most of the work saved.
   (EQUAL is zero. Each field that the gateway need not read counts: it takes a transaction a few percent longer.)
"""

from __future__ import annotations

import json
import math
from binascii import b2a_base64
from collections.abc import Iterable, Sequence
from dataclasses import replace
from operator import attrgetter
from typing import Any

from etcd_recipes.core.http.action import Action
from etcd_recipes.core.store import Guard
from etcd_recipes.core.v3.txn import Compare, Condition, Op

__all__ = [
    "PROBE",
    "REQUIRE_LEADER",
    "authenticate",
    "base64",
    "compact",
    "keep_alive",
    "lease_grant",
    "lease_list",
    "lease_revoke",
    "op_body",
    "shown",
    "time_to_live",
    "txn",
    "unary",
    "watch",
]

REQUIRE_LEADER = {"Grpc-Metadata-hasleader": "true"}
"""Makes a member that has lost its leader say so in a millisecond, instead of holding the request for 7 s."""

_compact = json.JSONEncoder(separators=(",", ":")).encode


def base64(raw: bytes) -> str:
    """Give bytes as the gateway takes them."""
    return b2a_base64(raw, newline=False).decode("ascii")


def unary(
    path: str,
    body: dict[str, Any] | str,
    *,
    replay: bool,
    what: str,
    fresh: bool = False,
    patience: float | None = None,
    preflight: Action | None = None,
) -> Action:
    """Build one request with one answer.

    The `body` is an object, or JSON already. `fresh` for one that must not tell of the past; `patience` for
    one that cannot wait as long as others for the next endpoint (seconds), or must wait longer.
    """
    return Action(
        f"/v3/{path}",
        (body if isinstance(body, str) else _compact(body)).encode(),
        "POST",
        replay,
        what,
        REQUIRE_LEADER,
        fresh=fresh,
        header_timeout=patience,
        preflight=preflight,
    )


PROBE = unary(
    "kv/range",
    {"key": base64(b"\0"), "keys_only": True},
    replay=True,
    what="probe the member",
    fresh=True,
)
"""A linearizable read of a key that nobody has: the cheapest thing that a lost member cannot answer."""


def proposal(
    path: str, body: dict[str, Any] | str, *, replay: bool, what: str, fresh: bool = False
) -> Action:
    """Build a request that takes a leader: after trouble, a member has to show that it knows one."""
    return unary(path, body, replay=replay, what=what, fresh=fresh, preflight=PROBE)


def authenticate(name: str, password: str) -> Action:
    """Build the question for a token; a second one does no harm."""
    body = _compact({"name": name, "password": password}).encode()
    what = f"authenticate as {name!r}"
    return Action("/v3/auth/authenticate", body, replay=True, what=what, secret=True)


# -- key-value -------------------------------------------------------------------------------------------------


def range_body(op: Op) -> str:
    """Build the body of a range."""
    body = f'"key":"{base64(op.key)}"{_range_end(op.range_end)}'
    if op.sort_by is not None and (op.sort_by, op.descending) != ("KEY", False):
        # By key is etcd's own order: asked for by name, it makes the server read the whole range first.
        order = "DESCEND" if op.descending else "ASCEND"
        body += f',"sort_target":"{op.sort_by}","sort_order":"{order}"'
    if any(numbers := _range_numbers(op)):
        named = zip(_RANGE_NUMBERS, numbers, strict=True)
        body += "".join(f',"{name}":"{number}"' for name, number in named if number)
    return "{" + body + _flags(_RANGE_FLAGS, _range_flags(op)) + "}"


_RANGE_NUMBERS = (
    "limit",
    "revision",
    "min_mod_revision",
    "max_mod_revision",
    "min_create_revision",
    "max_create_revision",
)
_RANGE_FLAGS = ("keys_only", "count_only", "serializable")
_range_numbers, _range_flags = attrgetter(*_RANGE_NUMBERS), attrgetter(*_RANGE_FLAGS)


def put_body(op: Op) -> str:
    """Build the body of a put."""
    body = f'"key":"{base64(op.key)}"'
    if not op.ignore_value:
        body += f',"value":"{base64(op.value)}"'
    if op.lease:
        body += f',"lease":"{op.lease}"'
    return "{" + body + _flags(_PUT_FLAGS, _put_flags(op)) + "}"


_PUT_FLAGS = ("prev_kv", "ignore_value", "ignore_lease")
_put_flags = attrgetter(*_PUT_FLAGS)


def _flags(names: tuple[str, ...], flags: tuple[bool, ...]) -> str:
    if True not in flags:
        return ""
    return "".join(f',"{name}":true' for name, flag in zip(names, flags, strict=True) if flag)


def _range_end(range_end: bytes) -> str:
    return f',"range_end":"{base64(range_end)}"' if range_end else ""


def delete_body(op: Op) -> str:
    """Build the body of a delete."""
    also = ',"prev_kv":true' if op.prev_kv else ""
    return f'{{"key":"{base64(op.key)}"{_range_end(op.range_end)}{also}}}'


def txn_body(
    compare: Iterable[Condition], success: Iterable[Op], failure: Iterable[Op] = ()
) -> str:
    """Build the body of a transaction."""
    otherwise = ",".join(map(op_body, failure))
    return (
        f'{{"compare":[{",".join(map(_condition_body, compare))}],'
        f'"success":[{",".join(map(op_body, success))}]'
        + (f',"failure":[{otherwise}]}}' if otherwise else "}")
    )


def op_body(op: Op) -> str:
    """Build one operation of a transaction."""
    if op.kind == "get":
        return f'{{"request_range":{range_body(op)}}}'
    if op.kind == "put":
        return f'{{"request_put":{put_body(op)}}}'
    if op.kind == "delete":
        return f'{{"request_delete_range":{delete_body(op)}}}'
    return f'{{"request_txn":{txn_body(op.compare, op.success, op.failure)}}}'


_OPERANDS = {
    "VALUE": "value",
    "VERSION": "version",
    "CREATE": "create_revision",
    "MOD": "mod_revision",
    "LEASE": "lease",
}


def _condition_body(condition: Condition) -> str:
    if isinstance(condition, Guard):
        return _compare_body(Compare.create_revision(condition.key) == condition.created)
    return _compare_body(condition)


def _compare_body(compare: Compare) -> str:
    operand = compare.operand
    value = base64(operand) if isinstance(operand, bytes) else operand
    relation = "" if compare.result == "EQUAL" else f'"result":"{compare.result}",'
    return (
        f'{{"target":"{compare.target}",{relation}"key":"{base64(compare.key)}",'
        f'"{_OPERANDS[compare.target]}":"{value}"{_range_end(compare.range_end)}}}'
    )


def range_(op: Op) -> Action:
    """Build a range request."""
    body, what = range_body(op), f"read {_name(op)}"
    action = unary("kv/range", body, replay=True, what=what, fresh=not op.serializable)
    return _of_any_member(action) if op.serializable else action


def _of_any_member(action: Action) -> Action:
    """Give the request as it goes to a member whose own state will do, even if it has lost its leader."""
    return replace(action, headers={})


def put(op: Op) -> Action:
    """Build a put request: not to be replayed, for a late copy would undo somebody else's later put."""
    return proposal("kv/put", put_body(op), replay=False, what=f"put {_name(op)}", fresh=True)


def delete(op: Op) -> Action:
    """Build a delete request: not to be replayed, for the reasons of `put`."""
    return proposal(
        "kv/deleterange", delete_body(op), replay=False, what=f"delete {_name(op)}", fresh=True
    )


def txn(
    compare: Iterable[Condition],
    success: Sequence[Op],
    failure: Sequence[Op] = (),
    *,
    replay: bool = False,
    what: str = "transaction",
) -> Action:
    """Build a transaction; `replay` only if carrying it out again, even much later, does no harm."""
    ops = (*success, *failure)
    serializable = {op.serializable for op in ops} == {True}
    build = unary if all(op.only_reads for op in ops) else proposal
    body = txn_body(compare, success, failure)
    action = build("kv/txn", body, replay=replay, what=what, fresh=not serializable)
    return _of_any_member(action) if serializable else action


def compact(revision: int, *, physical: bool) -> Action:
    """Build a compaction: a late copy finds it done, or a later one.

    A physical one is answered when the work is done, which is no sign of a dead endpoint.
    """
    body: dict[str, Any] = {"revision": str(revision)} | ({"physical": True} if physical else {})
    what = f"compact up to revision {revision}"
    action = proposal("kv/compaction", body, replay=True, what=what)
    return replace(action, header_timeout=math.inf) if physical else action


def _name(op: Op) -> str:
    return shown(op.key, op.range_end)


def shown(key: bytes, range_end: bytes) -> str:
    """Give a key or a range for messages."""
    if key == range_end == b"\0":
        return "all keys"
    return f"{'range' if range_end else 'key'} {key.decode('utf-8', 'backslashreplace')!r}"


# -- leases ------------------------------------------------------------------------------------------------------


def lease_grant(ttl: int, id_: int = 0) -> Action:
    """Build a grant: with an id of our own a second copy is refused, so it may be replayed."""
    body = {"TTL": str(ttl)} | ({"ID": str(id_)} if id_ else {})
    return proposal("lease/grant", body, replay=id_ != 0, what="grant a lease")


def keep_alive(id_: int, *, patience: float | None = None) -> Action:
    """Build one renewal."""
    body, what = {"ID": str(id_)}, f"renew lease {id_:x}"
    return unary("lease/keepalive", body, replay=True, what=what, patience=patience)


def time_to_live(id_: int, *, keys: bool, patience: float | None = None) -> Action:
    """Build the question for what is left of a lease, and for the keys attached to it."""
    body: dict[str, Any] = {"ID": str(id_)} | ({"keys": True} if keys else {})
    what = f"look at lease {id_:x}"
    return unary("lease/timetolive", body, replay=True, what=what, patience=patience)


def lease_revoke(id_: int) -> Action:
    """Build a revocation."""
    return proposal("lease/revoke", {"ID": str(id_)}, replay=True, what=f"revoke lease {id_:x}")


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
    fragment: bool = False,
) -> dict[str, Any]:
    """Build one create_request of a watch stream; with `fragment`, large messages come in pieces."""
    body: dict[str, Any] = {"key": base64(key)}
    if range_end:
        body["range_end"] = base64(range_end)
    if start_revision:
        body["start_revision"] = str(start_revision)
    if prev_kv:
        body["prev_kv"] = True
    if filters:
        body["filters"] = list(filters)
    if progress_notify:
        body["progress_notify"] = True
    if fragment:
        body["fragment"] = True
    return body


def watch(creates: Sequence[dict[str, Any]], *, what: str) -> Action:
    """Build a watch stream; several creates share it, one JSON object after the other."""
    body = "".join(_compact({"create_request": create}) for create in creates)
    # On a connection that is to be kept, Go's server throws away what was not read of a request when its
    # answer begins. The gateway reads 512 bytes at first: creates beyond them would often be lost.
    headers = {**REQUIRE_LEADER, "Connection": "close"}
    return Action("/v3/watch", body.encode(), replay=True, what=what, headers=headers)
