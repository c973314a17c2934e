"""Reaching behind the public client: the keys below a prefix, whichever recipe wrote them.

Rules of this file
1. What is read here is only shown, or deleted by the incarnation that was shown. Nothing is written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from etcd_recipes.coordination.follow import follow
from etcd_recipes.core.errors import KeyNotFound
from etcd_recipes.core.store import Entry, Snapshot

if TYPE_CHECKING:
    from etcd_recipes import Client, Context
    from etcd_recipes.core.v2.values import Node

__all__ = ["Lifetime", "below", "delete", "follow_below", "lifetimes"]

_MOST_LEASES = 200


@dataclass(frozen=True, slots=True)
class Lifetime:
    """What is left of a lease, and what was granted, in whole seconds; `granted` is 0 where etcd keeps none (v2)."""

    left: int
    granted: int = 0


def below(client: Client, api: str, prefix: str, ctx: Context) -> Snapshot:
    """Give all keys that begin with `prefix`: one request."""
    found = client._sessions.store.list(_listed(api, prefix), ctx)
    mine = tuple(entry for entry in found.entries if entry.key.startswith(prefix))
    return Snapshot(mine, found.revision)


def follow_below(
    client: Client,
    api: str,
    prefix: str,
    ctx: Context,
    on_trouble: Callable[[BaseException], None],
) -> Iterator[tuple[tuple[Entry, ...], int]]:
    """Give the keys that begin with `prefix`, and the revision, now and after each change: one watch.

    It goes on through all outages, and gives the same again when etcd has only confirmed it.
    """
    store = client._sessions.store
    for update in follow(store, _listed(api, prefix), ctx, on_trouble=on_trouble):
        mine = (entry for key, entry in update.entries.items() if key.startswith(prefix))
        yield tuple(mine), update.revision


def _listed(api: str, prefix: str) -> str:
    """Give what is listed and watched for `prefix`: on v2 the directory that it is in."""
    return prefix[: prefix.rfind("/") + 1] if api == "v2" else prefix


def delete(client: Client, entry: Entry, ctx: Context) -> bool:
    """Delete this incarnation of a key and no later one; tell whether it was there. One or two requests."""
    return client._sessions.store.delete(entry, ctx)


def lifetimes(
    client: Client, api: str, entries: Iterable[Entry], ctx: Context
) -> Mapping[str, Lifetime]:
    """Give what is left of each key's lease, by key; a key that has none is not among them.

    v3: one request per lease, for the first 200. v2: one request per key's directory.
    """
    held = [entry for entry in entries if entry.lease]
    return _by_node(client, held, ctx) if api == "v2" else _by_lease(client, held, ctx)


def _by_lease(client: Client, entries: list[Entry], ctx: Context) -> Mapping[str, Lifetime]:
    leases = list(dict.fromkeys(entry.lease for entry in entries))[:_MOST_LEASES]
    found: dict[int, Lifetime] = {}
    for lease in leases:
        status = client.v3.lease.time_to_live(lease, ctx=ctx)
        if status.ttl >= 0:
            found[lease] = Lifetime(status.ttl, status.granted_ttl)
    return {entry.key: found[entry.lease] for entry in entries if entry.lease in found}


def _by_node(client: Client, entries: list[Entry], ctx: Context) -> Mapping[str, Lifetime]:
    found: dict[str, Lifetime] = {}
    wanted = {f"/{entry.key.lstrip('/')}": entry.key for entry in entries}
    for folder in list(dict.fromkeys(name.rpartition("/")[0] for name in wanted))[:_MOST_LEASES]:
        try:
            nodes: tuple[Node, ...] = client.v2.keys.get(folder or "/", ctx=ctx).node.nodes
        except KeyNotFound:
            continue
        for node in nodes:
            if node.key in wanted and node.ttl:
                found[wanted[node.key]] = Lifetime(node.ttl)
    return found
