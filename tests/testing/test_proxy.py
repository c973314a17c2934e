"""FaultProxy in front of a real etcd, looked at over plain sockets: what passes, what does not, and when."""

from __future__ import annotations

import gc
import http.client
import json
import os
import re
import socket
import threading
import time
import warnings
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from itertools import count
from urllib.parse import urlsplit

import pytest

from etcd_recipes.testing import EtcdProcess, FaultProxy
from tests.core.servers import Peer, Server, always, answer
from tests.tools import Job, eventually, in_time

_numbers = count(1)


@pytest.fixture
def proxy(etcd: EtcdProcess) -> Iterator[FaultProxy]:
    with FaultProxy(etcd.endpoint) as proxy:
        yield proxy


@pytest.fixture
def wire(proxy: FaultProxy) -> Iterator[Wire]:
    with closing(Wire(proxy.endpoint)) as wire:
        yield wire


@pytest.fixture
def key() -> str:
    return f"proxied-{next(_numbers)}"


class Wire:
    """One connection, used again and again; `dial` makes a new one in its place."""

    def __init__(self, endpoint: str, timeout: float = 5.0) -> None:
        self._address = (urlsplit(endpoint).hostname, urlsplit(endpoint).port)
        self._timeout = timeout
        self.sock = socket.socket()
        self.dial()

    def dial(self) -> None:
        self.close()
        self.sock = socket.create_connection(self._address, self._timeout)

    def ask(self, path: str, **body: object) -> None:
        text = json.dumps(body).encode()
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(text)}\r\n\r\n"
        self.sock.sendall(head.encode() + text)

    def read(self) -> tuple[int, bytes]:
        response = http.client.HTTPResponse(self.sock, method="POST")
        response.begin()
        return response.status, response.read()

    def put(self, key: str, value: str = "x") -> None:
        self.ask("/v3/kv/put", key=_b64(key), value=_b64(value))

    def get(self, key: str) -> bytes:
        self.ask("/v3/kv/range", key=_b64(key))
        return self.read()[1]

    def rest(self) -> bytes:
        """Give all that comes until the other side closes; ConnectionResetError if it resets."""
        pieces = []
        while piece := self.sock.recv(65536):
            pieces.append(piece)
        return b"".join(pieces)

    def is_silent(self, seconds: float = 0.15) -> bool:
        self.sock.settimeout(seconds)
        try:
            self.sock.recv(1, socket.MSG_PEEK)
        except TimeoutError:
            return True
        except ConnectionError:
            return False
        else:
            return False
        finally:
            self.sock.settimeout(self._timeout)

    def gets_no_answer(self, within: float = 0.15) -> bool:
        self.sock.settimeout(within)
        try:
            return b"header" not in self.read()[1]
        except (OSError, http.client.HTTPException):
            return True

    def close(self) -> None:
        self.sock.close()


def _b64(text: str) -> str:
    return b64encode(text.encode()).decode()


def is_there(etcd: EtcdProcess, key: str) -> bool:
    with closing(Wire(etcd.endpoint)) as direct:
        return b'"kvs"' in direct.get(key)


# -- all is well --------------------------------------------------------------------------------------------


def test_many_requests_pass_over_one_connection_and_are_counted(
    proxy: FaultProxy, wire: Wire, key: str
) -> None:
    for _ in range(50):
        wire.put(key)
        assert wire.read()[0] == 200
        assert b'"kvs"' in wire.get(key)
    assert proxy.connections == 1
    assert proxy.requests == {"/v3/kv/put": 50, "/v3/kv/range": 50}
    assert proxy.hits == 0


def test_requests_in_pieces_and_in_chunks_are_whole_at_the_server() -> None:
    with Server(always(answer(b"{}"))) as server, FaultProxy(server.endpoint) as proxy:
        with closing(Wire(proxy.endpoint)) as wire:
            for piece in (b"POST /a?b=c HTTP/1.1\r\nContent-", b"Length: 5\r\n\r", b"\nhel", b"lo"):
                assert server.requests == []
                wire.sock.sendall(piece)
            assert wire.read() == (200, b"{}")
            assert server.requests[0].body == b"hello"
        assert proxy.requests == {"/a": 1}


def test_a_chunked_request_passes_as_it_is() -> None:
    sent = b"POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"

    def echo(peer: Peer) -> None:
        peer.send(peer._file.read(len(sent)))
        peer.hang_up()

    with Server(echo) as server, FaultProxy(server.endpoint) as proxy:
        with closing(Wire(proxy.endpoint)) as wire:
            wire.sock.sendall(sent)
            assert wire.rest() == sent
        assert proxy.requests == {"/a": 1}


