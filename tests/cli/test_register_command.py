"""``etcd-recipes register`` as people run it: real processes, real signals, a real etcd."""

from __future__ import annotations

import signal

import pytest

from etcd_recipes import Client
from etcd_recipes.cli import main
from etcd_recipes.testing import EtcdProcess
from tests.cli.running import running
from tests.tools import eventually

ALL = ("--id", "a", "--weight", "3", "--zone", "z", "--meta", "k=v", "--meta", "url=a=b")


def test_an_instance_is_registered_while_the_command_runs(
    etcd: EtcdProcess, client: Client, name: str
) -> None:
    words = ("register", name, "--addr", "10.0.0.7:80", *ALL)
    registry = client.registry()
    with running(etcd.endpoint, *words, "sh", "-c", "echo up; cat; exit 6") as runner:
        assert runner.line() == "up"
        (instance,) = registry.instances(name)
        assert (instance.id, instance.address) == ("a", "10.0.0.7:80")
        assert (instance.weight, instance.zone) == (3, "z")
        assert instance.metadata == {"k": "v", "url": "a=b"}
        runner.end_stdin()
        assert runner.wait() == 6
    assert registry.instances(name) == ()


def test_before_the_command_hears_of_its_end_its_clients_do(
    etcd: EtcdProcess, client: Client, name: str
) -> None:
    registry = client.registry()
    script = "trap 'echo term; read x; exit 0' TERM; echo up; while :; do sleep 0.02; done"
    words = ("register", "--addr", "h:1", "--drain", "600", name, "sh", "-c", script)
    with running(etcd.endpoint, *words) as runner:
        assert runner.line() == "up"
        runner.signal(signal.SIGTERM)
        eventually(lambda: [i.draining for i in registry.instances(name, draining=True)] == [True])
        runner.signal(signal.SIGTERM)  # somebody is in a hurry
        assert runner.line() == "term"
        assert len(registry.instances(name, draining=True)) == 1, "it still works"
        runner.say("\n")
        assert runner.wait() == 0
    assert registry.instances(name, draining=True) == ()


def test_without_a_command_it_is_listed_while_its_check_passes(
    etcd: EtcdProcess, client: Client, name: str, tmp_path
) -> None:
    registry = client.registry()
    fine = tmp_path / "fine"
    words = ("--addr", "[::1]:80", "--ttl", "2", "--check", f"test -e {fine} || sleep 600")
    with running(etcd.endpoint, "register", name, *words, "--check-timeout", "0.1", "-v") as runner:
        assert runner.error_line().startswith(f"etcd-recipes: registered {name}/")
        assert registry.instances(name) == ()
        fine.touch()
        eventually(lambda: registry.instances(name))
        fine.unlink()
        eventually(lambda: not registry.instances(name))
        runner.signal(signal.SIGTERM)
        assert runner.wait() == 0


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--addr", "h"), "'h' is not HOST:PORT"),
        (("--addr", ":80"), "':80' is not HOST:PORT"),
        (("--addr", "h:99999"), "'h:99999' is not HOST:PORT"),
        ((), "Missing option '--addr'"),
        (("--addr", "h:1", "--meta", "x"), "'x' is not KEY=VALUE"),
        (("--addr", "h:1", "--ttl", "0"), "ttl"),
        (("--addr", "h:1", "--codec", "xml"), "'xml' is not"),
    ],
)
def test_a_wrong_value_is_a_usage_error(capsys, words: tuple[str, ...], sentence: str) -> None:
    assert main.run(["register", "api", *words]) == 2
    assert sentence in capsys.readouterr().err
