"""TLS files: what is wrong with them is said at once, and what is new in them is used at once."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
import requests
from cryptography.hazmat.primitives import serialization

from etcd_recipes import Client
from etcd_recipes.core.context import Context
from etcd_recipes.core.errors import EndpointError
from etcd_recipes.core.http.action import Action, Reply
from etcd_recipes.core.http.tls import Tls, load
from etcd_recipes.core.http.wire import Wire, unverified_session
from tests.core.programs import run
from tests.core.servers import HANG_UP, Server, answer, echo, script
from tests.life.certificates import Authority


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("stranger"))


def server_side(authority: Authority, *, client_auth: bool = False) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("scripted"))
    if client_auth:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(authority.ca)
    return context


def ask(wire: Wire, endpoint: str, body: bytes = b"{}") -> Reply:
    return wire.exchange(endpoint, Action("/v3/x", body), Context(5.0), 2.0)


# -- what is wrong with a file -------------------------------------------------------------------------------


def encrypted(authority: Authority, folder: Path) -> tuple[str, str]:
    cert, key = authority.issue("encrypted")
    plain = serialization.load_pem_private_key(Path(key).read_bytes(), None)
    locked = folder / "locked.key"
    locked.write_bytes(
        plain.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"passphrase"),
        )
    )
    return cert, str(locked)


def cut_off(file: str, folder: Path) -> str:
    half = folder / "half.pem"
    text = Path(file).read_bytes()
    half.write_bytes(text[: len(text) // 2])
    return str(half)


Files = dict[str, str]
Case = Callable[[Authority, Path], tuple[Files, str, list[str]]]


def no_file(name: str) -> Case:
    def case(authority: Authority, folder: Path) -> tuple[Files, str, list[str]]:
        cert, key = authority.issue("client")
        files = {"ca": authority.ca, "cert": cert, "key": key} | {name: "/nowhere/x.pem"}
        return files, "/nowhere/x.pem", [f"{name}=", "cannot be read: No such file"]

    return case


def nonsense(name: str, *words: str) -> Case:
    def case(authority: Authority, folder: Path) -> tuple[Files, str, list[str]]:
        cert, key = authority.issue("client")
        file = folder / "nonsense.pem"
        file.write_text("Lorem ipsum\n")
        files = {"ca": authority.ca, "cert": cert, "key": key} | {name: str(file)}
        return files, str(file), [f"{name}=", *words]

    return case


def a_folder(authority: Authority, folder: Path) -> tuple[Files, str, list[str]]:
    cert, _ = authority.issue("client")
    return {"cert": cert, "key": str(folder)}, str(folder), ["key=", "Is a directory"]


def half_an_authority(authority: Authority, folder: Path) -> tuple[Files, str, list[str]]:
    file = cut_off(authority.ca, folder)
    return {"ca": file}, file, ["ca=", "is it whole?"]


def half_a_key(authority: Authority, folder: Path) -> tuple[Files, str, list[str]]:
    cert, key = authority.issue("client")
    file = cut_off(key, folder)
    return {"cert": cert, "key": file}, file, ["key=", "are they whole?"]


def key_missing(authority: Authority, folder: Path) -> tuple[Files, str, list[str]]:
    cert, _ = authority.issue("client")
    return {"cert": cert}, cert, ["no private key", "key="]


def cert_missing(authority: Authority, folder: Path) -> tuple[Files, str, list[str]]:
    _, key = authority.issue("client")
    return {"key": key}, key, ["of no use without cert="]


def mismatch(authority: Authority, folder: Path) -> tuple[Files, str, list[str]]:
    (cert, _), (_, key) = authority.issue("one"), authority.issue("two")
    return {"cert": cert, "key": key}, key, [cert, "does not belong to"]


def passphrase(authority: Authority, folder: Path) -> tuple[Files, str, list[str]]:
    cert, key = encrypted(authority, folder)
    return {"cert": cert, "key": key}, key, ["passphrase", "openssl pkey"]


CASES = {
    "no ca": no_file("ca"),
    "no cert": no_file("cert"),
    "no key": no_file("key"),
    "ca is something else": nonsense("ca", "no certificate in it"),
    "cert is something else": nonsense("cert", "no certificate in it"),
    "key is something else": nonsense("key", "no private key in it"),
    "key is a folder": a_folder,
    "half an authority": half_an_authority,
    "half a key": half_a_key,
    "cert without key": key_missing,
    "key without cert": cert_missing,
    "not a pair": mismatch,
    "passphrase": passphrase,
}


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_what_is_wrong_with_a_file_is_said_when_the_client_is_made(
    case: Case, authority: Authority, tmp_path: Path
) -> None:
    files, named, words = case(authority, tmp_path)
    with pytest.raises(ValueError, match=r".") as raised:
        Client("https://127.0.0.1:1", **files)  # type: ignore[arg-type]
    assert type(raised.value) is ValueError
    for word in [named, *words]:
        assert word in str(raised.value)


def test_nobody_is_asked_for_a_passphrase(authority: Authority, tmp_path: Path) -> None:
    """With a terminal at hand OpenSSL would ask on it, and wait."""
    program = """
    import os, pty, sys
    pid, terminal = pty.fork()
    if pid == 0:
        from etcd_recipes.core.http.tls import load
        try:
            load(None, *sys.argv[1:])
        except ValueError:
            os._exit(0)
        os._exit(1)
    said = b""
    try:
        while piece := os.read(terminal, 1000):
            said += piece
            if b"pass phrase" in said:
                break
    except OSError:
        pass  # the child has ended
    print(said.decode(), os.waitpid(pid, os.WNOHANG if b"pass phrase" in said else 0)[1])
    """
    assert run(program, *encrypted(authority, tmp_path)).strip() == "0"


def test_a_certificate_and_its_key_may_share_a_file(authority: Authority, tmp_path: Path) -> None:
    cert, key = authority.issue("client")
    both = tmp_path / "both.pem"
    both.write_bytes(Path(cert).read_bytes() + Path(key).read_bytes())
    with Server(echo, tls=server_side(authority, client_auth=True)) as server:
        wire = Wire(ca=authority.ca, cert=str(both))
        assert ask(wire, server.endpoint, b"x").body == b"x"
        wire.close()


def test_files_may_be_paths(authority: Authority) -> None:
    cert, key = authority.issue("client")
    with Server(echo, tls=server_side(authority, client_auth=True)) as server:
        wire = Wire(ca=Path(authority.ca), cert=Path(cert), key=Path(key))  # type: ignore[arg-type]
        assert ask(wire, server.endpoint, b"x").body == b"x"
        wire.close()


@pytest.mark.parametrize("verify", [True, False])
def test_tls_is_1_2_at_least_and_names_are_checked(authority: Authority, *, verify: bool) -> None:
    context = load(authority.ca if verify else None)
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.check_hostname is verify
    assert (context.verify_mode is ssl.CERT_REQUIRED) is verify


def test_a_file_of_the_users_own_session_is_an_error_of_the_call(tmp_path: Path) -> None:
    session = requests.Session()
    session.verify = str(tmp_path / "missing.pem")
    with Server(echo) as server:
        wire = Wire(session)
        with pytest.raises(EndpointError, match=r"missing\.pem' cannot be read") as raised:
            ask(wire, f"https://localhost:{server.port}")
        assert not raised.value.maybe_applied
        assert server.accepted == 0
        wire.close()


def test_what_nobody_verifies_is_said_in_the_log(
    authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    with Server(echo, tls=server_side(authority)) as server:
        wire = Wire(unverified_session())
        for _ in range(3):
            assert ask(wire, server.endpoint, b"x").body == b"x"
        wire.close()
    assert [record.getMessage() for record in caplog.records].count("tls.unverified") == 1


# -- what is new in a file -----------------------------------------------------------------------------------


def replace(file: str, by: str) -> None:
    """Put a file in the place of another, as one step."""
    fresh = Path(f"{file}.fresh")
    fresh.write_bytes(Path(by).read_bytes())
    fresh.rename(file)


@pytest.fixture
def own(authority: Authority, tmp_path: Path) -> dict[str, str]:
    """Copies of an authority's file, a certificate and a key, to be replaced."""
    cert, key = authority.issue("client")
    files = {"ca": authority.ca, "cert": cert, "key": key}
    own = {name: str(tmp_path / f"{name}.pem") for name in files}
    for name, file in files.items():
        replace(own[name], file)
    return own


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name.endswith(".http")]


