"""``locks`` and ``break`` against holders that are there."""

from __future__ import annotations

import json
import subprocess

import pytest

from etcd_recipes import Client, LockLost
from etcd_recipes.cli.view import evict
from etcd_recipes.testing import EtcdProcess, find_etcdctl
from tests.cli.looking import Cli
from tests.cli.running import running
from tests.tools import Job, eventually


@pytest.fixture(params=["v3", "v2"])
def api(request: pytest.FixtureRequest) -> str:
    return request.param


def test_everything_that_is_held_is_listed(etcd: EtcdProcess, cli: Cli, api, name: str) -> None:
    with Client(etcd.endpoint, api=api) as one, Client(etcd.endpoint, api=api) as two:
        one.lock(f"{name}/lock").acquire()
        one.rwlock(f"{name}/rw").read().acquire()
        one.semaphore(f"{name}/sem", permits=3, weight=2).acquire()
        one.election(f"{name}/elect", value="web-1").campaign()
        one.barrier(f"{name}/gate", ttl=15).hold()
        one.barrier(f"{name}/open").hold()
        one.barrier(f"{name}/open").release()
        one.latch(f"{name}/latch", count=2).count_down()
        one.registry(f"{name}/services").register("api", "a:1")
        party = Job(lambda: one.double_barrier(f"{name}/phase", parties=2).enter())
        waiter = Job(lambda: two.lock(f"{name}/lock").acquire())
        eventually(lambda: "waits 1st" in cli("locks", f"{name}/lock", "--api", api).out)
        eventually(lambda: "phase" in cli("locks", f"{name}/phase", "--api", api).out)

        found = json.loads(cli("locks", name, "--api", api, "-o", "json").out)
        there = {t["name"].removeprefix(f"{name}/"): t for t in found["things"]}
        assert {n: (t["kind"], t["state"]) for n, t in there.items()} == {
            "lock": ("lock", "held"),
            "rw": ("rwlock", "held"),
            "sem": ("semaphore", "2 of 3 taken"),
            "elect": ("election", "led"),
            "gate": ("barrier", "closed"),
            "open": ("barrier", "open"),
            "latch": ("latch", "1 to come"),
            "services/api": ("service", "1 of 1 ready"),
            "phase": ("double-barrier", "1 of 2 came"),
        }
        (holder,), (waiting,) = there["lock"]["holders"], there["lock"]["waiters"]
        assert 0 < holder["ttl"] <= 15
        assert holder["token"] < waiting["token"]
        assert holder["who"].count("/") == 2

        table = cli("locks", name, "--api", api).out
        assert "\x1b" not in table  # a pipe
        assert "waits 1st" in table
        assert f"{name}/lock" in cli("locks", "--api", api).out  # of everything, without a prefix
        plain = cli("locks", name, "--api", api, "-o", "plain").out.splitlines()
        assert {line.count("\t") for line in plain} == {9}
        one.double_barrier(f"{name}/phase", parties=2)
        two.double_barrier(f"{name}/phase", parties=2).enter(timeout=10)
        party.result()
        one.close()
        waiter.result()


def test_strangers_are_listed_only_if_asked_for(client: Client, cli: Cli, name: str) -> None:
    client.v3.kv.put(f"{name}/x", "1")
    nothing = cli("locks", name)
    assert (nothing.status, nothing.out) == (0, "")
    assert "1 keys are not ours (--all)" in nothing.err
    assert f"{name}/x" in cli("locks", name, "--all").out
    client.v3.kv.delete(f"{name}/x")


def test_etcdctls_lock_counts(etcd: EtcdProcess, client: Client, cli: Cli, name: str) -> None:
    with running(etcd.endpoint, "lock", name) as ours:
        ours.line()
        theirs = subprocess.Popen(
            [find_etcdctl(), "--endpoints", etcd.endpoint, "lock", name],
            stdout=subprocess.DEVNULL,
            env={"ETCDCTL_API": "3"},
        )
        try:
            eventually(lambda: "waits 1st" in cli("locks", name).out)
            taken = cli("break", name, "--all", "--yes")
            assert taken.status == 0
            assert "etcdctl and Go's clients do not notice" in taken.err
        finally:
            theirs.kill()
            theirs.wait()


# -- break -------------------------------------------------------------------------------------------------


def test_break_takes_it_from_the_holder_who_notices(etcd, cli: Cli, api, name: str) -> None:
    with (
        Client(etcd.endpoint, api=api, session_ttl=2) as one,
        Client(etcd.endpoint, api=api) as two,
    ):
        hold = one.lock(name).acquire()
        waiter = Job(lambda: two.lock(name).acquire())
        eventually(lambda: one.lock(name).waiters())
        refused = cli("break", name, "--api", api)
        assert (refused.status, "say --yes" in refused.err) == (2, True)
        assert hold.is_held
        taken = cli("break", name, "--api", api, "-y")
        assert taken.status == 0, taken.err
        assert "its hold is lost within" in taken.err
        assert waiter.result().is_held
        eventually(hold.lost.is_set, 3)


def test_break_by_token_and_all(client: Client, cli: Cli, etcd, name: str) -> None:
    hold = client.lock(name).acquire()
    with Client(etcd.endpoint) as two:
        waiter = Job(lambda: two.lock(name).acquire())
        (waiting,) = eventually(lambda: client.lock(name).waiters())
        assert cli("break", name, "--token", "1", "-y").status == 1
        assert cli("break", name, "--token", str(waiting.token), "-y").status == 0
        with pytest.raises(LockLost):
            waiter.result()
        assert hold.is_held
        order = cli("break", name, "--all", "-y")
        assert order.status == 0
        nobody = cli("break", name, "-y")
        assert (nobody.status, "nobody holds" in nobody.err) == (1, True)
    assert cli("break", name, "--all", "--token", "3").status == 2


def test_break_all_begins_at_the_end_of_the_line(client: Client, cli: Cli, etcd, name: str) -> None:
    client.lock(name).acquire()
    with Client(etcd.endpoint) as two:
        waiter = Job(lambda: two.lock(name).acquire())
        eventually(lambda: client.lock(name).waiters())
        assert cli("break", name, "--all", "-y").status == 0
        with pytest.raises(LockLost):  # it never held
            waiter.result()


def test_break_leaves_a_later_incarnation_alone(
    client: Client, cli: Cli, name: str, monkeypatch
) -> None:
    client.lock(name).acquire()
    key = client.lock(name).holder().key
    kept = []

    def replaced(**_: object) -> None:
        """While people think, the key goes and comes again."""
        client.v3.kv.delete(key)
        client.v3.kv.put(key, "")
        kept.append(key)

    monkeypatch.setattr(evict, "_ask", replaced)
    late = cli("break", name)
    assert (late.status, "nothing was removed" in late.err) == (1, True)
    assert client.v3.kv.get(key) is not None
    client.v3.kv.delete(key)


def test_break_of_a_barrier_names_the_right_command(client: Client, cli: Cli, name: str) -> None:
    client.barrier(name).hold()
    ended = cli("break", name, "-y")
    assert (ended.status, f"barrier {name} release" in ended.err) == (1, True)
    client.barrier(name).release()


@pytest.mark.parametrize(
    "command", ["locks", "break x -y", "discover x", "watch x", "top", "barrier x wait"]
)
def test_no_etcd_is_a_sentence_and_125(cli: Cli, command: str) -> None:
    ended = cli.at("http://127.0.0.1:1", *command.split())
    assert (ended.status, ended.out) == (125, "")
    assert "no etcd endpoint answered" in ended.err.splitlines()[-1]
    assert "Traceback" not in ended.err
