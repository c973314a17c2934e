"""The command line as a process of its own, with a server to talk to."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ME = (sys.executable, "-m", "etcd_recipes.cli")

_numbers = itertools.count(1)


def fresh_name() -> str:
    """Give a name that no other test uses."""
    return f"run-{os.getpid()}-{next(_numbers)}"


def environment(endpoint: str) -> dict[str, str]:
    """Give the environment of a command line whose etcd is there."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ETCD")}
    return {**clean, "ETCDCTL_ENDPOINTS": endpoint}


@contextmanager
def running(endpoint: str, *arguments: str, before: Sequence[str] = ()) -> Iterator[Running]:
    """Run ``etcd-recipes`` in a session of its own; it is dead when the body is left."""
    process = Running(endpoint, *arguments, before=before)
    try:
        yield process
    finally:
        process.close()


class Running:
    """``etcd-recipes``, running."""

    def __init__(self, endpoint: str, *arguments: str, before: Sequence[str] = ()) -> None:
        self.process = subprocess.Popen(
            [*before, *ME, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(endpoint),
            start_new_session=True,
        )
        self.pid = self.process.pid

    def line(self) -> str:
        """Give the next line of stdout."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"it ended with {self.process.wait()}: {self.errors()}"
        return line.rstrip("\n")

    def errors(self) -> str:
        """Give all of stderr, once it has ended."""
        assert self.process.stderr is not None
        return self.process.stderr.read()

    def error_line(self) -> str:
        """Give the next line of stderr."""
        assert self.process.stderr is not None
        return self.process.stderr.readline().rstrip("\n")

    def say(self, text: str) -> None:
        """Write to its stdin."""
        assert self.process.stdin is not None
        self.process.stdin.write(text)
        self.process.stdin.flush()

    def end_stdin(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def wait(self, timeout: float = 20.0) -> int:
        return self.process.wait(timeout)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert pipe is not None
            try:
                pipe.close()
            except BrokenPipeError:
                pass


def is_running(pid: int) -> bool:
    """Tell whether there is such a process, and it is not a zombie that waits to be reaped."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
