"""``discover``, ``barrier``, ``watch`` and ``server``."""

from __future__ import annotations

import json
import signal
import subprocess

import pytest

from etcd_recipes import Client
from etcd_recipes.testing import EtcdProcess, FaultProxy, find_etcdctl
from tests.cli.looking import Cli
from tests.cli.running import ME, environment, running
from tests.tools import eventually


def test_discover_once(client: Client, cli: Cli, name: str) -> None:
    nobody = cli("discover", "api", "--prefix", name, "-o", "json")
    assert (nobody.status, json.loads(nobody.out)["instances"]) == (1, [])
    with client.registry(name).register("api", "10.0.0.7:80", zone="eu") as registration:
        assert "10.0.0.7:80" in cli("discover", "api", "--prefix", name).out
        assert "API_COUNT=1" in cli("discover", "api", "--prefix", name, "-o", "env").out
        registration.drain()
        assert cli("discover", "api", "--prefix", name).status == 1
        assert "draining" in cli("discover", "api", "--prefix", name, "--all").out
    assert cli("discover", "api", "--watch", "-o", "env").status == 2


def test_discover_prints_changes(etcd: EtcdProcess, client: Client, name: str) -> None:
    first = client.registry(name).register("api", "a:1", id="i1")
    with running(etcd.endpoint, "discover", "api", "--prefix", name, "--watch") as process:
        assert process.line().split("\t")[:3] == ["added", "i1", "a:1"]
        second = client.registry(name).register("api", "a:2", id="i2")
        assert process.line().startswith("added\ti2")
        first.close()
        assert process.line().startswith("removed\ti1")
        second.drain()
        assert process.line().startswith("removed\ti2")  # it takes no more work
        second.close()  # which is no news: it was not listed any more
        with client.registry(name).register("api", "a:3", id="i3"):
            assert process.line().startswith("added\ti3")
            process.signal(signal.SIGTERM)
            assert process.wait() == 143


def test_barrier_holds_waits_and_releases(etcd: EtcdProcess, cli: Cli, name: str) -> None:
    assert cli("barrier", name, "wait").status == 0
    assert cli("barrier", name, "hold").status == 0
    again = cli("barrier", name, "hold")
    assert (again.status, "closed already" in again.err) == (0, True)
    late = cli("barrier", name, "wait", "-w", "0.05")
    assert (late.status, "not open within 0.05 s" in late.err) == (124, True)
    assert cli("barrier", name, "hold", "-w", "1").status == 2
    with running(etcd.endpoint, "barrier", name, "wait") as process:
        assert process.process.poll() is None
        assert cli("barrier", name, "release").status == 0
        assert process.wait() == 0
    assert "open already" in cli("barrier", name, "release").err


def test_watch_goes_on_through_an_outage(etcd: EtcdProcess, client: Client, name: str) -> None:
    first = client.v3.kv.put(f"{name}/a", b"\xff\n").revision
    with FaultProxy(etcd.endpoint) as proxy:
        arguments = ("watch", name, "--rev", str(first), "-o", "json")
        with running(proxy.endpoint, *arguments) as process:
            seen = json.loads(process.line())
            assert (seen["revision"], seen["value_base64"]) == (first, "/wo=")
            proxy.refuse()
            client.v3.kv.delete(f"{name}/a")
            proxy.heal()
            gone = json.loads(process.line())
            assert (gone["type"], gone["key"]) == ("DELETE", f"{name}/a")
            process.signal(signal.SIGINT)
            assert process.wait() == 130


def test_watch_on_v2(etcd: EtcdProcess, name: str) -> None:
    with Client(etcd.endpoint, api="v2") as client:
        index = client.v2.keys.set(f"/{name}/a", "x\ty").node.modified_index
        client.v2.keys.set(f"/{name}-other", "no")
        client.v2.keys.delete(f"/{name}/a")
    arguments = ("watch", f"{name}/", "--api", "v2", "--rev", str(index))
    with running(etcd.endpoint, *arguments) as process:
        assert process.line() == f"{index}\tPUT\t/{name}/a\tx\\ty"
        assert process.line().split("\t")[1] == "DELETE"


def test_watch_says_what_it_cannot_tell(client: Client, etcd: EtcdProcess, name: str) -> None:
    old = client.v3.kv.put(name, "1").revision
    now = client.v3.kv.put(name, "2").revision
    client.v3.kv.compact(now)
    with running(etcd.endpoint, "watch", name, "--rev", str(old)) as process:
        assert "does not keep the changes before" in process.error_line()
        assert process.line() == f"{now}\tPUT\t{name}\t2"


def test_a_reader_that_goes_away_is_no_error(etcd: EtcdProcess, client: Client, name: str) -> None:
    first = client.v3.kv.put(name, "1").revision
    for number in range(3):
        client.v3.kv.put(name, str(number))
    command = " ".join([*ME, "watch", name, "--rev", str(first), "|", "head", "-1"])
    with subprocess.Popen(
        ["sh", "-c", command],
        env=environment(etcd.endpoint),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as done:
        # It learns of that when it writes the next line.
        eventually(lambda: client.v3.kv.put(name, "more") and done.poll() is not None, 20)
        out, err = done.communicate()
    assert (done.returncode, out, err) == (0, f"{first}\tPUT\t{name}\t1\n".encode(), b"")


# -- server ------------------------------------------------------------------------------------------------


def test_server_runs_a_command_and_keeps_its_data(cli: Cli, tmp_path) -> None:
    data, etcdctl = str(tmp_path / "d"), str(find_etcdctl())
    first = cli("server", "--data-dir", data, "--", "sh", "-c", '"$0" put a b; exit 9', etcdctl)
    assert first.status == 9, first.err
    assert "for development" in first.err
    look = 'test "$("$0" get a --print-value-only)" = b && kill -TERM $$'
    again = cli("server", "--data-dir", data, "--", "sh", "-c", look, etcdctl)
    assert again.status == 128 + signal.SIGTERM, again.err
    assert cli("server", "/no/such/command").status == 127


def test_server_stands_until_a_signal(cli: Cli) -> None:
    with running("", "server") as process:
        line = process.line()
        endpoint = line.removeprefix("export ETCDCTL_ENDPOINTS=")
        assert endpoint != line
        assert cli.at(endpoint, "status").status == 0
        port = endpoint.rpartition(":")[2]
        taken = cli("server", "--port", port)
        assert (taken.status, f"port {port} is taken" in taken.err) == (125, True)
        process.signal(signal.SIGTERM)
        assert process.wait() == 0
    assert cli.at(endpoint, "status").status == 1


@pytest.mark.parametrize("arguments", [("--port", "0"), ("--nonsense", "x")])
def test_servers_silly_arguments(cli: Cli, arguments: tuple[str, ...]) -> None:
    assert cli("server", *arguments).status in (2, 127)
