"""Following a prefix of etcd: the one place where the demo reaches behind the public client."""

from __future__ import annotations

from collections.abc import Iterator

from etcd_recipes import Client, Context
from etcd_recipes.coordination.follow import Update, follow

__all__ = ["follow_prefix"]


def follow_prefix(client: Client, prefix: str, ctx: Context) -> Iterator[Update]:
    """Give the keys below the full `prefix` now, and again after each change, through all outages.

    One watch, nothing is polled. Raises the error of `ctx` when that ends.
    """
    return follow(client._sessions.store, prefix, ctx)
