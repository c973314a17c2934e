"""Endpoints from the cluster itself: what replaces the user's, what does not, and in the background."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from etcd_recipes import Client, ClusterError, Context, DeadlineExceeded, ResponseError
from etcd_recipes.core.http.sync import advertised
from etcd_recipes.core.v2 import Version
from etcd_recipes.testing import EtcdCluster, EtcdProcess
from tests.core.calls import within
from tests.core.servers import Handler, Request, Server, always, answer, each, refusing, silent
from tests.tools import child, eventually
from tests.versions import SERVERS, binary_of


@pytest.fixture(scope="module", params=list(SERVERS))
def members(request: pytest.FixtureRequest) -> Iterator[EtcdCluster]:
    """v3 alone on the one, v2 as well on the other."""
    binary = binary_of(request.param)
    with EtcdCluster(3, enable_v2=binary is not None, binary=binary) as cluster:
        yield cluster


def test_one_endpoint_becomes_all(members: EtcdCluster) -> None:
    with Client(members.endpoints[0]) as client:
        assert set(client.sync()) == set(members.endpoints)
        assert set(client.endpoints) == set(members.endpoints)


def test_the_same_endpoints_keep_their_order_and_the_pinned_one(members: EtcdCluster) -> None:
    with Client(members.endpoints) as client:
        for endpoint in members.endpoints:
            client._cluster.pin(endpoint)
            client.sync()
            assert client._cluster.pinned == endpoint
            assert client.endpoints == members.endpoints


def test_the_leader_is_asked_first_if_so_chosen(members: EtcdCluster) -> None:
    with Client(members.endpoints, selection="leader") as client:
        for endpoint in members.endpoints:
            client._cluster.pin(endpoint)
            client.sync()
            assert client._cluster.pinned == members.leader().endpoint


def test_the_version(server: EtcdProcess) -> None:
    with Client(server.endpoint) as client:
        major, minor, patch = server.version
        assert client.version() == Version(f"{major}.{minor}.{patch}", f"{major}.{minor}.0")


def test_bad_choices_are_refused() -> None:
    with pytest.raises(ValueError, match="selection"):
        Client(selection="nearest")  # type: ignore[arg-type]
    with Client() as client:
        for interval in (0, -1, float("nan")):
            with pytest.raises(ValueError, match="interval"):
                client.auto_sync(interval)


def test_what_no_client_can_use_is_left_out() -> None:
    urls = ("unix:///x", "http://a:1", "HTTP://a:1/", "", "http://u:p@b:1", "https://c:2")
    assert advertised(urls) == ("http://a:1", "https://c:2")


# -- scripted -----------------------------------------------------------------------------------------------


def member_of(cluster_id: str, *urls: str, leader: str = "") -> Handler:
    """Behave as a member that speaks v2 alone and advertises `urls`."""

    def one(number: int, url: str) -> str:
        return f'{{"id":"{number}","name":"m","peerURLs":[],"clientURLs":["{url}"]}}'

    def reply(request: Request) -> bytes:
        if request.path == "/v2/members/leader":
            if not leader:
                return answer(b'{"message":"During election"}', status=503)
            return answer(one(1, leader).encode())
        if request.path != "/v2/members":
            return answer(b"404 page not found\n", status=404)
        listed = ",".join(one(number, url) for number, url in enumerate(urls))
        body = f'{{"members":[{listed}]}}'
        return answer(body.encode(), f"X-Etcd-Cluster-Id: {cluster_id}")

    return each(reply)


def test_only_those_that_answer_for_the_same_cluster_replace_the_users() -> None:
    with (
        Server(silent) as mute,
        Server(member_of("other")) as stranger,
        Server(always(answer(b"<html>"))) as web,
        Server(member_of("mine")) as second,
        Server(member_of("mine")) as first,
        refusing() as nobody,
        Client(first.endpoint, header_timeout=0.1) as client,
    ):
        urls = [mute, stranger, web, second]
        first.handler = member_of("mine", nobody, *(server.endpoint for server in urls))
        assert client.sync() == (second.endpoint,)
        assert client.endpoints == (second.endpoint,)


def test_if_none_answers_the_users_stay(caplog: pytest.LogCaptureFixture) -> None:
    with (
        caplog.at_level(logging.INFO, "etcd_recipes"),
        refusing() as nobody,
        Server(member_of("other")) as stranger,
        Server(member_of("mine", nobody, stranger.endpoint)) as first,
        Client(first.endpoint) as client,
    ):
        assert client.sync() == (first.endpoint,)
    assert [record.getMessage() for record in caplog.records] == ["sync.unreachable"]


def test_if_no_member_says_where_the_users_stay_and_it_is_an_error() -> None:
    with Server(member_of("mine")) as first, Client(first.endpoint) as client:
        with pytest.raises(ResponseError, match="where it serves"):
            client.sync()
        assert client.endpoints == (first.endpoint,)


def test_without_a_leader_the_endpoints_are_found_all_the_same() -> None:
    with Server(silent) as one, Server(silent) as two:
        one.handler = member_of("mine", one.endpoint, two.endpoint)
        two.handler = member_of("mine", one.endpoint, two.endpoint)
        with Client(one.endpoint, selection="leader") as client:
            assert set(client.sync()) == {one.endpoint, two.endpoint}
            one.handler = two.handler = member_of(
                "mine", one.endpoint, two.endpoint, leader=two.endpoint
            )
        with Client(one.endpoint, selection="leader") as client:
            client.sync()
            assert client._cluster.pinned == two.endpoint


def test_a_failed_sync_changes_nothing() -> None:
    with refusing() as nobody, Client(nobody) as client:
        with pytest.raises(ClusterError):
            client.sync()
        assert client.endpoints == (nobody,)
    with (
        Server(silent) as mute,
        Client(mute.endpoint, header_timeout=None) as client,
        within(1.0),
        pytest.raises(DeadlineExceeded),
    ):
        client.sync(ctx=Context(0.1))


def test_in_the_background_errors_are_survived_and_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def said() -> list[str]:
        return [record.getMessage() for record in caplog.records]

    down = always(answer(b"{}", status=503))
    with (
        caplog.at_level(logging.INFO, "etcd_recipes"),
        Server(down) as first,
        Server(member_of("mine")) as second,
        Client(first.endpoint) as client,
    ):
        client.auto_sync(0.01)
        first.heard(6)
        assert said() == ["sync.failed"]
        first.handler = member_of("mine", first.endpoint, second.endpoint)
        second.handler = first.handler
        # The connections that are open are still served by the first handler.
        client._cluster._wire.close()
        eventually(lambda: len(client.endpoints) == 2)
        eventually(lambda: "sync.recovered" in said())
        assert said() == ["sync.failed", "sync.changed", "sync.recovered"]


def test_it_ends_with_the_client_and_takes_a_new_interval(server: EtcdProcess) -> None:
    with Client(server.endpoint) as client:
        client.auto_sync(3600)
        thread = client._sync._thread
        assert thread is not None
        client.auto_sync(1800)
        assert client._sync._thread is thread
        with within(1.0):
            client.close()
        assert not thread.is_alive()


def test_a_forked_child_goes_on_syncing(members: EtcdCluster) -> None:
    script = """
        import json, os, sys, threading
        from etcd_recipes import Client
        one, all_of_them = sys.argv[1], set(sys.argv[2].split(","))
        client = Client(one)
        client.auto_sync(0.05)
        pid = os.fork()
        if pid == 0:
            client.set_endpoints(one)
            pause = threading.Event()
            for _ in range(400):
                if set(client.endpoints) == all_of_them:
                    os._exit(0)
                pause.wait(0.01)
            os._exit(1)
        print(json.dumps(os.waitpid(pid, 0)[1]), flush=True)
        client.close()
    """
    with child(script, members.endpoints[0], ",".join(members.endpoints)) as process:
        assert process.read() == 0
        assert process.wait() == 0
