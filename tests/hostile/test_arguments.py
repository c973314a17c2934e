"""Whatever stands in a URL, in the environment or on the command line: an answer in words, and no defect."""

# ruff: noqa: PT017 (most of what is tried does not raise)

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator
from typing import Any
from unittest import mock

import click
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from etcd_recipes import Client, ClusterError, EtcdRecipesError
from etcd_recipes.cli import main
from etcd_recipes.cli.options import Connection
from etcd_recipes.cli.run import runner
from etcd_recipes.core import srv
from etcd_recipes.core.errors import EndpointError
from etcd_recipes.core.http.endpoints import parse_endpoints
from tests.hostile.mutations import texts
from tests.tools import long


def often(short: int, many: int = 5000) -> settings:
    return settings(max_examples=long(short, many), database=None)


SECRET = "s3cr3t"
sharp = st.text(st.sampled_from("ah1:/?#@[]%2F,&=.;\\ \n\ud800é"), max_size=12)
"""What URLs are made of."""


# -- URLs and the environment ------------------------------------------------------------------------------------


@given(st.one_of(texts, sharp, st.tuples(st.just("http://h"), sharp).map("".join)))
@example("http://h:99999999999999999999")
@example("http://[::1")
@example("h" * 70_000)
@often(25)
def test_endpoints(text: str) -> None:
    try:
        found = parse_endpoints(text)
    except ValueError as error:
        assert "\n" not in str(error)
    else:
        assert found
        assert all(each.startswith(("http://", "https://")) for each in found)
        assert all("@" not in each and "\n" not in each for each in found)


@given(sharp)
@often(12)
def test_a_path_or_a_port_that_no_request_can_carry_is_a_failed_endpoint(text: str) -> None:
    try:
        client = Client(f"http://127.0.0.1:1/{text}", default_timeout=1.0)
    except ValueError:
        return
    with client, pytest.raises(ClusterError):
        client.version()


@given(st.one_of(texts, sharp), sharp, sharp)
@example("h", "\ud800", "")
@often(25)
def test_a_clients_url(hosts: str, name: str, rest: str) -> None:
    for url in (
        hosts,
        f"etcd://{hosts}",
        f"etcd://u:{SECRET}{name}@{hosts}/{rest}",
        f"etcds://h?{rest}",
    ):
        try:
            Client.from_url(url).close()
        except ValueError as error:
            assert SECRET not in f"{error} {error!r} {error.__cause__!r} {error.__context__!r}"


VARIABLES = [
    *("ENDPOINTS", "CACERT", "CERT", "KEY", "USER", "PASSWORD", "USER_FILE", "PASSWORD_FILE"),
    *("COMMAND_TIMEOUT", "DIAL_TIMEOUT", "INSECURE_TRANSPORT", "INSECURE_SKIP_TLS_VERIFY"),
    *("INSECURE_DISCOVERY", "DISCOVERY_SRV_NAME"),
]
words = st.one_of(
    texts, sharp, st.sampled_from(["5s", "1h1h", "true", "0", "/", "/dev/null", "9" * 400 + "h"])
)


@given(st.dictionaries(st.sampled_from(VARIABLES), words, max_size=4))
@example({"DIAL_TIMEOUT": "9" * 150 + "h" + "9" * 40 + "h"})
@example({"USER": "u", "PASSWORD": SECRET + "\udcff"})
@example({"USER": "u", "PASSWORD_FILE": "/dev/zero"})
@example({"USER_FILE": "a\0b"})
@often(25)
def test_the_environment(said: dict[str, str]) -> None:
    for api in ("v3", "v2"):
        try:
            Client.from_env(
                {f"ETCDCTL_{name}": value for name, value in said.items()}, api=api
            ).close()
        except ValueError as error:
            assert SECRET not in f"{error} {error!r} {error.__cause__!r}"


class _Record:
    """What dnspython gives of an SRV record."""

    def __init__(self, target: str, port: int = 2379) -> None:
        self.target, self.port = target, port


