"""The registry: services register their instances, others find them. See its siblings for each half."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from etcd_recipes.coordination.names import check_name
from etcd_recipes.coordination.sessions import Sessions, check_ttl
from etcd_recipes.core import runtime
from etcd_recipes.core.context import Context
from etcd_recipes.recipes.registry.discovery import Discovery
from etcd_recipes.recipes.registry.instance import Instance, decode, instance_key
from etcd_recipes.recipes.registry.registration import Registration, check_metadata

__all__ = ["Registry"]


class Registry:
    """A registry below the prefix `name`; made by ``client.registry(name)``.

    Keys: ``<name>/<service>/<instance id>``, one per instance, under a lease; the value is JSON.
    """

    def __init__(self, sessions: Sessions, name: str = "services") -> None:
        self.name = check_name(name, "registry name")
        self._sessions = sessions

    def register(
        self,
        service: str,
        address: str,
        *,
        id: str | None = None,  # noqa: A002 (the contract's name)
        metadata: Mapping[str, str] | None = None,
        weight: int = 1,
        zone: str = "",
        ttl: float | None = None,
        check: Callable[[], object] | None = None,
        timeout: float | None = None,
        ctx: Context | None = None,
    ) -> Registration:
        """Register an instance until it is closed; it heals by itself after any outage.

        Without `id` a fresh one is drawn: use one of your own only if it is unique, for a new
        registration takes over from an older one of the same id. `check` is called three times per ttl;
        while it gives something false or raises, the instance is not listed. 1 request, plus the lease's.

        Raises ClusterError, ResponseError or the Context's error when it could not be registered at all.
        """
        check_name(service, "service name")
        name = check_name(id, "instance id") if id is not None else _fresh_id()
        if "/" in name:
            raise ValueError(f"instance id {name!r} contains '/'")
        if not address:
            raise ValueError("an address must not be empty")
        if weight < 0:
            raise ValueError(f"a weight is 0 or more; got {weight!r}")
        instance = Instance(service, name, address, check_metadata(metadata or {}), weight, zone)
        return Registration(
            self._sessions,
            instance_key(self.name, service, name),
            instance,
            None if ttl is None else check_ttl(ttl),
            check,
            self._sessions.limit(timeout, ctx),
        )

    def instances(
        self,
        service: str,
        *,
        draining: bool = False,
        timeout: float | None = None,
        ctx: Context | None = None,
    ) -> tuple[Instance, ...]:
        """Give the instances of `service` in the order of their ids: one request.

        Those that drain are left out unless asked for.
        """
        prefix = instance_key(self.name, check_name(service, "service name"), "")
        found = [i for i in self._all(prefix, timeout, ctx) if i.service == service]
        wanted = [i for i in found if draining or not i.draining]
        return tuple(sorted(wanted, key=lambda instance: instance.id))

    def services(
        self, *, timeout: float | None = None, ctx: Context | None = None
    ) -> tuple[str, ...]:
        """Give the names of all services that have an instance, sorted: one request."""
        found = self._all(f"{self.name}/", timeout, ctx)
        return tuple(sorted({instance.service for instance in found}))

    def _all(self, prefix: str, timeout: float | None, ctx: Context | None) -> list[Instance]:
        snapshot = self._sessions.store.list(prefix, self._sessions.limit(timeout, ctx))
        return [i for e in snapshot.entries if (i := decode(self.name, e)) is not None]

    def follow(
        self,
        service: str,
        *,
        zone: str = "",
        timeout: float | None = None,
        ctx: Context | None = None,
    ) -> Discovery:
        """Give a live view of `service`, as soon as its first list is there.

        `zone` is the caller's own, for ``pick("zone")``. Raises what kept the first list from coming
        within `timeout` (or the client's default timeout); later outages only make the view older.
        """
        view = Discovery(self._sessions, self.name, check_name(service, "service name"), zone=zone)
        try:
            view.wait_until_known(self._sessions.limit(timeout, ctx))
        except BaseException:
            view.close()
            raise
        return view

    def __repr__(self) -> str:
        return f"<Registry {self.name!r}>"


def _fresh_id() -> str:
    return f"{runtime.rng().getrandbits(64):016x}"
