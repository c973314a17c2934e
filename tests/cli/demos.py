"""The demo as a process, started as a user would, with a temporary folder of its own to look into."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.processes import children, exists
from tests.tools import eventually


@dataclass
class Ended:
    status: int
    out: str
    err: str


class Demo:
    """``etcd-recipes demo``, running; every process that was ever seen below it is remembered."""

    def __init__(self, folder: Path, *args: str, env: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.seen: set[int] = set()
        self.lines: list[str] = []
        self._process = subprocess.Popen(
            [sys.executable, "-m", "etcd_recipes.cli", "demo", *args],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(folder, env),
        )

    def wait_for_line(self, part: str) -> str:
        """Read stdout up to a line that contains `part`, and note the processes that there are then."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.append(line)
            if part in line:
                self.seen |= children(self._process.pid)
                return line
        raise AssertionError(f"no line with {part!r} in:\n{''.join(self.lines)}{self.end().err}")

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def hang_up(self) -> None:
        """Read no more of its stdout, as ``| head`` does."""
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._process.stdout = None

    def end(self, timeout: float = 60.0) -> Ended:
        out, err = self._process.communicate(timeout=timeout)
        return Ended(self._process.returncode, "".join(self.lines) + (out or ""), err)

    def left(self) -> list[str]:
        """What is still there: processes that were seen, and what lies in the temporary folder."""
        processes = [f"process {pid}" for pid in self.seen if exists(pid)]
        return processes + [path.name for path in self.folder.iterdir()]

    def clean_up(self) -> None:
        """End what is still there, by its number."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()
        for pid in [pid for pid in self.seen if exists(pid)]:
            os.kill(pid, 9)
            eventually(lambda pid=pid: not runs(pid), what=f"the end of process {pid}")


def runs(pid: int) -> bool:
    """Tell whether there is such a process, and it is not a dead one that its new parent has yet to wait for."""
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def environment(folder: Path, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment, without settings for etcdctl, and with a temporary folder."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ETCDCTL_")}
    return {**kept, "TMPDIR": str(folder), **(more or {})}


@contextmanager
def demo(folder: Path, *args: str, env: Mapping[str, str] | None = None) -> Iterator[Demo]:
    running = Demo(folder, *args, env=env)
    try:
        yield running
    finally:
        running.clean_up()
