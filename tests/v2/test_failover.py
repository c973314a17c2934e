"""Which calls are sent to the next endpoint, which are not, and what the error says."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from etcd_recipes import (
    Client,
    ClusterError,
    DeadlineExceeded,
    EmptyResponse,
    EtcdRecipesError,
    InvalidResponse,
    KeyNotFound,
)
from etcd_recipes.core.v2.keys import Keys
from tests.core.calls import within
from tests.core.servers import (
    Handler,
    Request,
    Server,
    always,
    answer,
    each,
    refusing,
    script,
    silent,
)
from tests.tools import eventually

NODE = b'{"action":"set","node":{"key":"/a","value":"x","modifiedIndex":7,"createdIndex":5}}'
TIMED_OUT = (
    b'{"errorCode":300,"message":"Raft Internal Error","cause":"etcdserver: request timed out",'
    b'"index":0}'
)

HARMLESS: dict[str, Callable[[Keys], object]] = {
    "get": lambda keys: keys.get("a"),
    "quorum get": lambda keys: keys.get("a", quorum=True),
    "set": lambda keys: keys.set("a", "x"),
    "update": lambda keys: keys.update("a", "x"),
    "refresh": lambda keys: keys.set("a", ttl=5, refresh=True, prev_value="x"),
}
ONCE: dict[str, Callable[[Keys], object]] = {
    "create": lambda keys: keys.create("a", "x"),
    "create_in_order": lambda keys: keys.create_in_order("a", "x"),
    "compare value": lambda keys: keys.set("a", "x", prev_value="w"),
    "compare index": lambda keys: keys.set("a", "x", prev_index=4),
    "refresh by index": lambda keys: keys.set("a", ttl=5, refresh=True, prev_index=4),
    "mkdir": lambda keys: keys.set("a", dir=True),
    "delete": lambda keys: keys.delete("a"),
    "compare and delete": lambda keys: keys.delete("a", prev_value="x"),
    "delete all": lambda keys: keys.delete("a", recursive=True),
}
UNANSWERED: dict[str, Handler] = {
    "cut": script(),
    "silent": silent,
    "cut in the answer": script(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"),
    "500": always(answer(TIMED_OUT, status=500)),
    "502": always(answer(b"<html>", status=502)),
}


@pytest.fixture
def good() -> Iterator[Server]:
    with Server(always(answer(NODE, "X-Etcd-Index: 7"))) as server:
        yield server


def pinned_to(bad: str, good: Server, how: str = "") -> Client:
    # No longer than it takes; but a busy machine, too, must have got the request out by then.
    client = Client([bad, good.endpoint], header_timeout=0.5 if how == "silent" else 5.0)
    client._cluster.pin(bad)
    return client


@pytest.mark.parametrize("how", UNANSWERED)
@pytest.mark.parametrize("what", HARMLESS)
def test_what_may_be_sent_twice_is(good: Server, what: str, how: str) -> None:
    with Server(UNANSWERED[how]) as bad, pinned_to(bad.endpoint, good, how) as client:
        found = HARMLESS[what](client.v2.keys)
        assert found.doubt  # type: ignore[attr-defined]
        eventually(lambda: bad.requests, what="the silent server's reading of its request")
        assert (len(bad.requests), len(good.requests)) == (1, 1)
        assert client._cluster.pinned == good.endpoint


@pytest.mark.parametrize("how", UNANSWERED)
@pytest.mark.parametrize("what", ONCE)
def test_what_must_not_is_not_and_the_next_call_starts_at_the_next(
    good: Server, what: str, how: str
) -> None:
    with Server(UNANSWERED[how]) as bad, pinned_to(bad.endpoint, good, how) as client:
        with pytest.raises(ClusterError) as raised:
            ONCE[what](client.v2.keys)
        assert raised.value.maybe_applied
        assert [error.endpoint for error in raised.value.errors] == [bad.endpoint]
        eventually(lambda: bad.requests, what="the silent server's reading of its request")
        assert (len(bad.requests), len(good.requests)) == (1, 0)
        ONCE[what](client.v2.keys)
        assert (len(bad.requests), len(good.requests)) == (1, 1)


@pytest.mark.parametrize("what", [*HARMLESS, *ONCE])
def test_what_was_never_sent_goes_to_the_next_whatever_it_is(good: Server, what: str) -> None:
    with refusing() as nobody, pinned_to(nobody, good) as client:
        found = (HARMLESS | ONCE)[what](client.v2.keys)
        assert not found.doubt  # type: ignore[attr-defined]
        assert len(good.requests) == 1


def test_the_endpoints_error_carries_etcds_own_words() -> None:
    with Server(UNANSWERED["500"]) as bad, Client(bad.endpoint) as client:
        with pytest.raises(ClusterError, match="request timed out") as raised:
            client.v2.keys.get("a")
        (error,) = raised.value.errors
    assert (error.code, error.message, error.cause) == (
        300,
        "Raft Internal Error",
        "etcdserver: request timed out",
    )


def test_an_answer_is_final_also_when_it_is_an_error(good: Server) -> None:
    missing = b'{"errorCode":100,"message":"Key not found","cause":"/a","index":18}'
    with (
        Server(always(answer(missing, status=404))) as first,
        pinned_to(first.endpoint, good) as client,
    ):
        with pytest.raises(KeyNotFound):
            client.v2.keys.get("a")
        assert good.requests == []
        assert client._cluster.pinned == first.endpoint


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (answer(b"garbage"), InvalidResponse),
        (answer(b""), EmptyResponse),
        (answer(b"404 page not found\n", status=404), InvalidResponse),
        (answer(b"<html>nginx</html>", status=403), InvalidResponse),
        (answer(NODE, "X-Etcd-Index: poo"), InvalidResponse),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n" + NODE, InvalidResponse),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" + NODE, EmptyResponse),
        (answer(b"[" * 50_000), InvalidResponse),
    ],
    ids=["garbage", "empty", "404", "403", "header", "short", "zero", "deep"],
)
def test_an_answer_that_is_wrong_names_the_endpoint_and_is_final(
    good: Server, data: bytes, kind: type
) -> None:
    with Server(always(data)) as bad, pinned_to(bad.endpoint, good) as client:
        with pytest.raises(kind, match=bad.endpoint):
            client.v2.keys.get("a")
        assert good.requests == []


def test_the_callers_own_limit_wins_over_what_else_went_wrong() -> None:
    with Server(script()) as cut, Server(silent) as mute:
        client = Client([cut.endpoint, mute.endpoint], header_timeout=None)
        client._cluster.pin(cut.endpoint)
        with client, within(1.0, at_least=0.2), pytest.raises(DeadlineExceeded):
            client.v2.keys.get("a", timeout=0.2)


def test_a_base_path_stands_before_the_api() -> None:
    with Server(always(answer(NODE))) as server, Client(f"{server.endpoint}/base/") as client:
        client.v2.keys.get("a b")
        assert server.paths()[0].startswith("/base/v2/keys/a%20b?")


def test_a_member_that_was_removed_already_is_removed() -> None:
    gone = answer(b'{"message":"Member permanently removed: abc"}', status=410)
    with Server(always(gone)) as server, Client(server.endpoint) as client:
        client.v2.members.remove("abc")


def test_any_answer_to_any_call_is_an_error_of_the_library() -> None:
    def reply(request: Request) -> bytes:
        return answer(b'{"action":"get","node":5,"users":5,"roles":[5],"members":[{}]}')

    with Server(each(reply)) as server, Client(server.endpoint) as client:
        v2 = client.v2
        calls: list[Callable[[], object]] = [
            lambda: v2.keys.get("a"),
            v2.members.list,
            v2.members.leader,
            v2.users.list,
            lambda: v2.users.get("u"),
            v2.roles.list,
            lambda: v2.roles.get("r"),
            v2.auth.enabled,
            client.version,
            lambda: v2.keys.watcher("a").next(timeout=1.0),
        ]
        for call in calls:
            with pytest.raises(EtcdRecipesError):
                call()