@given(texts)
@example(".")
@example("a b.")
@often(15)
def test_a_name_in_dns_is_a_host_or_left_out(name: str) -> None:
    place = srv._place(_Record(name))
    assert place is None or parse_endpoints(f"https://{place}")
    assert srv._place(_Record("m0.example.com.")) == "m0.example.com:2379"


# -- the command line --------------------------------------------------------------------------------------------

STATUSES = {0, 1, 2, 75, 124, 125, 126, 127, 130}


def _options(command: click.Command) -> list[str]:
    found = [name for p in command.params if isinstance(p, click.Option) for name in p.opts]
    return [name for name in found if name not in ("--help", "--version")]


def _refuse(*_args: Any, **_options: Any) -> Any:
    raise ClusterError([EndpointError("http://h:1", "it is a test")], what="reach etcd")


@pytest.fixture
def nothing_is_started(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Command lines are read to their end; then there is no etcd, no server and no child."""
    make = Connection.client

    def made(connection: Connection, **options: Any) -> Any:
        make(connection, **options).close()
        _refuse()

    monkeypatch.setattr(Connection, "client", made)
    monkeypatch.setattr(runner, "start_guard", _refuse)
    monkeypatch.setattr(srv, "discover", _refuse)
    monkeypatch.setenv("ETCD_RECIPES_ETCD", "/nowhere/etcd")
    with mock.patch.dict(os.environ, {n: "" for n in os.environ if n.startswith("ETCDCTL")}):
        yield


def outcome(args: list[str]) -> tuple[int, str]:
    """Give the exit status and stderr of a command line; stdout is one that holds no halves of characters."""
    out = io.TextIOWrapper(io.BytesIO(), "utf-8")
    err = io.TextIOWrapper(io.BytesIO(), "utf-8", "backslashreplace")
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main.run(args)
        err.flush()
    return status, err.buffer.getvalue().decode()  # type: ignore[attr-defined]


argument = st.one_of(texts, words).map(
    lambda text: text.replace("\0", "").replace("\ud800", "\udcff")
)
"""What a process can be started with: no NUL, and bytes that are no UTF-8 as Python has them."""


@pytest.mark.parametrize("name", list(main._COMMANDS))
@pytest.mark.usefixtures("nothing_is_started")
def test_a_command_line(name: str) -> None:
    command = main.cli.get_command(click.Context(main.cli), name)
    assert command is not None
    options = st.sampled_from([*_options(command), "--", "-", "--no-such", "-9"])

    @given(st.lists(st.one_of(options, argument), max_size=6))
    @example(["a", "--wait", "nan"])
    @example(["a", "--ttl", "1e400"])
    @example(["a", "--endpoints", "h", "--dial-timeout", "9" * 190 + "h"])
    @example(["a", "--endpoints", "h", "--user", "u", "--password-file", "/"])
    @example(["a", "--endpoints", "h", "--cacert", "/etc/hostname"])
    @example(["a", "--endpoints", "https://h", "--cert", "/etc/hostname"])
    @example(["a", "--user", "u\udcff", "--password", "p"])
    @example(["a", "--user", "a:b", "--password", "p", "--api", "v2"])
    @example(["--command-timeout", "0s", "a"])
    @often(long(4, 500))
    def check(args: list[str]) -> None:
        status, said = outcome([name, *args])
        assert status in STATUSES, said
        assert "defect" not in said, said
        assert "Traceback" not in said or "--debug" in args

    check()


@pytest.mark.usefixtures("nothing_is_started")
def test_what_goes_wrong_reaches_a_terminal_as_text(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: Any, **_options: Any) -> Any:
        raise EtcdRecipesError("held by \x1b]0;evil\x07\nand \x9b31m")

    monkeypatch.setattr(Connection, "client", refuse)
    for args in (["locks"], ["lock", "a", "-v"], ["watch", "a"], ["locks", "--debug"]):
        status, said = outcome(args)
        assert status == 125
        assert r"held by \x1b]0;evil\x07" in said
        assert said.replace("\n", "").isprintable()