def test_a_large_value_passes_both_ways(wire: Wire, key: str) -> None:
    wire.put(key, "v" * 1_000_000)
    assert wire.read()[0] == 200
    assert _b64("v" * 1_000_000).encode() in wire.get(key)


def test_what_is_not_http_passes_too() -> None:
    def echo(peer: Peer) -> None:
        while line := peer._file.readline():
            peer.send(line)

    with Server(echo) as server:
        target = server.endpoint.replace("http:", "https:")
        with FaultProxy(target) as proxy, closing(Wire(proxy.endpoint)) as wire:
            assert proxy.endpoint.startswith("https://")
            wire.sock.sendall(b"\x16\x03\x01\n")
            assert wire.sock.recv(100) == b"\x16\x03\x01\n"
            proxy.blackhole()
            wire.sock.sendall(b"more\n")
            assert wire.is_silent()
            assert proxy.requests == {}


@pytest.mark.parametrize("end", [Peer.hang_up, Peer.reset])
def test_a_server_that_goes_away_is_seen_to_go(end: Callable[[Peer], None]) -> None:
    gone = threading.Event()

    def handler(peer: Peer) -> None:
        gone.wait(5)
        end(peer)

    with (
        Server(handler) as server,
        FaultProxy(server.endpoint) as proxy,
        closing(Wire(proxy.endpoint)) as wire,
    ):
        eventually(lambda: server.accepted)
        gone.set()
        if end is Peer.hang_up:
            assert wire.rest() == b""
        else:
            with pytest.raises(ConnectionResetError):
                wire.rest()


