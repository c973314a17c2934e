"""What the v3 API gives, and what stands in what it takes: frozen values, checked bytes and numbers.

Rules of this file
1. Values only: no wire format, no socket, no clock.
2. Keys and values go in as ``str`` (UTF-8) or ``bytes`` and come out as ``bytes``; ``.text`` decodes.
3. What etcd has no type for is a TypeError or ValueError here, before anything is sent: its JSON would
   take ``True`` for a 1, and ignore what it does not know.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

__all__ = [
    "DeleteResult",
    "Event",
    "KeyValue",
    "LeaseGrant",
    "LeaseStatus",
    "PutResult",
    "RangeResult",
    "TxnResult",
    "made_event",
    "made_key_value",
    "prefix_end",
    "prefix_range",
    "span",
    "to_bytes",
    "to_int64",
]

_INT64 = 2**63


def to_bytes(text: str | bytes, what: str = "key") -> bytes:
    """Give `text` as bytes; TypeError, naming `what`, when it is neither str nor bytes.

    Text is written as UTF-8, and the lone surrogates that stand for bytes in it (``surrogateescape``)
    as these bytes; ValueError for other surrogates.
    """
    if isinstance(text, str):
        try:
            return text.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError as error:
            raise ValueError(
                f"a {what} must be text that UTF-8 can hold, or bytes: "
                f"the character at {error.start} is {text[error.start]!r}"
            ) from None
    if isinstance(text, bytes):
        return text
    raise TypeError(f"a {what} is str or bytes, not {type(text).__name__}")


def to_int64(number: int, what: str, *, least: int = -_INT64) -> int:
    """Give `number`; TypeError when it is no int (a bool is none), ValueError when etcd cannot hold it."""
    if type(number) is not int:
        if isinstance(number, bool) or not isinstance(number, int):
            raise TypeError(f"{what} is an int, not {type(number).__name__}")
        number = int(number)
    if not least <= number < _INT64:
        raise ValueError(f"{what} is {least} or more and below 2**63, not {number}")
    return number


def span(key: str | bytes, range_end: str | bytes | None, prefix: bool) -> tuple[bytes, bytes]:
    """Give the first key and the range end, b"" for one key alone; ValueError for a prefix with an end."""
    raw = to_bytes(key)
    if not prefix:
        return raw, b"" if range_end is None else to_bytes(range_end, "range_end")
    if range_end is not None:
        raise ValueError("give either range_end or prefix=True, not both")
    return prefix_range(raw)


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


def _open(kind: type) -> Any:
    """Give a class whose objects have the fields of `kind` and can be written: see `made_key_value`."""
    return type(f"Open{kind.__name__}", (), {"__slots__": kind.__slots__})  # type: ignore[attr-defined]


_OpenKeyValue, _OpenEvent = _open(KeyValue), _open(Event)


def made_key_value(
    key: bytes, value: bytes, create_revision: int, mod_revision: int, version: int, lease: int
) -> KeyValue:
    """Give ``KeyValue(...)`` in a third of the time: replies consist of them.

    A frozen class writes its own fields by a detour, one call for each. So they are written into an object of
    the same shape that is open, which is then made one of the frozen class.
    """
    made = _OpenKeyValue()
    made.key = key
    made.value = value
    made.create_revision = create_revision
    made.mod_revision = mod_revision
    made.version = version
    made.lease = lease
    made.__class__ = KeyValue
    return made  # type: ignore[no-any-return]


def made_event(kind: Literal["PUT", "DELETE"], kv: KeyValue, prev_kv: KeyValue | None) -> Event:
    """Give ``Event(...)``; see `made_key_value`."""
    made = _OpenEvent()
    made.type = kind
    made.kv = kv
    made.prev_kv = prev_kv
    made.__class__ = Event
    return made  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True)
class RangeResult:
    """What a range found: `kvs` in the order asked for, and whether there are `more` beyond the limit.

    `count` is how many keys the range has, whatever the limit; etcd counts those too that the filters by
    revision have left out.
    """

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
