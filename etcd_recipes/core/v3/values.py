"""What the v3 API takes and gives: frozen values.

Rules of this file
1. Values only: no wire format, no socket, no clock.
2. Keys and values go in as ``str`` (UTF-8) or ``bytes`` and come out as ``bytes``; ``.text`` decodes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

__all__ = [
    "Compare",
    "Comparison",
    "DeleteResult",
    "Event",
    "KeyValue",
    "LeaseGrant",
    "LeaseStatus",
    "Op",
    "PutResult",
    "RangeResult",
    "TxnResult",
    "prefix_end",
    "prefix_range",
    "to_bytes",
]


def to_bytes(text: str | bytes, what: str = "key") -> bytes:
    """Give `text` as bytes; TypeError, naming `what`, when it is neither str nor bytes."""
    if isinstance(text, str):
        return text.encode("utf-8", "surrogateescape")
    if isinstance(text, bytes):
        return text
    raise TypeError(f"a {what} is str or bytes, not {type(text).__name__}")


def prefix_range(prefix: bytes) -> tuple[bytes, bytes]:
    """Give the key and range end of all keys that begin with `prefix`; of every key if it is empty."""
    return (prefix, prefix_end(prefix)) if prefix else (b"\0", b"\0")


def prefix_end(prefix: bytes) -> bytes:
    """Give the first key after all that begin with `prefix`; a NUL byte, meaning the end, if none is."""
    trimmed = prefix.rstrip(b"\xff")
    return trimmed[:-1] + bytes([trimmed[-1] + 1]) if trimmed else b"\0"


@dataclass(frozen=True, slots=True)
class KeyValue:
    """One key as etcd keeps it; revisions are the store's, `version` counts the key's own changes."""

    key: bytes
    value: bytes
    create_revision: int
    mod_revision: int
    version: int
    lease: int = 0

    @property
    def text(self) -> str:
        """The value as text; bytes that are not UTF-8 become replacement characters."""
        return self.value.decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class Event:
    """One change that a watch delivers; `prev_kv` is there if it was asked for and still known."""

    type: Literal["PUT", "DELETE"]
    kv: KeyValue
    prev_kv: KeyValue | None = None


@dataclass(frozen=True, slots=True)
class RangeResult:
    """What a range found: `kvs` in the order asked for, `count` in the whole range, `more` beyond the limit."""

    kvs: tuple[KeyValue, ...]
    count: int
    more: bool
    revision: int


@dataclass(frozen=True, slots=True)
class PutResult:
    """What a put answers."""

    revision: int
    prev_kv: KeyValue | None = None


@dataclass(frozen=True, slots=True)
class DeleteResult:
    """What a delete answers: how many keys were deleted."""

    deleted: int
    revision: int
    prev_kvs: tuple[KeyValue, ...] = ()


@dataclass(frozen=True, slots=True)
class TxnResult:
    """What a transaction answers: which branch was taken, and one result per operation of that branch."""

    succeeded: bool
    responses: tuple[RangeResult | PutResult | DeleteResult | TxnResult, ...]
    revision: int


@dataclass(frozen=True, slots=True)
class LeaseGrant:
    """A lease as granted: `ttl` in seconds may be more than was asked for."""

    id: int
    ttl: int
    revision: int


@dataclass(frozen=True, slots=True)
class LeaseStatus:
    """What is left of a lease: `ttl` seconds (-1: there is no such lease), and its keys if asked for."""

    id: int
    ttl: int
    granted_ttl: int
    keys: tuple[bytes, ...]
    revision: int


# -- transactions --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """One side of a comparison; write ``Compare.version("k") == 0`` to get the whole."""

    target: Literal["VALUE", "VERSION", "CREATE", "MOD", "LEASE"]
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

    __hash__ = None  # type: ignore[assignment]

    def _with(
        self, result: Literal["EQUAL", "NOT_EQUAL", "GREATER", "LESS"], other: object
    ) -> Compare:
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
            operand = other
        return Compare(self.target, result, self.key, operand, self.range_end)


@dataclass(frozen=True, slots=True)
class Compare:
    """One condition of a transaction: ``Compare.value(k) == v``, ``Compare.create_revision(k) == 0`` ...

    With `prefix=True` it must hold for every key that begins with the key.
    """

    target: Literal["VALUE", "VERSION", "CREATE", "MOD", "LEASE"]
    result: Literal["EQUAL", "NOT_EQUAL", "GREATER", "LESS"]
    key: bytes
    operand: int | bytes
    range_end: bytes = b""

    @staticmethod
    def value(key: str | bytes, *, prefix: bool = False) -> Comparison:
        """Compare the value (with str or bytes)."""
        return _side("VALUE", key, prefix)

    @staticmethod
    def version(key: str | bytes, *, prefix: bool = False) -> Comparison:
        """Compare how often the key was written since it was created; 0 for a key that is not there."""
        return _side("VERSION", key, prefix)

    @staticmethod
    def create_revision(key: str | bytes, *, prefix: bool = False) -> Comparison:
        """Compare the revision of its creation; 0 for a key that is not there."""
        return _side("CREATE", key, prefix)

    @staticmethod
    def mod_revision(key: str | bytes, *, prefix: bool = False) -> Comparison:
        """Compare the revision of its last change; 0 for a key that is not there."""
        return _side("MOD", key, prefix)

    @staticmethod
    def lease(key: str | bytes, *, prefix: bool = False) -> Comparison:
        """Compare the lease id; 0 for a key without one."""
        return _side("LEASE", key, prefix)


def _side(
    target: Literal["VALUE", "VERSION", "CREATE", "MOD", "LEASE"], key: str | bytes, prefix: bool
) -> Comparison:
    start, end = _span(key, prefix)
    return Comparison(target, start, end)


def _span(key: str | bytes, prefix: bool) -> tuple[bytes, bytes]:
    raw = to_bytes(key)
    return prefix_range(raw) if prefix else (raw, b"")


@dataclass(frozen=True, slots=True)
class Op:
    """One operation of a transaction, made by ``Op.put``, ``Op.get``, ``Op.delete`` or ``Op.txn``."""

    kind: Literal["put", "get", "delete", "txn"]
    key: bytes = b""
    range_end: bytes = b""
    value: bytes = b""
    lease: int = 0
    prev_kv: bool = False
    limit: int = 0
    sort_by: Literal["KEY", "VERSION", "CREATE", "MOD", "VALUE"] | None = None
    descending: bool = False
    keys_only: bool = False
    max_create_revision: int = 0
    compare: tuple[Compare, ...] = ()
    success: tuple[Op, ...] = ()
    failure: tuple[Op, ...] = ()

    MAX_PER_TXN: ClassVar[int] = 128

    @classmethod
    def put(
        cls, key: str | bytes, value: str | bytes, *, lease: int = 0, prev_kv: bool = False
    ) -> Op:
        """Write a key."""
        return cls(
            "put", to_bytes(key), value=to_bytes(value, "value"), lease=lease, prev_kv=prev_kv
        )

    @classmethod
    def get(
        cls,
        key: str | bytes,
        *,
        prefix: bool = False,
        limit: int = 0,
        sort_by: Literal["KEY", "VERSION", "CREATE", "MOD", "VALUE"] | None = None,
        descending: bool = False,
        keys_only: bool = False,
        max_create_revision: int = 0,
    ) -> Op:
        """Read a key, or all keys that begin with it."""
        start, end = _span(key, prefix)
        return cls(
            "get",
            start,
            end,
            limit=limit,
            sort_by=sort_by,
            descending=descending,
            keys_only=keys_only,
            max_create_revision=max_create_revision,
        )

    @classmethod
    def delete(cls, key: str | bytes, *, prefix: bool = False, prev_kv: bool = False) -> Op:
        """Delete a key, or all keys that begin with it."""
        start, end = _span(key, prefix)
        return cls("delete", start, end, prev_kv=prev_kv)

    @classmethod
    def txn(
        cls,
        compare: tuple[Compare, ...],
        success: tuple[Op, ...] = (),
        failure: tuple[Op, ...] = (),
    ) -> Op:
        """Nest a transaction."""
        return cls("txn", compare=tuple(compare), success=tuple(success), failure=tuple(failure))
