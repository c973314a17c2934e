"""Words of others, made fit for people: no control character reaches a log or a terminal.

Rules of this file
1. Pure, and imports nothing: the command line's ``--help`` reads it.
"""

from __future__ import annotations

__all__ = ["safe"]


def safe(text: str) -> str:
    r"""Give `text` with all that is no printable character escaped, as ``\x1b`` or ``\n``."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")
