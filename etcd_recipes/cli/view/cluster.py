"""The doctor's questions to the cluster: user, rights, leases, watches, what lies in the way.

Rules of this file
1. Nothing is left behind: what is written is one key below the prefix, under a lease of ten seconds that is
   revoked at the end, whatever happens; and it would end by itself if this program were killed.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from etcd_recipes.cli.view.census import take
from etcd_recipes.cli.view.findings import Finding, ask
from etcd_recipes.cli.view.output import safe
from etcd_recipes.cli.view.reach import below
from etcd_recipes.core import runtime
from etcd_recipes.core.context import Context
from etcd_recipes.core.errors import (
    EtcdError,
    EtcdRecipesError,
    KeyNotFound,
    LeaseNotFound,
    PermissionDenied,
    ResponseError,
    Unauthenticated,
)

if TYPE_CHECKING:
    from etcd_recipes import Client
    from etcd_recipes.cli.options import Connection

__all__ = ["examine", "judge_ttl"]

_LIMIT = 5.0
_TTL = 10
_MANY = 50_000


def examine(client: Client, connection: Connection, prefix: str, ttl: float) -> tuple[Finding, ...]:
    """Ask the cluster all there is to ask; at most about half a minute."""
    doctor = _Doctor(client, connection, connection.namespace + prefix, ttl)
    found: list[Finding] = []
    for what, question in doctor.questions():
        found += ask(what, question, _LIMIT)
    return tuple(found)


class _Doctor:
    def __init__(self, client: Client, connection: Connection, prefix: str, ttl: float) -> None:
        self._client = client
        self._connection = connection
        self._prefix = prefix
        self._ttl = ttl

    def questions(self) -> list[tuple[str, Callable[[], Sequence[Finding]]]]:
        if self._connection.api == "v2":
            return [("v2 api", self.v2), ("write", self.write_v2)]
        return [
            ("gateway", self.gateway),
            ("auth", self.auth),
            ("lease", self.lease),
            ("watch", self.write_and_watch),
            ("below locks", self.foreign),
            ("v2 api", self.v2),
        ]

    def _ctx(self) -> Context:
        return Context(_LIMIT - 0.5)

    def gateway(self) -> list[Finding]:
        """The JSON gateway, a leader, alarms."""
        began = runtime.now()
        try:
            status = self._client.v3.maintenance.status(ctx=self._ctx())
        except ResponseError as error:
            remedy = "the JSON gateway is off: start etcd with --enable-grpc-gateway"
            return [Finding("gateway", safe(str(error)), "BROKEN", remedy)]
        took = (runtime.now() - began) * 1000
        found = [Finding("gateway", f"answered in {took:.0f} ms")]
        if not status.leader:
            found.append(
                Finding("leader", "the member knows none", "BROKEN", "is there a majority?")
            )
        found += [
            Finding("alarms", safe(word), "BROKEN", "see `etcd-recipes status`")
            for word in status.errors
        ]
        return found

    def auth(self) -> list[Finding]:
        """Who asks, and whether it may do too much."""
        user = self._connection.username
        try:
            on = self._client.v3.auth.status(ctx=self._ctx()).enabled
        except Unauthenticated:
            if user:
                raise
            on = True
        except PermissionDenied:  # only root may ask, so it is on
            on = True
        if not on:
            note = "; --user is of no use" if user else ""
            return [Finding("auth", f"off: whoever reaches it may do everything{note}")]
        if not user:
            remedy = "say --user NAME:PASSWORD"
            return [Finding("auth", "on, and no user was given", "BROKEN", remedy)]
        try:
            roles = self._client.v3.auth.users.get(user, ctx=self._ctx()).roles
        except PermissionDenied:
            return [Finding("auth", f"on, as {safe(user)}")]
        if "root" in roles:
            remedy = "applications get a user with rights to their own prefix"
            return [Finding("auth", f"on, as {safe(user)}, who has the role root", "WARN", remedy)]
        return [
            Finding("auth", f"on, as {safe(user)}, roles {', '.join(map(safe, roles)) or 'none'}")
        ]

    def lease(self) -> list[Finding]:
        """Grant the shortest lease that there is, renew it, revoke it."""
        lease, ctx = self._client.v3.lease, self._ctx()
        granted = lease.grant(1, id=_new_id(), ctx=ctx)
        began = runtime.now()
        try:
            lease.keep_alive_once(granted.id, ctx=ctx)
            took = (runtime.now() - began) * 1000
        finally:
            self._revoke(granted.id)
        if lease.time_to_live(granted.id, ctx=ctx).ttl >= 0:
            return [Finding("lease", "a lease outlived its revocation", "BROKEN", "upgrade etcd")]
        found = Finding("lease", f"granted, renewed in {took:.0f} ms, revoked")
        return [found, judge_ttl(self._ttl, granted.ttl)]

    def _revoke(self, lease: int) -> None:
        try:
            self._client.v3.lease.revoke(lease, ctx=Context(2.0))
        except LeaseNotFound:
            pass

    def write_and_watch(self) -> list[Finding]:
        """Write a key below the prefix while it is watched."""
        v3, ctx = self._client.v3, self._ctx()
        key = f"{self._prefix}.doctor-{secrets.token_hex(8)}"
        lease = v3.lease.grant(_TTL, id=_new_id(), ctx=ctx)
        try:
            with v3.watch(key, ctx=ctx) as watcher:
                began = runtime.now()
                try:
                    v3.kv.put(key, "", lease=lease.id, ctx=ctx)
                except PermissionDenied:
                    return [self._may_not_write()]
                watcher.next(ctx=ctx)
                took = (runtime.now() - began) * 1000
        except PermissionDenied:
            return [
                Finding(
                    "watch", f"no right to read below {safe(self._prefix)!r}", "BROKEN", _RIGHTS
                )
            ]
        finally:
            self._revoke(lease.id)
        where = safe(self._prefix) or "the root"
        return [
            Finding("write", f"a key below {where} was written and removed"),
            Finding("watch", f"told of it after {took:.0f} ms"),
        ]

    def _may_not_write(self) -> Finding:
        where = (
            f"below {safe(self._prefix)!r}" if self._prefix else "at the root; is --prefix right?"
        )
        return Finding("write", f"no right to write {where}", "BROKEN", _RIGHTS)

    def foreign(self) -> list[Finding]:
        """Keys below a lock that are no contenders: ours ignore them, Go's wait for them for ever."""
        count = self._client.v3.kv.range(
            self._prefix, prefix=True, count_only=True, ctx=self._ctx()
        ).count
        if count > _MANY:
            return [Finding("below locks", f"not looked at: {count} keys", "ok", "say --prefix")]
        things = take(below(self._client, "v3", self._prefix, self._ctx()).entries).things
        found = [
            Finding(
                "below locks",
                f"{thing.kind} {safe(thing.name)}: {_strangers(thing.foreign)}",
                "WARN",
                "etcdctl and Go's clients wait for them: move them elsewhere",
            )
            for thing in things
            if thing.foreign
        ]
        return found or [Finding("below locks", f"no foreign keys, of {count} keys in all")]

    # -- v2 ----------------------------------------------------------------------------------------------

    def v2(self) -> list[Finding]:
        """Whether the v2 API is on, which matters to those who use it."""
        wanted = self._connection.api == "v2"
        try:
            self._client.v2.keys.get("/", ctx=self._ctx())
        except KeyNotFound:
            pass
        except EtcdError as error:
            return [
                Finding(
                    "v2 api", f"on, and it says: {safe(str(error))}", "BROKEN" if wanted else "ok"
                )
            ]
        except ResponseError:
            if wanted:
                remedy = "start etcd 3.4 or 3.5 with --enable-v2, or use --api v3"
                return [Finding("v2 api", "off", "BROKEN", remedy)]
            return [Finding("v2 api", "off; v3 does not need it")]
        return [Finding("v2 api", "on; its keys and those of v3 do not see each other")]

    def write_v2(self) -> list[Finding]:
        """Write a key that ends by itself, and delete it."""
        key, keys = (
            f"/{self._prefix.lstrip('/')}.doctor-{secrets.token_hex(8)}",
            self._client.v2.keys,
        )
        began = runtime.now()
        try:
            keys.set(key, "", ttl=_TTL, ctx=self._ctx())
        finally:
            self._forget(key)
        return [Finding("write", f"written and removed in {(runtime.now() - began) * 1000:.0f} ms")]

    def _forget(self, key: str) -> None:
        try:
            self._client.v2.keys.delete(key, ctx=Context(2.0))
        except EtcdRecipesError:
            pass  # it ends by itself


def _strangers(keys: Sequence[str]) -> str:
    if len(keys) == 1:
        return f"a foreign key, {safe(keys[0])}"
    return f"{len(keys)} foreign keys, such as {safe(keys[0])}"


_RIGHTS = "grant the user's role readwrite to this prefix"


def _new_id() -> int:
    return secrets.randbelow(2**62) + 1


def judge_ttl(ttl: float, least: int) -> Finding:
    """Judge a ttl by the shortest one that the server grants, which is 1.5 election timeouts."""
    election = least / 1.5
    what, facts = "ttl", f"ttl {ttl:g} s; the server's least is {least} s"
    if ttl < least:
        return Finding(
            what, facts, "WARN", f"the server makes {least} s of it: ask for as much or more"
        )
    if ttl < 3 * election:
        return Finding(
            what,
            facts,
            "WARN",
            f"an election of etcd's may cost the lease: take {3 * election:.0f} s or more",
        )
    return Finding(what, facts)
