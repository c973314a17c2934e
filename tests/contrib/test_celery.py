"""Real `celery beat` and `celery worker` processes over a broker of files; senders write down what they send."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from celery import Celery as App

from etcd_recipes import Client, current_hold
from etcd_recipes.contrib.celery import LeaderScheduler, exclusive_task
from etcd_recipes.testing import EtcdProcess
from tests.tools import eventually, in_time, long

TTL = 2.0

APP = """
import json, os, time
from celery import Celery, signals
from etcd_recipes.contrib.celery import client_of, exclusive_task

here = os.environ["HERE"]
app = Celery("app", broker="filesystem://")
app.conf.update(
    broker_transport_options={
        "data_folder_in": f"{here}/queue", "data_folder_out": f"{here}/queue",
        "control_folder": f"{here}/control", "store_processed": False,
    },
    beat_schedule={"each-second": {"task": "tick", "schedule": 1.0}, "daily/€": {"task": "day", "schedule": 86400.0}},
    etcd_recipes_endpoints=[os.environ["ENDPOINT"]],
    etcd_recipes_election=os.environ["NAME"],
    etcd_recipes_ttl=2.0,
    etcd_recipes_api=os.environ["API"],
    etcd_recipes_scheduler=os.environ.get("SCHEDULER"),
)

def note(file, **what):
    with open(f"{here}/{file}", "a") as out:
        out.write(json.dumps({"pid": os.getpid(), "at": time.time(), **what}) + "\\n")

@signals.before_task_publish.connect
def sent(sender=None, **kwargs):
    note("sent", task=sender)

@app.task(name="alone")
@exclusive_task(lambda number: f"alone-{os.environ['NAME']}")
def alone(number):
    note("ran", number=number, step="begin")
    time.sleep(0.4)
    note("ran", number=number, step="end")
