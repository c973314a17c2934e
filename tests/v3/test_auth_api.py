"""Users, roles and the switch, against real servers of both versions."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from http.client import HTTPConnection
from typing import Any

import pytest

from etcd_recipes import (
    Client,
    ClusterError,
    EtcdError,
    InvalidResponse,
    PermissionDenied,
    RoleExists,
    RoleNotFound,
    Unauthenticated,
    UserExists,
    UserNotFound,
)
from etcd_recipes.core.v3 import AuthStatus, Permission, Role, User
from etcd_recipes.core.v3.api import V3
from etcd_recipes.testing import EtcdProcess
from tests.core.servers import Server, always, answer, silent
from tests.tools import QUICK
from tests.versions import SERVERS, binary_of

PASSWORD = 'sword"fish: ß'
PATIENT = 5.0
"""Hashing a password takes the server its time on a busy machine; that is not what is tested here."""


@pytest.fixture(params=list(SERVERS))
def own_server(request: pytest.FixtureRequest) -> Iterator[EtcdProcess]:
    """A server whose users and rights this test may change."""
    cheap = ("--bcrypt-cost=4",)
    with EtcdProcess(binary=binary_of(request.param), extra_args=cheap, **QUICK) as server:
        yield server


def client_of(server: EtcdProcess, *user: str) -> Client:
    name, password = user or (None, None)
    return Client(server.endpoint, header_timeout=PATIENT, username=name, password=password)


def raw(server: EtcdProcess, path: str, body: dict[str, Any], token: str = "") -> tuple[int, Any]:
    """Ask without the library."""
    connection = HTTPConnection(server.endpoint.removeprefix("http://"), timeout=10.0)
    headers = {"Authorization": token} if token else {}
    try:
        connection.request("POST", f"/v3/{path}", json.dumps(body), headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def make_root(v3: V3) -> None:
    v3.auth.users.add("root", PASSWORD)
    v3.auth.roles.add("root")
    v3.auth.users.grant_role("root", "root")


def test_users(own_server: EtcdProcess) -> None:
    with client_of(own_server) as client:
        users, roles = client.v3.auth.users, client.v3.auth.roles
        assert users.list() == ()
        users.add("bob", "one")
        with pytest.raises(UserExists):
            users.add("bob", "two")
        users.add("eve")
        assert users.list() == ("bob", "eve")
        assert users.get("bob") == User("bob")
        roles.add("r1")
        roles.add("r2")
        users.grant_role("bob", "r1")
        users.grant_role("bob", "r1")  # given is given
        users.grant_role("bob", "r2")
        assert users.get("bob") == User("bob", ("r1", "r2"))
        users.revoke_role("bob", "r1")
        with pytest.raises(EtcdError, match="not granted"):
            users.revoke_role("bob", "r1")
        with pytest.raises(RoleNotFound):
            users.grant_role("bob", "no such role")
        assert users.get("bob") == User("bob", ("r2",))
        users.delete("bob")
        for missed in (
            lambda: users.get("bob"),
            lambda: users.delete("bob"),
            lambda: users.change_password("bob", "x"),
            lambda: users.grant_role("bob", "r1"),
            lambda: users.revoke_role("bob", "r1"),
        ):
            with pytest.raises(UserNotFound):
                missed()


def test_roles(own_server: EtcdProcess) -> None:
    with client_of(own_server) as client:
        roles = client.v3.auth.roles
        assert roles.list() == ()
        roles.add("r1")
        with pytest.raises(RoleExists):
            roles.add("r1")
        assert (roles.list(), roles.get("r1")) == (("r1",), Role("r1"))
        roles.grant("r1", "a", permission="write")
        roles.grant("r1", "p/", prefix=True)
        roles.grant("r1", b"x", b"z", permission="read")
        permissions = (
            Permission(b"a", b"", "write"),
            Permission(b"p/", b"p0", "readwrite"),
            Permission(b"x", b"z", "read"),
        )
        assert roles.get("r1") == Role("r1", permissions)
        roles.grant("r1", "a", permission="read")  # in place of the other
        assert roles.get("r1").permissions[0] == Permission(b"a", b"", "read")
        roles.revoke("r1", "a")
        roles.revoke("r1", "p/", prefix=True)
        with pytest.raises(EtcdError, match="not granted"):
            roles.revoke("r1", "x", "y")
        assert roles.get("r1") == Role("r1", permissions[2:])
        roles.delete("r1")
        for missed in (
            lambda: roles.get("r1"),
            lambda: roles.delete("r1"),
            lambda: roles.grant("r1", "a"),
            lambda: roles.revoke("r1", "a"),
        ):
            with pytest.raises(RoleNotFound):
                missed()


def test_the_switch(own_server: EtcdProcess) -> None:
    with client_of(own_server) as nobody, client_of(own_server, "root", PASSWORD) as root:
        v3 = nobody.v3
        assert not v3.auth.status().enabled
        with pytest.raises(EtcdError, match="root user does not exist"):
            v3.auth.enable()
        v3.auth.users.add("root", PASSWORD)
        with pytest.raises(EtcdError, match="root role"):
            v3.auth.enable()
        v3.auth.roles.add("root")
        v3.auth.users.grant_role("root", "root")
        assert raw(own_server, "auth/user/list", {})[0] == 200
        v3.auth.enable()
        status, body = raw(own_server, "auth/user/list", {})
        assert (status, body["code"]) == (400, 3)
        with pytest.raises(Unauthenticated):
            v3.auth.users.list()
        with pytest.raises(Unauthenticated):
            v3.auth.disable()
        assert root.v3.auth.status().enabled
        if root.v3.maintenance.status().version >= "3.5":
            assert root.v3.auth.status().auth_revision > 1
            with pytest.raises(Unauthenticated):
                v3.auth.status()
        else:
            assert v3.auth.status() == AuthStatus(True, 0)
        for kept in (
            lambda: root.v3.auth.users.delete("root"),
            lambda: root.v3.auth.roles.delete("root"),
        ):
            with pytest.raises(EtcdError, match="invalid auth management"):
                kept()
        root.v3.auth.disable()
        assert raw(own_server, "auth/user/list", {})[0] == 200
        v3.auth.disable()  # off is off
        assert not v3.auth.status().enabled


def test_a_user_may_do_what_its_roles_permit_and_nothing_else(own_server: EtcdProcess) -> None:
    with (
        client_of(own_server) as nobody,
        client_of(own_server, "root", PASSWORD) as root,
        client_of(own_server, "bob", PASSWORD) as bob,
    ):
        make_root(nobody.v3)
        auth = nobody.v3.auth
        auth.users.add("bob", "another")
        auth.users.change_password("bob", PASSWORD)
        auth.roles.add("r")
        auth.roles.grant("r", "p/", prefix=True)
        auth.roles.grant("r", "look", permission="read")
        auth.users.grant_role("bob", "r")
        auth.enable()
        kv = bob.v3.kv
        kv.put("p/a", "1")
        assert kv.get("look") is None
        for refused in (
            lambda: kv.put("look", "1"),
            lambda: kv.get("elsewhere"),
            lambda: kv.range("", prefix=True),
            bob.v3.auth.users.list,
            lambda: bob.v3.maintenance.defragment(own_server.endpoint),
        ):
            with pytest.raises(PermissionDenied):
                refused()
        root.v3.auth.roles.grant("r", "", prefix=True, permission="read")
        assert [each.key for each in kv.range("", prefix=True).kvs] == [b"p/a"]
        root.v3.auth.roles.revoke("r", "", prefix=True)
        with pytest.raises(PermissionDenied):
            kv.range("", prefix=True)
        root.v3.auth.disable()


def test_a_user_without_a_password_is_not_one_whose_password_is_empty(
    own_server: EtcdProcess,
) -> None:
    with client_of(own_server) as nobody, client_of(own_server, "root", PASSWORD) as root:
        make_root(nobody.v3)
        nobody.v3.auth.users.add("eve")
        nobody.v3.auth.enable()
        status, body = raw(own_server, "auth/authenticate", {"name": "eve"})
        assert status != 200, body
        root.v3.auth.disable()


def test_no_password_is_logged_or_told(
    own_server: EtcdProcess, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[str] = []
    with (
        caplog.at_level(logging.DEBUG, "etcd_recipes"),
        client_of(own_server) as client,
        Server(silent) as server,
        Server(always(answer(b'{"error":"no","code":2}', status=500))) as other,
    ):
        users = client.v3.auth.users
        users.add("bob", "swordfish")
        users.change_password("bob", "swordfish")
        with pytest.raises(UserExists) as raised:
            users.add("bob", "swordfish")
        told.append(repr(raised.value))
        for endpoint in (server.endpoint, other.endpoint):
            with Client(endpoint, header_timeout=0.1) as unlucky:
                with pytest.raises((ClusterError, EtcdError)) as failed:
                    unlucky.v3.auth.users.add("bob", "swordfish")
                told += [repr(failed.value), str(failed.value.__cause__)]
    logged = [str(vars(record)) for record in caplog.records]
    assert sum("auth/user/" in line for line in logged) == 5
    assert "swordfish" not in "".join(logged + told)


@pytest.mark.parametrize("call", ["add", "change_password", "delete", "grant_role"])
def test_a_change_whose_answer_is_lost_is_not_sent_again(call: str) -> None:
    with (
        Server(silent) as one,
        Server(silent) as two,
        Client([one.endpoint, two.endpoint], header_timeout=0.1) as client,
    ):
        change = getattr(client.v3.auth.users, call)
        with pytest.raises(ClusterError) as raised:
            change("bob") if call == "delete" else change("bob", "x")
        assert raised.value.maybe_applied
        assert len(one.requests) + len(two.requests) == 1


def test_a_gateway_that_is_off_is_not_a_switch_that_is_off() -> None:
    with (
        Server(always(answer(b"404 page not found\n", status=404))) as server,
        Client(server.endpoint) as client,
        pytest.raises(InvalidResponse, match="gateway"),
    ):
        client.v3.auth.status()
