"""Requests to real servers, of which some are gone, silent, or hang up in the middle."""

from __future__ import annotations

import io
import os
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests

from etcd_recipes import Client, ClusterError, RecipeError
from etcd_recipes.contrib.requests import ServiceAdapter
from tests.tools import eventually


class Service:
    """An HTTP server on a port of its own; `hang_up` ends a connection when the request was read."""

    def __init__(self, hang_up: bool = False) -> None:
        seen = self.seen = []

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one(self) -> None:
                seen.append((self.command, self.path, self.headers["host"], self.body()))
                self.close_connection = True
                if hang_up:
                    return
                self.send_response(503 if "busy" in self.path else 200)
                self.send_header("content-length", "0")
                self.send_header("connection", "close")
                self.end_headers()

            def body(self) -> bytes:
                if self.headers.get("transfer-encoding") != "chunked":
                    return self.rfile.read(int(self.headers.get("content-length") or 0))
                chunks = []
                while size := int(self.rfile.readline(), 16):
                    chunks.append(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
                return b"".join(chunks)

            do_GET = do_POST = do_PUT = handle_one  # noqa: N815

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def serve() -> Iterator[Callable[..., Service]]:
    made: list[Service] = []

    def make(**options: bool) -> Service:
        made.append(Service(**options))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def nobody() -> Iterator[str]:
    """An address at which connections are refused."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{bound.getsockname()[1]}"


@pytest.fixture
def session(client: Client, name: str) -> Iterator[requests.Session]:
    adapter = ServiceAdapter(client.registry(name), max_ejection=0.0)  # ask the bad ones, too
    with requests.Session() as session:
        session.mount("service://", adapter)
        session.mount("http+service://", adapter)
        yield session


def test_requests_go_to_the_instances_in_turn_with_path_query_body_and_host(
    client: Client, name: str, session: requests.Session, serve: Callable[..., Service]
) -> None:
    registry = client.registry(name)
    services = [serve(), serve()]
    for each in services:
        registry.register("api", each.address)
    assert session.get("service://api/a b?x=1").status_code == 200
    session.put("http+service://api/c", params={"y": "2"}, data="body")
    (get,), (put,) = sorted((each.seen for each in services), key=lambda seen: seen[0][0])
    hosts = {each.address for each in services}
    assert get[:2] == ("GET", "/a%20b?x=1")
    assert (*put[:2], put[3]) == ("PUT", "/c?y=2", b"body")
    assert {get[2], put[2]} == hosts
    answer = session.get("service://api/busy", headers={"Host": "api.example"})
    assert answer.status_code == 503  # an answer is an answer
    assert ("GET", "/busy", "api.example", b"") in [*services[0].seen, *services[1].seen]
    # It is followed: one that leaves is not asked any more.
    view = session.get_adapter("service://api")._views["api"]
    late = serve()
    with registry.register("api", late.address):
        eventually(lambda: len(view.instances) == 3)
    eventually(lambda: len(view.instances) == 2)
    for _ in range(4):
        session.get("service://api/")
    assert late.seen == []
    # A forked child follows for itself.
    if (pid := os.fork()) == 0:
        status = session.get("service://api/").status_code
        fresh = session.get_adapter("service://api")._views["api"]
        os._exit(0 if status == 200 and not fresh.closed else 1)
    assert os.waitpid(pid, 0)[1] == 0
    session.close()
    assert view.closed  # with the session


def test_an_instance_that_refuses_is_passed_over_whatever_the_method(
    client: Client, name: str, session: requests.Session, serve: Callable[..., Service], nobody: str
) -> None:
    registry = client.registry(name)
    there = serve()
    registry.register("api", nobody, id="0")
    registry.register("api", there.address, id="1")
    for _ in range(3):  # whoever's turn it is
        assert session.post("service://api/", data=io.BytesIO(b"stream")).status_code == 200
        assert session.post("service://api/", data=iter([b"a"])).status_code == 200
    assert [seen[3] for seen in there.seen] == [b"stream", b"a"] * 3
    # Also where the strategy would give the same one for ever.
    session.mount("service://", ServiceAdapter(registry, strategy="sticky", max_ejection=0.0))
    for path in range(8):
        assert session.get(f"service://api/{path}").status_code == 200


def test_what_may_have_been_sent_is_sent_again_only_if_it_may_be(
    client: Client, name: str, session: requests.Session, serve: Callable[..., Service]
) -> None:
    registry = client.registry(name)
    bad = [serve(hang_up=True), serve(hang_up=True)]
    for number, each in enumerate(bad):
        registry.register("api", each.address, id=f"{number}")
    with pytest.raises(requests.ConnectionError, match="1 asked"):
        session.post("service://api/pay", data="1")
    assert sum(len(each.seen) for each in bad) == 1
    with pytest.raises(requests.ConnectionError, match="2 asked") as caught:
        session.put("service://api/", data=io.BytesIO(b"twice"), timeout=2)
    assert all(each.address in str(caught.value) for each in bad)
    assert [each.seen[-1][3] for each in bad] == [b"twice"] * 2
    good = serve()
    registry.register("api", good.address, id="2")
    view = session.get_adapter("service://")._views["api"]
    eventually(lambda: len(view.instances) == 3)
    for _ in range(3):
        assert session.get("service://api/").status_code == 200


def test_an_instance_that_failed_is_left_out_for_a_while(
    client: Client, name: str, serve: Callable[..., Service], nobody: str
) -> None:
    registry = client.registry(name)
    there = serve()
    for address in (nobody, there.address):
        registry.register("api", address)
    with requests.Session() as session:
        adapter = ServiceAdapter(registry)
        session.mount("service://", adapter)
        for _ in range(2):
            session.get("service://api/")
        assert {adapter._views["api"].pick().address for _ in range(4)} == {there.address}


def test_errors_are_those_of_requests(
    client: Client, name: str, session: requests.Session, nobody: str
) -> None:
    with pytest.raises(requests.ConnectionError, match="no instance of 'api' is known") as caught:
        session.get("service://api/")
    assert isinstance(caught.value.__cause__, RecipeError)
    with pytest.raises(requests.exceptions.InvalidURL):
        session.get("service:///path")
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        client.registry(name).register("slow", f"127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(requests.ReadTimeout, match="'slow'"):
            session.get("service://slow/", timeout=(1, 0.05))
    away = ServiceAdapter(Client("http://127.0.0.1:1", default_timeout=0.2).registry(name))
    session.mount("service://", away)
    with pytest.raises(requests.ConnectionError, match="cannot be looked up") as caught:
        session.get("service://api/")
    assert isinstance(caught.value.__cause__, ClusterError)
    with pytest.raises(ValueError, match="strategy"):
        ServiceAdapter(client.registry(name), strategy="best")
    with pytest.raises(ValueError, match="tries"):
        ServiceAdapter(client.registry(name), tries=0)
