"""The registry: services register their instances, others find them. See its siblings for each half."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Literal

from etcd_recipes.coordination.names import check_name
from etcd_recipes.coordination.sessions import Sessions, check_ttl
from etcd_recipes.core import runtime
from etcd_recipes.core.context import Context
from etcd_recipes.recipes.registry.codec import Codec, codec_of
from etcd_recipes.recipes.registry.discovery import Discovery
from etcd_recipes.recipes.registry.guard import Rule
from etcd_recipes.recipes.registry.instance import Instance, check_instance, check_metadata
from etcd_recipes.recipes.registry.registration import Registration

__all__ = ["Registry"]


class Registry:
    """A registry below the prefix `name`; made by ``client.registry(name)``.

    Keys: ``<name>/<service>/<instance id>``, one per instance, under a lease; the value is the codec's.
    """

    def __init__(
        self,
        sessions: Sessions,
        name: str = "services",
        codec: Literal["json", "grpc"] | Codec = "json",
    ) -> None:
        self.name = check_name(name, "registry name")
        self._sessions = sessions
        self._codec = codec_of(codec)

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

        Without `id` a fresh one is drawn (with ``codec="grpc"`` it is the address): use one of your own only
        if it is unique, for a new registration takes over from an older one of the same id. `check` is
        called three times per ttl, on a thread of its own; while it gives something false or raises, and
        when it has not come back and passed for a ttl, the instance is not listed. The first call is waited
        for, half of the time that there is. 1 request, plus the lease's.

        Raises ClusterError, ResponseError or the Context's error when it could not be registered at all,
        SessionLost when the client is closed.
        """
        self._sessions.check_open()
        check_name(service, "service name")
        if check is not None and not callable(check):
            raise TypeError(f"a check is called and says whether all is well, not {check!r}")
        owner = f"{runtime.rng().getrandbits(64):016x}"
        instance = check_instance(
            Instance(
                service, "", address, check_metadata(metadata or {}), weight, zone, owner=owner
            )
        )
        name = self._codec.id_for(address, owner) if id is None else id
        if "/" in check_name(name, "instance id"):
            raise ValueError(f"instance id {name!r} contains '/'")
        return Registration(
            self._sessions,
            self._prefix(service) + name,
            replace(instance, id=name),
            self._codec,
            None if ttl is None else check_ttl(ttl),
            check,
            self._sessions.limit(timeout, ctx),
        )

    def _prefix(self, service: str) -> str:
        return f"{self.name}/{check_name(service, 'service name')}/"

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
        prefix = self._prefix(service)
        read = [
            self._codec.read(service, key.removeprefix(prefix), value)
            for key, value in self._all(prefix, timeout, ctx)
        ]
        found = [i for i in read if i is not None and (draining or not i.draining)]
        return tuple(sorted(found, key=lambda instance: instance.id))

    def services(
        self, *, timeout: float | None = None, ctx: Context | None = None
    ) -> tuple[str, ...]:
        """Give the names of all services that have an instance, sorted: one request."""
        prefix = f"{self.name}/"
        names = {
            self._codec.service_at(key.removeprefix(prefix), value)
            for key, value in self._all(prefix, timeout, ctx)
        }
        return tuple(sorted(name for name in names if name is not None))

    def _all(
        self, prefix: str, timeout: float | None, ctx: Context | None
    ) -> list[tuple[str, str]]:
        snapshot = self._sessions.store.list(prefix, self._sessions.limit(timeout, ctx))
        return [(entry.key, entry.value) for entry in snapshot.entries]

    def follow(
        self,
        service: str,
        *,
        zone: str = "",
        max_drop: float = 0.5,
        confirm: float = 10.0,
        max_ejection: float = 0.5,
        timeout: float | None = None,
        ctx: Context | None = None,
    ) -> Discovery:
        """Give a live view of `service`, as soon as its first list is there.

        `zone` is the caller's own, for ``pick("zone")``. When more than the share `max_drop` of the
        instances, and at least 3, vanish within `confirm` seconds without having drained, the view keeps them
        as `suspects` until they come back, or have been gone for `confirm` seconds; 1.0 believes all at
        once. `max_ejection` is the share that `report` may leave out. ValueError for shares that are none.

        Raises what kept the first list from coming within `timeout` (or the client's default timeout), and
        SessionLost when the client is closed; later outages only make the view older.
        """
        self._sessions.check_open()
        if not 0 <= max_ejection <= 1:
            raise ValueError(f"max_ejection is a share from 0 to 1; got {max_ejection!r}")
        view = Discovery(
            self._sessions,
            self._prefix(service),
            service,
            self._codec,
            Rule(max_drop, confirm),
            zone=zone,
            max_ejection=max_ejection,
        )
        try:
            view.wait_until_known(self._sessions.limit(timeout, ctx))
        except BaseException:
            view.close()
            raise
        return view

    def __repr__(self) -> str:
        return f"<Registry {self.name!r}>"
