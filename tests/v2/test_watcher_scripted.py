"""The watcher against scripted servers: odd answers, silent ones, and moving on without losing its place."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from etcd_recipes import (
    Client,
    ClusterError,
    DeadlineExceeded,
    EventIndexCleared,
    InvalidResponse,
)
from etcd_recipes.core.v2 import watcher as module
from etcd_recipes.core.v2.watcher import concerns
from tests.core.calls import FOREVER, SOON, Call, within
from tests.core.servers import Handler, Peer, Request, Server, answer, chunked, each, silent
from tests.v2.watching import settle, values, waiting


def event(index: int, key: str = "/a") -> bytes:
    return (
        b'{"action":"set","node":{"key":"%s","value":"%d","modifiedIndex":%d,"createdIndex":1}}\n'
        % (key.encode(), index, index)
    )


def head(index: int) -> bytes:
    return b"HTTP/1.1 200 OK\r\nX-Etcd-Index: %d\r\nTransfer-Encoding: chunked\r\n\r\n" % index


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def polls(server: Server) -> list[str]:
    return [path.rpartition("waitIndex=")[2] for path in server.paths() if "waitIndex" in path]


def in_turn(*handlers: Callable[[Peer, Request], None]) -> Handler:
    """Treat one poll after the other, over all connections; from the last on all alike."""
    left = list(handlers)

    def handle(peer: Peer) -> None:
        while request := peer.request():
            do = left.pop(0) if len(left) > 1 else left[0]
            do(peer, request)

    return handle


def says(data: bytes) -> Callable[[Peer, Request], None]:
    return lambda peer, _request: peer.send(data)


def breaks(data: bytes) -> Callable[[Peer, Request], None]:
    def do(peer: Peer, _request: Request) -> None:
        peer.send(data)
        peer.hang_up()

    return do


ODD = {
    "empty": says(answer(b"", "X-Etcd-Index: 5")),
    "blank": says(answer(b"\n", "X-Etcd-Index: 5")),
    "cut before": breaks(head(5)),
    "cut within": breaks(head(5) + chunk(event(6)[:20])),
    "cut by length": breaks(
        b"HTTP/1.1 200 OK\r\nX-Etcd-Index: 5\r\nContent-Length: 99\r\n\r\n" + event(6)[:20]
    ),
    "old": says(answer(event(5), "X-Etcd-Index: 5")),
    "not concerned": says(answer(event(5, "/ab"), "X-Etcd-Index: 4")),
    "cleared": says(answer(b'{"errorCode":400,"message":"watcher is cleared"}', status=400)),
    "500": says(answer(b"{}", status=500)),
    "no answer": breaks(b""),
}


@pytest.mark.parametrize("odd", ODD)
def test_an_odd_answer_is_asked_again_from_the_same_event(odd: str) -> None:
    first = says(head(5) + chunk(event(6)) + b"0\r\n\r\n")
    handler = in_turn(says(answer(event(5), "X-Etcd-Index: 4")), *[ODD[odd]] * 4, first)
    with (
        Server(handler) as server,
        Client(server.endpoint) as client,
        client.v2.keys.watcher("a", after_index=4) as watcher,
    ):
        assert values(watcher, 2) == ["5", "6"]
    assert polls(server) == ["5", "6", "6", "6", "6", "6"]


def test_the_first_contact_fails_like_any_call() -> None:
    with (
        Server(in_turn(says(answer(b"{}", status=500)))) as server,
        Client(server.endpoint) as client,
        client.v2.keys.watcher("a") as watcher,
        within(SOON),
        pytest.raises(ClusterError),
    ):
        watcher.next(timeout=FOREVER)


@pytest.mark.parametrize(
    "data",
    [
        answer(b"garbage", "X-Etcd-Index: 5"),
        answer(b"{}", "X-Etcd-Index: 5"),
        answer(b'{"action":"set","node":{"key":"/a"}}', "X-Etcd-Index: 5"),
        answer(event(6), "X-Etcd-Index: poo"),
    ],
    ids=["garbage", "no node", "no index", "header"],
)
def test_nonsense_is_told_and_the_next_call_goes_on(data: bytes) -> None:
    handler = in_turn(says(data), says(answer(event(6), "X-Etcd-Index: 5")))
    with (
        Server(handler) as server,
        Client(server.endpoint) as client,
        client.v2.keys.watcher("a") as watcher,
    ):
        with pytest.raises(InvalidResponse, match=server.endpoint):
            watcher.next(timeout=FOREVER)
        assert values(watcher, 1) == ["6"]


def test_one_connection_carries_poll_after_poll() -> None:
    numbers = iter(range(6, 100))
    handler = each(lambda _request: answer(event(next(numbers)), "X-Etcd-Index: 5"))
    chunks = iter(range(6, 100))
    chunky = each(lambda _request: chunked(event(next(chunks))))
    for how in (handler, chunky):
        with (
            Server(how) as server,
            Client(server.endpoint) as client,
            client.v2.keys.watcher("a", after_index=5) as watcher,
        ):
            assert values(watcher, 10) == [str(number) for number in range(6, 16)]
            assert server.accepted == 1


def test_a_poll_over_tls_may_be_quiet_and_waits_may_time_out() -> None:
    folder = Path(__file__).parents[1] / "core" / "http"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "localhost.crt", folder / "localhost.key")
    go = threading.Event()

    def does(peer: Peer, _request: Request) -> None:
        peer.send(head(5))
        go.wait(FOREVER)
        for piece in (event(6)[:9], event(6)[9:]):
            peer.send(chunk(piece))
        peer.send(b"0\r\n\r\n")

    with (
        Server(in_turn(does), tls=context) as server,
        Client(server.endpoint, ca=str(folder / "localhost.crt")) as client,
        client.v2.keys.watcher("a") as watcher,
    ):
        settle(watcher)
        asked = len(server.requests)
        for _ in range(3):
            with pytest.raises(DeadlineExceeded):
                watcher.next(timeout=0.05)
        go.set()
        assert values(watcher, 1) == ["6"]
        assert len(server.requests) == asked


def stuck(index: int) -> Callable[[Peer, Request], None]:
    """Send the head and stay quiet, as a server that is stopped or cut off right then."""

    def do(peer: Peer, _request: Request) -> None:
        peer.send(head(index))
        peer.client_hangs_up()

    return do


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "QUIET", 0.2)


@pytest.mark.usefixtures("quick")
def test_a_poll_that_stays_quiet_moves_to_the_next_endpoint_and_keeps_its_place() -> None:
    with (
        Server(in_turn(stuck(5))) as first,
        Server(in_turn(says(answer(event(6), "X-Etcd-Index: 9")))) as second,
        Client([first.endpoint, second.endpoint]) as client,
        client.v2.keys.watcher("a") as watcher,
    ):
        client._cluster.pin(first.endpoint)
        with within(0.2 + SOON, at_least=0.2):
            assert values(watcher, 1) == ["6"]
        assert (polls(first), polls(second)) == (["0"], ["6"])
        assert client._cluster.pinned == first.endpoint  # other calls stay where they are


@pytest.mark.usefixtures("quick")
def test_waits_that_time_out_count_together() -> None:
    with (
        Server(in_turn(stuck(5))) as first,
        Server(in_turn(says(answer(event(6), "X-Etcd-Index: 9")))) as second,
        Client([first.endpoint, second.endpoint]) as client,
        client.v2.keys.watcher("a") as watcher,
    ):
        client._cluster.pin(first.endpoint)
        settle(watcher)
        asked = len(first.requests)
        with within(1.0):
            seen = False
            while not seen:
                try:
                    seen = watcher.next(timeout=0.05).node.value == "6"
                except DeadlineExceeded:
                    assert len(first.requests) == asked


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("leads", [True, False])
def test_where_the_others_forgot_the_place_only_a_member_with_a_leader_is_trusted(
    leads: bool,
) -> None:
    cleared = b'{"errorCode":401,"message":"cleared","cause":"[1/2]","index":2000}'
    held = threading.Event()

    def first_does(peer: Peer, request: Request) -> None:
        if request.path.endswith("/leader"):
            body = b'{"id":"1","name":"a","peerURLs":[],"clientURLs":[]}'
            peer.send(answer(body) if leads else answer(b'{"message":"x"}', status=503))
            return
        peer.send(head(5))
        while not held.wait(0.01):
            peer.pause(0.01)
        peer.send(chunk(event(6)) + b"0\r\n\r\n")

    with (
        Server(in_turn(first_does)) as first,
        Server(in_turn(says(answer(cleared, status=400)))) as second,
        Client([first.endpoint, second.endpoint]) as client,
        client.v2.keys.watcher("a") as watcher,
    ):
        client._cluster.pin(first.endpoint)
        call = Call(watcher.next)
        second.heard(2 if leads else 1)
        held.set()
        if leads:
            assert call.result().node.value == "6"
        else:
            assert isinstance(call.error(), EventIndexCleared)


def test_a_member_that_is_silent_in_other_calls_loses_its_polls() -> None:
    def first_does(peer: Peer, request: Request) -> None:
        if "wait=true" in request.path:
            peer.send(head(5))
        peer.client_hangs_up()

    with (
        Server(in_turn(first_does)) as first,
        Server(in_turn(says(answer(event(6), "X-Etcd-Index: 9")))) as second,
        Client([first.endpoint, second.endpoint], header_timeout=0.2) as client,
        client.v2.keys.watcher("a") as watcher,
    ):
        client._cluster.pin(first.endpoint)
        call = waiting(watcher)
        with within(0.2 + SOON):
            client.v2.keys.get("a")
            assert call.result().node.value == "6"


def test_headers_that_do_not_come_cost_the_header_timeout() -> None:
    with (
        Server(silent) as first,
        Server(in_turn(says(answer(event(6), "X-Etcd-Index: 9")))) as second,
        Client([first.endpoint, second.endpoint], header_timeout=0.2) as client,
        client.v2.keys.watcher("a", after_index=5) as watcher,
    ):
        client._cluster.pin(first.endpoint)
        with within(0.2 + SOON, at_least=0.2):
            assert values(watcher, 1) == ["6"]


def test_an_outage_is_no_event_and_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    handler = in_turn(
        says(answer(event(6), "X-Etcd-Index: 5")),
        *[breaks(b"")] * 5,
        says(answer(event(7), "X-Etcd-Index: 6")),
    )
    with (
        caplog.at_level("INFO", "etcd_recipes"),
        Server(handler) as server,
        Client(server.endpoint) as client,
        client.v2.keys.watcher("a", after_index=5) as watcher,
    ):
        assert values(watcher, 2) == ["6", "7"]
    assert [record.getMessage() for record in caplog.records] == [
        "watch.interrupted",
        "watch.resumed",
    ]


@pytest.mark.parametrize(
    ("watched", "recursive", "key", "wanted"),
    [
        ("/a", False, "/a", True),
        ("/a", False, "/a/b", False),
        ("/a", True, "/a/b/c", True),
        ("/a", True, "/ab", False),
        ("/a/b", False, "/a", True),
        ("/ab/c", False, "/a", False),
        ("/a", True, "/a/_b", False),
        ("/a", True, "/a/b/_c/d", False),
        ("/_a", True, "/_a/b", True),
        ("/", True, "/a", True),
        ("/", True, "/_a", False),
        ("/", False, "/a", False),
        ("/a", True, "/", True),
    ],
)
def test_which_events_concern_a_watcher(
    watched: str, recursive: bool, key: str, wanted: bool
) -> None:
    assert concerns(watched, recursive, key) is wanted
