"""What each call about members, users and roles puts on the wire, as literals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from etcd_recipes.core.http.action import Action
from etcd_recipes.core.v2 import admin as a
from etcd_recipes.core.v2.users import some


@pytest.mark.parametrize(
    ("action", "request_line", "body", "replay", "secret"),
    [
        (a.members_list(), "GET /v2/members", b"", True, False),
        (a.members_leader(), "GET /v2/members/leader", b"", True, False),
        (
            a.members_add([" http://b:2 ", "http://a:1"]),
            "POST /v2/members",
            b'{"peerURLs":["http://a:1","http://b:2"]}',
            False,
            False,
        ),
        (
            a.members_update("8e9e", "https://[::1]:2380"),
            "PUT /v2/members/8e9e",
            b'{"peerURLs":["https://[::1]:2380"]}',
            False,
            False,
        ),
        (a.members_remove("8e9e"), "DELETE /v2/members/8e9e", b"", True, False),
        (a.auth_enable("GET"), "GET /v2/auth/enable", b"", True, False),
        (a.auth_enable("PUT"), "PUT /v2/auth/enable", b"", False, False),
        (a.auth_enable("DELETE"), "DELETE /v2/auth/enable", b"", False, False),
        (a.users(), "GET /v2/auth/users", b"", True, False),
        (a.user("GET", "é b"), "GET /v2/auth/users/%C3%A9%20b", b"", True, False),
        (a.user("DELETE", "u"), "DELETE /v2/auth/users/u", b"", False, False),
        (
            a.user("PUT", "u", password="p"),
            "PUT /v2/auth/users/u",
            b'{"user":"u","roles":null,"password":"p"}',
            False,
            True,
        ),
        (
            a.user("PUT", "u", grant=("r1", "r2")),
            "PUT /v2/auth/users/u",
            b'{"user":"u","roles":null,"grant":["r1","r2"]}',
            False,
            False,
        ),
        (
            a.user("PUT", "u", revoke=("r1",)),
            "PUT /v2/auth/users/u",
            b'{"user":"u","roles":null,"revoke":["r1"]}',
            False,
            False,
        ),
        (a.roles(), "GET /v2/auth/roles", b"", True, False),
        (
            a.role("PUT", "r"),
            "PUT /v2/auth/roles/r",
            b'{"role":"r","permissions":{"kv":{"read":null,"write":null}}}',
            False,
            False,
        ),
        (
            a.role("PUT", "r", grant=("/a*",), access="read"),
            "PUT /v2/auth/roles/r",
            (
                b'{"role":"r","permissions":{"kv":{"read":null,"write":null}},'
                b'"grant":{"kv":{"read":["/a*"],"write":null}}}'
            ),
            False,
            False,
        ),
        (
            a.role("PUT", "r", revoke=("/a",)),
            "PUT /v2/auth/roles/r",
            (
                b'{"role":"r","permissions":{"kv":{"read":null,"write":null}},'
                b'"revoke":{"kv":{"read":["/a"],"write":["/a"]}}}'
            ),
            False,
            False,
        ),
    ],
    ids=str,
)
def test_what_is_asked_for(
    action: Action, request_line: str, body: bytes, replay: bool, secret: bool
) -> None:
    assert f"{action.method} {action.path}" == request_line
    assert action.body == body
    assert (action.replay, action.secret, action.follow) == (replay, secret, True)
    assert action.headers == ({"Content-Type": "application/json"} if body else {})


@pytest.mark.parametrize(
    ("build", "arguments"),
    [
        (a.members_add, ([],)),
        (a.members_add, ("",)),
        (a.members_add, ("a:1",)),
        (a.members_add, ("http://a",)),
        (a.members_add, ("http://a:1/x",)),
        (a.members_add, ("http://a:1?x",)),
        (a.members_add, ("http://a:99999",)),
        (a.members_add, ("ftp://a:1",)),
        (a.members_add, ("http://[a:1",)),
        (a.members_remove, ("",)),
        (a.members_remove, ("a/b",)),
        (a.members_remove, ("..",)),
        (a.user, ("GET", "")),
        (a.user, ("GET", "a/b")),
        (a.user, ("GET", ".")),
        (a.user, ("GET", "\ud800")),
        (a.role, ("GET", "..")),
        (some, ([],)),
    ],
)
def test_what_would_be_another_request_is_a_value_error(
    build: Callable[..., object], arguments: tuple[Any, ...]
) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        build(*arguments)


def test_bad_passwords_and_rights_are_refused() -> None:
    with pytest.raises(ValueError, match="empty password"):
        a.user("PUT", "u", password="")
    with pytest.raises(ValueError, match="access"):
        a.role("PUT", "r", grant=("/a",), access="all")  # type: ignore[arg-type]
    for wrong in (a.members_remove, lambda name: a.user("GET", name), a.members_add):
        with pytest.raises(TypeError):
            wrong(5)
    with pytest.raises(TypeError, match="name"):
        a.user("PUT", "u", grant=(1,))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="password"):
        a.user("PUT", "u", password=b"p")  # type: ignore[arg-type]
