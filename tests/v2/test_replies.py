"""What each answer means, as literals; and that nothing which arrives can break the parsers."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etcd_recipes.core import errors as e
from etcd_recipes.core.http.action import Reply
from etcd_recipes.core.v2 import Node, Response, Version, admin_replies, replies

AT = "http://a:2379"


def reply(body: object = b"", status: int = 200, doubt: bool = False, **headers: str) -> Reply:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, named, raw, AT, doubt)


NODE = {"key": "/a", "value": "x", "modifiedIndex": 7, "createdIndex": 5}


@pytest.mark.parametrize(
    ("body", "node", "prev"),
    [
        (
            b'{"action":"get","node":{"key":"/a","value":"x","modifiedIndex":7,"createdIndex":5}}\n',
            Node("/a", "x", False, (), 5, 7),
            None,
        ),
        (
            (
                b'{"action":"update","node":{"key":"/a","value":"","expiration":'
                b'"2026-01-02T03:04:05.678901234Z","ttl":9,"modifiedIndex":7,"createdIndex":5},'
                b'"prevNode":{"key":"/a","value":"\\u0026","modifiedIndex":5,"createdIndex":5}}'
            ),
            Node("/a", "", False, (), 5, 7, 9, datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)),
            Node("/a", "&", False, (), 5, 5),
        ),
        (
            (
                b'{"action":"get","node":{"key":"/d","dir":true,"nodes":[{"key":"/d/e","dir":true,'
                b'"modifiedIndex":3,"createdIndex":3}],"modifiedIndex":2,"createdIndex":2}}'
            ),
            Node("/d", "", True, (Node("/d/e", "", True, (), 3, 3),), 2, 2),
            None,
        ),
        (b'{"action":"get","node":{"dir":true,"nodes":null}}', Node("/", dir=True), None),
        (
            b'{"action":"delete","node":{"key":"/a","modifiedIndex":8,"createdIndex":5,"new":[1]}}',
            Node("/a", created_index=5, modified_index=8),
            None,
        ),
        (
            b'{"action":"get","node":{"key":"/a","expiration":"2026-01-02T03:04:05Z"}}',
            Node("/a", ttl=0, expiration=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
            None,
        ),
        (b'{"action":"get","node":{"key":"/a","ttl":-1}}', Node("/a", ttl=-1), None),
    ],
)
def test_an_answer_about_keys_is_read(body: bytes, node: Node, prev: Node | None) -> None:
    found = replies.response(reply(body, x_etcd_index="42", x_etcd_cluster_id="cdf8"))
    assert found == Response(json.loads(body)["action"], node, prev, 42, "cdf8")


def test_what_was_asked_to_be_left_out_is_none() -> None:
    found = replies.response(reply({"action": "set"}, x_etcd_index="7"), bare=True)
    assert (found.action, found.node, found.prev_node, found.index) == ("set", None, None, 7)


def test_the_doubt_of_a_write_is_told_and_a_read_has_none() -> None:
    assert replies.response(reply({"action": "set", "node": NODE}, doubt=True)).doubt
    assert not replies.response(reply({"action": "get", "node": NODE}, doubt=True)).doubt


@pytest.mark.parametrize(
    "body",
    [
        b"garbage",
        b"<html>404</html>",
        b"[]",
        b"null",
        b'"x"',
        b'{"action":"get"',
        b"\xff\xfe",
        b"[" * 100_000,
        {},
        {"action": "get"},
        {"action": "get", "node": None},
        {"node": NODE},
        {"action": 1, "node": NODE},
        {"action": "get", "node": []},
        {"action": "get", "node": "x"},
        {"action": "get", "node": NODE | {"value": 1}},
        {"action": "get", "node": NODE | {"key": None}},
        {"action": "get", "node": NODE | {"dir": "yes"}},
        {"action": "get", "node": NODE | {"modifiedIndex": "7"}},
        {"action": "get", "node": NODE | {"modifiedIndex": -7}},
        {"action": "get", "node": NODE | {"createdIndex": 2**64}},
        {"action": "get", "node": NODE | {"createdIndex": 1.5}},
        {"action": "get", "node": NODE | {"ttl": True}},
        {"action": "get", "node": NODE | {"expiration": "soon"}},
        {"action": "get", "node": NODE | {"nodes": {"a": 1}}},
        {"action": "get", "node": NODE | {"nodes": 5}},
        {"action": "get", "node": NODE, "prevNode": 5},
    ],
)
def test_what_is_not_etcds_names_the_endpoint_and_how_it_begins(body: object) -> None:
    with pytest.raises(e.InvalidResponse) as raised:
        replies.response(reply(body))
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    assert raised.value.endpoint == AT
    assert AT in str(raised.value)
    assert repr(raw[:80].decode("utf-8", "replace")) in str(raised.value)


@pytest.mark.parametrize("body", [b"", b"\n", b" \r\n"])
def test_an_empty_answer_names_the_endpoint(body: bytes) -> None:
    with pytest.raises(e.EmptyResponse, match=AT):
        replies.response(reply(body))


@pytest.mark.parametrize(
    "index", ["poo", "", "-1", "1.5", " 7", "1_0", "²", str(2**64), "9" * 5000]
)
def test_an_index_that_is_not_a_number_is_invalid(index: str) -> None:
    with pytest.raises(e.InvalidResponse, match=f"{AT} .*X-Etcd-Index"):
        replies.response(reply({"action": "get", "node": NODE}, x_etcd_index=index))


def test_an_index_that_is_missing_is_zero() -> None:
    assert replies.response(reply({"action": "get", "node": NODE})).index == 0


# -- members, auth, version ----------------------------------------------------------------------------------


def test_members_are_read() -> None:
    body = {
        "members": [{"id": "8e9e05c52164694d", "name": "", "peerURLs": ["p"], "clientURLs": []}]
    }
    (member,) = admin_replies.members(reply(body))
    assert (member.id, member.name, member.peer_urls, member.client_urls) == (
        "8e9e05c52164694d",
        "",
        ("p",),
        (),
    )
    assert admin_replies.members(reply({})) == ()


def test_users_and_roles_are_read_in_both_of_their_forms() -> None:
    objects = {"user": "u", "roles": [{"role": "r1", "permissions": {"kv": {}}}]}
    assert admin_replies.user(reply(objects)).roles == ("r1",)
    assert admin_replies.user(reply({"user": "u", "roles": ["r1", "r2"]})).roles == ("r1", "r2")
    assert admin_replies.user(reply({"user": "u"})).roles == ()
    assert admin_replies.users(reply({"users": None})) == ()
    assert admin_replies.users(reply({"users": [objects]})) == ("u",)
    role = {"role": "r", "permissions": {"kv": {"read": ["/a*"], "write": None}}}
    assert admin_replies.role(reply(role)).read == ("/a*",)
    assert admin_replies.role(reply(role)).write == ()
    assert admin_replies.roles(reply({"roles": [role]})) == ("r",)
    assert admin_replies.enabled(reply({"enabled": True}))


def test_the_version_is_read() -> None:
    body = {"etcdserver": "3.5.1", "etcdcluster": "not_decided"}
    assert replies.version(reply(body)) == Version("3.5.1", "not_decided")


# -- anything ------------------------------------------------------------------------------------------------

PARSERS = [
    replies.judge,
    replies.judge_removal,
    replies.response,
    replies.version,
    admin_replies.member,
    admin_replies.members,
    admin_replies.user,
    admin_replies.users,
    admin_replies.role,
    admin_replies.roles,
    admin_replies.enabled,
]
NAMES = st.sampled_from(
    [
        *("action", "node", "prevNode", "key", "value", "dir", "nodes", "ttl", "expiration"),
        *("createdIndex", "modifiedIndex", "errorCode", "message", "cause", "index"),
        *("members", "id", "name", "peerURLs", "clientURLs", "user", "users", "role", "roles"),
        *("permissions", "kv", "read", "write", "enabled", "etcdserver", "etcdcluster"),
    ]
)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["/a", 0, 1, 300, 401, "Not a file", "2026-01-02T03:04:05Z"])
)
JSON = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=6)
)
BODIES = st.binary() | JSON.map(lambda value: json.dumps(value).encode())
STATUSES = st.sampled_from([200, 201, 204, 302, 400, 401, 404, 409, 410, 412, 500, 503])
HEADERS = st.dictionaries(
    st.sampled_from(["x-etcd-index", "x-etcd-cluster-id", "location"]), st.text(max_size=8)
)


@given(BODIES, STATUSES, HEADERS)
def test_whatever_arrives_only_the_librarys_errors_leave(
    body: bytes, status: int, headers: dict[str, Any]
) -> None:
    for parse in PARSERS:
        with contextlib.suppress(e.ResponseError):
            parse(Reply(status, headers, body, AT))


@pytest.mark.parametrize("body", [b"", b'{"action":"create","no', b"[]", {"action": "set"}])
def test_a_write_whose_answer_cannot_be_read_may_be_done(body: object) -> None:
    with pytest.raises(e.ResponseError) as raised:
        replies.written(reply(body, 201))
    assert raised.value.maybe_applied
    with pytest.raises(e.ResponseError) as raised:
        replies.response(reply(body))
    assert not raised.value.maybe_applied
