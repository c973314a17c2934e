"""What each call about keys puts on the wire, as literals; and what is refused before."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etcd_recipes.core.http.action import Action
from etcd_recipes.core.v2 import requests as r

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.mark.parametrize(
    ("action", "path"),
    [
        (r.get("foo"), "/v2/keys/foo?quorum=false&recursive=false&sorted=false"),
        (
            r.get("/foo", recursive=True),
            "/v2/keys/foo?quorum=false&recursive=true&sorted=false",
        ),
        (r.get("/foo", sort=True), "/v2/keys/foo?quorum=false&recursive=false&sorted=true"),
        (r.get("/foo", quorum=True), "/v2/keys/foo?quorum=true&recursive=false&sorted=false"),
        (r.get("/"), "/v2/keys/?quorum=false&recursive=false&sorted=false"),
        (r.get(""), "/v2/keys/?quorum=false&recursive=false&sorted=false"),
        (r.wait("/foo", wait_index=0), "/v2/keys/foo?recursive=false&wait=true&waitIndex=0"),
        (
            r.wait("/foo", wait_index=12, recursive=True),
            "/v2/keys/foo?recursive=true&wait=true&waitIndex=12",
        ),
    ],
)
def test_what_a_read_asks_for(action: Action, path: str) -> None:
    assert (action.method, action.path, action.body) == ("GET", path, b"")
    assert action.replay
    assert action.follow
    assert action.headers == {}


@pytest.mark.parametrize(
    ("action", "path", "body", "replay"),
    [
        (r.set_("/foo", "bar"), "/foo", b"value=bar", True),
        (r.set_("/foo", ""), "/foo", b"value=", True),
        (r.set_("/foo", "a b&c=d+é"), "/foo", b"value=a+b%26c%3Dd%2B%C3%A9", True),
        (r.set_("/foo", "x", ttl=180), "/foo", b"ttl=180&value=x", True),
        (r.set_("/foo", "x", prev_exist=True), "/foo?prevExist=true", b"value=x", True),
        (r.set_("/foo", "x", prev_exist=False), "/foo?prevExist=false", b"value=x", False),
        (r.create("/foo", "x", ttl=1), "/foo?prevExist=false", b"ttl=1&value=x", False),
        (r.set_("/foo", "x", prev_value="a b"), "/foo?prevValue=a+b", b"value=x", False),
        (r.set_("/foo", "x", prev_index=12), "/foo?prevIndex=12", b"value=x", False),
        (
            r.set_("/foo", "x", prev_value="b", prev_index=12, prev_exist=True),
            "/foo?prevExist=true&prevIndex=12&prevValue=b",
            b"value=x",
            False,
        ),
        (
            r.set_("/foo", "x", no_value_on_success=True),
            "/foo?noValueOnSuccess=true",
            b"value=x",
            True,
        ),
        (r.set_("/foo", None, dir=True), "/foo?dir=true", b"", False),
        (
            r.set_("/foo", "", dir=True, prev_exist=True, ttl=5),
            "/foo?dir=true&prevExist=true",
            b"ttl=5",
            False,
        ),
        (r.refresh("/foo", ttl=180), "/foo", b"refresh=true&ttl=180&value=", True),
        (
            r.refresh("/foo", ttl=5, prev_value="me", prev_exist=True),
            "/foo?prevExist=true&prevValue=me",
            b"refresh=true&ttl=5&value=",
            True,
        ),
        (
            r.refresh("/foo", ttl=5, prev_index=7, no_value_on_success=True),
            "/foo?noValueOnSuccess=true&prevIndex=7",
            b"refresh=true&ttl=5&value=",
            False,
        ),
    ],
)
def test_what_a_write_asks_for(action: Action, path: str, body: bytes, replay: bool) -> None:
    assert (action.method, action.path, action.body) == ("PUT", f"/v2/keys{path}", body)
    assert action.replay is replay
    assert action.follow
    assert action.headers == FORM


@pytest.mark.parametrize(
    ("action", "method", "path", "body"),
    [
        (r.create_in_order("q", "job 1"), "POST", "/v2/keys/q", b"value=job+1"),
        (r.create_in_order("/q", "j", ttl=0.2), "POST", "/v2/keys/q", b"ttl=1&value=j"),
        (r.delete("/foo"), "DELETE", "/v2/keys/foo", b""),
        (r.delete("/foo", dir=True), "DELETE", "/v2/keys/foo?dir=true", b""),
        (r.delete("/foo", recursive=True), "DELETE", "/v2/keys/foo?recursive=true", b""),
        (
            r.delete("/foo", recursive=True, dir=True),
            "DELETE",
            "/v2/keys/foo?dir=true&recursive=true",
            b"",
        ),
        (r.delete("/foo", prev_value="x"), "DELETE", "/v2/keys/foo?prevValue=x", b""),
        (r.delete("/foo", prev_index=3), "DELETE", "/v2/keys/foo?prevIndex=3", b""),
    ],
)
def test_what_is_never_sent_twice(action: Action, method: str, path: str, body: bytes) -> None:
    assert (action.method, action.path, action.body) == (method, path, body)
    assert not action.replay
    assert action.headers == FORM


def test_the_version_is_asked_for_plainly() -> None:
    action = r.version()
    assert (action.method, action.path, action.replay) == ("GET", "/version", True)


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("/sp ace?x#y&é%25+~!*()", "/sp%20ace%3Fx%23y&%C3%A9%2525+~%21%2A%28%29"),
        ("sl%2Fash", "/sl%252Fash"),
        ("%2e%2e/x", "/%252e%252e/x"),
        ("a/...", "/a/..."),
        (".a/b.", "/.a/b."),
        ("a\nb\0c", "/a%0Ab%00c"),
        ("a;b@c:d,e=$", "/a;b@c:d,e=$"),
        ("日本", "/%E6%97%A5%E6%9C%AC"),
        ("a\\b", "/a%5Cb"),
    ],
)
def test_a_key_is_quoted_as_the_go_client_does(key: str, path: str) -> None:
    assert r.delete(key).path == f"/v2/keys{path}"


@pytest.mark.parametrize(
    "key", ["a//b", "//", "//a", "a/", "/a/", "..", "a/../b", "/./a", "a/.", "a/b/..", "\ud800"]
)
def test_a_key_that_etcd_would_take_for_another_one_is_refused(key: str) -> None:
    for build in (
        r.get,
        r.delete,
        lambda key: r.set_(key, "x"),
        lambda key: r.wait(key, wait_index=0),
    ):
        with pytest.raises(ValueError, match="key"):
            build(key)


Build = Callable[..., Action]
Arguments = tuple[tuple[Any, ...], dict[str, Any]]


def call(*args: Any, **options: Any) -> Arguments:
    return args, options


@pytest.mark.parametrize(
    ("build", "arguments"),
    [
        (r.set_, call("k", "x", prev_value="")),
        (r.set_, call("k", "x", prev_index=0)),
        (r.set_, call("k", "x", prev_index=-1)),
        (r.set_, call("k", "x", prev_index=2**64)),
        (r.set_, call("k", "x", prev_value="a", prev_exist=False)),
        (r.set_, call("k", "x", ttl=0)),
        (r.set_, call("k", "x", ttl=-1)),
        (r.set_, call("k", "x", ttl=math.nan)),
        (r.set_, call("k", "x", ttl=math.inf)),
        (r.set_, call("k", "x", ttl=9_000_000_000)),
        (r.set_, call("k", "x", dir=True)),
        (r.set_, call("k", None, dir=True, prev_value="a")),
        (r.set_, call("k", "\udc80")),
        (r.refresh, call("k", ttl=None)),
        (r.refresh, call("k", ttl=5, prev_exist=False)),
        (r.delete, call("k", prev_value="")),
        (r.delete, call("k", prev_index=0)),
        (r.delete, call("k", prev_index=1, recursive=True)),
        (r.create_in_order, call("q", "x", ttl=0)),
        (r.wait, call("k", wait_index=-1)),
    ],
)
def test_what_etcd_would_understand_as_something_else_is_a_value_error(
    build: Build, arguments: Arguments
) -> None:
    args, options = arguments
    with pytest.raises(ValueError, match=r"\w"):
        build(*args, **options)


@pytest.mark.parametrize(
    ("build", "arguments"),
    [
        (r.get, call(b"k")),
        (r.get, call(None)),
        (r.set_, call("k", None)),
        (r.set_, call("k", b"x")),
        (r.set_, call("k", 1)),
        (r.create_in_order, call("q", None)),
        (r.set_, call("k", "x", prev_value=b"a")),
        (r.set_, call("k", "x", prev_index="1")),
        (r.set_, call("k", "x", prev_index=True)),
        (r.set_, call("k", "x", ttl="5")),
        (r.set_, call("k", "x", ttl=True)),
        (r.delete, call("k", prev_index=1.0)),
    ],
)
def test_what_is_not_of_the_type_is_a_type_error(build: Build, arguments: Arguments) -> None:
    args, options = arguments
    with pytest.raises(TypeError, match="is"):
        build(*args, **options)


@pytest.mark.parametrize(
    ("ttl", "seconds"),
    [(0.001, 1), (0.999, 1), (1, 1), (1.2, 2), (59.0, 59), (r.MAX_TTL, r.MAX_TTL)],
)
def test_a_ttl_is_rounded_up(ttl: float, seconds: int) -> None:
    assert r.whole_seconds(ttl) == seconds


@given(st.text())
def test_any_key_reaches_etcd_as_itself_or_not_at_all(key: str) -> None:
    try:
        path = r.delete(key).path
    except ValueError:
        return
    assert path.isascii()
    assert path.isprintable()
    assert not set(path) & set(" ?#")
    seen = unquote(path.removeprefix("/v2/keys"))
    assert seen == (key if key.startswith("/") else f"/{key}")
    assert seen == "/" or not {"", ".", ".."} & set(seen[1:].split("/"))


@given(st.text(), st.text(min_size=1))
def test_any_value_reaches_etcd_as_itself_or_not_at_all(value: str, prev: str) -> None:
    try:
        action = r.set_("k", value, prev_value=prev)
    except ValueError:
        return
    assert parse_qs(action.body.decode(), keep_blank_values=True)["value"] == [value]
    assert parse_qs(urlsplit(action.path).query)["prevValue"] == [prev]
