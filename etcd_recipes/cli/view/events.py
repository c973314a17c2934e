"""Changes below a prefix as lines, and as JSON with one object a line.

Rules of this file
1. Pure. A key or value that is no text is escaped in a line, and base64 in JSON, under a name of its own.
2. The names in the JSON are API: names are added, and none is renamed or removed.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

from etcd_recipes.cli.view.output import one_json

__all__ = ["Seen", "as_json", "as_line"]


@dataclass(frozen=True, slots=True)
class Seen:
    """One change; `value` is None when the key was deleted (or has expired)."""

    revision: int
    kind: str
    key: bytes
    value: bytes | None
    lease: int = 0
    created: int = 0


def as_line(seen: Seen) -> str:
    """Give the change as a line: revision, kind, key, value; tabs between, everything else escaped."""
    cells = [str(seen.revision), seen.kind, escaped(seen.key)]
    return "\t".join(cells if seen.value is None else [*cells, escaped(seen.value)])


def escaped(raw: bytes) -> str:
    r"""Give bytes as text that is one line and one cell, ``\`` doubled, what is no UTF-8 as ``\xff``."""
    return "".join(map(_escaped, raw.decode("utf-8", "surrogateescape")))


def _escaped(character: str) -> str:
    if character == "\\":
        return "\\\\"
    if character.isprintable():
        return character
    if "\udc80" <= character <= "\udcff":
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")


def as_json(seen: Seen) -> str:
    """Give the change as one line of JSON."""
    document: dict[str, Any] = {"revision": seen.revision, "type": seen.kind}
    document |= _text("key", seen.key)
    if seen.value is not None:
        document |= _text("value", seen.value)
        document |= {"create_revision": seen.created}
    if seen.lease:
        document |= {"lease": f"{seen.lease:x}"}
    return one_json(document)


def _text(name: str, raw: bytes) -> dict[str, str]:
    try:
        return {name: raw.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(raw).decode("ascii")}
