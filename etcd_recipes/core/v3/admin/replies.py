"""Replies of the v3 auth, cluster and maintenance services, read: pure parsers, under the rules of `replies`.

What is malformed raises what `replies.Reading` takes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from etcd_recipes.core.v3.admin.values import (
    Access,
    Alarm,
    AuthStatus,
    Member,
    Permission,
    Role,
    Status,
    StoreHash,
    User,
)
from etcd_recipes.core.v3.replies import flag, number, raw, revision_of

__all__ = [
    "alarms",
    "auth_status",
    "member",
    "members",
    "names",
    "piece",
    "role",
    "status",
    "store_hash",
    "user",
]

_Body = Mapping[str, Any]

# -- auth --------------------------------------------------------------------------------------------------


def auth_status(body: _Body) -> AuthStatus:
    """Read whether auth is on."""
    return AuthStatus(flag(body.get("enabled", False)), number(body.get("authRevision", 0)))


def names(body: _Body, field: str) -> tuple[str, ...]:
    """Read the names of all users, or of all roles."""
    return _texts(body.get(field))


def user(body: _Body, name: str) -> User:
    """Read a user, whose name is not in the answer."""
    return User(name, _texts(body.get("roles")))


def role(body: _Body, name: str) -> Role:
    """Read a role, whose name is not in the answer."""
    return Role(name, tuple(_permission(each) for each in body.get("perm") or ()))


_ACCESS: dict[str | int, Access] = {
    "READ": "read",
    "WRITE": "write",
    "READWRITE": "readwrite",
    0: "read",
    1: "write",
    2: "readwrite",
}


def _permission(body: _Body) -> Permission:
    return Permission(
        raw(body.get("key", "")),
        raw(body.get("range_end", "")),
        _ACCESS[body.get("permType", "READ")],
    )


# -- members -----------------------------------------------------------------------------------------------


def members(body: _Body) -> tuple[Member, ...]:
    """Read all members."""
    return tuple(member(each) for each in body["members"])


def member(body: _Body) -> Member:
    """Read one member."""
    return Member(
        number(body["ID"]),
        _text(body.get("name", "")),
        _texts(body.get("peerURLs")),
        _texts(body.get("clientURLs")),
        flag(body.get("isLearner", False)),
    )


# -- maintenance -------------------------------------------------------------------------------------------


def status(body: _Body, endpoint: str) -> Status:
    """Read how a member is; its id stands in the header."""
    return Status(
        endpoint=endpoint,
        member_id=number(body["header"]["member_id"]),
        version=_text(body.get("version", "")),
        db_size=number(body.get("dbSize", 0)),
        db_size_in_use=number(body.get("dbSizeInUse", 0)),
        leader=number(body.get("leader", 0)),
        raft_index=number(body.get("raftIndex", 0)),
        raft_applied_index=number(body.get("raftAppliedIndex", 0)),
        raft_term=number(body.get("raftTerm", 0)),
        is_learner=flag(body.get("isLearner", False)),
        errors=_texts(body.get("errors")),
        revision=revision_of(body),
        storage_version=_text(body.get("storageVersion", "")),
        db_size_quota=number(body.get("dbSizeQuota", 0)),
    )


_ALARMS = {0: "NONE", 1: "NOSPACE", 2: "CORRUPT"}


def alarms(body: _Body) -> tuple[Alarm, ...]:
    """Read the alarms that are on."""
    return tuple(_alarm(each) for each in body.get("alarms") or ())


def _alarm(body: _Body) -> Alarm:
    kind = body.get("alarm", "NONE")
    return Alarm(number(body.get("memberID", 0)), _text(_ALARMS.get(kind, kind)))


def store_hash(body: _Body, endpoint: str) -> StoreHash:
    """Read a hash."""
    return StoreHash(
        endpoint,
        number(body.get("hash", 0)),
        revision_of(body),
        number(body.get("compact_revision", 0)),
    )


def piece(result: _Body) -> tuple[bytes, int]:
    """Read one message of a snapshot: its bytes, and how many of the database are still to come."""
    return raw(result.get("blob", "")), number(result.get("remaining_bytes", 0))


# -- parts -------------------------------------------------------------------------------------------------


def _texts(given: Iterable[Any] | None) -> tuple[str, ...]:
    if given is not None and not isinstance(given, list):
        raise TypeError("not a list of strings")
    return tuple(_text(each) for each in given or ())


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.40} is not a string")
    return value
