"""A client of real servers that speak TLS: 3.5.1 speaks TLS 1.2, and 3.4.23 as Debian builds it TLS 1.3."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from etcd_recipes import Client, ClusterError, Context, DeadlineExceeded
from etcd_recipes.testing import EtcdCluster, EtcdProcess
from tests.life.certificates import Authority
from tests.tools import QUICK, Job, eventually


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("stranger"))


@pytest.fixture(scope="module")
def tls(authority: Authority) -> Iterator[EtcdProcess]:
    with EtcdProcess(tls=authority.server(), enable_v2=True) as server:
        yield server


@pytest.fixture(scope="module")
def mutual(authority: Authority) -> Iterator[EtcdProcess]:
    """A server that wants certificates of its clients."""
    with EtcdProcess(tls=authority.server(client_auth=True), enable_v2=True) as server:
        yield server


@pytest.fixture
def own(authority: Authority, tmp_path: Path) -> dict[str, str]:
    """The files of one client, in a folder of their own."""
    return install(authority, tmp_path)


def install(authority: Authority, folder: Path) -> dict[str, str]:
    """Put an authority, a certificate and a key into the folder, each in one step."""
    cert, key = authority.issue("client")
    own = {}
    for name, file in {"ca": authority.ca, "cert": cert, "key": key}.items():
        fresh = folder / f"{name}.fresh"
        fresh.write_bytes(Path(file).read_bytes())
        own[name] = str(fresh.rename(folder / f"{name}.pem"))
    return own


# -- everything works -----------------------------------------------------------------------------------------


def test_calls_locks_and_feeds_work(
    tls: EtcdProcess, mutual: EtcdProcess, own: dict[str, str]
) -> None:
    """With and without a certificate of the client's, on both stores, all at the same time."""
    jobs = [
        Job(partial(calls_locks_and_feeds_work, server.endpoint, f"{kind}-{api}", api=api, **files))
        for kind, server, files in (("tls", tls, {"ca": own["ca"]}), ("mutual", mutual, own))
        for api in ("v3", "v2")
    ]
    for job in jobs:
        job.result(40)


def calls_locks_and_feeds_work(endpoint: str, name: str, **options: Any) -> None:
    with Client(endpoint, **options) as client, Client(endpoint, **options) as other:
        client.v3.kv.put("greeting", "hello")
        found = other.v3.kv.get("greeting")
        assert found is not None
        assert found.text == "hello"
        with client.lock(name, ttl=2) as hold:
            waiting = Job(lambda: other.lock(name).acquire(timeout=20))
            hold.sleep(2.5)  # longer than the ttl
            eventually(lambda: client.lock(name).waiters())
            assert waiting.running
        assert waiting.result().release()
        registry = client.registry(name)
        with registry.follow("api") as view, other.registry(name).register("api", "10.0.0.7:80"):
            view.wait_for(1, timeout=10)


def test_calls_go_on_when_a_member_dies(authority: Authority, own: dict[str, str]) -> None:
    with (
        EtcdCluster(3, tls=authority.server(client_auth=True)) as cluster,
        Client(cluster.endpoints, **own) as client,  # type: ignore[arg-type]
        client.lock("jobs", ttl=10) as hold,
        client.registry().follow("api") as view,
    ):
        pinned = client._cluster.pinned
        next(member for member in cluster.members if member.endpoint == pinned).kill()
        eventually(lambda: put(client), timeout=15, what="a write to the rest")
        registration = client.registry().register("api", "10.0.0.7:80")
        view.wait_for(1, timeout=20)
        registration.close()
        hold.check()


def put(client: Client) -> bool:
    try:
        client.v3.kv.put("a", "b", timeout=3)
    except (ClusterError, DeadlineExceeded):
        return False
    return True


# -- what goes wrong, and whether the write was sent ------------------------------------------------------------