def test_a_server_that_is_not_there_resets(key: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        target = f"http://127.0.0.1:{free.getsockname()[1]}"
    with (
        FaultProxy(target) as proxy,
        pytest.raises(ConnectionError),
        closing(Wire(proxy.endpoint)) as wire,
    ):
        wire.ask("/")  # it may be reset before this, while it is sent, or afterwards
        wire.rest()


# -- connections ----------------------------------------------------------------------------------------------


def test_refused_means_closed_and_the_port_comes_back(
    proxy: FaultProxy, wire: Wire, key: str
) -> None:
    wire.get(key)
    for _ in range(3):
        proxy.refuse()
        with pytest.raises(ConnectionResetError):
            wire.rest()
        with pytest.raises(ConnectionRefusedError):
            wire.dial()
        with pytest.raises(OSError, match="in use"):
            socket.create_server(("127.0.0.1", urlsplit(proxy.endpoint).port or 0)).close()
        proxy.heal()
        wire.dial()
        assert b"header" in wire.get(key)


def test_reset_hits_open_connections_and_new_ones(proxy: FaultProxy, wire: Wire, key: str) -> None:
    wire.get(key)
    proxy.reset()
    with pytest.raises(ConnectionResetError):
        wire.rest()
    with pytest.raises(ConnectionResetError):
        reset_again(wire)
    proxy.heal()
    wire.dial()
    assert b"header" in wire.get(key)


def reset_again(wire: Wire) -> None:
    wire.dial()  # the reset may come before this has ended
    wire.rest()


def test_cut_closes_in_good_order(proxy: FaultProxy, wire: Wire, key: str) -> None:
    wire.get(key)
    proxy.cut()
    assert wire.rest() == b""
    wire.dial()
    assert wire.rest() == b""


# -- answers ----------------------------------------------------------------------------------------------------


def whole(wire: Wire, key: str) -> bytes:
    """The bytes of an answer to a get; those of the next one are as many."""
    wire.ask("/v3/kv/range", key=_b64(key))
    eventually(lambda: b"\r\n\r\n{" in wire.sock.recv(65536, socket.MSG_PEEK))
    return wire.sock.recv(65536)


def undated(begin: bytes) -> bytes:
    """The same without the time: the next answer may come in the next second."""
    return re.sub(rb"(?<=Date: )[^\r]*", b"", begin)


@pytest.mark.parametrize("after", [None, 0, 17])
@pytest.mark.parametrize("part", ["head", "body"])
def test_an_answer_is_cut_at_its_place(
    proxy: FaultProxy, wire: Wire, key: str, part: str, after: int | None
) -> None:
    full = whole(wire, key)
    head = full.index(b"\r\n\r\n") + 4
    size = head if part == "head" else len(full) - head
    place = (0 if part == "head" else head) + (size // 2 if after is None else after)
    proxy.cut(part, after=after)  # type: ignore[arg-type]
    wire.ask("/v3/kv/range", key=_b64(key))
    rest = wire.rest()
    assert len(rest) == place
    assert undated(rest) == undated(full[:place])
    assert proxy.hits == 1


def test_a_cut_far_in_the_body_counts_over_pieces() -> None:
    def pieces(peer: Peer) -> None:
        peer.request()
        peer.send(_HEAD)
        for piece in (b"0123456789", b"abcdefghij", b"ABCDEFGHIJ"):
            peer.send(piece)
            peer.pause(0.02)

    with Server(pieces) as server, FaultProxy(server.endpoint) as proxy:
        proxy.cut("body", after=15)
        with closing(Wire(proxy.endpoint)) as wire:
            wire.ask("/")
            assert wire.rest() == _HEAD + b"0123456789abcde"


_HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\n"


def test_a_stalled_answer_goes_on_when_it_is_over(proxy: FaultProxy, wire: Wire, key: str) -> None:
    full = whole(wire, key)
    head = full.index(b"\r\n\r\n") + 4
    proxy.stall()
    wire.ask("/v3/kv/range", key=_b64(key))
    eventually(lambda: len(wire.sock.recv(65536, socket.MSG_PEEK)) >= head)
    assert len(wire.sock.recv(65536)) == head
    assert wire.is_silent()
    proxy.heal()
    assert len(wire.sock.recv(65536)) == len(full) - head


def test_garbage_comes_in_place_of_a_part(proxy: FaultProxy, wire: Wire, key: str) -> None:
    full = whole(wire, key)
    head = full.index(b"\r\n\r\n") + 4
    proxy.garbage("head", data=b"#")
    wire.ask("/v3/kv/range", key=_b64(key))
    assert receive(wire, len(full)) == b"#" * head + full[head:]
    proxy.garbage("body", data=b"%")
    wire.ask("/v3/kv/range", key=_b64(key))
    assert receive(wire, len(full))[head:] == b"%" * (len(full) - head)


def receive(wire: Wire, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += wire.sock.recv(size - len(data))
    return data


def test_a_head_in_pieces_is_one_head() -> None:
    def pieces(peer: Peer) -> None:
        peer.request()
        for piece in (_HEAD[:7], _HEAD[7:-1], _HEAD[-1:] + b"0123456789" * 3):
            peer.send(piece)
            peer.pause(0.05)

    with Server(pieces) as server, FaultProxy(server.endpoint) as proxy:
        proxy.garbage("head", data=b"#")
        with closing(Wire(proxy.endpoint)) as wire:
            wire.ask("/")
            assert wire.rest() == b"#" * len(_HEAD) + b"0123456789" * 3


def test_a_delayed_answer_is_late_and_right(proxy: FaultProxy, wire: Wire, key: str) -> None:
    proxy.delay(0.2, jitter=0.05)
    start = time.monotonic()
    assert b"header" in wire.get(key)
    assert time.monotonic() - start >= 0.2


def test_a_trickled_answer_comes_little_by_little(proxy: FaultProxy, wire: Wire, key: str) -> None:
    full = whole(wire, key)
    proxy.trickle(50)
    wire.ask("/v3/kv/range", key=_b64(key))
    start = time.monotonic()
    first = receive(wire, 20)
    assert time.monotonic() - start >= 19 / 50
    assert wire.sock.recv(65536, socket.MSG_PEEK) != full[20:]
    proxy.heal()
    assert len(first + receive(wire, len(full) - 20)) == len(full)
    assert b"header" in wire.get(key)


# -- requests ---------------------------------------------------------------------------------------------------


def test_a_request_in_the_black_hole_is_late(
    proxy: FaultProxy, wire: Wire, etcd: EtcdProcess, key: str
) -> None:
    proxy.blackhole()
    wire.put(key)
    eventually(lambda: proxy.requests == {"/v3/kv/put": 1})
    assert wire.is_silent()
    assert not is_there(etcd, key)
    proxy.heal()
    assert wire.read()[0] == 200
    assert is_there(etcd, key)


def test_half_open_the_request_is_carried_out_and_not_answered(
    proxy: FaultProxy, wire: Wire, etcd: EtcdProcess, key: str
) -> None:
    proxy.blackhole(requests=False)
    wire.put(key)
    eventually(lambda: is_there(etcd, key))
    assert wire.is_silent()
    proxy.heal()
    assert wire.read()[0] == 200


def test_half_open_the_other_way_answers_pass(
    proxy: FaultProxy, wire: Wire, etcd: EtcdProcess, key: str
) -> None:
    wire.ask("/v3/watch", create_request={"key": _b64(key)})
    eventually(lambda: b"created" in wire.sock.recv(65536, socket.MSG_PEEK))
    proxy.blackhole(replies=False)
    with closing(Wire(etcd.endpoint)) as direct:
        direct.put(key)
        direct.read()
    eventually(lambda: b'"kv"' in wire.sock.recv(65536, socket.MSG_PEEK))
    with closing(Wire(proxy.endpoint)) as other:
        other.put(f"{key}-2")
        assert other.is_silent()
    assert not is_there(etcd, f"{key}-2")


def test_a_lost_reply_is_lost_after_the_server_acted(
    proxy: FaultProxy, wire: Wire, etcd: EtcdProcess, key: str
) -> None:
    proxy.lose_reply()
    wire.put(key)
    assert wire.rest() == b""
    assert is_there(etcd, key)


def test_a_held_request_arrives_though_its_client_has_left(
    proxy: FaultProxy, wire: Wire, etcd: EtcdProcess, key: str
) -> None:
    proxy.hold()
    wire.put(key)
    eventually(lambda: proxy.hits == 1)
    wire.close()
    assert not is_there(etcd, key)
    proxy.heal()
    eventually(lambda: is_there(etcd, key), what="the late request")


def test_a_held_request_is_stayed_for_until_it_is_answered() -> None:
    """etcd drops the request of a client that has left; so the proxy must not leave."""
    left_early = []

    def slow(peer: Peer) -> None:
        peer.request()
        peer._sock.settimeout(0.2)
        try:
            left_early.append(peer._file.read(1) == b"")
        except TimeoutError:
            left_early.append(False)
        peer.send(answer(b"{}"))

    with Server(slow) as server, FaultProxy(server.endpoint) as proxy:
        proxy.hold()
        with closing(Wire(proxy.endpoint)) as wire:
            wire.ask("/")
            eventually(lambda: proxy.hits == 1)
        proxy.heal()
        eventually(lambda: left_early)
        assert left_early == [False]


# -- some requests only, for some time --------------------------------------------------------------------------


FAULTS: dict[str, Callable[..., None]] = {
    "reset": FaultProxy.reset,
    "cut": FaultProxy.cut,
    "cut in the head": lambda proxy, **limits: proxy.cut("head", **limits),
    "cut in the body": lambda proxy, **limits: proxy.cut("body", **limits),
    "garbage": FaultProxy.garbage,
    "lose_reply": FaultProxy.lose_reply,
    "blackhole": FaultProxy.blackhole,
    "stall": FaultProxy.stall,
    "hold": FaultProxy.hold,
}


def is_hit(proxy: FaultProxy, key: str, what: str) -> bool:
    """Send one request over a new connection; tell whether it was hit, and thus got no good answer."""
    before = proxy.hits
    with closing(Wire(proxy.endpoint)) as wire:
        wire.put(f"{key}-{what}")
        eventually(lambda: proxy.hits > before or not wire.is_silent(0.01))
        if proxy.hits == before:
            assert b"header" in wire.read()[1]
            return False
        assert wire.gets_no_answer()
        return True


@pytest.mark.parametrize("fault", FAULTS)
def test_only_some_requests_are_hit(proxy: FaultProxy, wire: Wire, key: str, fault: str) -> None:
    wire.put(key)
    wire.read()
    FAULTS[fault](proxy, only=_b64(f"{key}-hit?")[:-4].encode())
    assert is_hit(proxy, key, "hit")
    assert not is_hit(proxy, key, "spare")
    assert b"header" in wire.get(key)
    assert proxy.hits == 1


@pytest.mark.parametrize("fault", FAULTS)
def test_only_so_many_requests_are_hit(proxy: FaultProxy, wire: Wire, key: str, fault: str) -> None:
    assert b"header" in wire.get(key)
    FAULTS[fault](proxy, times=2)
    assert is_hit(proxy, key, "1")
    assert is_hit(proxy, key, "2")
    assert not is_hit(proxy, key, "3")
    assert b"header" in wire.get(key)
    assert proxy.hits == 2


def test_a_goodbye_uses_up_no_fault(proxy: FaultProxy, wire: Wire, key: str) -> None:
    assert b"header" in wire.get(key)
    proxy.lose_reply(times=1)
    wire.close()
    assert is_hit(proxy, key, "first")
    assert proxy.hits == 1


def test_a_fault_hits_a_stream_that_is_open(
    proxy: FaultProxy, wire: Wire, etcd: EtcdProcess, key: str
) -> None:
    def event(number: int) -> None:
        with closing(Wire(etcd.endpoint)) as direct:
            direct.put(key, str(number))
            direct.read()

    wire.ask("/v3/watch", create_request={"key": _b64(key)})
    eventually(lambda: b"created" in wire.sock.recv(65536, socket.MSG_PEEK))
    proxy.blackhole(only=b"/v3/watch")
    event(1)
    seen = wire.sock.recv(65536)
    assert wire.is_silent()
    proxy.heal()
    eventually(lambda: b'"kv"' in wire.sock.recv(65536, socket.MSG_PEEK))
    wire.sock.recv(65536)
    proxy.cut("body", only=b"/v3/watch")
    event(2)
    assert 0 < len(wire.rest()) < len(seen) * 2


# -- nothing is left behind ---------------------------------------------------------------------------------------


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


def test_a_closed_proxy_leaves_no_thread_and_no_descriptor(etcd: EtcdProcess, key: str) -> None:
    threads, before = threading.active_count(), descriptors()
    for fault in (*FAULTS.values(), FaultProxy.refuse, FaultProxy.heal):
        proxy = FaultProxy(etcd.endpoint)
        wires = [Wire(proxy.endpoint) for _ in range(3)]
        for wire in wires:
            wire.get(key)
        fault(proxy)
        for wire in wires[1:]:
            try:
                wire.put(key)
            except OSError:
                pass
        proxy.close()
        proxy.close()
        for wire in wires:
            wire.close()
    assert threading.active_count() == threads
    assert descriptors() == before


@pytest.mark.parametrize("end", [FaultProxy.refuse, FaultProxy.close])
def test_what_was_accepted_in_the_moment_of_the_end_is_closed(
    end: Callable[[FaultProxy], None], etcd: EtcdProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    forgotten: list[object] = []
    monkeypatch.setattr(
        warnings, "showwarning", lambda message, *_, **__: forgotten.append(message)
    )
    over = threading.Event()

    def call(endpoint: str) -> None:
        while not over.is_set():
            with suppress(OSError), closing(Wire(endpoint)):
                pass

    with warnings.catch_warnings():
        warnings.simplefilter("always", ResourceWarning)  # an error would be lost in a finalizer
        for _ in range(10):
            over.clear()
            with FaultProxy(etcd.endpoint) as proxy:
                calling = Job(lambda: call(proxy.endpoint))
                eventually(lambda: proxy.connections > 5)
                end(proxy)
            over.set()
            calling.result()
        gc.collect()
    assert forgotten == []


def test_a_client_that_does_not_read_does_not_keep_a_closed_proxy() -> None:
    def much(peer: Peer) -> None:
        peer.request()
        peer._sock.settimeout(5)
        with suppress(OSError):
            peer.send(answer(b"x" * 50_000_000))

    with Server(much) as server:
        before = descriptors()
        with closing(Wire(server.endpoint)):
            with FaultProxy(server.endpoint) as proxy, closing(Wire(proxy.endpoint)) as wire:
                wire.ask("/")
                eventually(lambda: wire.sock.recv(10, socket.MSG_PEEK))
                link = next(iter(proxy._links))
                eventually(lambda: link._client.transport.get_write_buffer_size() > 0)
                proxy.cut("body")
                start = time.monotonic()
            in_time(time.monotonic() - start, 2)
        eventually(lambda: descriptors() <= before)


def test_a_proxy_that_holds_a_request_does_not_let_it_go_at_the_end(
    etcd: EtcdProcess, key: str
) -> None:
    with FaultProxy(etcd.endpoint) as proxy, closing(Wire(proxy.endpoint)) as wire:
        proxy.hold()
        wire.put(key)
        eventually(lambda: proxy.hits == 1)
    assert not is_there(etcd, key)


def test_a_closed_proxy_says_so(etcd: EtcdProcess) -> None:
    proxy = FaultProxy(etcd.endpoint)
    proxy.close()
    with pytest.raises(ValueError, match="closed"):
        proxy.refuse()


@pytest.mark.parametrize("target", ["127.0.0.1:2379", "ftp://127.0.0.1", ""])
def test_a_target_that_is_no_url_is_refused(target: str) -> None:
    with pytest.raises(ValueError, match="URL"):
        FaultProxy(target)


def test_faults_that_cannot_be_are_refused_at_once(proxy: FaultProxy) -> None:
    with pytest.raises(ValueError, match="rate"):
        proxy.trickle(0)
    with pytest.raises(ValueError, match="garbage"):
        proxy.garbage(data=b"")
