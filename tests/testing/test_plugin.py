"""The pytest plugin, as a project that has the package installed meets it: pytest in a folder of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import pytest
from sybil import Sybil
from sybil.parsers.markdown import CodeBlockParser

from etcd_recipes import Client
from etcd_recipes.testing import EtcdProcess
from tests.processes import is_dead
from tests.tools import eventually

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "howto" / "testing.md"


class Project:
    """A folder with one test file, in which pytest is run."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder

    def command(self, source: str, *options: str) -> list[str]:
        (self.folder / "test_it.py").write_text(textwrap.dedent(source))
        quick = ["-q", "-p", "no:cacheprovider", "-p", "no:hypothesispytest", "-p", "no:timeout"]
        return [sys.executable, "-m", "pytest", *quick, "-c", os.devnull, "--rootdir=.", *options]

    @property
    def environment(self) -> dict[str, str]:
        ours = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
        return ours | {"PYTHONPATH": str(ROOT)}

    def run(self, source: str, *options: str, **environment: str) -> tuple[dict[str, int], str]:
        """Give the number of tests by outcome, and what pytest wrote."""
        done = subprocess.run(
            self.command(source, *options),
            cwd=self.folder,
            env=self.environment | environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        counted = re.findall(r"(\d+) (passed|failed|error|skipped)", done.stdout.splitlines()[-1])
        return {what: int(number) for number, what in counted}, done.stdout + done.stderr

    @contextmanager
    def started(self, source: str) -> Iterator[subprocess.Popen[bytes]]:
        process = subprocess.Popen(
            self.command(source),
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def notes(self) -> list[list[str]]:
        """Give what the tests noted, in files of their own that were completed."""
        return [json.loads(path.read_text()) for path in sorted(self.folder.glob("*.json"))]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


EVERY_FIXTURE = """
    import json, os
    from pathlib import Path

    import pytest
    from etcd_recipes import ClusterError
    from etcd_recipes.testing import expire

    def note(name, etcd, *more):
        Path(name + ".json").write_text(json.dumps([etcd.pid, str(etcd.folder), *more]))

    sessions = []

    @pytest.fixture(autouse=True)
    def nothing_is_left_by_others(etcd_client):
        assert not any(session.is_alive for session in sessions)
        sessions.append(etcd_client.session())
        assert not etcd_client.v3.kv.range("etcd-recipes-test-", prefix=True).kvs

    @pytest.mark.parametrize("number", [1, 2])
    def test_a_client_of_ones_own(number, etcd, etcd_client, etcd_namespace):
        assert etcd_client.lock("x").acquire(blocking=False)
        etcd_client.latch("l", count=2).count_down()
        etcd_client.v3.kv.put(etcd_namespace + "raw", "1")
        note(f"{number}", etcd, os.environ.get("PYTEST_XDIST_WORKER"), etcd_namespace)

    def test_a_rival(etcd_client, make_etcd_client):
        hold = etcd_client.lock("x").acquire()
        rival = make_etcd_client(session_ttl=5)
        assert rival.lock("x").acquire(blocking=False) is None
        expire(hold)
        assert rival.lock("x").acquire(blocking=False)

    def test_a_fault(make_etcd_client, fault_proxy):
        client = make_etcd_client(fault_proxy.endpoint)
        fault_proxy.refuse()
        with pytest.raises(ClusterError):
            client.version()
"""


def examples() -> str:
    """Give the tests that stand in the documentation."""
    blocks = Sybil(parsers=[CodeBlockParser("python", print)]).parse(PAGE).examples()
    return "\n".join(block.parsed for block in blocks if "def " in block.parsed)


def test_the_fixtures_work_and_leave_nothing_behind(project: Project) -> None:
    (project.folder / "test_examples.py").write_text(examples())
    outcome, said = project.run(EVERY_FIXTURE, "-n2")
    assert outcome == {"passed": 4 + 5}, said
    notes = project.notes()
    assert len({note[3] for note in notes}) == 2, "each test has a namespace of its own"
    for pid, folder, *_ in notes:
        assert is_dead(pid)
        assert not Path(folder).exists()


IN_V2 = """
    def test_it(etcd, etcd_client, etcd_namespace):
        etcd_client.latch("l", count=2).count_down()
        etcd_client.v2.keys.set(etcd_namespace + "raw", "1")
        hold = etcd_client.lock("x").acquire()
        assert etcd_client.v2.keys.get(hold.key)
        assert not hasattr(etcd, "pid")
"""


def test_an_etcd_that_runs_is_used_and_left_as_it_was(project: Project, etcd: EtcdProcess) -> None:
    def mine(client: Client) -> list[str]:
        nodes = client.v2.keys.get("/").node.nodes
        return [node.key for node in nodes if "etcd-recipes-test-" in node.key]

    outcome, said = project.run(IN_V2, "--etcd-url", etcd.endpoint, "--etcd-api=v2")
    assert outcome == {"passed": 1}, said
    with Client(etcd.endpoint, api="v2") as client:
        assert mine(client) == []


ONE = """
    def test_it(etcd_client):
        etcd_client.lock("x").acquire()
"""


def test_without_an_etcd_tests_fail_with_a_sentence_or_are_skipped_where_that_is_asked_for(
    project: Project,
) -> None:
    outcome, said = project.run(ONE, ETCD_RECIPES_ETCD="/no/such/etcd")
    assert outcome == {"error": 1}, said
    assert "$ETCD_RECIPES_ETCD is '/no/such/etcd'" in said
    assert "--etcd-exec PATH" in said
    assert "Traceback" not in said
    assert "plugin.py" not in said
    outcome, said = project.run(ONE, "--etcd-exec=/no/such/etcd", "--etcd-skip", "-rs")
    assert outcome == {"skipped": 1}, said
    assert "/no/such/etcd does not run here" in said


WAITING = """
    import json
    from pathlib import Path

    def test_it(etcd):
        Path("new").write_text(json.dumps([etcd.pid, str(etcd.folder)]))
        Path("new").rename("1.json")
        input_that_never_comes.wait()

    import threading
    input_that_never_comes = threading.Event()
"""


def test_no_server_is_left_when_pytest_is_interrupted_or_killed(tmp_path: Path) -> None:
    projects = [Project(tmp_path / each) for each in ("interrupted", "killed")]
    with ExitStack() as stack:
        started = [stack.enter_context(project.started(WAITING)) for project in projects]
        noted = [eventually(project.notes, timeout=30.0)[0] for project in projects]
        assert not any(is_dead(pid) for pid, _ in noted)
        for process, number in zip(started, [signal.SIGINT, signal.SIGKILL], strict=True):
            process.send_signal(number)
        for pid, folder in noted:
            eventually(partial(is_dead, pid), timeout=15.0)
            eventually(lambda folder=folder: not Path(folder).exists())


def test_whoever_does_not_use_it_does_not_pay_for_it() -> None:
    source = "import pytest, sys; b = set(sys.modules); import etcd_recipes.testing.plugin; "
    said = subprocess.run(
        [sys.executable, "-c", source + "print(*set(sys.modules) - b)"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    ours = {name for name in said if name.startswith("etcd_recipes")}
    assert ours == {"etcd_recipes", "etcd_recipes.testing", "etcd_recipes.testing.plugin"}
    heavy = {"asyncio", "requests", "urllib3", "tenacity", "structlog", "ssl", "http.client"}
    assert heavy & set(said) == set()
