"""The scheduler by itself: one run per seed, nothing of the machine's time or threads, processes that stop and die."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from typing import Any

import pytest

from etcd_recipes.core import runtime
from tests.simulation.run import trace
from tests.simulation.scenarios import populate
from tests.simulation.scheduler import Scheduler, in_charge
from tests.simulation.world import World


@pytest.fixture
def scheduler() -> Any:
    made = Scheduler(1, steal=3.0)
    with in_charge(made):
        yield made
    made.close()


def test_time_passes_only_when_all_wait(scheduler: Scheduler) -> None:
    told: list[tuple[str, float]] = []

    def sleeper(name: str, seconds: float) -> None:
        runtime.new_event().wait(seconds)
        told.append((name, runtime.now()))

    process = scheduler.process("p")
    scheduler.start(process, lambda: sleeper("late", 3600.0), "a")
    scheduler.start(process, lambda: sleeper("soon", 1.0), "b")
    began = time.monotonic()
    scheduler.run(scheduler.time + 4000.0)
    assert [name for name, _ in told] == ["soon", "late"]
    assert told[1][1] - told[0][1] == pytest.approx(3599.0, abs=2.0)
    assert time.monotonic() - began < 5.0


def test_a_lock_keeps_threads_apart_that_lose_their_turn_everywhere(scheduler: Scheduler) -> None:
    lock, inside, most = runtime.new_lock(), [0], [0]

    def work() -> None:
        for _ in range(20):
            with lock, lock:
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                runtime.now()
                inside[0] -= 1

    process = scheduler.process("p")
    for _ in range(4):
        scheduler.start(process, work, "w")
    scheduler.run(scheduler.time + 1000.0)
    assert not process.tasks
    assert most == [1]


def test_without_a_lock_they_meet(scheduler: Scheduler) -> None:
    count = [0]

    def work() -> None:
        for _ in range(20):
            seen = count[0]
            runtime.now()
            count[0] = seen + 1

    process = scheduler.process("p")
    for _ in range(4):
        scheduler.start(process, work, "w")
    scheduler.run(scheduler.time + 1000.0)
    assert count[0] < 80


def test_who_waits_for_ever_is_a_deadlock(scheduler: Scheduler) -> None:
    process = scheduler.process("p")
    scheduler.start(process, lambda: runtime.new_event().wait(None) and None, "stuck")  # type: ignore[func-returns-value]
    assert scheduler.run(scheduler.time + 10.0) is False
    assert "stuck" in "".join(scheduler.stuck())


def test_a_paused_process_hears_of_everything_late_and_at_once(scheduler: Scheduler) -> None:
    woken: list[float] = []

    def sleeper(seconds: float) -> None:
        runtime.new_event().wait(seconds)
        woken.append(scheduler.time)

    process, other = scheduler.process("p"), scheduler.process("q")
    for seconds in (1.0, 2.0, 3.0):
        scheduler.start(process, lambda s=seconds: sleeper(s), "s")  # type: ignore[misc]
    began = scheduler.time
    scheduler.run(began + 0.5)
    scheduler.pause(process)
    scheduler.start(other, lambda: sleeper(4.0), "s")
    scheduler.run(began + 10.0)
    assert woken == [pytest.approx(began + 4.5, abs=0.6)]
    scheduler.resume(process)
    scheduler.run(began + 11.0)
    assert len(woken) == 4
    assert min(woken[1:]) >= began + 10.0


def test_a_killed_process_says_nothing_on_its_way_out(scheduler: Scheduler) -> None:
    did: list[str] = []

    def work() -> None:
        try:
            runtime.new_event().wait(None)
        finally:
            did.append("left")
            runtime.spawn(lambda: did.append("spawned"), "late")
            did.append("never")

    process = scheduler.process("p")
    scheduler.start(process, work, "w")
    scheduler.run(scheduler.time + 1.0)
    scheduler.kill(process)
    scheduler.run(scheduler.time + 1.0)
    assert did == ["left"]
    assert not scheduler.failures


def test_what_a_thread_dies_of_is_told(scheduler: Scheduler) -> None:
    scheduler.start(scheduler.process("p"), lambda: {}["nothing"], "w")
    scheduler.run(scheduler.time + 1.0)
    assert "KeyError" in scheduler.failures[0]


_TRACE = """
import hashlib
from tests.simulation.run import trace
for api in ("v3", "v2"):
    lines = list(trace(7, api, 12.0))
    print(api, len(lines), hashlib.sha256("\\n".join(lines).encode()).hexdigest())
"""


def test_one_seed_is_one_run_to_the_byte_in_every_process() -> None:
    def run(hash_seed: str) -> subprocess.Popen[str]:
        environ = {**os.environ, "PYTHONHASHSEED": hash_seed}
        return subprocess.Popen(
            [sys.executable, "-c", _TRACE], env=environ, stdout=subprocess.PIPE, text=True
        )

    runs = [run("1"), run("2")]
    said = [process.communicate()[0] for process in runs]
    assert said[0] == said[1]
    assert said[0].count("\n") == 2


def test_another_seed_is_another_run() -> None:
    assert list(trace(1, "v3", 10.0)) != list(trace(2, "v3", 10.0))


def test_nothing_of_the_machine_gets_into_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*args: object, **kwargs: object) -> None:
        raise AssertionError(f"the run has left the simulation: {args}")

    monkeypatch.setattr(time, "sleep", forbidden)
    monkeypatch.setattr(threading.Thread, "start", forbidden)
    monkeypatch.setattr(threading.Event, "wait", forbidden)
    monkeypatch.setattr(socket.socket, "connect", forbidden)
    monkeypatch.setattr(socket, "getaddrinfo", forbidden)
    monkeypatch.setattr(runtime.NativeRuntime, "now", forbidden)
    monkeypatch.setattr(runtime.NativeRuntime, "spawn", forbidden)
    for api in ("v3", "v2"):
        world = World(3, api=api, seconds=15.0)
        record = world.run(populate)
        assert record.violations == []
        assert world.network.requests > 50


def test_a_thread_of_another_test_keeps_its_own_clock() -> None:
    began, told = threading.Event(), threading.Event()
    waited: list[float] = []

    def left_behind() -> None:
        began.wait()
        waited.append(runtime.now())
        waited.append(runtime.new_event().wait(0.01) or runtime.now())
        told.set()

    thread = threading.Thread(target=left_behind)
    thread.start()
    scheduler = Scheduler(1)
    real = time.monotonic()
    with in_charge(scheduler):
        began.set()
        assert told.wait(10.0)
        assert runtime.now() == scheduler.time
    thread.join()
    scheduler.close()
    assert all(abs(told - real) < 3600.0 for told in waited)