def refusal(endpoint: str, **options: object) -> ClusterError:
    with Client(endpoint, default_timeout=5, **options) as client:  # type: ignore[arg-type]
        with pytest.raises(ClusterError) as raised:
            client.v3.kv.put("forbidden", "fruit")
        return raised.value


def test_an_authority_that_nobody_knows(tls: EtcdProcess, stranger: Authority) -> None:
    error = refusal(tls.endpoint, ca=stranger.ca)
    assert "certificate was not accepted" in str(error)
    assert "check ca=" in error.detail()
    assert not error.maybe_applied


def test_a_server_without_a_word_from_a_known_authority(tls: EtcdProcess) -> None:
    assert "check ca=" in refusal(tls.endpoint).detail()


@pytest.mark.parametrize("whose", ["none", "a stranger's", "expired"])
def test_a_client_whose_certificate_the_server_does_not_take(
    whose: str, mutual: EtcdProcess, authority: Authority, stranger: Authority
) -> None:
    """3.4.23 speaks TLS 1.3 and refuses when the request was sent; it has not acted all the same."""
    pair = {"none": (None, None), "a stranger's": stranger.issue("c")}.get(whose)
    cert, key = pair or authority.expired("expired")
    error = refusal(mutual.endpoint, ca=authority.ca, cert=cert, key=key)
    assert "refused the client's certificate, or the lack of one" in error.detail()
    assert not error.maybe_applied


def test_a_server_whose_certificate_is_for_another_name_or_has_expired(
    authority: Authority,
) -> None:
    other, expired = authority.issue("other", "etcd.example"), authority.expired("old")
    for (cert, key), words in (
        (other, "a name for the endpoint"),
        (expired, "have the certificate renewed"),
    ):
        files = replace(authority.server(), cert=cert, key=key)
        with EtcdProcess(tls=files, **QUICK) as server:
            error = refusal(server.endpoint, ca=authority.ca)
        assert "certificate was not accepted" in error.detail()
        assert words in error.detail()
        assert not error.maybe_applied


def test_http_for_https_and_https_for_http(
    tls: EtcdProcess, etcd: EtcdProcess, authority: Authority
) -> None:
    error = refusal(tls.endpoint.replace("https", "http"))
    assert "if it speaks TLS, the endpoint is https" in error.detail()
    error = refusal(etcd.endpoint.replace("http", "https"), ca=authority.ca)
    assert "is the endpoint http?" in error.detail()
    assert not error.maybe_applied


def test_a_server_that_is_stopped_in_the_handshake_is_left_after_the_header_timeout(
    authority: Authority,
) -> None:
    with (
        EtcdCluster(3, tls=authority.server()) as cluster,
        Client(cluster.endpoints, ca=authority.ca, header_timeout=0.5) as client,
    ):
        pinned = client._cluster.pinned
        stopped = next(member for member in cluster.members if member.endpoint == pinned)
        stopped.pause()
        eventually(lambda: put(client), timeout=15)
        assert client._cluster.pinned != pinned
        stopped.resume()


def test_the_deadline_holds_in_a_handshake_with_a_stopped_server(authority: Authority) -> None:
    with EtcdProcess(tls=authority.server(), **QUICK) as server:
        server.pause()
        with Client(server.endpoint, ca=authority.ca, header_timeout=None) as client:
            ctx = Context(0.5)
            with pytest.raises(DeadlineExceeded) as raised:
                client.v3.kv.put("a", "b", ctx=ctx)
            assert not raised.value.maybe_applied


# -- certificates that change -----------------------------------------------------------------------------------


