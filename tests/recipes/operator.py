"""What an operator does to etcd behind a recipe's back, on either store."""

from __future__ import annotations

from etcd_recipes import Client, Session
from tests.tools import eventually


def remove(client: Client, key: str, api: str) -> None:
    """Delete one key, as `etcdctl del` would."""
    if api == "v3":
        client.v3.kv.delete(key)
    else:
        client.v2.keys.delete(key)


def revoke(client: Client, session: Session, api: str) -> None:
    """End what a session rests on: its lease, or on v2 the ttl of each of its keys."""
    if api == "v3":
        client.v3.lease.revoke(session.id)
    else:
        for key in eventually(lambda: list(session.grant._attached)):  # type: ignore[attr-defined]
            client.v2.keys.delete(key)


def write(client: Client, key: str, value: str | bytes, api: str) -> None:
    """Write a key that no recipe knows of."""
    if api == "v3":
        client.v3.kv.put(key, value)
    else:
        client.v2.keys.set(key, value.decode("latin-1") if isinstance(value, bytes) else value)


TAKES_A_PLACE = {"v3": b"request_put", "v2": b"POST /v2"}
"""What the request that joins a line has in it."""
