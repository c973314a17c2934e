"""What stands below a name in etcd, and how a proxy knows a request that writes there."""

from __future__ import annotations

from base64 import b64encode

from etcd_recipes import Client, Context


def below(client: Client, name: str) -> list[str]:
    """Give the keys below ``<name>/``, without that."""
    entries = client._sessions.store.list(f"{name}/", Context(5)).entries
    return sorted(entry.key[len(name) + 1 :] for entry in entries)


def naming(key: str, api: str) -> bytes:
    """Give what every request about a key that begins with `key` has in it."""
    if api == "v2":
        return f"/v2/keys/{key}".encode()
    whole = len(key) // 3 * 3  # base64 writes three bytes at a time
    return b64encode(key[:whole].encode())