def test_a_client_lives_through_the_change_of_every_certificate(
    tmp_path: Path, authority: Authority
) -> None:
    """The server comes back under another authority; the client's files follow. The client stays."""
    first, second = Authority(tmp_path / "first"), Authority(tmp_path / "second")
    files = first.server(client_auth=True)
    (tmp_path / "client").mkdir()
    own = install(first, tmp_path / "client")
    with EtcdProcess(tls=files) as server, Client(server.endpoint, **own) as client:  # type: ignore[arg-type]
        hold = client.lock("jobs", ttl=20).acquire()
        assert hold is not None
        with client.registry().follow("api") as view:
            server.stop()
            cert, key = second.issue("server")
            for ours, theirs in ((files.ca, second.ca), (files.cert, cert), (files.key, key)):
                Path(ours).write_bytes(Path(theirs).read_bytes())
            server.start()
            with pytest.raises(ClusterError, match="check ca="):
                client.v3.kv.put("a", "b")
            install(second, tmp_path / "client")
            client.v3.kv.put("a", "b")  # at once, by the same client
            client.registry().register("api", "10.0.0.7:80")
            view.wait_for(1, timeout=20)
        assert hold.is_held
        assert hold.release()


def test_a_certificate_that_is_no_good_any_more_is_not_hidden_by_a_kept_connection(
    mutual: EtcdProcess, authority: Authority, stranger: Authority, tmp_path: Path
) -> None:
    own = install(authority, tmp_path)
    with Client(mutual.endpoint, **own) as client:  # type: ignore[arg-type]
        client.v3.kv.put("a", "b")
        install(stranger, tmp_path)
        install_ca(authority, tmp_path)
        with pytest.raises(ClusterError, match="refused the client's certificate"):
            client.v3.kv.put("a", "b")
        install(authority, tmp_path)
        client.v3.kv.put("a", "b")


def install_ca(authority: Authority, folder: Path) -> None:
    fresh = folder / "ca.fresh"
    fresh.write_bytes(Path(authority.ca).read_bytes())
    fresh.rename(folder / "ca.pem")


def test_a_file_that_is_away_for_a_moment_ends_nothing(
    mutual: EtcdProcess, own: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    with Client(mutual.endpoint, **own) as client:  # type: ignore[arg-type]
        client.v3.kv.put("a", "b")
        Path(own["key"]).rename(own["key"] + ".away")
        for _ in range(3):
            client._cluster._wire.close()  # so that each call makes a connection
            client.v3.kv.put("a", "b")
        Path(own["key"] + ".away").rename(own["key"])
        client.v3.kv.put("a", "b")
    said = [record.getMessage() for record in caplog.records]
    assert said.count("tls.reload_failed") == 1


# -- the settings that lead there -------------------------------------------------------------------------------


def test_etcdctls_environment_leads_to_a_tls_server(
    mutual: EtcdProcess, own: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    environ = {
        "ETCDCTL_ENDPOINTS": urlsplit(mutual.endpoint).netloc,
        "ETCDCTL_CACERT": own["ca"],
        "ETCDCTL_CERT": own["cert"],
        "ETCDCTL_KEY": own["key"],
        "ETCDCTL_COMMAND_TIMEOUT": "3s",
    }
    with Client.from_env(environ) as client:
        assert client.endpoints == (mutual.endpoint,)
        client.v3.kv.put("a", "b")
    blind = environ | {"ETCDCTL_INSECURE_SKIP_TLS_VERIFY": "true", "ETCDCTL_CACERT": "/nowhere"}
    with Client.from_env(blind) as client:
        client.v3.kv.put("a", "b")
    assert "tls.unverified" in [record.getMessage() for record in caplog.records]


def test_a_url_leads_to_a_tls_server(mutual: EtcdProcess, own: dict[str, str]) -> None:
    files = "&".join(f"{name}={file}" for name, file in own.items())
    url = f"etcds://{urlsplit(mutual.endpoint).netloc}/apps/blue?timeout=3&ttl=7&{files}"
    with Client.from_url(url) as client, client.lock("jobs") as hold:
        assert hold.key.startswith("apps/blue/jobs/")
        assert hold.session.ttl == 7
        assert json.loads(client.lock("jobs").holder().value)["pid"]  # type: ignore[union-attr]
