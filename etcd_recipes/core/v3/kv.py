"""Keys of the v3 API: get, range, pages of it, put, delete, transactions, compaction.

Each method is one request of the gateway, named in its docstring; the semantics are etcd's
(https://etcd.io/docs/v3.5/learning/api/). Each raises ClusterError, ResponseError (EtcdError for etcd's
own errors, with its code and words) or the Context's error. An argument that makes no sense is a TypeError
or a ValueError, and nothing is sent.

What may be sent twice: reads, compactions, and transactions whose caller says so. A put, a delete or any
other transaction is not repeated when its reply is lost, for a late copy would undo what somebody else
has written since: ClusterError, with `maybe_applied`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

from etcd_recipes.core.context import Context, check_timeout, limit
from etcd_recipes.core.errors import Compacted
from etcd_recipes.core.http.action import Action
from etcd_recipes.core.v3 import replies, requests
from etcd_recipes.core.v3.gateway import Gateway
from etcd_recipes.core.v3.txn import Condition, Op, SortBy, Txn
from etcd_recipes.core.v3.values import (
    DeleteResult,
    KeyValue,
    PutResult,
    RangeResult,
    TxnResult,
    to_int64,
)

__all__ = ["KV", "PendingTxn"]


class KV:
    """``client.v3.kv``."""

    def __init__(self, gateway: Gateway, default_timeout: float) -> None:
        self._gateway = gateway
        self._default_timeout = default_timeout

    # -- read ------------------------------------------------------------------------------------------------

    def get(
        self,
        key: str | bytes,
        *,
        revision: int = 0,
        serializable: bool = False,
        timeout: float | None = None,
        ctx: Context | None = None,
    ) -> KeyValue | None:
        """Give the key, or None if there is none. POST /v3/kv/range.

        With `revision`, as it was then (Compacted if that is forgotten). With `serializable` the member
        answers from its own state, which may be old.
        """
        op = Op.get(key, revision=revision, serializable=serializable)
        found = self._read(op, self._limit(timeout, ctx))
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
        min_mod_revision: int = 0,
        max_mod_revision: int = 0,
        min_create_revision: int = 0,
        max_create_revision: int = 0,
        timeout: float | None = None,
        ctx: Context | None = None,
    ) -> RangeResult:
        r"""Give the keys from `key` up to, not including, `range_end`, or all that begin with `key`.

        POST /v3/kv/range. Without either, it is the one key; ``range_end=b"\0"`` is all from `key` on, and
        ``range("", prefix=True)`` every key there is. A `range_end` that is not after `key` finds nothing.

        `limit` is how many keys come at most (0: all), `more` says that there would be others; `pages` reads
        them one after the other. `revision` is when to look (0: now): Compacted if that is forgotten,
        FutureRevision if it has not come. With `serializable` the member answers from its own state, which
        may be old, even when it has lost its leader.

        `sort_by` is "KEY", "VERSION", "CREATE", "MOD" or "VALUE", by the key unless it is given. The four
        filters leave out keys that were changed, or created, before the least or after the greatest
        revision. Any order other than by ascending key, and any filter, makes the server read the whole
        range, whatever the limit. It counts before it filters: a filter with `count_only` is a ValueError
        for that reason; read with `keys_only` and count.
        """
        op = Op.get(
            key,
            range_end,
            prefix=prefix,
            limit=limit,
            revision=revision,
            sort_by=sort_by,
            descending=descending,
            keys_only=keys_only,
            count_only=count_only,
            serializable=serializable,
            min_mod_revision=min_mod_revision,
            max_mod_revision=max_mod_revision,
            min_create_revision=min_create_revision,
            max_create_revision=max_create_revision,
        )
        return self._read(op, self._limit(timeout, ctx))

    def pages(
        self,
        key: str | bytes,
        range_end: str | bytes | None = None,
        *,
        prefix: bool = False,
        page_size: int = 1000,
        revision: int = 0,
        keys_only: bool = False,
        serializable: bool = False,
        timeout: float | None = None,
        ctx: Context | None = None,
    ) -> Iterator[RangeResult]:
        """Give a range in pages of `page_size` keys, in the order of the keys, all at one revision.

        POST /v3/kv/range, once per page, when that page is asked for. It is `revision`, or the one that the
        first page is read at: what is written or deleted meanwhile does not show. The key, and what ends
        the range, are those of `range`; there is at least one page.

        `timeout` (seconds) bounds each page, `ctx` bounds all of them. Raises what `range` raises, which
        ends the walk; another one goes on, from the last key that came and a NUL, at the same revision.
        Compacted when that is forgotten on the way: begin again, or, if keys of two moments may be mixed,
        go on at a newer one.
        """
        to_int64(page_size, "page_size", least=1)
        check_timeout(timeout)  # now, not when the first page is asked for
        first = Op.get(
            key,
            range_end,
            prefix=prefix,
            limit=page_size,
            revision=revision,
            keys_only=keys_only,
            serializable=serializable,
        )
        return self._pages(first, lambda: self._limit(timeout, ctx))

    def _pages(self, op: Op, one_limit: Callable[[], Context]) -> Iterator[RangeResult]:
        while True:
            page = self._page(op, one_limit())
            yield page
            if not (page.more and page.kvs):
                return
            at = op.revision or page.revision
            op = replace(op, key=page.kvs[-1].key + b"\0", revision=at)

    def _page(self, op: Op, ctx: Context) -> RangeResult:
        try:
            return self._read(op, ctx)
        except Compacted as error:
            error.add_note(
                f"the keys from {op.key!r} on cannot be read at revision {op.revision} any more; begin "
                "again, or go on from that key in a walk of its own, at a newer revision"
            )
            raise

    def scan(
        self,
        key: str | bytes,
        range_end: str | bytes | None = None,
        *,
        prefix: bool = False,
        page_size: int = 1000,
        revision: int = 0,
        keys_only: bool = False,
        serializable: bool = False,
        timeout: float | None = None,
        ctx: Context | None = None,
    ) -> Iterator[KeyValue]:
        """Give the keys of a range one after the other, all at one revision, however many there are.

        They are read by `pages`, whose arguments and errors these are: memory holds one page at a time.
        """
        pages = self.pages(
            key,
            range_end,
            prefix=prefix,
            page_size=page_size,
            revision=revision,
            keys_only=keys_only,
            serializable=serializable,
            timeout=timeout,
            ctx=ctx,
        )
        return (kv for page in pages for kv in page.kvs)

    def _read(self, op: Op, ctx: Context) -> RangeResult:
        return self._gateway.call(requests.range_(op), ctx).read(replies.range_result)

    # -- write -----------------------------------------------------------------------------------------------

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

        `lease` is the lease that the key ends with; 0 takes the key off the lease it had. `ignore_value`
        changes the lease alone, `ignore_lease` the value alone: KeyNotFound if there is no such key, and
        ValueError if what is to be ignored is given. `prev_kv` asks for what was there.

        LeaseNotFound when there is no such `lease`; RequestTooLarge for more than the server takes (1.5 MiB
        if it was not told otherwise); NoSpace when its database is full.
        """
        op = Op.put(
            key,
            value,
            lease=lease,
            prev_kv=prev_kv,
            ignore_value=ignore_value,
            ignore_lease=ignore_lease,
        )
        return self._gateway.call(requests.put(op), self._limit(timeout, ctx)).read(
            replies.put_result
        )

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

        Not repeated when its reply is lost: ClusterError.maybe_applied. `prev_kv` asks for what was there.
        """
        op = Op.delete(key, range_end, prefix=prefix, prev_kv=prev_kv)
        return self._gateway.call(requests.delete(op), self._limit(timeout, ctx)).read(
            replies.delete_result
        )

    # -- transactions ----------------------------------------------------------------------------------------

    def when(self, *compare: Condition) -> PendingTxn:
        """Begin a transaction that is carried out if all these conditions hold. No request.

        A condition is a comparison, or the guard of something that is held (``hold.guard``).

        ``kv.when(Compare.value("a") == "1").then(Op.put("b", "2")).otherwise(Op.get("a")).commit()``.
        Without a comparison, `then` is what is carried out.
        """
        return PendingTxn(compare, _kv=self)

    def txn(
        self,
        compare: Txn | Iterable[Condition],
        success: Iterable[Op] = (),
        failure: Iterable[Op] = (),
        *,
        replay: bool = False,
        timeout: float | None = None,
        ctx: Context | None = None,
    ) -> TxnResult:
        """Carry out `success` if all conditions hold, else `failure`, as one step. POST /v3/kv/txn.

        A condition is a comparison or a ``hold.guard``. Takes a built `Txn` as well. Not repeated when its
        reply is lost, unless both branches only read: ClusterError.maybe_applied. With ``replay=True`` it is,
        and may then be carried out twice, the second time even much later: say so only of what is guarded
        against itself, as by ``Compare.create_revision(k) == 0``, and let `failure` read back who was first.

        etcd takes 128 comparisons, and 128 operations a branch with those nested in it, if it was not told
        otherwise, and no key may be written twice: EtcdError with its words, and nothing is written.
        """
        txn = Txn.of(compare, success, failure)
        answer = self._gateway.call(_action(_anchored(txn), replay), self._limit(timeout, ctx))
        result = answer.read(replies.txn_result)
        return result if txn.success or txn.failure else replace(result, responses=())

    # -- history ---------------------------------------------------------------------------------------------

    def compact(
        self,
        revision: int,
        *,
        physical: bool = False,
        timeout: float | None = None,
        ctx: Context | None = None,
    ) -> None:
        """Forget the history before `revision`; what is there at it, stays. POST /v3/kv/compaction.

        Every member forgets; there is no way back. With `physical` the answer comes when the space is free
        to be used again, which may take minutes: give a `timeout` for it. Repeated when its reply is lost.

        Compacted when it was done before (maybe by this call's own first copy), FutureRevision for a
        `revision` that has not come.
        """
        to_int64(revision, "revision", least=1)
        self._gateway.call(
            requests.compact(revision, physical=bool(physical)), self._limit(timeout, ctx)
        )

    def _limit(self, timeout: float | None, ctx: Context | None) -> Context:
        return limit(timeout, ctx, default=self._default_timeout)


@dataclass(frozen=True, slots=True, repr=False)
class PendingTxn(Txn):
    """A `Txn` that knows its client: what ``kv.when(...)`` gives."""

    _kv: KV = field(kw_only=True, compare=False)

    def commit(
        self,
        *,
        replay: bool = False,
        timeout: float | None = None,
        ctx: Context | None = None,
    ) -> TxnResult:
        """Carry it out, as ``kv.txn`` does: its promises and errors are these. POST /v3/kv/txn.

        It may be committed again: each commit is a transaction of its own.
        """
        return self._kv.txn(self, replay=replay, timeout=timeout, ctx=ctx)


def _anchored(txn: Txn) -> Txn:
    """Give the transaction as it must be asked, so that its comparisons are of now.

    One that has no operation at all, etcd decides by the state of the member that is asked, however old
    that is, and even when the member is cut off from the others. A read beside it makes it a true one. The
    key compared may be read by whoever may compare it.
    """
    if txn.success or txn.failure or not txn.compare:
        return txn
    look = Op.get(txn.compare[0].key, count_only=True)
    return Txn(txn.compare, (look,), (look,))


def _action(txn: Txn, replay: bool) -> Action:
    try:
        return requests.txn(txn.compare, txn.success, txn.failure, replay=replay or txn.only_reads)
    except RecursionError:
        raise ValueError("the transaction is nested too deep") from None
