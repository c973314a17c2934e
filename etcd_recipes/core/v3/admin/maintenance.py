"""``client.v3.maintenance``: how the members are, and what keeps them so.

Besides the errors that a method names, each raises ClusterError, ResponseError (EtcdError for etcd's own)
or the Context's error; `timeout` is in seconds. `endpoint` is a URL, of one member; it need not be one of
the client's. No change is sent again when its answer is lost: ClusterError.maybe_applied.

A store that is full (NOSPACE) takes writes again after these steps, in this order::

    client.v3.kv.compact(client.v3.maintenance.status().revision, physical=True, timeout=600)
    for endpoint in client.endpoints:
        client.v3.maintenance.defragment(endpoint)
    client.v3.maintenance.disarm("NOSPACE")

Long calls:

1. What reads or rewrites all that a member has (`defragment`, `hash`, `hash_kv`, `snapshot`) asks for its
   status first. So a member that is stopped or gone is noticed within the client's `header_timeout`,
   although the long call itself may be silent for as long as it takes.
2. `default_timeout` is not meant for them. Without `timeout` and `ctx` the first three may take 30 s, and
   1 s more for each 10 MB of the member's database; `snapshot` takes as long as data keeps coming.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from etcd_recipes.core.context import Context, limit
from etcd_recipes.core.errors import EtcdError
from etcd_recipes.core.http.action import Action
from etcd_recipes.core.http.endpoints import parse_endpoints
from etcd_recipes.core.v3 import replies
from etcd_recipes.core.v3.admin import replies as admin_replies
from etcd_recipes.core.v3.admin import requests as admin_requests
from etcd_recipes.core.v3.admin import snapshot
from etcd_recipes.core.v3.admin.service import AdminService
from etcd_recipes.core.v3.admin.values import Alarm, AlarmKind, Snapshot, Status, StoreHash
from etcd_recipes.core.v3.gateway import Answer, Gateway

__all__ = ["Maintenance"]

_AT_LEAST = 30.0
_BYTES_PER_SECOND = 10_000_000


class Maintenance:
    """See the module's docstring."""

    def __init__(self, gateway: Gateway, default_timeout: float) -> None:
        self._gateway = gateway
        self._service = AdminService(gateway, default_timeout)

    def status(
        self,
        endpoint: str | None = None,
        *,
        timeout: float | None = None,
        ctx: Context | None = None,
    ) -> Status:
        """Give how the member at `endpoint` is, or the one that answers; also without a leader.

        POST /v3/maintenance/status.
        """
        call = self._service.limit(timeout, ctx)
        return self._status(admin_requests.status(), call, _one_or_any(endpoint))

    def alarms(
        self, *, timeout: float | None = None, ctx: Context | None = None
    ) -> tuple[Alarm, ...]:
        """Give the alarms that are on, of all members. POST /v3/maintenance/alarm."""
        return self._alarms(self._service.limit(timeout, ctx))

    def disarm(
        self,
        kind: AlarmKind | None = None,
        *,
        member_id: int | None = None,
        timeout: float | None = None,
        ctx: Context | None = None,
    ) -> tuple[Alarm, ...]:
        """Switch alarms off, all or those of one `kind` or member, and give those that were on.

        POST /v3/maintenance/alarm, once to list them and once for each. An alarm says what is so: make room
        first (`compact`, then `defragment`), or NOSPACE comes back with the next write.
        """
        call = self._service.limit(timeout, ctx)
        armed = tuple(
            alarm
            for alarm in self._alarms(call)
            if kind in (None, alarm.kind) and member_id in (None, alarm.member_id)
        )
        for alarm in armed:
            self._service.call(admin_requests.disarm(alarm), call)
        return armed

    def defragment(
        self, endpoint: str, *, timeout: float | None = None, ctx: Context | None = None
    ) -> None:
        """Give the free space in a member's database file back; the member serves nothing until it is done.

        POST /v3/maintenance/defragment. One member at a time, the leader last. It goes on in the member when
        the call ends early. See "Long calls" for how long it may take.
        """
        place, call = self._look(endpoint, timeout, ctx)
        self._service.call(admin_requests.defragment(), call, at=place)

    def hash(
        self, endpoint: str, *, timeout: float | None = None, ctx: Context | None = None
    ) -> StoreHash:
        """Give a hash of all that a member has; it differs between members of one cluster.

        POST /v3/maintenance/hash. For tests that leave the member alone meanwhile; to compare members use
        `hash_kv`.
        """
        place, call = self._look(endpoint, timeout, ctx)
        return _hash(self._service.call(admin_requests.hash_(), call, at=place))

    def hash_kv(
        self,
        endpoint: str,
        revision: int = 0,
        *,
        timeout: float | None = None,
        ctx: Context | None = None,
    ) -> StoreHash:
        """Give a hash of the keys that a member has up to `revision` (0: its latest), to compare members by.

        POST /v3/maintenance/hashkv. Compacted, or EtcdError for a revision that is not there yet.
        EtcdError with code 12 before etcd 3.5.10, whose gateway does not have it.
        """
        action = admin_requests.hash_kv(revision)
        place, call = self._look(endpoint, timeout, ctx)
        try:
            return _hash(self._service.call(action, call, at=place))
        except replies.NoGateway as error:
            raise EtcdError(
                "this etcd's gateway has no hash of the keys: it came with etcd 3.5.10",
                code=12,
                endpoint=error.endpoint,
            ) from error

    def move_leader(
        self, target_id: int, *, timeout: float | None = None, ctx: Context | None = None
    ) -> None:
        """Make the member with this id the leader, or find it so; EtcdError if it cannot be.

        POST /v3/maintenance/transfer-leadership, to one endpoint after the other until one leads; so the
        leader's has to be among the client's.
        """
        action = admin_requests.move_leader(target_id)
        self._service.call(action, self._service.limit(timeout, ctx))

    def snapshot(
        self,
        path: str | os.PathLike[str],
        *,
        progress: Callable[[int, int], object] | None = None,
        endpoint: str | None = None,
        timeout: float | None = None,
        ctx: Context | None = None,
    ) -> Snapshot:
        """Save a member's database to `path`, whole and verified, or leave `path` as it was.

        The member is the one at `endpoint`, also if it has no leader; without, one that has. It is written
        beside `path` (``.<name>.<random>.part``, for the owner's eyes only), checked against the member's
        checksum, flushed to the disk and then renamed; whatever goes wrong, that file is removed.
        ``etcdutl snapshot restore`` and ``etcdctl snapshot restore`` take it.
        ``progress(done, total)`` is told bytes, in this thread; what it raises ends the call.

        POST /v3/maintenance/status and /v3/maintenance/snapshot. Without `timeout` and `ctx` it takes as
        long as data keeps coming: a member that sends nothing for 30 s is given up. ClusterError when the
        stream is cut or stalls, InvalidResponse when what came is not a whole snapshot; OSError when the
        local disk refuses (full, no such folder, not permitted).
        """
        target = snapshot.check_path(Path(path))
        call = limit(timeout, ctx)
        question = admin_requests.status(leader=endpoint is None)
        first = self._service.first_limit(call)
        begun = self._status(question, first, _one_or_any(endpoint))
        return snapshot.save(self._gateway, begun, target, call, progress)

    def _alarms(self, ctx: Context) -> tuple[Alarm, ...]:
        return self._service.ask(admin_requests.alarms(), ctx, admin_replies.alarms)

    def _status(self, question: Action, ctx: Context, at: str | None) -> Status:
        answer = self._service.call(question, ctx, at=at)
        with replies.Reading(answer.endpoint):
            return admin_replies.status(answer.body, answer.endpoint)

    def _look(
        self, endpoint: str, timeout: float | None, ctx: Context | None
    ) -> tuple[str, Context]:
        """Find the member there, and give its endpoint and the limit of a long call: see "Long calls"."""
        call = limit(timeout, ctx)
        question = admin_requests.status()
        status = self._status(question, self._service.first_limit(call), _one(endpoint))
        if timeout is None and ctx is None:
            call = Context(_AT_LEAST + status.db_size / _BYTES_PER_SECOND)
        return status.endpoint, call


def _one(endpoint: str) -> str:
    """Give the endpoint as the client writes it; ValueError for what is none, or several."""
    if not isinstance(endpoint, str):
        raise TypeError(f"an endpoint is str, not {type(endpoint).__name__}")
    found = parse_endpoints(endpoint)
    if len(found) != 1:
        raise ValueError(f"one endpoint, not {len(found)}")
    return found[0]


def _one_or_any(endpoint: str | None) -> str | None:
    return None if endpoint is None else _one(endpoint)


def _hash(answer: Answer) -> StoreHash:
    with replies.Reading(answer.endpoint):
        return admin_replies.store_hash(answer.body, answer.endpoint)
