"""What several test folders need: waiting for conditions, threads that report, Python child processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

QUICK: dict[str, Any] = {"heartbeat": 50, "election_timeout": 500}
"""Options of a server that a test has for itself: half a second less until it leads, at each start."""


def long(short: T, long: T) -> T:
    """Give the `long` form of a test's figure when ETCD_RECIPES_LONG is set, the `short` one otherwise."""
    return long if os.environ.get("ETCD_RECIPES_LONG") else short


HANG = 3.0
"""Seconds by which no machine is late: what is, hangs, and that is a finding at once."""


class TooSlow(AssertionError):
    """A bound was missed by so little that a busy machine may have done it: the test is run again, twice at most."""


def late(by: float, story: str) -> AssertionError:
    """Give the error of what came `by` seconds too late, or had so many and did not come."""
    return TooSlow(story) if by < HANG else AssertionError(story)


def in_time(took: float, bound: float, *, at_least: float | None = None) -> None:
    """Demand that what took `took` seconds took less than `bound`; and not less than `at_least`, however busy."""
    assert at_least is None or at_least <= took, f"it took {took:.3f} s, which is too short"
    if took >= bound:
        raise late(took - bound, f"it took {took:.3f} s, longer than {bound:.3f} s")


def eventually(condition: Callable[[], T], timeout: float = 5.0, what: str = "it") -> T:
    """Give the first true value of `condition`, asked every 5 ms; fails after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    pause = threading.Event()
    while not (value := condition()):
        if time.monotonic() >= deadline:
            raise late(timeout, f"{what} did not happen within {timeout} s")
        pause.wait(0.005)
    return value


def waits_in_the_kernel(pid: int) -> bool:
    """Tell whether the process sleeps: a signal between its last look and its sleep would not wake it."""
    return Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[0] == "S"


class Job:
    """A function on a thread; `result` gives what it gave or raises what it raised."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self._value: Any = None
        self._error: BaseException | None = None
        self.ended_at: float | None = None
        self._thread = threading.Thread(target=self._run, args=(function,), daemon=True)
        self._thread.start()

    def _run(self, function: Callable[[], Any]) -> None:
        try:
            self._value = function()
        except BaseException as error:
            self._error = error
        self.ended_at = time.monotonic()

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def result(self, timeout: float = 10.0) -> Any:
        self._thread.join(timeout)
        if self._thread.is_alive():
            raise late(timeout, f"the thread did not end within {timeout} s")
        if self._error is not None:
            raise self._error
        return self._value


class Child:
    """A Python process running `source`, which talks in JSON lines; ends with the test."""

    def __init__(self, source: str, *args: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(source), *args],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.pid = self._process.pid

    def read(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"the child ended with status {self._process.wait()}"
        return json.loads(line)

    def say(self, line: str = "") -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def wait(self, timeout: float = 15.0) -> int:
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise late(timeout, f"the child did not end within {timeout} s") from None

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()


@contextmanager
def child(source: str, *args: str) -> Iterator[Child]:
    process = Child(source, *args)
    try:
        yield process
    finally:
        process.close()
