"""``client.v3``: the v3 API, by its services."""

from __future__ import annotations

import weakref
from collections.abc import Collection

from etcd_recipes.core.context import Context, limit
from etcd_recipes.core.v3.admin.auth import Auth
from etcd_recipes.core.v3.admin.maintenance import Maintenance
from etcd_recipes.core.v3.admin.members import Membership
from etcd_recipes.core.v3.gateway import Gateway
from etcd_recipes.core.v3.kv import KV
from etcd_recipes.core.v3.lease import Lease
from etcd_recipes.core.v3.values import span, to_int64
from etcd_recipes.core.v3.watcher import Watcher

__all__ = ["V3"]

_FILTERS = frozenset({"NOPUT", "NODELETE"})


class V3:
    """The v3 API of one client: `kv`, `lease`, `watch`; `auth`, `cluster` and `maintenance` for its operators.

    Keys are full keys: the client's namespace is not added.
    """

    def __init__(self, gateway: Gateway, default_timeout: float) -> None:
        self.kv = KV(gateway, default_timeout)
        self.lease = Lease(gateway, default_timeout)
        self.auth = Auth(gateway, default_timeout)
        self.cluster = Membership(gateway, default_timeout)
        self.maintenance = Maintenance(gateway, default_timeout)
        self._gateway = gateway
        self._default_timeout = default_timeout
        self._watchers: weakref.WeakSet[Watcher] = weakref.WeakSet()

    def close(self) -> None:
        """End all watchers."""
        for watcher in list(self._watchers):
            watcher.close()

    def watch(
        self,
        key: str | bytes,
        range_end: str | bytes | None = None,
        *,
        prefix: bool = False,
        start_revision: int = 0,
        prev_kv: bool = False,
        filters: Collection[str] = (),
        progress_notify: bool = False,
        timeout: float | None = None,
        ctx: Context | None = None,
    ) -> Watcher:
        """Watch a key, the keys up to `range_end`, or all that begin with `key`: a Watcher, to be iterated.

        POST /v3/watch. When it returns, an endpoint has confirmed the watch: every change from then on is
        delivered, or, with `start_revision`, every change from that revision on. It resumes by itself when
        members die, restart or lose their leader. `prev_kv` adds to each event what was there before, if
        etcd still has it. `filters` leaves out "NOPUT" or "NODELETE" events. With `progress_notify`,
        ``next_batch`` also gives batches without events, which say how far the watch has come.

        `timeout` (seconds) bounds the opening; `ctx` bounds it and the whole life of the watcher, so that
        its cancel ends the iteration, with Cancelled. Close the watcher, or use it with ``with``: an open
        watch is a connection. Raises ClusterError when no endpoint confirms the watch, ResponseError
        (PermissionDenied ...) and the Context's error; ValueError for an empty key, a negative revision or
        an unknown filter.
        """
        start, end = span(key, range_end, prefix)
        if not start:
            raise ValueError("a watch needs a key; every key is watched with prefix=True")
        unknown = set(filters) - _FILTERS
        if unknown or isinstance(filters, str):
            raise ValueError(f"filters are 'NOPUT' and 'NODELETE', not {filters!r}")
        watcher = Watcher(
            self._gateway,
            start,
            end,
            start_revision=to_int64(start_revision, "start_revision", least=0),
            prev_kv=prev_kv,
            filters=tuple(filters),
            progress_notify=progress_notify,
            opening=limit(timeout, ctx, default=self._default_timeout),
            life=Context(parent=ctx),
        )
        self._watchers.add(watcher)
        return watcher
