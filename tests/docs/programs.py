"""Programs that stand in a page: code blocks with a file name for a caption, run as processes of their own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.tools import eventually

PROGRAM = re.compile(
    r"^```\{code-block\} python\n:caption: (\S+)\n+(.*?)^```$", re.MULTILINE | re.DOTALL
)


def programs(page: Path) -> dict[str, str]:
    """Give the source of each program of a page, by the name of its file."""
    return dict(PROGRAM.findall(page.read_text()))


class Terminal:
    """A program that runs as in a terminal: what it prints is collected, lines can be typed."""

    def __init__(self, source: str, said: Path, environment: Mapping[str, str]) -> None:
        self._said = said
        with said.open("w") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-u", "-c", source],
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=subprocess.STDOUT,
                text=True,
                env={**os.environ, **environment},
            )
        self.pid = self._process.pid

    @property
    def text(self) -> str:
        return self._said.read_text()

    def shows(self, pattern: str, times: int = 1) -> list[str]:
        """Wait until what it printed has the pattern so often, and give the matches."""

        def found() -> list[str]:
            matches = re.findall(pattern, self.text)
            return matches if len(matches) >= times else []

        return eventually(found, timeout=30, what=f"{pattern!r} in {self.text!r}")

    def enter(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def kill(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait(self) -> int:
        return self._process.wait(30)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdin is not None
        self._process.stdin.close()


@contextmanager
def terminals(folder: Path, endpoint: str) -> Iterator[type[Terminal]]:
    """Give what starts programs on this etcd; all of them end with the block."""
    opened: list[Terminal] = []

    class Here(Terminal):
        def __init__(self, source: str) -> None:
            said = folder / f"terminal-{len(opened)}"
            super().__init__(source, said, {"ETCDCTL_ENDPOINTS": endpoint})
            opened.append(self)

    try:
        yield Here
    finally:
        for each in opened:
            each.close()
