"""The tutorial, step by step, as a newcomer takes it."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

from etcd_recipes import Client
from etcd_recipes.testing import EtcdProcess
from tests.docs.programs import programs, terminals
from tests.tools import Job, eventually

PAGE = Path(__file__).parents[2] / "docs" / "tutorial.md"
PROGRAMS = programs(PAGE)


def test_the_lock_goes_from_one_terminal_to_the_other(etcd: EtcdProcess, tmp_path: Path) -> None:
    with (
        terminals(tmp_path, etcd.endpoint) as open_terminal,
        Client(etcd.endpoint) as client,
    ):
        waiters = client.lock("tutorial/first").waiters
        one = open_terminal(PROGRAMS["first.py"])
        [first] = one.shows(r"ours, with token (\d+)")
        two = open_terminal(PROGRAMS["first.py"])
        eventually(waiters, timeout=30, what="the second one in line")
        assert "ours" not in two.text

        one.enter()
        [second] = two.shows(r"ours, with token (\d+)")
        assert int(second) > int(first)
        assert one.wait() == 0
        assert one.text.endswith("gone\n")

        three = open_terminal(PROGRAMS["first.py"])
        eventually(waiters, timeout=30, what="the third one in line")
        two.kill(signal.SIGINT)
        three.shows("ours")


def test_a_leader_is_killed_ended_and_stopped(etcd: EtcdProcess, tmp_path: Path) -> None:
    worker = PROGRAMS["worker.py"].replace("ttl=3", "ttl=2")  # the test has less time than a reader
    leads = r"leads, with token (\d+)"
    with terminals(tmp_path, etcd.endpoint) as open_terminal:
        one = open_terminal(worker)
        tokens = one.shows(leads)
        two = open_terminal(worker)
        two.shows("stands by")

        one.kill(signal.SIGKILL)
        tokens += two.shows(leads)

        three = open_terminal(worker)
        three.shows("stands by")
        two.kill(signal.SIGTERM)
        tokens += three.shows(leads)
        three.shows("works")
        assert two.wait() == 128 + signal.SIGTERM

        four = open_terminal(worker)
        four.shows("stands by")
        three.kill(signal.SIGSTOP)
        tokens += four.shows(leads)
        done = three.text.count("works")
        three.kill(signal.SIGCONT)
        four.kill(signal.SIGTERM)
        tokens += three.shows(leads, times=2)[1:]  # in a term of its own, after the other's
        assert three.text.rpartition("leads")[0].count("works") == done  # the old one did not go on

    assert [int(token) for token in tokens] == sorted({int(token) for token in tokens})


def test_a_command_runs_under_the_same_lock(etcd: EtcdProcess) -> None:
    [command] = re.findall(r"^\$ etcd-recipes (lock .*)$", PAGE.read_text(), re.MULTILINE)
    with Client(etcd.endpoint) as client:
        hold = client.lock("tutorial/first").acquire()
        assert hold
        done = Job(lambda: run(command.replace("sleep 3", ":"), etcd.endpoint))
        eventually(client.lock("tutorial/first").waiters, timeout=30, what="the command in line")
        hold.release()
        token = int(re.fullmatch(r"ours, with token (\d+)\n", done.result())[1])
    assert token > hold.token


def run(command: str, endpoint: str) -> str:
    program = [sys.executable, "-m", "etcd_recipes.cli", *shlex.split(command)]
    environment = {**os.environ, "ETCDCTL_ENDPOINTS": endpoint}
    return subprocess.run(
        program, env=environment, check=True, capture_output=True, text=True, timeout=30
    ).stdout
