"""Requests of the v3 auth, cluster and maintenance services: what is sent, what may be sent twice, what is refused."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import pytest

from etcd_recipes.core.http.action import Action
from etcd_recipes.core.http.curl import command
from etcd_recipes.core.v3 import Alarm
from etcd_recipes.core.v3.admin import requests as ask

URL = "http://10.0.0.1:2380"

REQUESTS: list[tuple[Action, str, dict[str, Any]]] = [
    (ask.auth_status(), "auth/status", {}),
    (ask.auth_enable(), "auth/enable", {}),
    (ask.auth_disable(), "auth/disable", {}),
    (ask.user_add("u", "p"), "auth/user/add", {"name": "u", "password": "p"}),
    (
        ask.user_add("u", None),
        "auth/user/add",
        {"name": "u", "options": {"no_password": True}},
    ),
    (ask.user_get("u"), "auth/user/get", {"name": "u"}),
    (ask.user_list(), "auth/user/list", {}),
    (ask.user_delete("u"), "auth/user/delete", {"name": "u"}),
    (ask.user_change_password("u", "p"), "auth/user/changepw", {"name": "u", "password": "p"}),
    (ask.user_grant_role("u", "r"), "auth/user/grant", {"user": "u", "role": "r"}),
    (ask.user_revoke_role("u", "r"), "auth/user/revoke", {"name": "u", "role": "r"}),
    (ask.role_add("r"), "auth/role/add", {"name": "r"}),
    (ask.role_get("r"), "auth/role/get", {"role": "r"}),
    (ask.role_list(), "auth/role/list", {}),
    (ask.role_delete("r"), "auth/role/delete", {"role": "r"}),
    (
        ask.role_grant("r", b"a", b"", "read"),
        "auth/role/grant",
        {"name": "r", "perm": {"permType": "READ", "key": "YQ=="}},
    ),
    (
        ask.role_grant("r", b"a", b"b", "readwrite"),
        "auth/role/grant",
        {"name": "r", "perm": {"permType": "READWRITE", "key": "YQ==", "range_end": "Yg=="}},
    ),
    (
        ask.role_revoke("r", b"\0", b"\0"),
        "auth/role/revoke",
        {"role": "r", "key": "AA==", "range_end": "AA=="},
    ),
    (ask.member_list(), "cluster/member/list", {}),
    (ask.member_list(linearizable=True), "cluster/member/list", {"linearizable": True}),
    (ask.member_add(URL, learner=False), "cluster/member/add", {"peerURLs": [URL]}),
    (
        ask.member_add([URL], learner=True),
        "cluster/member/add",
        {"peerURLs": [URL], "isLearner": True},
    ),
    (ask.member_remove(2**64 - 1), "cluster/member/remove", {"ID": "18446744073709551615"}),
    (ask.member_update(7, (URL,)), "cluster/member/update", {"ID": "7", "peerURLs": [URL]}),
    (ask.member_promote(7), "cluster/member/promote", {"ID": "7"}),
    (ask.status(), "maintenance/status", {}),
    (ask.alarms(), "maintenance/alarm", {"action": "GET"}),
    (
        ask.disarm(Alarm(7, "NOSPACE")),
        "maintenance/alarm",
        {"action": "DEACTIVATE", "memberID": "7", "alarm": "NOSPACE"},
    ),
    (ask.defragment(), "maintenance/defragment", {}),
    (ask.hash_(), "maintenance/hash", {}),
    (ask.hash_kv(0), "maintenance/hashkv", {}),
    (ask.hash_kv(9), "maintenance/hashkv", {"revision": "9"}),
    (ask.move_leader(7), "maintenance/transfer-leadership", {"targetID": "7"}),
    (ask.snapshot(), "maintenance/snapshot", {}),
]

HARMLESS = {
    "auth/status",
    "auth/user/get",
    "auth/user/list",
    "auth/role/get",
    "auth/role/list",
    "cluster/member/list",
    "cluster/member/remove",
    "maintenance/status",
    "maintenance/hash",
    "maintenance/hashkv",
    "maintenance/snapshot",
}
WITHOUT_A_LEADER = {
    "cluster/member/list",
    "maintenance/status",
    "maintenance/defragment",
    "maintenance/hash",
    "maintenance/hashkv",
    "maintenance/snapshot",
}


@pytest.mark.parametrize(
    ("action", "path", "body"), REQUESTS, ids=[f"{p} {b}" for _, p, b in REQUESTS]
)
def test_what_is_sent(action: Action, path: str, body: dict[str, Any]) -> None:
    assert (action.method, action.path, json.loads(action.body)) == ("POST", f"/v3/{path}", body)
    assert action.what
    harmless = path in HARMLESS or body.get("action") == "GET"
    assert action.replay is harmless
    rescue = path in WITHOUT_A_LEADER and "linearizable" not in body
    assert ("Grpc-Metadata-hasleader" in action.headers) is not rescue


def test_a_status_may_be_asked_of_those_with_a_leader_alone() -> None:
    assert "Grpc-Metadata-hasleader" in ask.status(leader=True).headers


def test_what_reads_the_whole_store_may_take_its_time() -> None:
    for action in (ask.defragment(), ask.hash_(), ask.hash_kv(0)):
        assert action.header_timeout == math.inf
    assert ask.snapshot().header_timeout == ask.STALL
    assert ask.status().header_timeout is None


@pytest.mark.parametrize(
    "action",
    [ask.user_add("u", "swordfish"), ask.user_change_password("u", "swordfish")],
    ids=["add", "change"],
)
def test_a_password_is_shown_nowhere(action: Action) -> None:
    assert action.secret
    assert b"swordfish" in action.body
    for shown in (repr(action), action.what, command("http://a:1", action, action.headers)):
        assert "swordfish" not in shown


REFUSED: list[tuple[Callable[[], Action], type[Exception], str]] = [
    (lambda: ask.user_add("", "p"), ValueError, "name"),
    (lambda: ask.user_add("u", ""), ValueError, "password"),
    (lambda: ask.user_change_password("u", ""), ValueError, "password"),
    (lambda: ask.user_change_password("u", b"p"), TypeError, "password"),  # type: ignore[arg-type]
    (lambda: ask.user_get(7), TypeError, "name"),  # type: ignore[arg-type]
    (lambda: ask.role_add(""), ValueError, "name"),
    (lambda: ask.user_grant_role("u", ""), ValueError, "role"),
    (lambda: ask.role_grant("r", b"", b"", "read"), ValueError, "prefix=True"),
    (lambda: ask.role_grant("r", b"b", b"a", "read"), ValueError, "no key"),
    (lambda: ask.role_grant("r", b"b", b"b", "read"), ValueError, "no key"),
    (lambda: ask.role_grant("r", b"b", b"", "rw"), ValueError, "readwrite"),  # type: ignore[arg-type]
    (lambda: ask.member_remove("7"), TypeError, "int"),  # type: ignore[arg-type]
    (lambda: ask.member_remove(True), TypeError, "int"),
    (lambda: ask.member_remove(0), ValueError, "id"),
    (lambda: ask.member_promote(2**64), ValueError, "id"),
    (lambda: ask.move_leader(-1), ValueError, "id"),
    (lambda: ask.member_add([7], learner=False), TypeError, "URL"),  # type: ignore[list-item]
    (lambda: ask.hash_kv(-1), ValueError, "revision"),
]


@pytest.mark.parametrize(("build", "kind", "match"), REFUSED, ids=map(str, range(len(REFUSED))))
def test_what_etcd_would_take_in_silence_is_refused(
    build: Callable[[], Action], kind: type[Exception], match: str
) -> None:
    with pytest.raises(kind, match=match):
        build()


def test_all_from_a_key_on_is_a_range() -> None:
    assert ask.role_grant("r", b"z", b"\0", "read").body
