"""One worker as a process, with the test in the place of the stage."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from etcd_recipes import Client
from etcd_recipes.cli.demo.event import Event, from_line
from etcd_recipes.cli.demo.ledger import Ledger
from etcd_recipes.cli.demo.plan import Plan
from etcd_recipes.cli.demo.worker import Role
from etcd_recipes.cli.options import Connection
from etcd_recipes.testing import EtcdProcess


class Worker:
    def __init__(self, role: Role) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "etcd_recipes.cli.demo.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self.process.stdin is not None
        self.process.stdin.write(role.to_line())
        self.process.stdin.flush()

    def wait_for(self, kind: str) -> Event:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            event = from_line(line)
            assert event is not None, line
            if event.kind == kind:
                return event
        raise AssertionError(f"the worker ended without {kind!r}: {self.process.stderr.read()}")

    def close_stdin(self) -> None:
        self.process.stdin.close()

    def close_stdout(self) -> None:
        self.process.stdout.close()

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)


@pytest.fixture
def role(etcd: EtcdProcess, tmp_path: Path, request: pytest.FixtureRequest) -> Role:
    Ledger.create(tmp_path / "ledger.db").close()
    prefix = f"{request.node.name}/"
    plan = Plan(workers=2, jobs=8, ttl=5)
    return Role("a", 0, plan, prefix, str(tmp_path / "ledger.db"), Connection((etcd.endpoint,)))


@pytest.fixture
def start(role: Role) -> Iterator[Callable[[Role], Worker]]:
    started: list[Worker] = []

    def start(role: Role) -> Worker:
        started.append(Worker(role))
        return started[-1]

    yield start
    for worker in started:
        worker.process.kill()
        worker.process.wait()
        for pipe in (worker.process.stdin, worker.process.stdout, worker.process.stderr):
            pipe.close()


def test_a_role_survives_its_way_as_one_line(role: Role) -> None:
    assert Role.from_line(role.to_line()) == role


@pytest.mark.parametrize("end", [Worker.close_stdin, Worker.terminate], ids=["eof", "term"])
def test_a_worker_that_is_told_to_leaves_at_once_and_leaves_nothing(
    end: Callable[[Worker], None], role: Role, start, etcd: EtcdProcess
) -> None:
    with Client(etcd.endpoint) as client:
        leases = set(client.v3.lease.list())
        worker = start(role)
        assert worker.wait_for("ready").number == 5
        worker.wait_for("took")
        end(worker)
        assert worker.process.wait(5) == 0
        left = {kv.key.decode() for kv in client.v3.kv.range(role.prefix, prefix=True).kvs}
        assert not {key for key in left if "/work/jobs/" not in key and "/work/handed" not in key}
        assert set(client.v3.lease.list()) <= leases  # of others, which may have ended meanwhile


def test_a_worker_that_nobody_listens_to_leaves(role: Role, start) -> None:
    worker = start(role)
    worker.wait_for("took")
    worker.close_stdout()
    assert worker.process.wait(10) == 0


def test_a_worker_whose_stage_is_gone_before_it_began_just_ends() -> None:
    process = subprocess.run(
        [sys.executable, "-m", "etcd_recipes.cli.demo.worker"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=10,
    )
    assert (process.returncode, process.stdout, process.stderr) == (0, b"", b"")


def test_a_worker_that_fails_says_why_and_ends_with_status_1(role: Role, start) -> None:
    Path(role.ledger).write_text("this is no database, but it is long enough to look like one" * 99)
    worker = start(role)
    assert "DatabaseError" in worker.wait_for("trouble").text
    assert worker.process.wait(10) == 1
