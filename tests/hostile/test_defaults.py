"""What the library does when nobody tells it otherwise, looked at from outside: real processes, real sockets.

What is shown elsewhere is named in `docs/reference/security.md`.
"""

from __future__ import annotations

import logging
import os
import re
import stat
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import etcd_recipes
from etcd_recipes import Client, EtcdRecipesError
from etcd_recipes.core.http import redirects
from etcd_recipes.core.http.action import excerpt
from etcd_recipes.core.http.tls import load
from etcd_recipes.testing import EtcdProcess, FaultProxy
from tests.cli.running import running
from tests.core.servers import Peer, Request, Server, answer, each, refusing, silent
from tests.processes import listening, only_on_loopback, tree

PASSWORD, TOKEN = "sw0rdfish-of-all", "t0ken.4711"


# -- credentials -------------------------------------------------------------------------------------------------------


def _echo_headers(request: Request) -> bytes:
    return answer(repr(request.headers).encode())


def _token_then(reply: Callable[[Request], bytes]) -> Callable[[Peer], None]:
    """Give a token, and answer everything else with `reply`."""

    def handle(request: Request) -> bytes:
        if request.path.endswith("/auth/authenticate"):
            return answer(f'{{"header":{{"revision":"5"}},"token":"{TOKEN}"}}'.encode())
        return reply(request)

    return each(handle)


def _token(text: str) -> Callable[[Peer], None]:
    def handle(request: Request) -> bytes:
        return answer(text.encode() if request.path.endswith("/auth/authenticate") else b"{}")

    return each(handle)


LOUD: dict[str, Callable[[Peer], None]] = {
    "repeats the body": each(lambda request: answer(request.body)),
    "repeats the body, failing": each(lambda request: answer(request.body, status=500)),
    "repeats the body as no JSON": each(lambda request: answer(b"<pre>" + request.body, status=404)),
    "repeats the headers": _token_then(_echo_headers),
    "a token among nonsense": _token(f'{{"token": "{TOKEN}", "header": 7}}'),
    "a token in half a body": _token(f'{{"token": "{TOKEN}'),
    "a token that is none": _token(f'{{"token": ["{TOKEN}"]}}'),
    "a token with a line of its own": _token(f'{{"token": "{TOKEN}\r\nA: b"}}'),
    "redirects": each(lambda r: answer(b"", f"Location: http://u:{PASSWORD}@127.0.0.1:1/x", status=307)),
    "silent": silent,
}  # fmt: skip


