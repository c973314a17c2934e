"""Sealed values: what the Store writes on v2, where a key knows nothing of a lease.

A value is JSON: the grant that it belongs to (``<id>-<seat>`` where it has several places in a line), and
what the recipe wrote. So a key can be recognised as ours after a lost reply, and two holders never write
the same value, which is what a comparison needs. What is not sealed is somebody else's, and shown as it
stands.
"""

from __future__ import annotations

import json
import re

from etcd_recipes.core.store import Entry
from etcd_recipes.core.v2.values import Node

__all__ = ["entry_of", "seal"]

_OWNER = re.compile(r"([0-9a-f]{1,16})(?:-([0-9a-f]{1,8}))?")


def seal(grant: int, value: str, seat: int | None = None) -> str:
    """Give what is written for `value` under `grant` (0: none), at its one place or at a seat."""
    owner = f"{grant:x}" if seat is None else f"{grant:x}-{seat:x}"
    return json.dumps({"grant": owner, "value": value}, separators=(",", ":"))


def _unseal(text: str) -> tuple[int, int | None, str]:
    try:
        data = json.loads(text)
        grant, value = data["grant"], data["value"]
        if len(data) == 2 and isinstance(grant, str) and isinstance(value, str):
            found = _OWNER.fullmatch(grant)
            if found is not None:
                return int(found[1], 16), int(found[2], 16) if found[2] else None, value
    except (ValueError, TypeError, KeyError, RecursionError):
        pass
    return 0, None, text


def entry_of(node: Node, like: str) -> Entry:
    """Give a key of the v2 API as the Store's Entry, with or without a leading slash as `like` has it."""
    grant, seat, value = _unseal(node.value)
    key = node.key if like.startswith("/") else node.key[1:]
    return Entry(key, value, node.created_index, node.modified_index, grant, seat)
