"""The debug log: each request as a curl command, without secrets."""

from __future__ import annotations

import logging
import shlex

import pytest

from etcd_recipes import Client
from etcd_recipes.core.http.action import Action
from etcd_recipes.core.http.curl import command
from tests.core.servers import Request, Server, answer, each

NODE = b'{"action":"set","node":{"key":"/a","value":"x","modifiedIndex":7,"createdIndex":5}}'


def test_a_command_can_be_pasted() -> None:
    action = Action("/v2/keys/a%20b?prevExist=true", b"value=it's+$HOME", method="PUT")
    words = shlex.split(command("http://a:1", action, {"Content-Type": "x", "User-Agent": "me"}))
    assert words == [
        "curl",
        "-X",
        "PUT",
        "http://a:1/v2/keys/a%20b?prevExist=true",
        "-H",
        "Content-Type: x",
        "--data-binary",
        "value=it's+$HOME",
    ]


@pytest.mark.parametrize(
    "body",
    [
        b'{"name":"u","password":"secret"}',
        b'{"Password" : "se\\"secret"}',
        b'{"user":"u","hashedPassword":"secret","new_password":"secret"}',
        b'{"token":"secret"}',
    ],
)
def test_nothing_called_a_password_is_shown(body: bytes) -> None:
    assert "secret" not in command("http://a:1", Action("/v3/auth/authenticate", body), {})


def test_what_authenticates_and_secret_bodies_are_hidden() -> None:
    headers = {"authorization": "Basic c2VjcmV0", "Cookie": "secret", "X-Key": "secret"}
    shown = command("http://a:1", Action("/x", b"secret", secret=True), headers)
    assert "secret" not in shown
    assert "c2VjcmV0" not in shown
    assert "authorization: ***" in shown


def test_bytes_that_are_not_text_and_long_bodies_are_shown_short() -> None:
    assert "\\xff" in command("http://a:1", Action("/x", b"\xff"), {})
    assert len(command("http://a:1", Action("/x", b"x" * 100_000), {})) < 5000


def reply(request: Request) -> bytes:
    return answer(b'{"user":"u"}' if "/auth/" in request.path else NODE)


def test_requests_are_logged_at_debug(caplog: pytest.LogCaptureFixture) -> None:
    with (
        caplog.at_level(logging.DEBUG, "etcd_recipes.http"),
        Server(each(reply)) as server,
        Client(server.endpoint, api="v2", username="me", password="secret") as client,
    ):
        client.v2.keys.set("a", "x")
        client.v2.users.change_password("u", "secret")
    assert [record.getMessage() for record in caplog.records] == ["http.request"] * 3
    said = [record.curl for record in caplog.records]
    assert said[0].startswith(f"curl -X PUT {server.endpoint}/v2/keys/a -H ")
    assert said[0].endswith("--data-binary value=x")
    assert "secret" not in "".join(said)
    assert "c2VjcmV0" not in "".join(said)


def test_nothing_is_logged_above_debug(caplog: pytest.LogCaptureFixture) -> None:
    with (
        caplog.at_level(logging.INFO, "etcd_recipes"),
        Server(each(reply)) as server,
        Client(server.endpoint) as client,
    ):
        client.v2.keys.set("a", "x")
    assert caplog.records == []