@pytest.mark.parametrize("kind", LOUD)
def test_no_server_makes_us_show_what_authenticates_us(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[str] = []
    with caplog.at_level(logging.DEBUG), Server(LOUD[kind]) as server:
        for api in ("v3", "v2"):
            options: Any = {"api": api, "header_timeout": 0.05, "default_timeout": 0.2}
            with Client(server.endpoint, username="ann", password=PASSWORD, **options) as client:
                told += [repr(client), repr(client.v3), repr(client.v2)]
                for call in (
                    lambda c: c.v3.kv.get("k"),
                    lambda c: c.v3.auth.users.add("bob", PASSWORD),
                    lambda c: c.v2.users.add("bob", PASSWORD),
                    lambda c: c.v2.keys.get("k"),
                    lambda c: c.lock("l").acquire(blocking=False),
                ):
                    try:
                        call(client)
                    except EtcdRecipesError as error:
                        told += [repr(error), "".join(traceback.format_exception(error))]
    logged = "".join(str(vars(record)) for record in caplog.records)
    assert "http.request" in logged
    basic = "YW5uOnN3MHJkZmlzaC1vZi1hbGw="
    for secret in (PASSWORD, TOKEN, basic):
        assert secret not in logged
        # What a server says in an error of etcd's own is told; the sound one never says a password.
        assert secret not in "".join(told), [words for words in told if secret in words]


def test_what_a_server_repeats_of_our_headers_is_left_out() -> None:
    for text in (
        b"{'authorization': 'Basic YW5uOg==', 'x': 1}",
        b'"Authorization": [\n   "Bearer abc"\n]',
        b"Authorization: abc.5",
    ):
        assert not any(secret in excerpt(text) for secret in ("YW5", "abc"))
        assert "***" in excerpt(text)


def test_no_way_leads_from_https_to_http() -> None:
    with pytest.raises(ValueError, match="from https"):
        redirects.target("https://a:1", "/v2/keys/k", "http://a:1/v2/keys/k")
    assert redirects.target("http://a:1", "/x", "https://a:1/y") == ("https://a:1", "/y")
    assert not redirects.is_own("https://a:1", ["http://a:1"])


# -- what children see -----------------------------------------------------------------------------------------


def _command_lines(pid: int) -> str:
    found = []
    for number in tree(pid):
        try:
            found.append(Path("/proc", str(number), "cmdline").read_text())
        except OSError:
            continue
    return "\n".join(found)


LOOK = 'env; echo; ls -l /proc/self/fd; echo "umask $(umask)"; read line'


def test_a_command_sees_no_password_no_descriptors_and_nobody_sees_the_password(
    etcd: EtcdProcess, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text(PASSWORD)
    who = ("--user", "ann", "--password-file", str(secret))
    with running(etcd.endpoint, "lock", "hostile-child", *who, "--", "sh", "-c", LOOK) as process:
        lines = []
        while not (lines and lines[-1].startswith("umask")):
            lines.append(process.line())
        seen = "\n".join(lines)
        assert PASSWORD not in _command_lines(process.pid)
        process.process.communicate("\n", timeout=20)
    assert "ETCD_LOCK_TOKEN" in seen
    assert PASSWORD not in seen
    assert _only_its_own(lines)


def _only_its_own(lines: list[str]) -> bool:
    """Tell whether ``ls -l /proc/self/fd`` has seen nothing but stdin, stdout, stderr, and its own folder."""
    links = [line.partition(" -> ") for line in lines if " -> " in line]
    return bool(links) and {left.split()[-1] for left, _, _ in links} <= {"0", "1", "2", "3"}


# -- what can be reached -----------------------------------------------------------------------------------------------


def test_the_kit_listens_on_loopback_only(etcd: EtcdProcess) -> None:
    assert etcd.pid is not None
    assert only_on_loopback(listening(etcd.pid))
    with FaultProxy(etcd.endpoint) as proxy:
        port = int(proxy.endpoint.rpartition(":")[2])
        (place,) = (at for at in listening(os.getpid()) if at.endswith(f":{port:04X}"))
        assert only_on_loopback({place})


def test_the_server_command_listens_on_loopback_only_and_keeps_its_data_to_itself(
    tmp_path: Path,
) -> None:
    data = tmp_path / "data"
    command = (
        "server",
        "--data-dir",
        str(data),
        "--",
        "sh",
        "-c",
        "ls -l /proc/self/fd; echo; read l",
    )
    with running("", *command, before=("sh", "-c", 'umask 0; exec "$@"', "-")) as process:
        lines = list(iter(process.line, ""))
        assert _only_its_own(lines)
        assert only_on_loopback(listening(process.pid))
        assert [
            stat.S_IMODE(folder.stat().st_mode) for folder in (data, *_folders(process.pid))
        ] == [
            0o700,
            0o700,
        ]
        process.process.communicate("\n", timeout=20)


def _folders(pid: int) -> list[Path]:
    """Give the folders in which the servers below a process run."""
    found = [Path("/proc", str(number), "cwd").readlink() for number in tree(pid)]
    return [folder for folder in found if folder.name.startswith("etcd-recipes-")]


def test_a_password_file_may_be_a_pipe_and_is_no_disk(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.write(write, f"{PASSWORD}\n".encode())
    os.close(write)
    variables = {"ETCDCTL_USER": "ann", "ETCDCTL_PASSWORD_FILE": f"/dev/fd/{read}"}
    with Client.from_env(variables) as client:
        assert client._gateway._user == ("ann", PASSWORD)
    os.close(read)
    with pytest.raises(ValueError, match="not a secret"):
        Client.from_env(variables | {"ETCDCTL_PASSWORD_FILE": "/dev/zero"})


# -- the code ---------------------------------------------------------------------------------------------------

PACKAGE = Path(etcd_recipes.__file__).parent
SOURCES = {str(path.relative_to(PACKAGE)): path.read_text() for path in PACKAGE.rglob("*.py")}


def _which(pattern: str) -> set[str]:
    return {name for name, text in SOURCES.items() if re.search(pattern, text, re.MULTILINE)}


def test_nothing_that_is_read_is_ever_run() -> None:
    assert len(SOURCES) > 100
    assert _which(r"^ *(import|from) (pickle|marshal|shelve|dill|yaml|xmlrpc)\b") == set()
    assert _which(r"(?<![\w.])(eval|exec|__import__)\(") == set()
    assert _which(r"close_fds|pass_fds|preexec_fn|mktemp\(|os\.system|set_inheritable") == set()
    assert _which("shell=True") == {"cli/run/register.py"}  # the user's own check
    # A pipe between the command line and the guard that it has forked; its messages are pickled.
    assert _which("^ *from multiprocessing") == {"cli/run/guard.py", "cli/run/runner.py"}


def test_tls_is_verified_unless_somebody_says_not_to() -> None:
    import requests

    for client in (Client("https://h:1"), Client.from_url("etcds://h:1")):
        with client:
            context = client._cluster.wire._tls_for("https://h:1").current()  # type: ignore[union-attr]
            assert context.check_hostname
            assert context.verify_mode.name == "CERT_REQUIRED"
            assert context.minimum_version.name == "TLSv1_2"
            assert client._cluster.wire._session.trust_env is False
    assert load(requests.certs.where()).check_hostname


def test_an_endpoint_that_refuses_is_told_without_the_password(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with refusing() as endpoint, caplog.at_level(logging.DEBUG):
        with Client(endpoint, username="ann", password=PASSWORD) as client:
            with pytest.raises(EtcdRecipesError) as raised:
                client.v3.kv.get("k")
    assert PASSWORD not in "".join(traceback.format_exception(raised.value))
    assert PASSWORD not in "".join(str(vars(record)) for record in caplog.records)
