"""Words for people: what somebody wrote into etcd reaches no terminal as a control character.

Rules of this file
1. Pure, and imports nothing heavy: the command line's ``--help`` reads this file.
"""

from __future__ import annotations

from etcd_recipes.core.text import safe

__all__ = ["printable", "safe"]


def printable(text: str) -> str:
    """Give `text` with its lines as they are, and all else as `safe` gives it."""
    return "\n".join(map(safe, text.split("\n")))
