"""One request to one endpoint: whatever the server does, the call ends, and says what it knows."""

from __future__ import annotations

import os
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext, suppress
from pathlib import Path

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st

from etcd_recipes.core import runtime
from etcd_recipes.core.context import Context
from etcd_recipes.core.errors import (
    Cancelled,
    ContextError,
    DeadlineExceeded,
    EndpointError,
)
from etcd_recipes.core.http import attempt
from etcd_recipes.core.http.action import Action, Reply
from etcd_recipes.core.http.attempt import Attempt
from etcd_recipes.core.http.wire import Wire
from tests.core.calls import FOREVER, SOON, Call, within
from tests.core.servers import (
    HANG,
    RESET,
    Peer,
    Server,
    always,
    answer,
    black_hole,
    chunked,
    echo,
    refusing,
    script,
    silent,
    trickle,
)
from tests.tools import eventually

ACTION = Action("/v3/kv/put", b'{"key":"aw=="}', what="put key 'k'")


def ask(
    wire: Wire,
    endpoint: str,
    body: bytes = b"{}",
    *,
    timeout: float | None = FOREVER,
    ctx: Context | None = None,
    header_timeout: float | None = 1.0,
) -> Reply:
    ctx = Context(timeout) if ctx is None else ctx
    return wire.exchange(endpoint, Action("/v3/x", body), ctx, header_timeout)


# -- an answer -----------------------------------------------------------------------------------------------


def test_an_answer_is_given_whole(wire: Wire) -> None:
    with Server(always(answer(b'{"a":1}', "X-Etcd-Index: 7", "Content-Type: json"))) as server:
        reply = wire.exchange(server.endpoint, ACTION, Context(5.0), 1.0)
    assert reply.status == 200
    assert reply.body == b'{"a":1}'
    assert reply.headers["x-etcd-index"] == "7"
    assert reply.endpoint == server.endpoint
    assert not reply.doubt


def test_the_request_is_what_the_action_says(wire: Wire) -> None:
    action = Action("/v3/x?a=b", b"body", method="PUT", headers={"Grpc-Metadata-hasleader": "true"})
    with Server(echo) as server:
        wire.exchange(server.endpoint, action, Context(5.0), 1.0)
    (request,) = server.requests
    assert (request.method, request.path, request.body) == ("PUT", "/v3/x?a=b", b"body")
    assert request.headers["grpc-metadata-hasleader"] == "true"
    assert request.headers["host"] == f"127.0.0.1:{server.port}"
    assert request.headers["content-length"] == "4"
    assert request.headers["user-agent"].startswith("etcd-recipes")
    assert "accept-encoding" not in request.headers
    assert "transfer-encoding" not in request.headers


def test_a_path_in_the_endpoint_stands_before_every_path(wire: Wire) -> None:
    with Server(echo) as server:
        ask(wire, f"{server.endpoint}/behind/a/proxy")
    assert server.paths() == ["/behind/a/proxy/v3/x"]


@pytest.mark.parametrize(
    ("sent", "body"),
    [
        (answer(b""), b""),
        (answer(b"x" * 300_000), b"x" * 300_000),
        (chunked(b"ab", b"c"), b"abc"),
        (chunked(b"ab", trailers=("Grpc-Trailer-Content-Type: application/grpc",)), b"ab"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + answer(b"after"), b"after"),
        (b"HTTP/1.1 100 Continue\r\nContent-Length: none\r\n\r\n" + answer(b"after"), b"after"),
    ],
    ids=[
        "empty",
        "large",
        "chunked",
        "chunked with trailers",
        "after 100 Continue",
        "after a 100 that tells of a body",
    ],
)
def test_bodies_come_in_every_form_and_the_connection_is_kept(
    wire: Wire, sent: bytes, body: bytes
) -> None:
    with Server(always(sent)) as server:
        assert [ask(wire, server.endpoint).body for _ in range(3)] == [body] * 3
        assert server.accepted == 1


@pytest.mark.parametrize(
    "sent",
    [
        answer(b"ab", "Connection: close"),
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\n\r\nab",
    ],
    ids=["Connection: close", "HTTP/1.0", "until the end"],
)
def test_a_connection_that_the_server_closes_is_not_kept(wire: Wire, sent: bytes) -> None:
    with Server(script(sent)) as server:
        assert [ask(wire, server.endpoint).body for _ in range(3)] == [b"ab"] * 3
        assert server.accepted == 3


def test_a_connection_that_the_server_will_close_is_not_used_though_it_still_stands(
    wire: Wire,
) -> None:
    def handle(peer: Peer) -> None:
        peer.request()
        peer.send(answer(b"ab", "Connection: close"))
        peer.client_hangs_up()  # the server takes its time, and reads no other request

    with Server(handle) as server:
        assert [ask(wire, server.endpoint).body for _ in range(3)] == [b"ab"] * 3
        assert server.accepted == 3


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed_in_silence(wire: Wire, status: int) -> None:
    with Server(echo) as elsewhere:
        moved = answer(b"", f"Location: {elsewhere.endpoint}/v3/x", status=status, reason="Moved")
        with Server(always(moved)) as server:
            assert ask(wire, server.endpoint).status == status
        assert elsewhere.accepted == 0


@pytest.mark.parametrize("status", [204, 304, 400, 404, 500, 503])
def test_any_status_is_an_answer(wire: Wire, status: int) -> None:
    body = b"" if status in (204, 304) else b"why"
    with Server(always(answer(body, status=status, reason="Some Words"))) as server:
        reply = ask(wire, server.endpoint)
        assert (reply.status, reply.body) == (status, body)
        assert ask(wire, server.endpoint).status == status
        assert server.accepted == 1


