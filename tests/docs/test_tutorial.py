"""The tutorial, step by step, as a newcomer takes it."""

from __future__ import annotations

import signal
from pathlib import Path

from etcd_recipes.testing import EtcdProcess
from tests.docs.programs import programs, terminals

PROGRAMS = programs(Path(__file__).parents[2] / "docs" / "tutorial.md")


def test_the_lock_goes_from_one_terminal_to_the_other(etcd: EtcdProcess, tmp_path: Path) -> None:
    with terminals(tmp_path, etcd.endpoint) as open_terminal:
        one = open_terminal(PROGRAMS["first.py"])
        [first] = one.shows(r"ours, with token (\d+)")
        two = open_terminal(PROGRAMS["first.py"])
        two.shows("waiting")
        assert "ours" not in two.text

        one.enter()
        [second] = two.shows(r"ours, with token (\d+)")
        assert int(second) > int(first)
        assert one.wait() == 0
        assert one.text.endswith("gone\n")

        three = open_terminal(PROGRAMS["first.py"])
        three.shows("waiting")
        two.kill(signal.SIGINT)
        three.shows("ours")  # at once, not after the lease


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
