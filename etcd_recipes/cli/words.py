"""Words for people: what somebody wrote into etcd reaches no terminal as a control character.

Rules of this file
1. Pure, and imports nothing: the command line's ``--help`` reads this file.
"""

from __future__ import annotations

__all__ = ["printable", "safe"]


def safe(text: str) -> str:
    r"""Give `text` with all that is no printable character escaped, as ``\x1b`` or ``\n``."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escaped(c) for c in text)


def printable(text: str) -> str:
    """Give `text` with its lines as they are, and all else as `safe` gives it."""
    return "\n".join(map(safe, text.split("\n")))


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")
