"""``etcd-recipes elect`` as people run it: real processes, real signals, a real etcd."""

from __future__ import annotations

import os
import signal

from etcd_recipes import Client
from etcd_recipes.testing import EtcdProcess
from tests.cli.running import is_running, running
from tests.tools import eventually

SHOW = "echo $ETCD_ELECTION_NAME $ETCD_ELECTION_KEY $ETCD_ELECTION_TOKEN $ETCD_ELECTION_VALUE"


def test_the_command_runs_while_leading_and_its_end_is_the_end_of_the_term(
    etcd: EtcdProcess, client: Client, name: str
) -> None:
    script = f"{SHOW}; cat; exit 4"
    options = ("--value", "web-3")
    election = client.election(name)
    with running(etcd.endpoint, "elect", *options, name, "sh", "-c", script) as runner:
        said, key, token, value = runner.line().split()
        leader = election.leader()
        assert leader is not None
        assert (said, key, value) == (name, leader.key, leader.value)
        assert int(token) >= leader.token
        runner.end_stdin()
        assert runner.wait() == 4
    assert election.leader() is None


def test_a_lost_term_ends_the_command_and_the_next_one_is_a_new_one(
    etcd: EtcdProcess, client: Client, name: str
) -> None:
    election = client.election(name)
    # Its child ends later than it does, in good order.
    late = "trap 'sleep 0.2; echo late; exit' TERM; while :; do sleep 0.02; done"
    script = f"({late}) & sleep 0.1; {SHOW} $!; wait"
    with running(etcd.endpoint, "elect", "--ttl", "2", name, "sh", "-c", script) as runner:
        _, key, token, _, pid = runner.line().split()
        client.v3.kv.delete(key)
        assert runner.line() == "late"
        _, _, next_token, _, next_pid = runner.line().split()
        assert int(next_token) > int(token)
        assert not is_running(int(pid))
        assert is_running(int(next_pid))
        runner.signal(signal.SIGTERM)
        assert runner.wait() == 143
        assert "the term was lost" in runner.errors()
        eventually(lambda: not is_running(int(next_pid)))
    assert election.leader() is None


def test_a_command_that_is_kept_is_run_again_until_a_signal(etcd: EtcdProcess, name: str) -> None:
    options = ("--keep", "--pause", "0.01", "--value", "v")
    script = f"{SHOW}; read x; exit $x"
    with running(etcd.endpoint, "elect", name, *options, "--", "sh", "-c", script) as runner:
        tokens = []
        for _ in range(2):
            tokens.append(int(runner.line().split()[2]))
            runner.say("3\n")
        runner.line()
        assert tokens[0] < tokens[1]
        runner.signal(signal.SIGTERM)
        assert runner.wait() == 143


def test_leaders_without_a_command_and_who_listens_to_them(
    etcd: EtcdProcess, client: Client, name: str
) -> None:
    with (
        running(etcd.endpoint, "elect", name, "--listen") as listener,
        running(etcd.endpoint, "elect", name, "--value", "two\nlines") as leader,
    ):
        key = leader.line()
        first = listener.line()
        assert (first or listener.line()) == r"two\nlines"  # "" if it listened before there was one
        elected = client.election(name).leader()
        assert elected is not None
        assert elected.key == key
        with running(etcd.endpoint, "elect", "-v", name) as next_one:
            assert next_one.error_line().startswith(f"etcd-recipes: waiting for {name}, behind ")
            eventually(lambda: len(client.election(name).candidates()) == 2)
            leader.signal(signal.SIGINT)
            assert leader.wait() == 0
            next_one.line()
            assert listener.line().endswith(f"/{next_one.pid}")
            os.kill(next_one.pid, signal.SIGTERM)
            assert next_one.wait() == 0
        assert listener.line() == ""
        listener.signal(signal.SIGTERM)
        assert listener.wait() == 0
