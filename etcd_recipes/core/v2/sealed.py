"""Sealed values: what the Store writes on v2, where a key knows nothing of a lease.

A value is JSON: the grant that it belongs to, and what the recipe wrote. So a key can be recognised as ours
after a lost reply, and two holders never write the same value, which is what a comparison needs. What is
not sealed is somebody else's, and shown as it stands.
"""

from __future__ import annotations

import json

from etcd_recipes.core.store import Entry
from etcd_recipes.core.v2.values import Node

__all__ = ["entry_of", "seal"]


def seal(grant: int, value: str) -> str:
    """Give what is written for `value` under `grant` (0: none)."""
    return json.dumps({"grant": f"{grant:x}", "value": value}, separators=(",", ":"))


def _unseal(text: str) -> tuple[int, str]:
    try:
        data = json.loads(text)
        grant, value = data["grant"], data["value"]
        if len(data) == 2 and isinstance(value, str):
            return int(grant, 16), value
    except (ValueError, TypeError, KeyError, RecursionError):
        pass
    return 0, text


def entry_of(node: Node, like: str) -> Entry:
    """Give a key of the v2 API as the Store's Entry, with or without a leading slash as `like` has it."""
    grant, value = _unseal(node.value)
    key = node.key if like.startswith("/") else node.key[1:]
    return Entry(key, value, node.created_index, node.modified_index, grant)