def test_files_that_stay_are_loaded_once(own: dict[str, str]) -> None:
    tls = Tls(**own)
    assert tls.current() is tls.current()


@pytest.mark.parametrize("name", ["ca", "cert", "key"])
def test_files_that_change_are_loaded_again(
    own: dict[str, str], name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "etcd_recipes")
    tls = Tls(**own)
    before = tls.current()
    replace(own[name], own[name])  # the same words in another file
    after = tls.current()
    assert before is not after
    assert after is tls.current()
    assert messages(caplog) == ["tls.reloaded"]


def test_a_link_that_leads_elsewhere_is_a_change(
    own: dict[str, str], authority: Authority, tmp_path: Path
) -> None:
    """As Kubernetes does it: a link to a folder is replaced, the files' own names stay."""
    for number in (1, 2):
        (tmp_path / str(number)).mkdir()
        for name, file in own.items():
            replace(str(tmp_path / str(number) / f"{name}.pem"), file)
    data = tmp_path / "..data"
    data.symlink_to("1")
    tls = Tls(**{name: str(data / f"{name}.pem") for name in own})
    before = tls.current()
    fresh = tmp_path / "fresh"
    fresh.symlink_to("2")
    fresh.rename(data)
    assert tls.current() is not before


@pytest.mark.parametrize("trouble", ["away", "half", "another key"])
def test_what_worked_goes_on_working_while_a_file_is_no_good(
    own: dict[str, str],
    trouble: str,
    authority: Authority,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "etcd_recipes")
    tls = Tls(**own)
    before = tls.current()
    key = Path(own["key"])
    good = key.read_bytes()
    if trouble == "away":
        key.unlink()
    else:
        other = cut_off(own["key"], tmp_path) if trouble == "half" else authority.issue("new")[1]
        replace(own["key"], other)
    assert [tls.current() for _ in range(3)] == [before] * 3
    assert messages(caplog) == ["tls.reload_failed"]
    assert own["key"] in caplog.records[-1].error  # type: ignore[attr-defined]
    key.write_bytes(good)
    after = tls.current()
    assert after is not before
    assert tls.current() is after
    assert messages(caplog) == ["tls.reload_failed", "tls.reloaded"]
    key.unlink()
    tls.current()
    assert messages(caplog)[2:] == ["tls.reload_failed"]  # another trouble is said again


