"""The janitor: a process that clears up after a run, however the run ends.

How it works
1. It reads lines from a pipe that only its owner can write to: commands of the shell for later, the last one
   first, and ids of processes to be killed.
2. The pipe is closed when the run ends, whatever it ends of (``kill -9`` too). Then the janitor kills, runs
   the commands, and is gone.

Rules of this file
* There is one way out, and it is taken each time: what only a crash would use would not work in a crash.
* It has a session of its own: no Ctrl-C reaches it.
"""

from __future__ import annotations

import subprocess
import sys
from typing import IO

__all__ = ["Janitor"]

_SCRIPT = """
import os, signal, subprocess, sys
pids, commands = set(), []
for line in sys.stdin:
    verb, _, rest = line.strip().partition(" ")
    if verb == "kill":
        pids.add(int(rest))
    elif verb == "spare":
        pids.discard(int(rest))
    else:
        commands.append(rest)
for pid in pids:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
for command in reversed(commands):
    subprocess.run(command, shell=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
"""


class Janitor:
    """Kills and runs what it was told when `close` is called, or when this process is gone."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _SCRIPT],
            stdin=subprocess.PIPE,
            start_new_session=True,
            cwd="/",
            text=True,
        )

    def later(self, command: str) -> None:
        """Have the command run at the end; before those that were named earlier."""
        self._say(f"run {command}")

    def kill(self, pid: int) -> None:
        """Have the process killed at the end. It must not be waited for before it is spared."""
        self._say(f"kill {pid}")

    def spare(self, pid: int) -> None:
        """Take it back: the process has been waited for, or is about to be."""
        self._say(f"spare {pid}")

    def close(self) -> None:
        """Have it all done now."""
        self._pipe.close()
        self._process.wait()

    def _say(self, line: str) -> None:
        self._pipe.write(line + "\n")
        self._pipe.flush()

    @property
    def _pipe(self) -> IO[str]:
        assert self._process.stdin is not None
        return self._process.stdin
