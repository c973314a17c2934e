"""The user's requests.Session decides what a request carries; the environment decides nothing."""

from __future__ import annotations

import ssl
from base64 import b64encode
from pathlib import Path

import pytest
import requests

from etcd_recipes.core.context import Context
from etcd_recipes.core.errors import Cancelled, DeadlineExceeded, EndpointError
from etcd_recipes.core.http.action import Action, Reply
from etcd_recipes.core.http.wire import Wire
from tests.core.calls import SOON, Call, within
from tests.core.servers import HANG, Server, answer, chunked, each, echo, script
from tests.tools import eventually

HERE = Path(__file__).parent
CERT, KEY = str(HERE / "localhost.crt"), str(HERE / "localhost.key")
OTHER, OTHER_KEY = str(HERE / "elsewhere.crt"), str(HERE / "elsewhere.key")
"""Certificates that are their own authorities: for localhost and 127.0.0.1, and for etcd.example."""


BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


def ask(wire: Wire, endpoint: str, body: bytes = b"{}", timeout: float = 5.0) -> Reply:
    return wire.exchange(endpoint, Action("/v3/x", body), Context(timeout), 1.0)


# -- headers and authentication ------------------------------------------------------------------------------


def test_the_users_headers_are_sent() -> None:
    session = requests.Session()
    session.headers.update({"X-Tenant": "blue", "User-Agent": "mine/1.0"})
    with Server(echo) as server:
        wire = Wire(session)
        ask(wire, server.endpoint)
        wire.close()
    headers = server.requests[0].headers
    assert (headers["x-tenant"], headers["user-agent"]) == ("blue", "mine/1.0")


def test_an_actions_header_wins_over_the_users() -> None:
    session = requests.Session()
    session.headers["Grpc-Metadata-hasleader"] = "false"
    action = Action("/v3/x", headers={"Grpc-Metadata-hasleader": "true"})
    with Server(echo) as server:
        wire = Wire(session)
        wire.exchange(server.endpoint, action, Context(5.0), 1.0)
        wire.close()
    assert server.requests[0].headers["grpc-metadata-hasleader"] == "true"


def test_each_request_has_its_own_headers_however_many_there_were_before() -> None:
    """The lines of a head are kept for the next request with the same headers, but not those of all tokens ever."""
    tokens = [f"token.{number % 40}" for number in range(80)]
    with Server(echo) as server:
        wire = Wire()
        for token in tokens:
            action = Action("/v3/x", headers={"Authorization": token})
            wire.exchange(server.endpoint, action, Context(5.0), 1.0)
        assert len(wire._routes[server.endpoint]._lines) <= 16
        wire.close()
    assert [request.headers["authorization"] for request in server.requests] == tokens


def test_basic_authentication_is_sent() -> None:
    session = requests.Session()
    session.auth = ("root", "s3cret")
    with Server(echo) as server:
        wire = Wire(session)
        ask(wire, server.endpoint)
        wire.close()
    expected = "Basic " + b64encode(b"root:s3cret").decode()
    assert server.requests[0].headers["authorization"] == expected


class Signature(requests.auth.AuthBase):
    """Signs each request by its path and body, as AWS does; and gives the first one a nonce."""

    def __init__(self) -> None:
        self.seen = 0

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        body = request.body or b""
        raw = body if isinstance(body, bytes) else body.encode()
        request.headers["X-Signature"] = f"{request.method} {request.path_url} {raw.decode()}"
        self.seen += 1
        request.headers["X-Count"] = str(self.seen)
        return request


def test_an_authentication_of_the_users_own_sees_each_request_as_it_is_sent() -> None:
    session = requests.Session()
    session.auth = Signature()
    session.headers["X-Tenant"] = "blue"
    with Server(echo) as server:
        wire = Wire(session)
        for body in (b"one", b"two", b"three"):
            assert ask(wire, server.endpoint, body).body == body
        wire.close()
    signatures = [request.headers["x-signature"] for request in server.requests]
    assert signatures == ["POST /v3/x one", "POST /v3/x two", "POST /v3/x three"]
    assert len({request.headers["x-count"] for request in server.requests}) == 3
    assert {request.headers["x-tenant"] for request in server.requests} == {"blue"}
    assert server.accepted == 1


# -- the environment -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("session", [None, requests.Session()], ids=["none", "the user's own"])
def test_a_proxy_in_the_environment_is_not_used(
    session: requests.Session | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Server(echo) as proxy, Server(echo) as server:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "https_proxy"):
            monkeypatch.setenv(name, proxy.endpoint)
        monkeypatch.delenv("no_proxy", raising=False)
        wire = Wire(session)
        assert ask(wire, server.endpoint, b"straight").body == b"straight"
        wire.close()
        assert proxy.accepted == 0