# -- no answer -----------------------------------------------------------------------------------------------


@pytest.fixture
def short_stall(monkeypatch: pytest.MonkeyPatch) -> float:
    """Stalls are noticed after 0.2 s instead of 5."""
    monkeypatch.setattr(attempt, "STALL", 0.2)
    return 0.2


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 10\r\n"
HTTP2_SETTINGS = (
    b"\x00\x00\x0c\x04\x00\x00\x00\x00\x00\x00\x05\x00\x10\x00\x00\x00\x03\x00\x00\x00\xfa"
)

BREAKS = {
    "hangs up": (script(), "closed without an answer"),
    "resets": (script(RESET), "closed without an answer"),
    "status line cut": (script(b"HTTP/1."), ""),
    "headers cut": (script(HEAD[:40]), "closed without an answer"),
    "headers cut after a line": (script(HEAD), "closed without an answer"),
    "body cut": (script(HEAD + b"\r\n{}"), "cut off"),
    "body never begun": (script(HEAD + b"\r\n"), "cut off"),
    "chunks cut": (script(chunked(b"abc", end=False)), "cut off"),
    "chunk cut": (script(chunked(b"abc", end=False)[:-3]), "cut off"),
    "body reset": (script(HEAD + b"\r\n{}", 0.05, RESET), ""),
    "garbage": (script(b"\x00\x01garbage\r\n\r\n" * 10), "does not speak HTTP/1.1"),
    "endless garbage": (script(b"x" * 200_000), ""),
    "endless headers": (script(b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 1000), ""),
    "endless header": (script(b"HTTP/1.1 200 OK\r\nA: " + b"b" * 200_000), ""),
    "HTTP/2 only": (script(HTTP2_SETTINGS), "does not speak HTTP/1.1"),
    "another protocol": (script(b"HTTP/2 200 OK\r\n\r\n"), ""),
    "a greeting": (script(b"220 mail.example ESMTP\r\n"), "does not speak HTTP/1.1"),
    "chunk size is no number": (
        script(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nab\r\n"),
        "",
    ),
    "chunk of negative size": (
        script(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nab\r\n"),
        "",
    ),
    "chunk that nobody can hold": (
        script(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"f" * 20 + b"\r\nab"),
        "",
    ),
    "chunk of a terabyte": (
        script(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffff\r\nab"),
        "",
    ),
    "body that nobody can hold": (
        script(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\nab"),
        "",
    ),
    "body of a petabyte": (
        script(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000000\r\n\r\nab"),
        "",
    ),
}


@pytest.mark.parametrize("how", BREAKS)
def test_an_exchange_that_breaks_is_one_endpoint_error_in_doubt(wire: Wire, how: str) -> None:
    handler, reason = BREAKS[how]
    with Server(handler) as server, within(SOON), pytest.raises(EndpointError) as raised:
        wire.exchange(server.endpoint, ACTION, Context(5.0), 1.0)
    assert raised.value.endpoint == server.endpoint
    assert reason in raised.value.reason
    assert raised.value.maybe_applied
    assert not raised.value.silent
    assert len(server.requests) == 1


def test_refused_costs_nothing_and_is_in_no_doubt(wire: Wire) -> None:
    with refusing() as endpoint, within(SOON), pytest.raises(EndpointError) as raised:
        ask(wire, endpoint)
    assert "connection refused" in raised.value.reason
    assert not raised.value.maybe_applied
    assert not raised.value.silent


@pytest.mark.parametrize(
    "host", ["nowhere.invalid", "a" * 70, "a..b", "*.example", ".example", "-", "xn--a"]
)
def test_a_name_that_is_not_found_is_an_endpoint_error_in_no_doubt(wire: Wire, host: str) -> None:
    with within(5.0), pytest.raises(EndpointError) as raised:
        ask(wire, f"http://{host}:2379", timeout=3.0)
    assert not raised.value.maybe_applied


def test_a_connect_that_is_not_answered_ends_by_the_header_timeout(wire: Wire) -> None:
    with (
        black_hole() as endpoint,
        within(0.2 + SOON, at_least=0.2),
        pytest.raises(EndpointError, match=r"no connection within 0\.2 s") as raised,
    ):
        ask(wire, endpoint, header_timeout=0.2)
    assert not raised.value.maybe_applied
    assert raised.value.silent


def test_a_server_that_accepts_and_stays_silent_is_left_after_the_header_timeout(
    wire: Wire,
) -> None:
    with (
        Server(silent) as server,
        within(0.2 + SOON, at_least=0.2),
        pytest.raises(EndpointError, match=r"no answer within 0\.2 s") as raised,
    ):
        ask(wire, server.endpoint, header_timeout=0.2)
    assert raised.value.maybe_applied
    assert raised.value.silent


@pytest.mark.parametrize(
    "handler",
    [
        trickle(answer(b"{}", "X: " + "y" * 200), 0.02),
        script(b"HTTP/1.1 200 OK\r\n", HANG),
        script(b"HTTP/1.1 100 Continue\r\n\r\n", HANG),
    ],
    ids=["trickled headers", "half the headers", "nothing but 100 Continue"],
)
def test_slow_headers_end_by_the_header_timeout_however_many_bytes_come(
    wire: Wire, handler
) -> None:
    with (
        Server(handler) as server,
        within(0.3 + SOON, at_least=0.3),
        pytest.raises(EndpointError, match="no answer within") as raised,
    ):
        ask(wire, server.endpoint, header_timeout=0.3)
    assert raised.value.silent


def test_the_header_timeout_does_not_bound_the_body(wire: Wire) -> None:
    with Server(script(HEAD + b"\r\n12345", 0.3, b"67890")) as server:
        assert ask(wire, server.endpoint, header_timeout=0.1).body == b"1234567890"


def test_a_body_that_stalls_is_given_up(wire: Wire, short_stall: float) -> None:
    with (
        Server(script(HEAD + b"\r\n12345", HANG)) as server,
        within(short_stall + SOON, at_least=short_stall),
        pytest.raises(EndpointError, match=r"stalled for 0\.2 s") as raised,
    ):
        ask(wire, server.endpoint)
    assert raised.value.maybe_applied
    assert raised.value.silent


@pytest.mark.parametrize(("header_timeout", "limit"), [(0.1, 1.0), (1.2, 1.2)])
def test_a_body_may_be_silent_about_as_long_as_the_headers(
    wire: Wire, header_timeout: float, limit: float
) -> None:
    """A read with a deadline of two seconds is to have time left for the next endpoint."""
    with (
        Server(script(HEAD + b"\r\n12345", HANG)) as server,
        within(limit + SOON, at_least=limit),
        pytest.raises(EndpointError, match=f"stalled for {limit:g} s") as raised,
    ):
        ask(wire, server.endpoint, header_timeout=header_timeout)
    assert raised.value.silent


def continues(peer: Peer) -> None:
    peer.request()
    while True:
        peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        peer.pause(0.01)


SLOW_SERVERS: dict[str, Callable[[Peer], None]] = {
    "silence": silent,
    "trickled headers": trickle(answer(b"{}", "X: " + "y" * 200), 0.02),
    "trickled body": trickle(answer(b"y" * 200), 0.02),
    "trickled chunks": trickle(chunked(*[b"y"] * 200), 0.02),
    "trickled trailers": trickle(chunked(b"y", trailers=("X: " + "y" * 200,)), 0.02),
    "stalled body": script(HEAD + b"\r\n12345", HANG),
    "headers without end": script(HEAD, HANG),
    "100 Continue for ever": continues,
}


@pytest.mark.parametrize("how", SLOW_SERVERS)
def test_every_call_ends_by_its_deadline(wire: Wire, how: str) -> None:
    with (
        Server(SLOW_SERVERS[how]) as server,
        within(0.3 + SOON, at_least=0.3),
        pytest.raises(DeadlineExceeded) as raised,
    ):
        ask(wire, server.endpoint, timeout=0.3, header_timeout=None)
    assert raised.value.maybe_applied
    assert isinstance(raised.value, TimeoutError)


@pytest.mark.parametrize("header_timeout", [None, 5.0])
def test_an_unanswered_connect_ends_by_the_deadline_and_is_in_no_doubt(
    wire: Wire, header_timeout: float | None
) -> None:
    with (
        black_hole() as endpoint,
        within(0.2 + SOON, at_least=0.2),
        pytest.raises(DeadlineExceeded) as raised,
    ):
        ask(wire, endpoint, timeout=0.2, header_timeout=header_timeout)
    assert not raised.value.maybe_applied


def test_a_body_that_the_server_does_not_take_ends_by_the_header_timeout(wire: Wire) -> None:
    with (
        Server(lambda peer: peer.pause()) as server,
        within(1.0 + SOON, at_least=1.0),
        pytest.raises(EndpointError) as raised,
    ):
        ask(wire, server.endpoint, b"x" * 20_000_000, header_timeout=1.0)
    assert raised.value.maybe_applied
    assert raised.value.silent


@pytest.mark.parametrize("timeout", [0.0, "cancelled"])
def test_a_context_that_has_ended_sends_nothing(wire: Wire, timeout) -> None:
    ctx = Context(timeout if timeout == 0.0 else None)
    if timeout == "cancelled":
        ctx.cancel()
    with Server(echo) as server:
        with pytest.raises(ContextError) as raised:
            ask(wire, server.endpoint, ctx=ctx)
        assert server.accepted == 0
    assert not raised.value.maybe_applied


def test_a_name_service_that_stays_silent_does_not_hold_the_call(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Resolvers wait for 5 s and more for a name server that is gone."""
    back = threading.Event()

    def slow(*_: object) -> list[object]:
        back.wait(2.0)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    try:
        with within(0.2 + SOON), pytest.raises(DeadlineExceeded) as raised:
            ask(wire, "http://etcd.example:2379", timeout=0.2)
        assert not raised.value.maybe_applied
    finally:
        back.set()


def test_a_name_that_takes_long_can_be_cancelled(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, back = threading.Event(), threading.Event()

    def slow(*_: object) -> list[object]:
        asked.set()
        back.wait(2.0)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    ctx = Context()
    call = Call(lambda: ask(wire, "http://etcd.example:2379", ctx=ctx, header_timeout=None))
    try:
        assert asked.wait(FOREVER)
        with within(SOON):
            ctx.cancel()
            assert isinstance(call.error(), Cancelled)
    finally:
        back.set()


def test_a_name_is_found_though_no_thread_can_be_started(wire: Wire) -> None:
    """As in a program that is ending, where locks are still to be released."""

    class Ending(runtime.NativeRuntime):
        def spawn(self, target: Callable[[], None], name: str) -> runtime.Thread:
            raise RuntimeError("can't create new thread at interpreter shutdown")

    with Server(echo) as server, runtime.use(Ending()):
        assert ask(wire, f"http://localhost:{server.port}", b"x").body == b"x"


@pytest.mark.parametrize("sent", [False, True])
@pytest.mark.parametrize("in_head", [True, False])
def test_the_kernels_own_timeout_is_an_endpoint_error_like_any_other(
    *, sent: bool, in_head: bool
) -> None:
    """A host that is gone for minutes ends a connection without limits of ours."""
    one = Attempt("http://a:1", Context(), None)
    one._sent, one._in_head = sent, in_head
    one.set_stall(None)
    error = one.translate(TimeoutError(110, "Connection timed out"))
    assert isinstance(error, EndpointError)
    assert error.maybe_applied is sent


@pytest.mark.parametrize("closed", [ssl.SSLEOFError(8, "EOF"), ssl.SSLZeroReturnError(6, "closed")])
def test_an_end_in_the_handshake_is_one_however_openssl_names_it(closed: ssl.SSLError) -> None:
    one = Attempt("https://a:1", Context(), 1.0)
    one._fresh = True
    closed.reason = ""  # which OpenSSL sets
    said = str(one.translate(closed))
    assert "closed without an answer, in the TLS handshake; is the endpoint http?" in said


@pytest.mark.parametrize("timeout", [30 * 86_400.0, 1e12, float("inf")])
@pytest.mark.parametrize("header_timeout", [None, 1.0])
def test_a_deadline_far_away_is_as_good_as_none(
    wire: Wire, timeout: float, header_timeout: float | None
) -> None:
    with Server(always(chunked(b"ab", b"c"))) as server:
        for _ in range(2):
            ctx = Context(timeout)
            assert ask(wire, server.endpoint, ctx=ctx, header_timeout=header_timeout).body == b"abc"
        stream = wire.open(server.endpoint, ACTION, Context(timeout), header_timeout)
        assert stream.read(quiet=timeout) == b"abc"
        stream.close()


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=30),
            st.sampled_from(
                [
                    b"HTTP/1.1 200 OK\r\n",
                    b"HTTP/1.1 204 No Content\r\n",
                    b"\r\n",
                    b"\r\n\r\n",
                    b"Content-Length: 3\r\n",
                    b"Content-Length: x\r\n",
                    b"Content-Length: 1e3\r\n",
                    b"Content-Length: 999999999999999999999\r\n",
                    b"Transfer-Encoding: chunked\r\n",
                    b"Connection: close\r\n",
                    b"3\r\nabc\r\n",
                    b"0\r\n\r\n",
                    b"ffffffffffffffffff\r\n",
                    b"; x=y\r\n",
                    b": \r\n",
                ]
            ),
        ),
        max_size=8,
    )
)
@settings(max_examples=120)
def test_whatever_bytes_come_nothing_but_the_librarys_errors_leaves(pieces: list[bytes]) -> None:
    wire = Wire()
    with Server(script(b"".join(pieces))) as server:
        with suppress(EndpointError, ContextError):
            assert ask(wire, server.endpoint, timeout=1.0, header_timeout=0.5).status
        wire.close()


# -- connections are kept ------------------------------------------------------------------------------------


def test_one_connection_serves_many_calls(wire: Wire) -> None:
    with Server(echo) as server:
        for number in range(50):
            body = b"%d" % number
            assert ask(wire, server.endpoint, body).body == body
        assert server.accepted == 1


def test_each_endpoint_has_connections_of_its_own(wire: Wire) -> None:
    with Server(always(answer(b"one"))) as one, Server(always(answer(b"two"))) as two:
        for _ in range(3):
            assert ask(wire, one.endpoint).body == b"one"
            assert ask(wire, two.endpoint).body == b"two"
        assert (one.accepted, two.accepted) == (1, 1)


def closes_after_each_answer(gone: threading.Event, last_words: bytes) -> Callable[[Peer], None]:
    def handle(peer: Peer) -> None:
        request = peer.request()
        if request is None:
            return
        peer.send(answer(request.body))
        gone.wait(FOREVER)
        peer.send(last_words)

    return handle


@pytest.mark.parametrize(
    "last_words",
    [b"", answer(b"", status=408, reason="Request Timeout"), b"\r\n"],
    ids=["in silence", "with a 408", "with an empty line"],
)
def test_a_kept_connection_that_the_server_has_closed_is_not_used_again(
    wire: Wire, last_words: bytes
) -> None:
    """The request that may not be sent twice is sent once, over a new connection."""
    gone = threading.Event()
    with Server(closes_after_each_answer(gone, last_words)) as server:
        assert wire.exchange(server.endpoint, ACTION, Context(5.0), 1.0).body == ACTION.body
        (idle,) = wire._routes[server.endpoint]._idle
        gone.set()
        eventually(lambda: not idle.in_step())
        assert wire.exchange(server.endpoint, ACTION, Context(5.0), 1.0).body == ACTION.body
        assert server.accepted == 2
        assert len(server.requests) == 2


def test_a_connection_whose_server_said_more_than_it_was_asked_is_not_used_again(
    wire: Wire,
) -> None:
    """The next call would take the surplus for its own answer."""
    first = threading.Event()

    def handle(peer: Peer) -> None:
        while request := peer.request():
            peer.send(answer(request.body))
            if not first.is_set():
                first.set()
                peer.pause(0.02)
                peer.send(answer(b"somebody else's"))

    with Server(handle) as server:
        assert ask(wire, server.endpoint, b"1").body == b"1"
        (idle,) = wire._routes[server.endpoint]._idle
        eventually(lambda: not idle.in_step())
        assert ask(wire, server.endpoint, b"2").body == b"2"
        assert ask(wire, server.endpoint, b"3").body == b"3"
        assert server.accepted == 2


def test_after_a_failure_the_next_call_works_over_a_new_connection(wire: Wire) -> None:
    def handle(peer: Peer) -> None:
        while request := peer.request():
            if request.body == b"silence":
                peer.client_hangs_up()
                return
            peer.send(answer(request.body))

    with Server(handle) as server:
        assert ask(wire, server.endpoint, b"1").body == b"1"
        with pytest.raises(EndpointError):
            ask(wire, server.endpoint, b"silence", header_timeout=0.1)
        assert ask(wire, server.endpoint, b"2").body == b"2"
        assert server.accepted == 2


def test_many_threads_on_one_wire_get_each_their_own_answer(wire: Wire) -> None:
    threads, calls = 16, 60

    def work(number: int) -> Counter[bool]:
        answers: Counter[bool] = Counter()
        for call in range(calls):
            body = b"%d/%d" % (number, call)
            answers[ask(wire, server.endpoint, body).body == body] += 1
        return answers

    with Server(echo) as server:
        workers = [Call(lambda number=number: work(number)) for number in range(threads)]
        answers = sum((worker.result() for worker in workers), Counter())
        assert answers == {True: threads * calls}
        assert server.accepted <= threads


def test_two_threads_that_meet_at_a_new_endpoint_keep_both_connections() -> None:
    class Slow(requests.auth.AuthBase):
        def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
            Context().wait(0.05)
            return request

    session, together = requests.Session(), threading.Barrier(2)
    session.auth = Slow()
    wire = Wire(session)

    def handle(peer: Peer) -> None:
        while request := peer.request():
            together.wait(FOREVER)
            peer.send(answer(request.body))

    with Server(handle) as server:
        for call in [Call(lambda: ask(wire, server.endpoint)) for _ in range(2)]:
            call.result()
        assert len(wire._routes[server.endpoint]._idle) == 2
        wire.close()


def test_only_so_many_connections_are_kept(wire: Wire) -> None:
    everybody = threading.Barrier(40)

    def handle(peer: Peer) -> None:
        while request := peer.request():
            if request.body == b"all at once":
                everybody.wait(FOREVER)
            peer.send(answer(request.body))

    with Server(handle) as server:
        ask(wire, server.endpoint, b"first")
        for call in [Call(lambda: ask(wire, server.endpoint, b"all at once")) for _ in range(40)]:
            call.result()
        assert len(wire._routes[server.endpoint]._idle) == 32


def test_a_call_that_is_in_flight_when_the_wire_is_closed_ends_well_and_keeps_nothing(
    wire: Wire,
) -> None:
    go_on, ended = threading.Event(), threading.Event()

    def handle(peer: Peer) -> None:
        request = peer.request()
        assert request is not None
        go_on.wait(FOREVER)
        peer.send(answer(request.body))
        if peer.client_hangs_up():
            ended.set()

    with Server(handle) as server:
        call = Call(lambda: ask(wire, server.endpoint, b"in flight"))
        server.heard()
        wire.close()
        go_on.set()
        assert call.result().body == b"in flight"
        assert ended.wait(FOREVER)


def test_close_closes_what_is_idle_and_the_wire_can_still_be_used(wire: Wire) -> None:
    ended = threading.Event()

    def handle(peer: Peer) -> None:
        while request := peer.request():
            peer.send(answer(request.body))
        ended.set()

    with Server(handle) as server:
        ask(wire, server.endpoint)
        wire.close()
        assert ended.wait(FOREVER)
        assert ask(wire, server.endpoint, b"again").body == b"again"


def test_an_ipv6_address_is_an_endpoint_too(wire: Wire) -> None:
    try:
        listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("no IPv6 here")

    def serve() -> bytes:
        sock, _ = listener.accept()
        with sock:
            request = sock.recv(65536)
            sock.sendall(answer(b"six"))
            return request

    with listener:
        port = listener.getsockname()[1]
        call = Call(serve)
        assert ask(wire, f"http://[::1]:{port}").body == b"six"
        assert f"Host: [::1]:{port}\r\n".encode() in call.result()


@pytest.mark.parametrize(
    ("endpoint", "place"),
    [
        ("http://[::1]", ("::1", 80)),
        ("https://[fd00::abcd]", ("fd00::abcd", 443)),
        ("http://etcd.example", ("etcd.example", 80)),
        ("https://etcd.example", ("etcd.example", 443)),
    ],
)
def test_without_a_port_it_is_the_schemes_own(endpoint: str, place: tuple[str, int]) -> None:
    wire = Wire()
    connection = wire._route(endpoint)._connection()
    assert (connection.host, connection.port) == place


# -- streams -------------------------------------------------------------------------------------------------


def test_a_stream_gives_bytes_as_they_come_and_then_its_end(wire: Wire) -> None:
    go_on = threading.Event()

    def handle(peer: Peer) -> None:
        peer.request()
        peer.send(chunked(b"one\n", end=False))
        go_on.wait(FOREVER)
        peer.send(b"4\r\ntwo\n\r\n0\r\n\r\n")

    with Server(handle) as server:
        stream = wire.open(server.endpoint, ACTION, Context(5.0), 1.0)
        assert (stream.status, stream.endpoint) == (200, server.endpoint)
        assert stream.headers["transfer-encoding"] == "chunked"
        assert stream.read() == b"one\n"
        go_on.set()
        assert stream.read() == b"two\n"
        assert stream.read() == b""
        stream.close()
        stream.close()


def test_a_large_stream_comes_through_whole(wire: Wire) -> None:
    data = os.urandom(3_000_000)
    pieces = [data[at : at + 50_000] for at in range(0, len(data), 50_000)]
    with Server(script(chunked(*pieces))) as server:
        stream = wire.open(server.endpoint, ACTION, Context(5.0), 1.0)
        received = b""
        while piece := stream.read():
            received += piece
        stream.close()
    assert received == data


def test_a_stream_may_be_quiet_for_ever_or_for_as_long_as_its_reader_says(wire: Wire) -> None:
    with Server(script(chunked(b"x", end=False), HANG)) as server:
        stream = wire.open(server.endpoint, ACTION, Context(5.0), 0.1)
        assert stream.read(quiet=1.0) == b"x"
        with within(0.2 + SOON, at_least=0.2), pytest.raises(EndpointError) as raised:
            stream.read(quiet=0.2)
        assert raised.value.silent
        stream.close()


@pytest.mark.parametrize(
    "handler",
    [
        script(chunked(b"x", end=False)),
        script(chunked(b"x", end=False), 0.05, RESET),
        script(chunked(b"x", end=False) + b"zz\r\n"),
    ],
    ids=["cut", "reset", "garbage"],
)
def test_a_stream_that_breaks_is_an_endpoint_error(wire: Wire, handler) -> None:
    with Server(handler) as server:
        stream = wire.open(server.endpoint, ACTION, Context(5.0), 1.0)
        assert stream.read() == b"x"
        with pytest.raises(EndpointError) as raised:
            stream.read()
        assert raised.value.endpoint == server.endpoint
        stream.close()


def test_a_stream_ends_with_its_deadline_however_many_bytes_come(wire: Wire) -> None:
    steps = [chunked(end=False), *[b"1\r\nx\r\n", 0.02] * 100]
    with Server(script(*steps)) as server:
        ctx = Context(0.4)
        stream = wire.open(server.endpoint, ACTION, ctx, None)
        with within(0.4 + SOON, at_least=0.2), pytest.raises(DeadlineExceeded):
            while stream.read():
                pass
        stream.close()


def test_abort_wakes_the_reader_with_the_reason(wire: Wire) -> None:
    with Server(script(chunked(b"x", end=False), HANG)) as server:
        stream = wire.open(server.endpoint, ACTION, Context(), 1.0)
        stream.read()
        call = Call(stream.read)
        with within(SOON):
            stream.abort("the endpoint stays silent in other calls")
            error = call.error()
        assert isinstance(error, EndpointError)
        assert error.reason == "the endpoint stays silent in other calls"
        stream.close()
        stream.abort("once more, when it is over")


@pytest.mark.parametrize("how", ["hangs up", "headers cut", "garbage", "HTTP/2 only"])
def test_a_stream_that_is_not_opened_is_an_endpoint_error(wire: Wire, how: str) -> None:
    with Server(BREAKS[how][0]) as server, pytest.raises(EndpointError) as raised:
        wire.open(server.endpoint, ACTION, Context(5.0), 1.0)
    assert raised.value.maybe_applied


def test_a_stream_that_was_read_to_its_end_gives_its_connection_back(wire: Wire) -> None:
    for sent in (chunked(b"x"), answer(b"x"), answer(b"")):
        with Server(always(sent)) as server:
            for _ in range(3):
                stream = wire.open(server.endpoint, ACTION, Context(5.0), 1.0)
                while stream.read():
                    pass
                stream.close()
            assert ask(wire, server.endpoint).status == 200
            assert server.accepted == 1


@pytest.mark.parametrize(
    "how", ["in the middle", "unread", "aborted", "broken", "too much", "not to be kept"]
)
def test_any_other_stream_does_not_give_its_connection_back(wire: Wire, how: str) -> None:
    sent = chunked(b"x", end=how in ("unread", "too much", "not to be kept"))
    with Server(script(sent + (b"HTTP/1.1" if how == "too much" else b""), HANG)) as server:
        stream = wire.open(server.endpoint, ACTION, Context(5.0), 1.0)
        assert stream.ready(1.0)
        if how != "unread":
            assert stream.read() == b"x"
        if how == "aborted":
            stream.abort("over")
        elif how == "broken":
            with pytest.raises(EndpointError):
                stream.read(quiet=0.05)
        elif how in ("too much", "not to be kept"):
            assert stream.read() == b""
        stream.close(keep=how != "not to be kept")
        assert not wire._routes[server.endpoint]._idle


def test_ready_waits_for_what_read_would_wait_for_and_leaves_the_stream_as_it_was(
    wire: Wire,
) -> None:
    go_on = threading.Event()

    def handle(peer: Peer) -> None:
        peer.request()
        peer.send(chunked(b"one", end=False))
        go_on.wait(FOREVER)
        peer.send(b"3\r\ntwo\r\n0\r\n\r\n")

    with Server(handle) as server:
        stream = wire.open(server.endpoint, ACTION, Context(5.0), 1.0)
        assert stream.ready(quiet=1.0)
        assert stream.read() == b"one"
        for _ in range(3):
            with within(0.05 + SOON, at_least=0.05):
                assert not stream.ready(quiet=0.05)
        go_on.set()
        assert stream.ready(quiet=5.0)
        assert stream.read() == b"two"
        assert stream.ready(quiet=5.0)
        assert stream.read() == b""
        stream.close()


def test_ready_keeps_what_had_come_when_the_rest_of_a_line_end_is_late(wire: Wire) -> None:
    turns = [threading.Event() for _ in range(3)]
    pieces = [b"\r", b"\n3", b"\r\ntwo\r\n0\r\n\r\n"]

    def handle(peer: Peer) -> None:
        peer.request()
        peer.send(chunked(end=False) + b"3\r\none")
        for turn, piece in zip(turns, pieces, strict=True):
            turn.wait(FOREVER)
            peer.send(piece)

    with (
        Server(handle) as server,
        closing(wire.open(server.endpoint, ACTION, Context(5.0), 1.0)) as stream,
    ):
        assert stream.read() == b"one"
        assert not stream.ready(quiet=0.05)
        turns[0].set()
        assert not stream.ready(quiet=0.05)
        turns[1].set()
        turns[2].set()
        assert stream.ready(quiet=5.0)
        assert stream.read() == b"two"
        assert stream.read() == b""


def test_a_stream_that_was_lent_ends_with_its_new_limit_and_no_longer_with_the_old_one(
    wire: Wire,
) -> None:
    old, new = Context(), Context()
    with Server(script(HEAD + b"\r\nx", HANG)) as server:
        stream = wire.open(server.endpoint, ACTION, old, 1.0)
        stream.read()
        stream.lend(new)
        assert old._callbacks == {}
        old.cancel()
        assert not stream.ready(quiet=0.05)
        call = Call(stream.read)
        with within(SOON):
            new.cancel()
            assert isinstance(call.error(), Cancelled)
        stream.close()
    assert new._callbacks == {}


def test_a_stream_lent_to_a_deadline_is_not_ready_when_that_has_passed(wire: Wire) -> None:
    with Server(script(HEAD + b"\r\nx", HANG)) as server:
        stream = wire.open(server.endpoint, ACTION, Context(), 1.0)
        stream.read()
        stream.lend(Context(0.1))
        with within(0.1 + SOON, at_least=0.1):
            assert not stream.ready()
        with within(SOON), pytest.raises(DeadlineExceeded):
            stream.read()
        stream.close()


def test_a_stream_whose_headers_do_not_come_ends_by_the_header_timeout(wire: Wire) -> None:
    ctx = Context()
    with (
        Server(silent) as server,
        within(0.2 + SOON, at_least=0.2),
        pytest.raises(EndpointError, match="no answer within"),
    ):
        wire.open(server.endpoint, ACTION, ctx, 0.2)
    assert ctx._callbacks == {}


def test_closing_a_stream_forgets_its_cancel_and_hangs_up(wire: Wire) -> None:
    hung_up = threading.Event()

    def handle(peer: Peer) -> None:
        peer.request()
        peer.send(chunked(b"x", end=False))
        if peer.client_hangs_up():
            hung_up.set()

    ctx = Context()
    with Server(handle) as server:
        stream = wire.open(server.endpoint, ACTION, ctx, 1.0)
        assert ctx._callbacks
        stream.close()
        assert ctx._callbacks == {}
        assert hung_up.wait(FOREVER)


# -- cancel --------------------------------------------------------------------------------------------------


def test_cancel_ends_a_connect_within_100_ms(wire: Wire) -> None:
    ctx = Context()
    with black_hole() as endpoint:
        call = Call(lambda: ask(wire, endpoint, ctx=ctx, header_timeout=None))
        eventually(lambda: ctx._callbacks)
        threading.Event().wait(0.05)
        with within(SOON):
            ctx.cancel()
            error = call.error()
    assert isinstance(error, Cancelled)
    assert not error.maybe_applied


@pytest.mark.parametrize("how", SLOW_SERVERS)
@pytest.mark.parametrize("kind", ["exchange", "stream"])
def test_cancel_ends_a_call_within_100_ms_whatever_it_waits_for(
    wire: Wire, how: str, kind: str
) -> None:
    ctx = Context()

    def read() -> None:
        stream = wire.open(server.endpoint, ACTION, ctx, None)
        try:
            while stream.read():
                pass
        finally:
            stream.close()

    with Server(SLOW_SERVERS[how]) as server:
        exchange = lambda: ask(wire, server.endpoint, ctx=ctx, header_timeout=None)  # noqa: E731
        call: Call[object] = Call(exchange if kind == "exchange" else read)
        server.heard()
        threading.Event().wait(0.05)
        with within(SOON):
            ctx.cancel()
            error = call.error()
    assert isinstance(error, Cancelled)
    assert error.maybe_applied
    assert ctx._callbacks == {}


def test_cancel_ends_the_sending_of_a_body_that_the_server_does_not_take(wire: Wire) -> None:
    ctx = Context()
    with Server(lambda peer: peer.pause()) as server:
        body = b"x" * 50_000_000
        call = Call(lambda: ask(wire, server.endpoint, body, ctx=ctx, header_timeout=None))
        with server.news:
            server.news.wait_for(lambda: server.accepted, FOREVER)
        threading.Event().wait(0.05)
        with within(SOON):
            ctx.cancel()
            error = call.error()
    assert isinstance(error, Cancelled)
    assert error.maybe_applied


def test_a_cancel_before_there_is_a_socket_is_not_lost(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There was nothing to shut down, and the connect would not be answered for minutes."""
    ctx, look_up = Context(), socket.getaddrinfo

    def cancels(*args: object) -> object:
        ctx.cancel()
        return look_up(*args)  # type: ignore[arg-type]

    with black_hole() as endpoint:
        monkeypatch.setattr(socket, "getaddrinfo", cancels)
        call = Call(lambda: ask(wire, endpoint, ctx=ctx, header_timeout=None))
        error = call.error(SOON)
    assert isinstance(error, Cancelled)
    assert not error.maybe_applied


def silent_on_request(peer: Peer) -> None:
    """Answer every request but those whose body is `silence`."""
    while request := peer.request():
        if request.body != b"silence":
            peer.send(answer(request.body))


@pytest.mark.parametrize("idle", [False, True], ids=["new connection", "kept connection"])
def test_a_cancel_at_any_moment_ends_the_call(wire: Wire, *, idle: bool) -> None:
    """From before the connection is chosen to after the request is sent, no cancel is lost."""
    pause = threading.Event()
    with Server(silent_on_request) as server:
        for number in range(200):
            if idle:
                ask(wire, server.endpoint, b"hello")
            ctx = Context()
            silence = lambda ctx=ctx: ask(  # noqa: E731
                wire, server.endpoint, b"silence", ctx=ctx, header_timeout=None
            )
            call = Call(silence)
            pause.wait(number % 20 * 0.00002)
            ctx.cancel()
            assert isinstance(call.error(2.0), Cancelled)


class _CancelsWhileSigning(requests.auth.AuthBase):
    """An authentication of the user's own, during which the call is cancelled."""

    def __init__(self) -> None:
        self.ctx: Context | None = None

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self.ctx is not None:
            self.ctx.cancel()
        return request


@pytest.mark.parametrize("idle", [False, True], ids=["new connection", "kept connection"])
def test_a_cancel_before_the_request_is_on_its_way_is_not_lost(*, idle: bool) -> None:
    session = requests.Session()
    session.auth = signing = _CancelsWhileSigning()
    wire = Wire(session)
    with Server(silent_on_request) as server:
        ask(wire, server.endpoint, b"hello")
        if not idle:
            wire.close()
        ctx = signing.ctx = Context()
        silence = lambda: ask(  # noqa: E731
            wire, server.endpoint, b"silence", ctx=ctx, header_timeout=None
        )
        assert isinstance(Call(silence).error(2.0), Cancelled)
        wire.close()


def test_a_cancel_after_the_end_does_not_harm_the_connections_next_user(wire: Wire) -> None:
    """The cancel was under way when the call ended, and comes to its turn during the next one."""
    cancelling, let_go, may_answer = threading.Event(), threading.Event(), threading.Semaphore(0)
    hold_up = threading.Lock()

    def handle(peer: Peer) -> None:
        while request := peer.request():
            may_answer.acquire(timeout=FOREVER)
            peer.send(answer(request.body))

    def callback() -> None:
        if hold_up.acquire(blocking=False):
            cancelling.set()
            let_go.wait(FOREVER)

    ended = Context()
    ended.subscribe(callback)
    with Server(handle) as server:
        first = Call(lambda: ask(wire, server.endpoint, b"1", ctx=ended, header_timeout=None))
        server.heard(1)
        ended.subscribe(callback)  # so that one stands before the call's own, from whichever side
        cancel = Call(ended.cancel)
        assert cancelling.wait(FOREVER)
        may_answer.release()
        assert first.result().body == b"1"
        second = Call(lambda: ask(wire, server.endpoint, b"2", header_timeout=None))
        server.heard(2)
        let_go.set()
        cancel.result()
        may_answer.release()
        assert second.result().body == b"2"
        assert server.accepted == 1


def test_the_abort_of_an_attempt_that_is_over_touches_nothing(wire: Wire) -> None:
    with Server(echo) as server:
        route = wire._route(server.endpoint)
        with Attempt(server.endpoint, Context(), 1.0) as over:
            connection, response = route.begin(over, ACTION)
            assert response.read() == ACTION.body
        route.give_back(connection)
        over.abort("too late")
        assert connection.in_step()
        assert ask(wire, server.endpoint, b"next").body == b"next"
        assert server.accepted == 1


def test_cancels_that_race_with_the_end_never_harm_the_connections_next_user(wire: Wire) -> None:
    ended = Counter[str]()
    with Server(echo) as server:
        for number in range(300):
            ctx, start = Context(), threading.Barrier(2)

            def cancel(
                ctx: Context = ctx, start: threading.Barrier = start, n: int = number
            ) -> None:
                start.wait(FOREVER)
                threading.Event().wait(n % 10 * 0.00003)
                ctx.cancel()

            call = Call(cancel)
            start.wait(FOREVER)
            try:
                assert ask(wire, server.endpoint, b"%d" % number, ctx=ctx).body == b"%d" % number
                ended["answered"] += 1
            except Cancelled:
                ended["cancelled"] += 1
            body = b"next %d" % number
            assert ask(wire, server.endpoint, body).body == body
            call.result()
    assert ended["answered"]


# -- nothing is left behind ----------------------------------------------------------------------------------


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture
def no_socket_is_left_behind() -> Iterator[None]:
    before = descriptors()
    yield
    assert eventually(lambda: descriptors() <= before)


@pytest.mark.usefixtures("no_socket_is_left_behind")
@pytest.mark.parametrize("how", [*BREAKS, "refused", "silence", "cancelled"])
def test_however_a_call_ends_its_socket_is_closed(how: str) -> None:
    wire = Wire()
    handler = BREAKS[how][0] if how in BREAKS else silent
    with (
        Server(handler) as server,
        refusing() if how == "refused" else nullcontext(server.endpoint) as endpoint,
    ):
        for _ in range(3):
            ctx = Context(FOREVER)
            call = Call(lambda ctx=ctx: ask(wire, endpoint, ctx=ctx, header_timeout=0.1))
            if how == "cancelled":
                server.heard()
                ctx.cancel()
            call.error()
        assert not wire._routes[endpoint]._idle


@pytest.mark.usefixtures("no_socket_is_left_behind")
def test_an_authentication_that_fails_leaks_no_connection() -> None:
    class Broken(requests.auth.AuthBase):
        broken = False

        def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
            if self.broken:
                raise requests.exceptions.InvalidHeader("no token")
            return request

    session = requests.Session()
    session.auth = broken = Broken()
    wire = Wire(session)
    with Server(echo) as server:
        ask(wire, server.endpoint)
        broken.broken = True
        with pytest.raises(EndpointError) as raised:
            ask(wire, server.endpoint)
        assert not raised.value.maybe_applied
        wire.close()
