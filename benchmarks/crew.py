"""The other end of the workers: starting them, asking them, and ending them whatever they do."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.environments import ROOT, python_of
from benchmarks.peers import Peer

__all__ = ["Failed", "Silent", "Worker", "answer_of", "in_turns", "worker"]

GRACE = 5.0
"""Seconds that a worker may take longer than the limit that it has been told."""


class Failed(Exception):
    """The worker has not done it; the words are its own, or say how it ended."""


class Silent(Failed):
    """The worker has not answered in time."""


def answer_of(line: str) -> Any:
    """Give what a worker's line gives; Failed if it says so, or is no line of a worker."""
    try:
        answer = json.loads(line)
    except ValueError:
        answer = None
    if not isinstance(answer, dict) or not answer.keys() & {"gave", "failed"}:
        raise Failed(f"a worker said {line[:100]!r}" if line else "the worker ended without a word")
    if "failed" in answer:
        raise Failed(answer["failed"])
    return answer["gave"]


class Worker:
    """One process with one adapter; see `benchmarks.worker`."""

    def __init__(self, command: list[str | Path]) -> None:
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": ""},
            start_new_session=True,  # what it has forked ends with it
        )
        self.pid = self._process.pid
        self._rest = b""
        self._deadline = time.monotonic() + 60
        try:
            self.answer()
        except BaseException:
            self.close()
            raise

    def ask(self, do: str, *, limit: float = 60.0, **how: Any) -> Any:
        """Have it done, and give what it gave; Failed if it failed, or took longer than `limit` seconds."""
        self.begin(do, limit=limit, **how)
        return self.answer()

    def begin(self, do: str, *, limit: float = 60.0, **how: Any) -> None:
        """Have it begun; `answer` waits for its end."""
        self._deadline = time.monotonic() + limit + GRACE
        line = json.dumps({"do": do, "limit": limit, **how})
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line.encode() + b"\n")
            self._process.stdin.flush()
        except OSError as error:
            raise Failed("the worker is gone") from error

    def patience(self, seconds: float) -> None:
        """Wait no longer than this for the next answer; one that does not come is no failure of the worker's."""
        self._deadline = time.monotonic() + seconds

    def answer(self) -> Any:
        assert self._process.stdout is not None
        end = self._process.stdout.fileno()
        while b"\n" not in self._rest:
            patience = self._deadline - time.monotonic()
            if patience <= 0 or not select.select([end], [], [], patience)[0]:
                self.close()
                raise Silent("it hung, and was killed")
            if not (data := os.read(end, 1 << 20)):
                break
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        return answer_of(line.decode())

    def close(self) -> None:
        """Kill it, as often as you like."""
        if self._process.poll() is None:
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            try:
                pipe.close()
            except OSError:
                pass


@contextmanager
def worker(peer: Peer, endpoints: Iterable[str] = (), **options: Any) -> Iterator[Worker]:
    """Give a worker of this peer, connected if there are endpoints."""
    made = Worker([python_of(peer), "-m", "benchmarks.worker", peer.adapter])
    try:
        if found := list(endpoints):
            made.ask("connect", endpoints=found, **options_of(peer), **options)
        yield made
    finally:
        made.close()


def options_of(peer: Peer) -> dict[str, str]:
    """Give what the adapter of this peer must be told, beside the endpoints."""
    return {} if peer.is_foreign else {"store": peer.store}


def in_turns(
    rounds: int, peers: list[Peer], play: Callable[[Peer, int], dict[str, Any]]
) -> dict[str, list[dict[str, Any]]]:
    """Give the rounds of each: A B C, B C A, ... so that nobody always comes after the same."""
    found: dict[str, list[dict[str, Any]]] = {peer.name: [] for peer in peers}
    for number in range(rounds):
        shift = number % max(1, len(peers))
        for peer in peers[shift:] + peers[:shift]:
            try:
                found[peer.name].append(play(peer, number))
            except Failed as error:
                found[peer.name].append({"failed": str(error)})
    return found