def test_passwords_in_the_environment_are_not_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login root password s3cret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    with Server(echo) as server:
        wire = Wire()
        ask(wire, server.endpoint)
        wire.close()
    assert "authorization" not in server.requests[0].headers


def test_a_ca_bundle_in_the_environment_is_not_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in BUNDLES:
        monkeypatch.setenv(name, CERT)
    with Server(echo, tls=server_side()) as server:
        wire = Wire()
        with pytest.raises(EndpointError, match="certificate was not accepted"):
            ask(wire, server.endpoint)
        wire.close()


def test_without_a_session_of_the_users_nothing_is_sent_that_nobody_asked_for() -> None:
    with Server(echo) as server:
        wire = Wire()
        ask(wire, server.endpoint)
        wire.close()
    assert set(server.requests[0].headers) == {"host", "user-agent", "content-length"}


# -- TLS -----------------------------------------------------------------------------------------------------


def server_side(
    cert: str = CERT, key: str = KEY, *, demands_certificate: bool = False
) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    if demands_certificate:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(CERT)
    return context


def test_tls_works_and_its_connection_is_kept() -> None:
    with Server(echo, tls=server_side()) as server:
        wire = Wire(ca=CERT)
        for number in range(20):
            assert ask(wire, server.endpoint, b"%d" % number).body == b"%d" % number
        assert server.accepted == 1
        wire.close()


@pytest.mark.parametrize("verify", [CERT, False])
def test_the_sessions_own_tls_settings_are_used(
    verify: str | bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in BUNDLES:  # which requests itself puts above a Session's `verify`
        monkeypatch.delenv(name, raising=False)
    session = requests.Session()
    session.verify = verify
    with Server(echo, tls=server_side()) as server:
        wire = Wire(session)
        assert ask(wire, server.endpoint, b"x").body == b"x"
        wire.close()


def test_a_ca_that_was_given_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in BUNDLES:
        monkeypatch.setenv(name, OTHER)
    for session in (None, requests.Session()):
        with Server(echo, tls=server_side()) as server:
            wire = Wire(session, ca=CERT)
            assert ask(wire, server.endpoint, b"x").body == b"x"
            wire.close()


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])
def test_the_certificate_must_be_for_the_endpoints_name(name: str) -> None:
    with Server(echo, tls=server_side()) as server:
        wire = Wire(ca=CERT)
        assert ask(wire, f"https://{name}:{server.port}", b"x").body == b"x"
        wire.close()
    with Server(echo, tls=server_side(OTHER, OTHER_KEY)) as server:
        wire = Wire(ca=OTHER)
        with pytest.raises(EndpointError, match="certificate was not accepted") as raised:
            ask(wire, f"https://{name}:{server.port}")
        assert not raised.value.maybe_applied
        wire.close()


def test_a_certificate_that_nobody_vouches_for_is_refused_and_nothing_is_sent() -> None:
    with Server(echo, tls=server_side()) as server:
        wire = Wire()
        with pytest.raises(EndpointError, match="certificate was not accepted") as raised:
            ask(wire, server.endpoint)
        wire.close()
    assert not raised.value.maybe_applied
    assert server.requests == []


def test_a_client_certificate_is_shown_to_the_server_that_demands_it() -> None:
    with Server(echo, tls=server_side(demands_certificate=True)) as server:
        wire = Wire(ca=CERT, cert=CERT, key=KEY)
        assert ask(wire, server.endpoint, b"x").body == b"x"
        wire.close()
        wire = Wire(ca=CERT)
        with pytest.raises(EndpointError):
            ask(wire, server.endpoint)
        wire.close()


@pytest.mark.parametrize("files", [{"ca": "/nowhere"}, {"cert": "/nowhere"}, {"ca": __file__}])
def test_a_tls_file_that_is_no_good_is_not_a_surprise_in_the_middle_of_a_call(files) -> None:
    """It is refused when the wire is made; or else the call says so in the library's own words."""
    try:
        wire = Wire(**files)
    except (OSError, ValueError):
        return
    with pytest.raises(EndpointError):
        ask(wire, "https://localhost:1")


