"""``status`` and ``doctor`` on real servers, sick and well."""

from __future__ import annotations

import json
import socket

import trustme

from etcd_recipes import Client
from etcd_recipes.testing import EtcdProcess, Tls
from tests.cli.looking import Cli, Ended
from tests.tools import QUICK


def findings(ended: Ended) -> dict[str, dict[str, str]]:
    return {f["what"].partition(" http")[0]: f for f in json.loads(ended.out)["findings"]}


def test_status_marks_what_does_not_answer(etcd: EtcdProcess, cli: Cli) -> None:
    well = cli("status")
    assert (well.status, well.err) == (0, "")
    assert "leader" in well.out
    sick = cli.at(f"{etcd.endpoint},http://127.0.0.1:1", "status", "-o", "json")
    document = json.loads(sick.out)
    assert sick.status == 1
    assert [each["ok"] for each in document["endpoints"]] == [True, False]
    assert document["endpoints"][0]["is_leader"] is True
    assert "does not answer: connection refused" in document["wrong"][0]
    assert "NO ANSWER" in cli.at("http://127.0.0.1:1", "status").out


def test_a_healthy_server_and_nothing_is_left_behind(
    etcd: EtcdProcess, client: Client, cli: Cli, name: str
) -> None:
    leases = client.v3.lease.list()
    ended = cli("doctor", "--prefix", name, "-o", "json")
    found = findings(ended)
    assert ended.status == 0, ended.out
    assert {"dns", "tcp", "server", "clock", "gateway", "auth", "lease", "ttl", "write", "watch",
            "below locks", "v2 api"} <= found.keys()  # fmt: skip
    assert {f["level"] for f in found.values()} <= {"ok", "warn"}
    assert client.v3.kv.range(name, prefix=True).count == 0
    assert client.v3.lease.list() == leases
    strict = cli("doctor", "--prefix", name, "--strict", "--ttl", "1")
    assert strict.status == 1
    assert "WARN   ttl: ttl 1 s" in strict.out
    assert cli("doctor", "--api", "v2", "--prefix", name).status == 0


def test_a_foreign_key_below_a_lock_is_found(client: Client, cli: Cli, name: str) -> None:
    client.lock(name).acquire()
    client.v3.kv.put(f"{name}/meta/x", "")
    found = findings(cli("doctor", "--prefix", name, "-o", "json"))["below locks"]
    assert found["level"] == "warn"
    assert f"{name}/meta/x" in found["result"]
    client.v3.kv.delete(f"{name}/meta/x")


def test_what_is_broken_is_named_and_nothing_hangs(cli: Cli, monkeypatch) -> None:
    from etcd_recipes.cli.view import endpoint

    monkeypatch.setattr(endpoint, "_LIMIT", 0.3)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1]
        where = f"http://127.0.0.1:1,http://no.such.host.invalid,http://127.0.0.1:{port}"
        ended = cli.at(where, "doctor", "-o", "plain")
    broken = [line.split("\t")[1] for line in ended.out.splitlines() if line.startswith("BROKEN")]
    assert ended.status == 2
    assert [each.partition(" ")[0] for each in broken] == ["tcp", "dns", "server"]


def test_certificates(cli: Cli, tmp_path) -> None:
    authority, other = trustme.CA(), trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    ca, wrong, cert, key = (tmp_path / n for n in ("ca", "wrong", "cert", "key"))
    authority.cert_pem.write_to_path(ca)
    other.cert_pem.write_to_path(wrong)
    issued.private_key_pem.write_to_path(key)
    issued.cert_chain_pems[0].write_to_path(cert)
    with EtcdProcess(tls=Tls(ca=ca, cert=cert, key=key)) as server:
        good = cli.at(server.endpoint, "--cacert", str(ca), "doctor", "-o", "json")
        assert good.status == 0, good.out
        assert "days more" in findings_of(good, "tls")["result"]
        bad = cli.at(server.endpoint, "--cacert", str(wrong), "doctor", "-o", "json")
        assert (bad.status, findings_of(bad, "tls")["level"]) == (2, "broken")
        assert "--cacert" in findings_of(bad, "tls")["remedy"]
        nobody = cli.at(server.endpoint, "doctor", "-o", "json")
        assert "not verified" in findings_of(nobody, "tls")["result"]


def findings_of(ended: Ended, what: str) -> dict[str, str]:
    return next(f for f in json.loads(ended.out)["findings"] if f["what"].startswith(what))


def test_users_and_rights(cli: Cli, name: str) -> None:
    cheap = ["--bcrypt-cost=4"]  # of the passwords
    with (
        EtcdProcess(extra_args=cheap, **QUICK) as server,
        Client(server.endpoint) as client,
    ):
        auth = client.v3.auth
        auth.users.add("root", "pw")
        auth.users.grant_role("root", "root")
        auth.users.add("app", "pw")
        auth.roles.add("app")
        auth.roles.grant("app", "mine/", prefix=True)
        auth.users.grant_role("app", "app")
        auth.enable()

        def doctor(*args: str) -> Ended:
            return cli.at(server.endpoint, "doctor", "-o", "json", *args)

        assert findings_of(doctor(), "auth")["remedy"] == "say --user NAME:PASSWORD"
        assert "role root" in findings_of(doctor("--user", "root:pw"), "auth")["result"]
        right = doctor("--user", "app:pw", "--prefix", "mine/")
        assert right.status == 0, right.out
        wrong = doctor("--user", "app:pw", "--prefix", "theirs/")
        assert wrong.status == 2
        assert "no right" in json.dumps(json.loads(wrong.out))
        assert "secret-pw" not in doctor("--user", "app:secret-pw").out
