"""Requests about keys on v3: what each is asked, what it does to the store, and what it answers.

The rules
1. A request is checked as a whole before anything is written: first its form, then what it needs of the store.
2. A transaction takes one branch; all that it writes is one revision. No key may be written twice in it.
3. A read names its own revision, or is of the one that the member is at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from tests.simulation.model import errors
from tests.simulation.model.errors import Refused
from tests.simulation.model.leases import Lessor
from tests.simulation.model.mvcc import Kv, Mvcc, within
from tests.simulation.model.wire import Json, choice, flag, listed, message, number, raw

__all__ = ["Keys", "is_local_txn", "is_read_txn"]

MAX_OPS = 128

_ORDERS = ("NONE", "ASCEND", "DESCEND")
_TARGETS = ("KEY", "VERSION", "CREATE", "MOD", "VALUE")
_SORT_BY: dict[str, Callable[[Kv], Any]] = {
    "KEY": lambda kv: kv.key,
    "VERSION": lambda kv: kv.version,
    "CREATE": lambda kv: kv.create,
    "MOD": lambda kv: kv.mod,
    "VALUE": lambda kv: kv.value,
}
_COMPARED = ("VERSION", "CREATE", "MOD", "VALUE", "LEASE")
_RESULTS = ("EQUAL", "GREATER", "LESS", "NOT_EQUAL")
_OPERANDS = {
    "VALUE": "value",
    "VERSION": "version",
    "CREATE": "create_revision",
    "MOD": "mod_revision",
    "LEASE": "lease",
}
_NOTHING = Kv(b"", b"", 0, 0, 0, 0)


class Keys:
    """Carries out the requests; answers are without their header, whose revision stands in `revision`."""

    def __init__(self, mvcc: Mvcc, lessor: Lessor) -> None:
        self._mvcc = mvcc
        self._lessor = lessor

    # -- one operation -----------------------------------------------------------------------------------------

    def put(self, body: Json) -> tuple[Json, int]:
        """Put one key."""
        _check_put(body)
        self._need_lease(body)
        self._need_key(body)
        answer = self._put(body)
        self._mvcc.commit()
        return answer, self._mvcc.revision

    def delete(self, body: Json) -> tuple[Json, int]:
        """Delete a range."""
        _check_key(body)
        answer = self._delete(body)
        self._mvcc.commit()
        return answer, self._mvcc.revision

    def range(self, body: Json, at: int | None) -> tuple[Json, int]:
        """Read a range; `at` is where a member stands that is behind."""
        _check_key(body)
        self._need_for_range(body, at)
        revision = self._mvcc.revision if at is None else at
        return self._range(body, at), revision

    def compact(self, body: Json) -> int:
        """Refuse from now on what is of before this revision."""
        revision = number(body, "revision")
        if revision <= self._mvcc.compacted:
            raise Refused(*errors.COMPACTED)
        if revision > self._mvcc.revision:
            raise Refused(*errors.FUTURE_REVISION)
        self._mvcc.compacted = revision
        return self._mvcc.revision

    def _put(self, body: Json) -> Json:
        key, value, lease = raw(body, "key"), raw(body, "value"), number(body, "lease")
        there = self._mvcc.live.get(key)
        if there is not None and flag(body, "ignore_value"):
            value = there.value
        if there is not None and flag(body, "ignore_lease"):
            lease = there.lease
        prev = self._mvcc.put(key, value, lease)
        if lease or (prev is not None and prev.lease):
            self._lessor.attach(key, lease)
        if prev is not None and flag(body, "prev_kv"):
            return {"prev_kv": prev.shape()}
        return {}

    def _delete(self, body: Json) -> Json:
        gone = self._mvcc.delete(raw(body, "key"), raw(body, "range_end"))
        for kv in gone:
            if kv.lease:
                self._lessor.attach(kv.key, 0)
        answer: Json = {}
        if gone:
            answer["deleted"] = str(len(gone))
            if flag(body, "prev_kv"):
                answer["prev_kvs"] = [kv.shape() for kv in gone]
        return answer

    def _range(self, body: Json, at: int | None) -> Json:
        found = self._mvcc.select(
            raw(body, "key"), raw(body, "range_end"), number(body, "revision") or at
        )
        if not found:
            return {}
        count = {"count": str(len(found))}
        if flag(body, "count_only"):
            return count
        found, more = _arranged(found, body)
        answer: Json = {}
        if found:
            shape = _without_value if flag(body, "keys_only") else Kv.shape
            answer["kvs"] = [shape(kv) for kv in found]
        if more:
            answer["more"] = True
        return answer | count

    # -- transactions ------------------------------------------------------------------------------------------

    def txn(self, body: Json, at: int | None) -> tuple[Json, int]:
        """Carry out a transaction; `at` as for `range`, when it only reads."""
        _check_txn(body, MAX_OPS)
        _written(listed(body, "success"))
        _written(listed(body, "failure"))
        path: list[bool] = []
        self._choose(body, at, path)
        self._need_for_txn(path, body, at)
        answer = self._txn(body, iter(path), at)
        self._mvcc.commit()
        return answer, self._mvcc.revision if at is None else at

    def _choose(self, body: Json, at: int | None, path: list[bool]) -> None:
        """Decide all branches, those of transactions within included, before anything is written."""
        chosen = all(self._holds(compare, at) for compare in listed(body, "compare"))
        path.append(chosen)
        for op in _branch(body, chosen):
            if "request_txn" in op:
                self._choose(message(op, "request_txn"), at, path)

    def _holds(self, compare: Json, at: int | None) -> bool:
        target = choice(compare, "target", _COMPARED)
        found = self._mvcc.select(raw(compare, "key"), raw(compare, "range_end"), at)
        if not found:
            if target == "VALUE":
                return False
            found = [_NOTHING]
        read: Callable[[Json, str], Any] = raw if target == "VALUE" else number
        wanted = read(compare, _OPERANDS[target])
        result = choice(compare, "result", _RESULTS)
        return all(_compares(_operand(kv, target), wanted, result) for kv in found)

    def _need_for_txn(self, path: list[bool], body: Json, at: int | None) -> None:
        """Check what the branches taken need: first all that they put, then all that they read."""
        ops = list(_taken(body, iter(path)))
        for op in ops:
            if "request_put" in op:
                self._need_key(message(op, "request_put"))
                self._need_lease(message(op, "request_put"))
        for op in ops:
            if "request_range" in op:
                self._need_for_range(message(op, "request_range"), at)

    def _txn(self, body: Json, taken: Iterator[bool], at: int | None) -> Json:
        succeeded = next(taken)
        answer: Json = {"succeeded": True} if succeeded else {}
        responses = [self._apply(op, taken, at) for op in _branch(body, succeeded)]
        if responses:
            answer["responses"] = responses
        return answer

    def _apply(self, op: Json, taken: Iterator[bool], at: int | None) -> Json:
        mvcc = self._mvcc
        if "request_put" in op:
            answer = self._put(message(op, "request_put"))
            return {"response_put": {"header": {"revision": str(mvcc.pending)}} | answer}
        if "request_range" in op:
            header = {"revision": str(mvcc.pending if at is None else at)}
            answer = self._range(message(op, "request_range"), at)
            return {"response_range": {"header": header} | answer}
        if "request_delete_range" in op:
            answer = self._delete(message(op, "request_delete_range"))
            header = {"revision": str(mvcc.pending)}
            return {"response_delete_range": {"header": header} | answer}
        answer = self._txn(message(op, "request_txn"), taken, at)
        return {"response_txn": {"header": {}} | answer}

    # -- what a request needs of the store -------------------------------------------------------------------------

    def _need_key(self, body: Json) -> None:
        keeps = flag(body, "ignore_value") or flag(body, "ignore_lease")
        if keeps and raw(body, "key") not in self._mvcc.live:
            raise Refused(*errors.KEY_NOT_FOUND)

    def _need_lease(self, body: Json) -> None:
        lease = number(body, "lease")
        if lease and lease not in self._lessor.leases:
            raise Refused(*errors.LEASE_NOT_FOUND)

    def _need_for_range(self, body: Json, at: int | None) -> None:
        revision = number(body, "revision")
        if not revision:
            return
        if revision > (self._mvcc.revision if at is None else at):
            raise Refused(*errors.FUTURE_REVISION)
        if revision < self._mvcc.compacted:
            raise Refused(*errors.COMPACTED)


# -- reading --------------------------------------------------------------------------------------------------


def _without_value(kv: Kv) -> Json:
    shape = kv.bare()
    if kv.lease:
        shape["lease"] = str(kv.lease)
    return shape


def _arranged(found: list[Kv], body: Json) -> tuple[list[Kv], bool]:
    """Filter, sort and cut what was found; tell whether there is more.

    Without filters and an order, etcd cuts to one more than the limit before it sorts by a target.
    """
    limit = number(body, "limit")
    order = choice(body, "sort_order", _ORDERS)
    target = choice(body, "sort_target", _TARGETS)
    bounds = [(keeps, bound) for name, keeps in _FILTERS if (bound := number(body, name))]
    if limit and order == "NONE" and not bounds:
        found = found[: limit + 1]
    for keeps, bound in bounds:
        found = [kv for kv in found if keeps(kv, bound)]
    if order == "DESCEND" or target != "KEY":
        found = sorted(found, key=_SORT_BY[target], reverse=order == "DESCEND")
    if 0 < limit < len(found):
        return found[:limit], True
    return found, False


_FILTERS: tuple[tuple[str, Callable[[Kv, int], bool]], ...] = (
    ("max_mod_revision", lambda kv, bound: kv.mod <= bound),
    ("min_mod_revision", lambda kv, bound: kv.mod >= bound),
    ("max_create_revision", lambda kv, bound: kv.create <= bound),
    ("min_create_revision", lambda kv, bound: kv.create >= bound),
)


def _operand(kv: Kv, target: str) -> Any:
    if target == "VALUE":
        return kv.value
    if target == "VERSION":
        return kv.version
    if target == "CREATE":
        return kv.create
    return kv.mod if target == "MOD" else kv.lease


def _compares(found: Any, wanted: Any, result: str) -> bool:
    if result == "EQUAL":
        return bool(found == wanted)
    if result == "NOT_EQUAL":
        return bool(found != wanted)
    return bool(found > wanted) if result == "GREATER" else bool(found < wanted)


# -- the form of a request ----------------------------------------------------------------------------------


def _check_key(body: Json) -> None:
    if not body.get("key"):
        raise Refused(*errors.EMPTY_KEY)


def _check_put(body: Json) -> None:
    _check_key(body)
    if flag(body, "ignore_value") and body.get("value"):
        raise Refused(*errors.VALUE_PROVIDED)
    if flag(body, "ignore_lease") and number(body, "lease"):
        raise Refused(*errors.LEASE_PROVIDED)


def _branch(body: Json, succeeded: bool) -> list[Json]:
    return listed(body, "success" if succeeded else "failure")


def _taken(body: Json, path: Iterator[bool]) -> Iterator[Json]:
    """Give the operations of the branches taken, those of transactions within included."""
    for op in _branch(body, next(path)):
        yield op
        if "request_txn" in op:
            yield from _taken(message(op, "request_txn"), path)


def _check_txn(body: Json, room: int) -> None:
    branches = [listed(body, name) for name in ("compare", "success", "failure")]
    size = max(len(branch) for branch in branches)
    if size > room:
        raise Refused(*errors.TOO_MANY_OPS)
    for compare in branches[0]:
        _check_key(compare)
    for op in branches[1] + branches[2]:
        _check_op(op, room - size)


def _check_op(op: Json, room: int) -> None:
    if "request_range" in op:
        _check_key(message(op, "request_range"))
    elif "request_put" in op:
        _check_put(message(op, "request_put"))
    elif "request_delete_range" in op:
        _check_key(message(op, "request_delete_range"))
    elif "request_txn" in op:
        _check_txn(message(op, "request_txn"), room)
    else:
        raise Refused(*errors.KEY_NOT_FOUND)


_Spans = list[tuple[bytes, bytes]]


def _written(ops: Iterable[Json]) -> tuple[set[bytes], _Spans]:
    """Give what a branch puts and deletes; a key that it writes twice is refused.

    The two branches of a transaction within may write the same key, for only one of them is taken.
    """
    ops = list(ops)
    puts: set[bytes] = set()
    deletes = [
        (raw(body, "key"), raw(body, "range_end"))
        for op in ops
        if (body := op.get("request_delete_range")) is not None
    ]
    for op in ops:
        if (body := op.get("request_txn")) is not None:
            _add_inner(body, puts, deletes)
    for op in ops:
        if (body := op.get("request_put")) is not None:
            _add_put(raw(body, "key"), puts, deletes)
    return puts, deletes


def _add_inner(body: Json, puts: set[bytes], deletes: _Spans) -> None:
    then, gone_then = _written(listed(body, "success"))
    other, gone_other = _written(listed(body, "failure"))
    for key in then:
        _add_put(key, puts, deletes)
    for key in other:
        _add_put(key, puts - then, deletes)
        puts.add(key)
    deletes += gone_then + gone_other


def _add_put(key: bytes, puts: set[bytes], deletes: _Spans) -> None:
    if key in puts or any(within(key, start, end) for start, end in deletes):
        raise Refused(*errors.DUPLICATE_KEY)
    puts.add(key)


def is_read_txn(body: Json) -> bool:
    """Tell whether a transaction only reads; one within it does not count as reading."""
    ops = [*listed(body, "success"), *listed(body, "failure")]
    return all("request_range" in op for op in ops)


def is_local_txn(body: Json) -> bool:
    """Tell whether a transaction is served from the member's own state: one of serializable reads alone."""
    ops = [*listed(body, "success"), *listed(body, "failure")]
    return all(flag(op.get("request_range") or {}, "serializable") for op in ops)