def test_a_kept_connection_of_the_files_before_is_not_used_again(
    own: dict[str, str], authority: Authority
) -> None:
    with Server(echo, tls=server_side(authority, client_auth=True)) as server:
        wire = Wire(**own)
        for _ in range(3):
            ask(wire, server.endpoint)
        assert server.accepted == 1
        cert, key = authority.issue("next")
        replace(own["key"], key)
        ask(wire, server.endpoint)
        assert server.accepted == 1  # the pair does not fit yet
        replace(own["cert"], cert)
        for _ in range(3):
            ask(wire, server.endpoint)
        assert server.accepted == 2
        wire.close()


def test_a_new_authority_is_trusted_and_the_old_one_is_not(
    own: dict[str, str], authority: Authority, stranger: Authority
) -> None:
    wire = Wire(ca=own["ca"])
    with (
        Server(echo, tls=server_side(authority)) as old,
        Server(echo, tls=server_side(stranger)) as new,
    ):
        ask(wire, old.endpoint)
        with pytest.raises(EndpointError, match="check ca="):
            ask(wire, new.endpoint)
        replace(own["ca"], stranger.ca)
        ask(wire, new.endpoint)
        with pytest.raises(EndpointError, match="check ca="):
            ask(wire, old.endpoint)  # over a new connection, for the kept one was of the old files
        wire.close()


def test_a_forked_child_loads_the_files_again_and_makes_do_without_them(
    own: dict[str, str], authority: Authority
) -> None:
    """Another thread may have been inside the parent's context; and a child may have lost the right to read."""
    program = """
    import os, sys, warnings
    warnings.simplefilter("ignore", DeprecationWarning)
    from etcd_recipes.core.context import Context
    from etcd_recipes.core.http.action import Action
    from etcd_recipes.core.http.wire import Wire
    endpoint, ca, cert, key = sys.argv[1:]
    wire = Wire(ca=ca, cert=cert, key=key)
    (tls,) = wire._tls.values()
    parents = tls.current()

    def ask(text):
        reply = wire.exchange(endpoint, Action("/", text.encode()), Context(5.0), 2.0)
        assert reply.body.decode() == text

    def child(text, fresh):
        if (pid := os.fork()) == 0:
            ask(text)
            os._exit((tls.current() is not parents) is not fresh)
        assert os.waitpid(pid, 0)[1] == 0, text

    ask("parent")
    child("fresh", True)
    os.unlink(key)
    child("inherited", False)
    print("through")
    """
    with Server(echo, tls=server_side(authority, client_auth=True)) as server:
        assert run(program, server.endpoint, *own.values()) == "through\n"


# -- whether the request was sent ------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [10, 3_000_000])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("whose", ["nobody's", "a stranger's"])
def test_a_server_that_refuses_the_clients_certificate_has_not_acted(
    size: int, version: ssl.TLSVersion, whose: str, authority: Authority, stranger: Authority
) -> None:
    """With TLS 1.3 the client has sent its request by then, or is still at it when the server hangs up."""
    context = server_side(authority, client_auth=True)
    context.minimum_version = context.maximum_version = version
    cert, key = stranger.issue("client")
    files = {} if whose == "nobody's" else {"cert": cert, "key": key}
    with Server(echo, tls=context) as server:
        wire = Wire(ca=authority.ca, **files)  # type: ignore[arg-type]
        for _ in range(10):
            with pytest.raises(EndpointError, match="refused the client's certificate") as raised:
                ask(wire, server.endpoint, b"x" * size)
            assert not raised.value.maybe_applied
            assert "cert= and key=" in str(raised.value)
        wire.close()
    assert server.requests == []


def test_a_connection_that_ends_after_the_request_leaves_it_open_what_happened(
    authority: Authority,
) -> None:
    with Server(script(HANG_UP), tls=server_side(authority)) as server:
        wire = Wire(ca=authority.ca)
        with pytest.raises(EndpointError, match="closed without an answer") as raised:
            ask(wire, server.endpoint)
        wire.close()
    assert raised.value.maybe_applied


def test_https_to_a_server_without_tls_says_so(authority: Authority) -> None:
    with Server(lambda peer: peer.send(answer(status=400))) as server:
        wire = Wire(ca=authority.ca)
        with pytest.raises(EndpointError, match="is the endpoint http") as raised:
            ask(wire, f"https://localhost:{server.port}")
        wire.close()
    assert not raised.value.maybe_applied
