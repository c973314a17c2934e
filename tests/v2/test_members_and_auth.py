"""Members, users and roles against real servers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from etcd_recipes import (
    Client,
    EtcdError,
    MemberExists,
    MemberNotFound,
    NotAuthorized,
    PermissionDenied,
    RoleExists,
    RoleNotFound,
    Unauthenticated,
    UserExists,
    UserNotFound,
)
from etcd_recipes.core.v2 import Role, User
from etcd_recipes.core.v2.api import V2
from etcd_recipes.testing import EtcdCluster, EtcdProcess
from tests.tools import QUICK
from tests.versions import SERVERS, binary_of


@pytest.fixture(params=list(SERVERS))
def cluster(request: pytest.FixtureRequest) -> Iterator[EtcdCluster]:
    # For its first five seconds a cluster calls itself unhealthy, and would take no member.
    at_once = ("--strict-reconfig-check=false",)
    binary = binary_of(request.param)
    with EtcdCluster(3, enable_v2=True, binary=binary, extra_args=at_once) as cluster:
        yield cluster


@pytest.fixture(params=list(SERVERS))
def own_server(request: pytest.FixtureRequest) -> Iterator[EtcdProcess]:
    """A server whose users and rights this test may change."""
    with EtcdProcess(enable_v2=True, binary=binary_of(request.param), **QUICK) as server:
        yield server


def test_members_are_listed_added_changed_and_removed(cluster: EtcdCluster) -> None:
    leader = cluster.leader()
    with Client(leader.endpoint) as client:
        members = client.v2.members
        assert {member.name for member in members.list()} == {"m0", "m1", "m2"}
        assert members.leader().client_urls == (leader.endpoint,)
        with pytest.raises(MemberExists):
            members.add(members.list()[0].peer_urls)
        added = members.add("http://127.0.0.1:1")
        assert (added.name, added.client_urls) == ("", ())
        assert added.peer_urls == ("http://127.0.0.1:1",)
        members.update(added.id, ["http://127.0.0.1:3", "http://127.0.0.1:2"])
        changed = {member.id: member for member in members.list()}[added.id]
        assert sorted(changed.peer_urls) == ["http://127.0.0.1:2", "http://127.0.0.1:3"]
        members.remove(added.id)
        members.remove(added.id)  # gone is gone
        assert added.id not in {member.id for member in members.list()}
        with pytest.raises(MemberNotFound):
            members.remove("abc")


def test_users_and_roles(own_server: EtcdProcess) -> None:
    with Client(own_server.endpoint) as client:
        v2 = client.v2
        assert (v2.users.list(), v2.roles.list(), v2.auth.enabled()) == ((), ("root",), False)
        assert v2.users.add("bob", "one") == User("bob")
        with pytest.raises(UserExists):
            v2.users.add("bob", "two")
        with pytest.raises(UserNotFound):
            v2.users.change_password("eve", "x")
        assert v2.users.list() == ("bob",)
        v2.users.change_password("bob", "three")
        assert v2.roles.add("r1") == Role("r1")
        with pytest.raises(RoleExists):
            v2.roles.add("r1")
        assert v2.roles.grant("r1", "/a*", "read") == Role("r1", ("/a*",), ())
        v2.roles.grant("r1", ["/b", "/c"])
        assert v2.roles.get("r1") == Role("r1", ("/a*", "/b", "/c"), ("/b", "/c"))
        v2.roles.revoke("r1", "/c", "write")
        assert v2.roles.get("r1").write == ("/b",)
        assert v2.users.grant("bob", "r1") == User("bob", ("r1",))
        assert v2.users.get("bob") == User("bob", ("r1",))
        with pytest.raises(EtcdError):
            v2.users.grant("bob", "r1")
        assert v2.users.revoke("bob", ["r1"]) == User("bob")
        removes_and_misses(v2)


def removes_and_misses(v2: V2) -> None:
    v2.users.remove("bob")
    v2.roles.remove("r1")
    for user_call in (v2.users.get, v2.users.remove, lambda name: v2.users.grant(name, "root")):
        with pytest.raises(UserNotFound):
            user_call("bob")
    for role_call in (v2.roles.get, v2.roles.remove, lambda name: v2.roles.grant(name, "/a")):
        with pytest.raises(RoleNotFound):
            role_call("r1")
    with pytest.raises(EtcdError):
        v2.auth.disable()


def test_who_may_do_what_once_auth_is_on(own_server: EtcdProcess) -> None:
    endpoint = own_server.endpoint
    with (
        Client(endpoint) as nobody,
        Client(endpoint, api="v2", username="root", password="secret: ß") as root,
        Client(endpoint, api="v2", username="root", password="wrong") as liar,
        Client(endpoint, api="v2", username="bob", password="b") as bob,
    ):
        with pytest.raises(EtcdError, match="root"):
            nobody.v2.auth.enable()
        nobody.v2.users.add("root", "secret: ß")
        nobody.v2.users.add("bob", "b")
        nobody.v2.roles.add("reader")
        nobody.v2.roles.grant("reader", "/open*", "read")
        nobody.v2.users.grant("bob", "reader")
        nobody.v2.keys.set("open/a", "1")
        nobody.v2.auth.enable()
        try:
            assert nobody.v2.auth.enabled()
            root.v2.roles.revoke("guest", "/*")
            assert bob.v2.keys.get("open/a").node.value == "1"
            for refused in (
                lambda: nobody.v2.keys.get("open/a"),
                lambda: liar.v2.keys.get("open/a"),
                lambda: bob.v2.keys.set("open/a", "2"),
                lambda: bob.v2.keys.get("other"),
                lambda: bob.v2.keys.watcher("other").next(timeout=5.0),
                nobody.v2.users.list,
                bob.v2.roles.list,
            ):
                with pytest.raises(NotAuthorized) as raised:
                    refused()
                assert isinstance(raised.value, Unauthenticated)
                assert isinstance(raised.value, PermissionDenied)
                assert raised.value.code == 110
            assert nobody.version().server.startswith("3.")
            assert len(nobody.v2.members.list()) == 1
        finally:
            root.v2.auth.disable()
        assert not nobody.v2.auth.enabled()


def test_credentials_that_cannot_be_sent_are_refused() -> None:
    with pytest.raises(ValueError, match="username"):
        Client(password="x")
    with pytest.raises(ValueError, match="colon"):
        Client(api="v2", username="a:b", password="x")
