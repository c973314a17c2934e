"""Keys of the v3 API: get, range, put, delete, transactions.

Each method is one request of the gateway, named in its docstring; the semantics are etcd's
(https://etcd.io/docs/v3.5/learning/api/). Each raises ClusterError, ResponseError (EtcdError for etcd's
own errors) or the Context's error.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from etcd_recipes.core.context import Context, limit
from etcd_recipes.core.v3 import replies, requests
from etcd_recipes.core.v3.gateway import Gateway
from etcd_recipes.core.v3.values import (
    Compare,
    DeleteResult,
    KeyValue,
    Op,
    PutResult,
    RangeResult,
    TxnResult,
    prefix_range,
    to_bytes,
)

__all__ = ["KV"]

SortBy = Literal["KEY", "VERSION", "CREATE", "MOD", "VALUE"]


class KV:
    """``client.v3.kv``."""

    def __init__(self, gateway: Gateway, default_timeout: float) -> None:
        self._gateway = gateway
        self._default_timeout = default_timeout

    def get(
        self,
        key: str | bytes,
        *,
        serializable: bool = False,
        timeout: float | None = None,
        ctx: Context | None = None,
    ) -> KeyValue | None:
        """Give the key, or None if there is none. POST /v3/kv/range.

        With `serializable` the member answers from its own state, which may be old.
        """
        found = self.range(key, serializable=serializable, timeout=timeout, ctx=ctx)
        return found.kvs[0] if found.kvs else None

    def range(
        self,
        key: str | bytes,
        range_end: str | bytes | None = None,
        *,
        prefix: bool = False,
        limit: int = 0,
        revision: int = 0,
        sort_by: SortBy | None = None,
        descending: bool = False,
        keys_only: bool = False,
        count_only: bool = False,
        serializable: bool = False,
        timeout: float | None = None,
        ctx: Context | None = None,
    ) -> RangeResult:
        """Give the keys from `key` up to `range_end`, or all that begin with `key`. POST /v3/kv/range."""
        start, end = _span(key, range_end, prefix)
        op = Op(
            "get",
            start,
            end,
            limit=limit,
            sort_by=sort_by if sort_by is not None or not descending else "KEY",
            descending=descending,
            keys_only=keys_only,
        )
        action = requests.range_(
            op, serializable=serializable, revision=revision, count_only=count_only
        )
        answer = self._gateway.call(action, self._limit(timeout, ctx))
        with replies.Reading(answer.endpoint):
            return replies.range_result(answer.body)

    def put(
        self,
        key: str | bytes,
        value: str | bytes = b"",
        *,
        lease: int = 0,
        prev_kv: bool = False,
        ignore_value: bool = False,
        ignore_lease: bool = False,
        timeout: float | None = None,
        ctx: Context | None = None,
    ) -> PutResult:
        """Write the key. POST /v3/kv/put. Not repeated when its reply is lost: ClusterError.maybe_applied.

        LeaseNotFound when there is no such `lease`.
        """
        op = Op.put(key, value, lease=lease, prev_kv=prev_kv)
        action = requests.put(op, ignore_value=ignore_value, ignore_lease=ignore_lease)
        answer = self._gateway.call(action, self._limit(timeout, ctx))
        with replies.Reading(answer.endpoint):
            return replies.put_result(answer.body)

    def delete(
        self,
        key: str | bytes,
        range_end: str | bytes | None = None,
        *,
        prefix: bool = False,
        prev_kv: bool = False,
        timeout: float | None = None,
        ctx: Context | None = None,
    ) -> DeleteResult:
        """Delete the key, the range, or all that begin with `key`. POST /v3/kv/deleterange.

        Not repeated when its reply is lost: ClusterError.maybe_applied.
        """
        start, end = _span(key, range_end, prefix)
        action = requests.delete(Op("delete", start, end, prev_kv=prev_kv))
        answer = self._gateway.call(action, self._limit(timeout, ctx))
        with replies.Reading(answer.endpoint):
            return replies.delete_result(answer.body)

    def txn(
        self,
        compare: Iterable[Compare],
        success: Iterable[Op],
        failure: Iterable[Op] = (),
        *,
        timeout: float | None = None,
        ctx: Context | None = None,
    ) -> TxnResult:
        """Carry out `success` if all comparisons hold, else `failure`, as one step. POST /v3/kv/txn.

        Not repeated when its reply is lost, unless both branches only read: ClusterError.maybe_applied.
        """
        then, otherwise = list(success), list(failure)
        reads_only = all(op.kind == "get" for op in (*then, *otherwise))
        action = requests.txn(compare, then, otherwise, replay=reads_only)
        answer = self._gateway.call(action, self._limit(timeout, ctx))
        with replies.Reading(answer.endpoint):
            return replies.txn_result(answer.body)

    def _limit(self, timeout: float | None, ctx: Context | None) -> Context:
        return limit(timeout, ctx, default=self._default_timeout)


def _span(key: str | bytes, range_end: str | bytes | None, prefix: bool) -> tuple[bytes, bytes]:
    raw = to_bytes(key)
    if not prefix:
        return raw, b"" if range_end is None else to_bytes(range_end, "range_end")
    if range_end is not None:
        raise ValueError("give either range_end or prefix=True, not both")
    return prefix_range(raw)