def test_tls_to_a_server_without_it_and_the_other_way_round() -> None:
    with Server(lambda peer: peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as plain:
        wire = Wire(ca=CERT)
        with pytest.raises(EndpointError) as raised:
            ask(wire, f"https://localhost:{plain.port}")
        assert not raised.value.maybe_applied
        wire.close()
    with Server(echo, tls=server_side()) as tls:
        wire = Wire()
        with pytest.raises(EndpointError):
            ask(wire, f"http://localhost:{tls.port}")
        wire.close()


def test_a_tls_handshake_that_is_not_answered_ends_by_the_header_timeout() -> None:
    with (
        Server(lambda peer: peer.pause()) as server,
        within(0.3 + SOON, at_least=0.3),
        pytest.raises(EndpointError) as raised,
    ):
        Wire(ca=CERT).exchange(f"https://localhost:{server.port}", Action("/"), Context(5.0), 0.3)
    assert raised.value.silent
    assert not raised.value.maybe_applied


def test_a_tls_handshake_that_trickles_ends_by_the_header_timeout() -> None:
    hello = b"\x16\x03\x03\x20\x00" + b"\x00" * 100

    def handle(peer) -> None:
        for byte in hello:
            peer.send(bytes([byte]))
            peer.pause(0.05)

    with Server(handle) as server, within(0.3 + SOON), pytest.raises(EndpointError):
        Wire(ca=CERT).exchange(f"https://localhost:{server.port}", Action("/"), Context(5.0), 0.3)


def test_a_tls_handshake_ends_by_the_deadline() -> None:
    with (
        Server(lambda peer: peer.pause()) as server,
        within(0.3 + SOON, at_least=0.3),
        pytest.raises(DeadlineExceeded),
    ):
        Wire(ca=CERT).exchange(f"https://localhost:{server.port}", Action("/"), Context(0.3), None)


def test_cancel_ends_a_tls_handshake_within_100_ms() -> None:
    ctx = Context()
    with Server(lambda peer: peer.pause()) as server:
        url = f"https://localhost:{server.port}"
        call = Call(lambda: Wire(ca=CERT).exchange(url, Action("/"), ctx, None))
        eventually(lambda: server.accepted)
        ctx.child().wait(0.1)
        with within(SOON):
            ctx.cancel()
            error = call.error(3.0)
    assert isinstance(error, Cancelled)
    assert not error.maybe_applied


def test_a_cancel_in_the_instant_between_two_sockets_is_not_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """While TLS takes the plain socket over, there is none that a cancel could shut down."""
    ctx, wrap = Context(), ssl.SSLContext.wrap_socket

    def cancels(*args: object, **options: object) -> object:
        wrapped = wrap(*args, **options)  # type: ignore[arg-type]
        ctx.cancel()
        return wrapped

    with Server(lambda peer: peer.pause()) as server:
        monkeypatch.setattr(ssl.SSLContext, "wrap_socket", cancels)
        url = f"https://localhost:{server.port}"
        call = Call(lambda: Wire(ca=CERT).exchange(url, Action("/"), ctx, None))
        error = call.error(SOON)
    assert isinstance(error, Cancelled)
    assert not error.maybe_applied


@pytest.mark.parametrize("kind", ["waiting for the head", "in the body", "stream"])
def test_cancel_ends_a_call_over_tls_within_100_ms(kind: str) -> None:
    head = {
        "waiting for the head": [],
        "in the body": [b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345"],
        "stream": [chunked(b"x", end=False)],
    }[kind]
    wire, ctx = Wire(ca=CERT), Context()

    def read() -> None:
        stream = wire.open(server.endpoint, Action("/"), ctx, None)
        try:
            while stream.read():
                pass
        finally:
            stream.close()

    with Server(script(*head, HANG), tls=server_side()) as server:
        exchange = lambda: wire.exchange(server.endpoint, Action("/"), ctx, None)  # noqa: E731
        call: Call[object] = Call(read if kind == "stream" else exchange)
        server.heard()
        ctx.child().wait(0.05)
        with within(SOON):
            ctx.cancel()
            error = call.error()
    assert isinstance(error, Cancelled)
    assert error.maybe_applied
    wire.close()


def test_a_large_stream_over_tls_leaves_nothing_behind_in_a_buffer() -> None:
    """What TLS has already decrypted is not on the socket any more, where a poll would look for it."""
    pieces = [bytes([number % 256]) * 5000 for number in range(200)]
    with Server(script(chunked(*pieces)), tls=server_side()) as server:
        wire = Wire(ca=CERT)
        stream = wire.open(server.endpoint, Action("/"), Context(5.0), 1.0)
        received = b""
        while piece := stream.read(quiet=2.0):
            received += piece
        stream.close()
        wire.close()
    assert received == b"".join(pieces)


def test_large_bodies_travel_over_tls_both_ways() -> None:
    body = b"0123456789" * 200_000
    with Server(each(lambda request: answer(request.body)), tls=server_side()) as server:
        wire = Wire(ca=CERT)
        for _ in range(2):
            assert ask(wire, server.endpoint, body).body == body
        assert server.accepted == 1
        wire.close()
