"""Where redirects lead, how often, and who is told the password."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from etcd_recipes import Client, ClusterError
from etcd_recipes.core.http.redirects import is_own, target
from tests.core.servers import Handler, Request, Server, answer, each, refusing, script

NODE = b'{"action":"get","node":{"key":"/a","value":"x","modifiedIndex":7,"createdIndex":5}}'


def redirect(location: str, status: int = 307) -> bytes:
    return answer(b"", f"Location: {location}", status=status, reason="Elsewhere")


def redirecting(location: str, status: int = 307) -> Handler:
    return each(lambda _request: redirect(location, status))


answering = each(lambda _request: answer(NODE))


@pytest.fixture
def goal() -> Iterator[Server]:
    with Server(answering) as server:
        yield server


# -- where to ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("location", "leads"),
    [
        ("http://b:1/x?y=1", ("http://b:1", "/x?y=1")),
        ("http://b", ("http://b", "/")),
        ("//b:1/x", ("http://b:1", "/x")),
        ("/x#top", ("http://a:2379", "/x")),
        ("x", ("http://a:2379", "/base/v2/keys/x")),
        ("?wait=true", ("http://a:2379", "/base/v2/keys/k?wait=true")),
        ("https://[::1]:5/x", ("https://[::1]:5", "/x")),
    ],
)
def test_a_location_is_resolved(location: str, leads: tuple[str, str]) -> None:
    assert target("http://a:2379/base", "/v2/keys/k?recursive=true", location) == leads


@pytest.mark.parametrize(
    "location",
    [
        None,
        "",
        "ftp://b/x",
        "http://:80/x",
        "http://b:port/x",
        "http://u:p@b/x",
        "http://[b/x",
        "http://b/a b",
        "http://b/x\r\n X: 1",
        "http://b/é",
    ],
)
def test_what_leads_nowhere_is_refused(location: str | None) -> None:
    with pytest.raises(ValueError, match="redirect"):
        target("http://a:2379", "/v2/keys/k", location)


@pytest.mark.parametrize(
    ("url", "own"),
    [
        ("http://a:2379", True),
        ("http://A:2379", True),
        ("http://b", True),
        ("http://b:80", True),
        ("https://c:443", True),
        ("https://a:2379", False),
        ("http://a:2380", False),
        ("http://a.evil:2379", False),
        ("http://evil", False),
    ],
)
def test_who_shares_an_origin(url: str, own: bool) -> None:
    assert is_own(url, ("http://a:2379/base", "http://b", "https://c")) is own


# -- followed ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_method_body_and_headers_are_kept(goal: Server, status: int) -> None:
    location = f"{goal.endpoint}/elsewhere?x=1"
    with (
        Server(redirecting(location, status)) as server,
        Client(server.endpoint) as client,
    ):
        assert client.v2.keys.create("a", "x").node.value == "x"
        assert server.paths() == ["/v2/keys/a?prevExist=false"]
    (request,) = goal.requests
    assert (request.method, request.path, request.body) == ("PUT", "/elsewhere?x=1", b"value=x")
    assert request.headers["content-type"] == "application/x-www-form-urlencoded"
    assert request.headers["host"] == goal.endpoint.removeprefix("http://")


def stairs(steps: int) -> Callable[[Request], bytes]:
    """Redirect that many times, by relative locations, and then answer."""

    def reply(request: Request) -> bytes:
        done = request.path.count("~")
        if done == steps:
            return answer(NODE)
        return redirect("/" + "~" * (done + 1))

    return reply


@pytest.mark.parametrize("steps", [1, 2, 10])
def test_up_to_ten_are_followed(steps: int) -> None:
    with Server(each(stairs(steps))) as server, Client(server.endpoint) as client:
        assert client.v2.keys.get("a").node.value == "x"
        assert len(server.requests) == steps + 1


def test_the_eleventh_is_not() -> None:
    with Server(each(stairs(11))) as server, Client(server.endpoint) as client:
        with pytest.raises(ClusterError, match="more than 10 redirects") as raised:
            client.v2.keys.get("a")
        assert len(server.requests) == 11
        assert raised.value.errors[0].endpoint == server.endpoint


@pytest.mark.parametrize("location", ["", "ftp://b/", "http://u:p@b/"])
def test_one_that_leads_nowhere_is_a_failed_endpoint_and_was_not_carried_out(
    goal: Server, location: str
) -> None:
    with (
        Server(redirecting(location)) as server,
        Client([server.endpoint, goal.endpoint]) as client,
    ):
        client._cluster.pin(server.endpoint)
        client.v2.keys.create("a", "x")  # not to be sent twice; and it was not
        assert len(server.requests) == 1
        assert client._cluster.pinned == goal.endpoint


def test_one_that_leads_to_a_dead_host_is_a_failed_endpoint(goal: Server) -> None:
    with (
        refusing() as nobody,
        Server(redirecting(f"{nobody}/x")) as server,
        Client([server.endpoint, goal.endpoint]) as client,
    ):
        client._cluster.pin(server.endpoint)
        assert client.v2.keys.get("a").node.value == "x"
        assert client._cluster.pinned == goal.endpoint


def test_a_lost_answer_at_the_end_of_a_redirect_leaves_the_endpoint_that_redirected(
    goal: Server,
) -> None:
    with (
        Server(script()) as cut,
        Server(redirecting(f"{cut.endpoint}/x")) as server,
        Client([server.endpoint, goal.endpoint]) as client,
    ):
        client._cluster.pin(server.endpoint)
        with pytest.raises(ClusterError) as raised:
            client.v2.keys.create("a", "x")
        assert raised.value.maybe_applied
        assert goal.requests == []
        client.v2.keys.create("a", "x")
        assert (len(server.requests), len(goal.requests)) == (1, 1)


def test_a_watch_follows_too(goal: Server) -> None:
    goal.handler = each(lambda _request: answer(NODE, "X-Etcd-Index: 6"))
    with (
        Server(redirecting(f"{goal.endpoint}/x")) as server,
        Client(server.endpoint) as client,
        client.v2.keys.watcher("a") as watcher,
    ):
        assert watcher.next(timeout=5.0).node.modified_index == 7


def test_v3_takes_a_redirect_for_an_answer(goal: Server) -> None:
    with Server(redirecting(goal.endpoint)) as server, Client(server.endpoint) as client:
        with pytest.raises(Exception, match="redirect"):
            client.v3.kv.get("a")
        assert goal.requests == []


# -- secrets -------------------------------------------------------------------------------------------------


def test_a_stranger_is_not_told_the_password(goal: Server) -> None:
    with Server(redirecting(f"{goal.endpoint}/x")) as server:
        with Client(server.endpoint, api="v2", username="ü", password="pä:ß") as client:
            client.v2.keys.get("a")
        assert server.requests[0].headers["authorization"] == "Basic w7w6cMOkOsOf"
    assert set(goal.requests[0].headers) <= {"host", "user-agent", "content-length"}


def test_an_endpoint_of_the_users_own_is(goal: Server) -> None:
    with Server(redirecting(f"{goal.endpoint}/x")) as server:
        endpoints = [server.endpoint, goal.endpoint]
        with Client(endpoints, api="v2", username="u", password="p") as client:
            client._cluster.pin(server.endpoint)
            client.v2.keys.get("a")
    assert goal.requests[0].headers["authorization"] == "Basic dTpw"


def test_a_password_in_a_body_goes_to_no_stranger(goal: Server) -> None:
    def reply(request: Request) -> bytes:
        if request.method == "GET":
            return answer(b'{"user":"u","roles":[]}')
        return redirect(f"{goal.endpoint}/x")

    with Server(each(reply)) as server, Client(server.endpoint) as client:
        with pytest.raises(ClusterError, match="not to see") as raised:
            client.v2.users.change_password("u", "secret")
        assert "secret" not in str(raised.value)
    assert goal.requests == []
