"""Requests of the v2 members and auth services, as Actions: pure builders.

Rules of this file
1. Values in, an Action out: no socket, no clock, no thread.
2. A name becomes one segment of a path: one that would become several, or none, is a ValueError.
3. A body that holds a password says so (`secret`): it is not shown in a log, and no redirect takes it to
   a host that the user has not named.
4. Of the changes, only those that are the same when done twice are replayed: the removal of a member
   (ids are not used again).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Literal
from urllib.parse import quote, urlsplit

from etcd_recipes.core.http.action import Action

__all__ = ["Access", "auth_enable", "peer_urls", "role", "user"]

Access = Literal["read", "write", "readwrite"]

_JSON = {"Content-Type": "application/json"}
_PEER_SCHEMES = ("http", "https", "unix", "unixs")


def _action(
    method: str,
    path: str,
    body: dict[str, Any] | None = None,
    *,
    replay: bool = False,
    secret: bool = False,
) -> Action:
    return Action(
        f"/v2/{path}",
        b"" if body is None else json.dumps(body, separators=(",", ":")).encode(),
        method=method,
        replay=replay or method == "GET",
        what=f"v2 {method} /v2/{path}",
        headers={} if body is None else _JSON,
        follow=True,
        secret=secret,
    )


def _segment(name: str, what: str) -> str:
    if not isinstance(name, str):
        raise TypeError(f"a {what} is str, not {type(name).__name__}")
    if name in ("", ".", "..") or "/" in name:
        raise ValueError(f"{name!r} cannot be a {what}: it is part of a path")
    try:
        return quote(name, safe="")
    except UnicodeEncodeError:
        raise ValueError(f"the {what} {name!r} has a lone surrogate") from None


# -- members -----------------------------------------------------------------------------------------------


def peer_urls(urls: Iterable[str]) -> list[str]:
    """Give the URLs as etcd wants them, sorted; ValueError for one that no member can have."""
    given = [urls] if isinstance(urls, str) else list(urls)
    if not given:
        raise ValueError("a member needs at least one peer URL")
    return sorted(_peer_url(url) for url in given)


def _peer_url(text: str) -> str:
    if not isinstance(text, str):
        raise TypeError(f"a peer URL is str, not {type(text).__name__}")
    trimmed = text.strip()
    try:
        url = urlsplit(trimmed)
        port = url.port
    except ValueError as error:
        raise ValueError(f"{text!r} is not a URL ({error})") from None
    if url.scheme not in _PEER_SCHEMES:
        raise ValueError(f"{text!r}: a peer URL begins with http, https, unix or unixs")
    if not url.hostname or port is None:
        raise ValueError(f"{text!r}: a peer URL has a host and a port")
    if url.path or url.query or url.fragment:
        raise ValueError(f"{text!r}: a peer URL has no path")
    return trimmed


def members_list() -> Action:
    """Build the question for all members."""
    return _action("GET", "members")


def members_leader() -> Action:
    """Build the question for the leader."""
    return _action("GET", "members/leader")


def members_add(urls: Iterable[str]) -> Action:
    """Build the addition of a member."""
    return _action("POST", "members", {"peerURLs": peer_urls(urls)})


def members_update(id_: str, urls: Iterable[str]) -> Action:
    """Build new peer URLs for a member; a copy that arrives late would undo a later change."""
    return _action("PUT", f"members/{_segment(id_, 'member id')}", {"peerURLs": peer_urls(urls)})


def members_remove(id_: str) -> Action:
    """Build the removal of a member."""
    return _action("DELETE", f"members/{_segment(id_, 'member id')}", replay=True)


# -- auth --------------------------------------------------------------------------------------------------


def auth_enable(method: Literal["GET", "PUT", "DELETE"]) -> Action:
    """Build the switch: look at it, put it on, take it off."""
    return _action(method, "auth/enable")


def user(
    method: Literal["GET", "PUT", "DELETE"],
    name: str,
    *,
    password: str | None = None,
    grant: Iterable[str] = (),
    revoke: Iterable[str] = (),
) -> Action:
    """Build a request about one user."""
    path = f"auth/users/{_segment(name, 'user name')}"
    if method != "PUT":
        return _action(method, path)
    body: dict[str, Any] = {"user": name, "roles": None}
    if password is not None:
        if not isinstance(password, str):
            raise TypeError(f"a password is str, not {type(password).__name__}")
        if not password:
            raise ValueError("etcd takes no empty password")
        body["password"] = password
    body |= {"grant": _names(grant)} if grant else {}
    body |= {"revoke": _names(revoke)} if revoke else {}
    return _action("PUT", path, body, secret=password is not None)


def users() -> Action:
    """Build the question for all users."""
    return _action("GET", "auth/users")


def role(
    method: Literal["GET", "PUT", "DELETE"],
    name: str,
    *,
    grant: Iterable[str] = (),
    revoke: Iterable[str] = (),
    access: Access = "readwrite",
) -> Action:
    """Build a request about one role; `grant` and `revoke` are keys, or prefixes that end with ``*``."""
    path = f"auth/roles/{_segment(name, 'role name')}"
    if method != "PUT":
        return _action(method, path)
    if access not in ("read", "write", "readwrite"):
        raise ValueError(f"access is 'read', 'write' or 'readwrite', not {access!r}")
    body: dict[str, Any] = {"role": name, "permissions": {"kv": {"read": None, "write": None}}}
    body |= {"grant": _rights(grant, access)} if grant else {}
    body |= {"revoke": _rights(revoke, access)} if revoke else {}
    return _action("PUT", path, body)


def roles() -> Action:
    """Build the question for all roles."""
    return _action("GET", "auth/roles")


def _rights(keys: Iterable[str], access: Access) -> dict[str, Any]:
    names = _names(keys)
    return {
        "kv": {
            "read": names if access != "write" else None,
            "write": names if access != "read" else None,
        }
    }


def _names(given: Iterable[str]) -> list[str]:
    """Give one name or several as a list; TypeError for what is no text."""
    names = [given] if isinstance(given, str) else list(given)
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"a name is str, not {type(name).__name__}")
    return names