"""


class Celery:
    """Celery processes of one app, in one folder."""

    def __init__(self, folder: Path, endpoint: str, name: str, api: str) -> None:
        self.folder = folder
        for each in ("queue", "control"):
            (folder / each).mkdir()
        (folder / "app.py").write_text(APP)
        path = os.pathsep.join([str(folder), *sys.path])
        self._env = {
            **os.environ,
            "HERE": str(folder),
            "ENDPOINT": endpoint,
            "NAME": name,
            "API": api,
            "PYTHONPATH": path,
        }
        self._processes: list[subprocess.Popen] = []

    def run(self, *args: str, **env: str) -> subprocess.Popen:
        log = (self.folder / f"log-{len(self._processes)}").open("wb")
        with log:
            process = subprocess.Popen(
                [sys.executable, "-m", "celery", "-A", "app", *args],
                cwd=self.folder,
                env=self._env | env,
                stdout=log,
                stderr=log,
            )
        self._processes.append(process)
        return process

    def beat(self, number: int, **env: str) -> subprocess.Popen:
        scheduler = "etcd_recipes.contrib.celery:LeaderScheduler"
        return self.run("beat", "-S", scheduler, "-s", f"{self.folder}/schedule-{number}", **env)

    def noted(self, file: str) -> list[dict]:
        path = self.folder / file
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def sent(self, task: str = "tick") -> list[dict]:
        return [each for each in self.noted("sent") if each["task"] == task]

    def logs(self) -> str:
        return "\n".join(path.read_text() for path in sorted(self.folder.glob("log-*")))

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()


@pytest.fixture
def celery(folder: Path, etcd: EtcdProcess, name: str, api: str) -> Iterator[Celery]:
    processes = Celery(folder, etcd.endpoint, name, api)
    yield processes
    processes.close()


def gaps(sent: list[dict]) -> list[float]:
    return [after["at"] - before["at"] for before, after in itertools.pairwise(sent)]


@pytest.mark.only_v3
def test_of_two_beats_one_sends_whatever_happens_to_them(
    celery: Celery, client: Client, name: str
) -> None:
    beats = {process.pid: process for process in (celery.beat(0), celery.beat(1))}
    election = client.election(name)
    eventually(lambda: celery.sent() and len(election.candidates()) == 2, 20, "the first send")

    def more(count: int, by: int) -> list[dict]:
        seen = len(celery.sent())
        eventually(lambda: len(celery.sent()) >= seen + count, count + 6, "the sends")
        new = celery.sent()[seen:]
        assert {each["pid"] for each in new} == {by}
        return new

    # In peace: one of them, once a second.
    first = celery.sent()[0]["pid"]
    (second,) = set(beats) - {first}
    apart = gaps(more(long(3, 20), first))
    in_time(max(apart), 1.9)
    assert min(apart) > 0.5

    if long(False, True):
        # Stopped past its ttl, the first one sends nothing when it goes on.
        beats[first].send_signal(signal.SIGSTOP)
        eventually(lambda: celery.sent()[-1]["pid"] == second, 10, "the takeover")
        beats[first].send_signal(signal.SIGCONT)
        more(2, second)
        eventually(lambda: len(election.candidates()) == 2, 10, "the first one's return")
        first, second = second, first

    # Killed, the leading one leaves a gap, and nothing is made up for in a burst.
    beats[first].send_signal(signal.SIGKILL)
    beats[first].wait()
    last = celery.sent()[-1]
    more(2, second)
    (next_,) = [each for each in celery.sent() if each["at"] > last["at"]][:1]
    in_time(next_["at"] - last["at"], TTL + 2)
    assert min(gaps(celery.sent())) > 0.5
    assert celery.sent("day") == []  # never due

    beats[second].send_signal(signal.SIGTERM)
    assert beats[second].wait(10) == 0, celery.logs()
    assert election.candidates() == ()  # resigned


def test_a_leader_takes_the_times_over_and_runs_what_was_due_once(
    make_client: Callable[..., Client], name: str, api: str
) -> None:
    app = App(broker="memory://", set_as_current=False)
    app.conf.update(
        beat_schedule={
            "hourly": {"task": "hour", "schedule": 3600.0},
            "b": {"task": "b", "schedule": 3600.0},
        },
        etcd_recipes_endpoints=make_client().endpoints,
        etcd_recipes_election=name,
        etcd_recipes_ttl=2.0,
        etcd_recipes_api=api,
    )

    def beat():
        made = LeaderScheduler(app, lazy=False)
        made.sent = []
        made.apply_async = lambda entry, **_: made.sent.append(entry.name)
        return made

    def lead(made) -> None:
        eventually(lambda: made.tick() is not None and made._term is not None, 5, "the term")

    first, second = beat(), beat()  # the second one waits from now on, with times of its own
    lead(first)
    hour_ago = first.schedule["hourly"].default_now().timestamp() - 4000
    at = (
        first.schedule["hourly"]
        .default_now()
        .fromtimestamp(hour_ago, first.schedule["b"].last_run_at.tzinfo)
    )
    assert first._runs.claim(first._term, "hourly", at)
    second.tick()
    assert second._term is None
    first.close()
    lead(second)
    for _ in range(5):
        second.tick()
    assert second.sent == ["hourly"]  # once, and not what was not due
    # The claim stands: the same run is nobody's any more.
    second.close()
    third = beat()
    lead(third)
    for _ in range(5):
        third.tick()
    assert third.sent == []
    # What is due and cannot be claimed stays due.
    claim = third._runs.claim
    third._runs.claim = lambda *_: False
    third.schedule["b"].last_run_at = at
    third._heap = None
    assert not third.is_due(third.schedule["b"])[0]
    third.tick()
    assert third.sent == []
    third._runs.claim = claim
    third._heap = None
    eventually(lambda: third.tick() is not None and third.sent == ["b"], 3, "the claim")
    # A term that is over claims nothing, whatever it thinks of itself.
    over = third._term
    third.close()
    fourth = beat()
    lead(fourth)
    assert fourth._runs.claim(fourth._term, "b", at)
    believer = SimpleNamespace(token=over.token, remaining=lambda: 5.0)
    if api == "v3":
        believer.guard = over.guard
    assert not third._runs.claim(believer, "b", at)

    # A term that ends between the claim and the message sends nothing.
    claim = fourth._runs.claim

    def claim_and_lose(*what: object) -> bool:
        claimed = claim(*what)
        fourth._term.session.lose("for the test")
        return claimed

    fourth._runs.claim = claim_and_lose
    fourth.schedule["b"].last_run_at = at
    fourth._heap = None
    assert fourth.tick() > 0
    assert fourth.sent == []
    # Its next term has all entries again, that one too.
    fourth._runs.claim = claim
    lead(fourth)
    assert {event.entry.name for event in fourth._heap} == {"hourly", "b"}
    fourth.close()
    app._etcd_recipes_client.close()


def test_a_task_that_runs_is_skipped_by_others(client: Client, name: str) -> None:
    app = App(set_as_current=False)

    @app.task(name="rebuild")
    @exclusive_task(lambda shop: f"{name}/{shop}", client=client)
    def rebuild(shop: str) -> str:
        inner = rebuild.apply(args=("north",)) if shop == "north" else None
        assert inner is None or inner.result is None
        return f"{shop} under {current_hold().token > 0}"

    assert rebuild.apply(args=("north",)).get() == "north under True"
    assert rebuild.apply(kwargs={"shop": "south"}).get() == "south under True"
    with pytest.raises(ValueError, match="on_busy"):
        exclusive_task("x", on_busy="perhaps")


@pytest.mark.only_v3
@pytest.mark.skipif(long(True, False), reason="starts a worker: in the long form")
def test_a_task_runs_one_at_a_time_in_the_children_of_a_worker(celery: Celery) -> None:
    send = "from app import app; [app.send_task('alone', (n,)) for n in range(2)]"
    worker = celery.run(
        "worker", "--pool", "prefork", "-c", "2", "--without-gossip", "--without-mingle"
    )
    subprocess.run([sys.executable, "-c", send], cwd=celery.folder, env=celery._env, check=True)
    ran = eventually(lambda: [e for e in celery.noted("ran") if e["step"] == "end"], 20, "a task")
    eventually(lambda: not list((celery.folder / "queue").iterdir()), 10, "the queue")
    worker.send_signal(signal.SIGTERM)
    worker.wait(10)
    steps = [each["step"] for each in celery.noted("ran")]
    assert steps in (["begin", "end"], ["begin", "end"] * 2), celery.logs()
    assert ran[0]["pid"] != worker.pid
