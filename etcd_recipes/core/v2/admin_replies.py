"""Replies of the v2 members and auth services, read: pure parsers, under the rules of `replies`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from etcd_recipes.core.http.action import Reply
from etcd_recipes.core.v2.replies import Reading, text
from etcd_recipes.core.v2.values import Member, Role, User

__all__ = ["enabled", "member", "members", "role", "roles", "user", "users"]


def member(reply: Reply) -> Member:
    """Read one member."""
    with Reading(reply) as body:
        return _member(body)


def members(reply: Reply) -> tuple[Member, ...]:
    """Read all members."""
    with Reading(reply) as body:
        return tuple(_member(each) for each in body.get("members") or ())


def _member(body: Any) -> Member:
    if not body["id"]:
        raise ValueError("a member without an id")
    return Member(
        text(body["id"]),
        text(body.get("name", "")),
        _texts(body.get("peerURLs")),
        _texts(body.get("clientURLs")),
    )


def user(reply: Reply) -> User:
    """Read a user; its roles come as objects or as names."""
    with Reading(reply) as body:
        return User(text(body["user"]), _names(body.get("roles"), "role"))


def users(reply: Reply) -> tuple[str, ...]:
    """Read the names of all users."""
    with Reading(reply) as body:
        return _names(body["users"], "user")


def role(reply: Reply) -> Role:
    """Read a role."""
    with Reading(reply) as body:
        rights = body["permissions"]["kv"]
        return Role(text(body["role"]), _texts(rights.get("read")), _texts(rights.get("write")))


def roles(reply: Reply) -> tuple[str, ...]:
    """Read the names of all roles."""
    with Reading(reply) as body:
        return _names(body["roles"], "role")


def enabled(reply: Reply) -> bool:
    """Read whether auth is on."""
    with Reading(reply) as body:
        found = body["enabled"]
        if not isinstance(found, bool):
            raise TypeError("enabled is not true or false")
        return found


def _names(given: Any, field: str) -> tuple[str, ...]:
    return tuple(text(each if isinstance(each, str) else each[field]) for each in given or ())


def _texts(given: Sequence[Any] | None) -> tuple[str, ...]:
    if given is not None and not isinstance(given, list):
        raise TypeError("not a list of strings")
    return tuple(text(each) for each in given or ())
