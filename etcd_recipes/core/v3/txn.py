"""Transactions: comparisons, operations, and both branches of them, as frozen values.

``Compare.version("k") == 0`` is a condition for etcd to decide, not for Python: it is never true or false
here, and says so to whoever asks (``if Compare.version("k") == 0:``).

Rules of this file
1. Values only: no wire format, no client. What makes no sense is a TypeError or ValueError when the value
   is made, so that nothing is sent.
2. Whether etcd would refuse it (too many operations, a key written twice) is etcd's to say: its limits are
   set on the server.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Literal, NoReturn, Self, get_args

from etcd_recipes.core.store import Guard
from etcd_recipes.core.v3.values import span, to_bytes, to_int64

__all__ = ["Compare", "Comparison", "Condition", "Op", "SortBy", "Txn"]

SortBy = Literal["KEY", "VERSION", "CREATE", "MOD", "VALUE"]
Target = Literal["VALUE", "VERSION", "CREATE", "MOD", "LEASE"]
Relation = Literal["EQUAL", "NOT_EQUAL", "GREATER", "LESS"]

# -- comparisons ---------------------------------------------------------------------------------------------

_METHODS = {
    "VALUE": "value",
    "VERSION": "version",
    "CREATE": "create_revision",
    "MOD": "mod_revision",
    "LEASE": "lease",
}
_OPERATORS = {"EQUAL": "==", "NOT_EQUAL": "!=", "GREATER": ">", "LESS": "<"}


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Comparison:
    """One side of a comparison; write ``Compare.version("k") == 0`` to get the whole."""

    target: Target
    key: bytes
    range_end: bytes = b""

    def __eq__(self, other: object) -> Compare:  # type: ignore[override]
        return self._with("EQUAL", other)

    def __ne__(self, other: object) -> Compare:  # type: ignore[override]
        return self._with("NOT_EQUAL", other)

    def __gt__(self, other: int | str | bytes) -> Compare:
        return self._with("GREATER", other)

    def __lt__(self, other: int | str | bytes) -> Compare:
        return self._with("LESS", other)

    def __ge__(self, other: object) -> NoReturn:
        raise TypeError(f"etcd has no >=: write {self!r} > (one less), or two transactions")

    def __le__(self, other: object) -> NoReturn:
        raise TypeError(f"etcd has no <=: write {self!r} < (one more), or two transactions")

    def __bool__(self) -> NoReturn:
        raise TypeError(f"{self!r} is half a comparison: write {self!r} == ..., in a transaction")

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        end = f", range_end={_shown(self.range_end)}" if self.range_end else ""
        return f"Compare.{_METHODS[self.target]}({_shown(self.key)}{end})"

    def _with(self, result: Relation, other: object) -> Compare:
        operand: int | bytes
        if self.target == "VALUE":
            if not isinstance(other, str | bytes):
                raise TypeError(
                    f"a value is compared with str or bytes, not {type(other).__name__}"
                )
            operand = to_bytes(other, "value")
        else:
            if isinstance(other, bool) or not isinstance(other, int):
                raise TypeError(
                    f"{self.target} is compared with an int, not {type(other).__name__}"
                )
            operand = to_int64(other, f"what {self.target} is compared with")
        return Compare(self.target, result, self.key, operand, self.range_end)


@dataclass(frozen=True, slots=True, repr=False)
class Compare:
    """One condition of a transaction: ``Compare.value(k) == v``, ``Compare.create_revision(k) == 0`` ...

    With `range_end` or `prefix=True` it must hold for every key of the range; a range without any key
    compares as one key that is not there.
    """

    target: Target
    result: Relation
    key: bytes
    operand: int | bytes
    range_end: bytes = b""

    @staticmethod
    def value(
        key: str | bytes, range_end: str | bytes | None = None, *, prefix: bool = False
    ) -> Comparison:
        """Compare the value (with str or bytes); a key that is not there has none, so nothing holds."""
        return Comparison("VALUE", *span(key, range_end, prefix))

    @staticmethod
    def version(
        key: str | bytes, range_end: str | bytes | None = None, *, prefix: bool = False
    ) -> Comparison:
        """Compare how often the key was written since it was created; 0 for a key that is not there."""
        return Comparison("VERSION", *span(key, range_end, prefix))

    @staticmethod
    def create_revision(
        key: str | bytes, range_end: str | bytes | None = None, *, prefix: bool = False
    ) -> Comparison:
        """Compare the revision of its creation; 0 for a key that is not there."""
        return Comparison("CREATE", *span(key, range_end, prefix))

    @staticmethod
    def mod_revision(
        key: str | bytes, range_end: str | bytes | None = None, *, prefix: bool = False
    ) -> Comparison:
        """Compare the revision of its last change; 0 for a key that is not there."""
        return Comparison("MOD", *span(key, range_end, prefix))

    @staticmethod
    def lease(
        key: str | bytes, range_end: str | bytes | None = None, *, prefix: bool = False
    ) -> Comparison:
        """Compare the lease id; 0 for a key without one."""
        return Comparison("LEASE", *span(key, range_end, prefix))

    def __bool__(self) -> NoReturn:
        raise TypeError(
            f"{self!r} is for etcd to decide: give it to kv.when(...) or kv.txn([...]) and look at "
            "`.succeeded`"
        )

    def __repr__(self) -> str:
        side = Comparison(self.target, self.key, self.range_end)
        operand = _shown(self.operand) if isinstance(self.operand, bytes) else self.operand
        return f"{side!r} {_OPERATORS[self.result]} {operand}"


Condition = Compare | Guard
"""What a transaction may depend on: a comparison, or that a hold stands (``hold.guard``)."""


# -- operations ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, repr=False)
class Op:
    """One operation of a transaction, made by ``Op.put``, ``Op.get``, ``Op.delete`` or ``Op.txn``.

    Each takes what the method of its name takes, and refuses what makes no sense in the same way.
    """

    kind: Literal["put", "get", "delete", "txn"]
    key: bytes = b""
    range_end: bytes = b""
    value: bytes = b""
    lease: int = 0
    prev_kv: bool = False
    ignore_value: bool = False
    ignore_lease: bool = False
    limit: int = 0
    revision: int = 0
    sort_by: SortBy | None = None
    descending: bool = False
    keys_only: bool = False
    count_only: bool = False
    serializable: bool = False
    min_mod_revision: int = 0
    max_mod_revision: int = 0
    min_create_revision: int = 0
    max_create_revision: int = 0
    compare: tuple[Condition, ...] = ()
    success: tuple[Op, ...] = ()
    failure: tuple[Op, ...] = ()

    MAX_PER_TXN: ClassVar[int] = 128
    """How many comparisons, and operations of one branch, a server takes that was not told otherwise."""

    @classmethod
    def put(
        cls,
        key: str | bytes,
        value: str | bytes = b"",
        *,
        lease: int = 0,
        prev_kv: bool = False,
        ignore_value: bool = False,
        ignore_lease: bool = False,
    ) -> Op:
        """Write a key, as `KV.put` does."""
        raw = to_bytes(value, "value")
        if ignore_value and raw:
            raise ValueError("ignore_value=True keeps the value that is there: give no value")
        if ignore_lease and lease:
            raise ValueError("ignore_lease=True keeps the lease that is there: give no lease")
        return cls(
            "put",
            to_bytes(key),
            value=raw,
            lease=to_int64(lease, "lease"),
            prev_kv=bool(prev_kv),
            ignore_value=bool(ignore_value),
            ignore_lease=bool(ignore_lease),
        )

    @classmethod
    def get(
        cls,
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
    ) -> Op:
        """Read a key, a range, or all keys that begin with `key`, as `KV.range` does."""
        start, end = span(key, range_end, prefix)
        filters = (
            to_int64(min_mod_revision, "min_mod_revision", least=0),
            to_int64(max_mod_revision, "max_mod_revision", least=0),
            to_int64(min_create_revision, "min_create_revision", least=0),
            to_int64(max_create_revision, "max_create_revision", least=0),
        )
        if count_only and any(filters):
            raise ValueError(
                "etcd's count leaves the filters by revision out of account: "
                "read with keys_only=True, and take len(result.kvs)"
            )
        return cls(
            "get",
            start,
            end,
            limit=to_int64(limit, "limit", least=0),
            revision=to_int64(revision, "revision", least=0),
            sort_by=_sorting(sort_by, descending),
            descending=bool(descending),
            keys_only=bool(keys_only),
            count_only=bool(count_only),
            serializable=bool(serializable),
            min_mod_revision=filters[0],
            max_mod_revision=filters[1],
            min_create_revision=filters[2],
            max_create_revision=filters[3],
        )

    @classmethod
    def delete(
        cls,
        key: str | bytes,
        range_end: str | bytes | None = None,
        *,
        prefix: bool = False,
        prev_kv: bool = False,
    ) -> Op:
        """Delete a key, a range, or all keys that begin with `key`, as `KV.delete` does."""
        return cls("delete", *span(key, range_end, prefix), prev_kv=bool(prev_kv))

    @classmethod
    def txn(
        cls,
        compare: Txn | Iterable[Condition],
        success: Iterable[Op] = (),
        failure: Iterable[Op] = (),
    ) -> Op:
        """Nest a transaction: one that is built already, or its three parts.

        All comparisons, nested ones too, are of the time before the outermost begins; what is read sees
        what was written before it in the same transaction.
        """
        txn = Txn.of(compare, success, failure)
        return cls("txn", compare=txn.compare, success=txn.success, failure=txn.failure)

    @property
    def only_reads(self) -> bool:
        """True if it changes nothing."""
        if self.kind != "txn":
            return self.kind == "get"
        return all(op.only_reads for op in (*self.success, *self.failure))

    def __repr__(self) -> str:
        if self.kind == "txn":
            return f"Op.txn({Txn(self.compare, self.success, self.failure)!r})"
        given = [
            f"{field.name}={_shown(value) if isinstance(value, bytes) else repr(value)}"
            for field in fields(self)[2:]
            if (value := getattr(self, field.name)) != field.default
        ]
        return f"Op.{self.kind}({', '.join([_shown(self.key), *given])})"


def _sorting(sort_by: SortBy | None, descending: bool) -> SortBy | None:
    if sort_by is None:
        return "KEY" if descending else None
    if sort_by not in get_args(SortBy):
        raise ValueError(f"sort_by is one of {', '.join(get_args(SortBy))}, not {sort_by!r}")
    return sort_by


# -- the whole -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, repr=False)
class Txn:
    """Conditions, what to do if all of them hold, and what else: one step for etcd.

    ``Txn().when(Compare.version("a") == 0).then(Op.put("a", "1")).otherwise(Op.get("a"))`` builds one,
    each call giving a new value that has more in it; ``kv.txn(...)`` and ``Op.txn(...)`` take it. What
    ``kv.when(...)`` gives can be committed as it stands.
    """

    compare: tuple[Condition, ...] = ()
    success: tuple[Op, ...] = ()
    failure: tuple[Op, ...] = ()

    def __post_init__(self) -> None:
        _check_all("compare", self.compare, Compare, Guard)
        _check_all("success", self.success, Op)
        _check_all("failure", self.failure, Op)

    @classmethod
    def of(
        cls, compare: Txn | Iterable[Condition], success: Iterable[Op], failure: Iterable[Op]
    ) -> Txn:
        """Give the transaction of these parts; TypeError if there are others beside a built one."""
        if not isinstance(compare, Txn):
            return cls(
                _listed("compare", compare),
                _listed("success", success),
                _listed("failure", failure),
            )
        if success or failure:
            raise TypeError("the transaction is built already: use its then() and otherwise()")
        return compare

    def when(self, *compare: Condition) -> Self:
        """Give the transaction with these conditions more; all of them must hold."""
        return replace(self, compare=self.compare + compare)

    def then(self, *success: Op) -> Self:
        """Give the transaction with these operations more for when all conditions hold."""
        return replace(self, success=self.success + success)

    def otherwise(self, *failure: Op) -> Self:
        """Give the transaction with these operations more for when a condition does not hold."""
        return replace(self, failure=self.failure + failure)

    @property
    def only_reads(self) -> bool:
        """True if it changes nothing, whichever branch is taken."""
        return all(op.only_reads for op in (*self.success, *self.failure))

    def __repr__(self) -> str:
        parts = {"when": self.compare, "then": self.success, "otherwise": self.failure}
        calls = (f".{name}({', '.join(map(repr, of))})" for name, of in parts.items() if of)
        return f"Txn(){''.join(calls)}"


def _listed(name: str, parts: Iterable[Any]) -> tuple[Any, ...]:
    if isinstance(parts, Compare | Guard | Comparison | Op) or not isinstance(parts, Iterable):
        raise TypeError(f"{name} is a list, not {_kind_of(parts)}")
    return tuple(parts)


def _check_all(name: str, parts: tuple[object, ...], *kinds: type) -> None:
    for part in parts:
        if not isinstance(part, kinds):
            hint = f"; write {part!r} == ..." if isinstance(part, Comparison) else ""
            made_of = kinds[0].__name__
            raise TypeError(f"{name} is made of {made_of}, not of {_kind_of(part)}{hint}")


def _kind_of(part: object) -> str:
    return "half a comparison" if isinstance(part, Comparison) else type(part).__name__


_SHOWN = 40


def _shown(raw: bytes) -> str:
    """Give the text that `raw` is, or else its bytes, by its beginning if it is long."""
    head = raw[:_SHOWN]
    try:
        shown = repr(head.decode())
    except UnicodeDecodeError:
        shown = repr(head)
    return shown if len(raw) <= _SHOWN else f"{shown}... ({len(raw)} bytes)"
