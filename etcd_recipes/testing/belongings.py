"""What a member must not leave behind: its process and its folder.

Rules of this file
1. Only the process that made them removes them: a forked child that ends leaves its parent's server alone.
2. A process that was signalled to end is also waited for; there are no zombies.
3. Nothing here refers to the member, so that a forgotten member can be collected, and cleaned up then.
4. Where the owner ends without a chance to do any of this (``kill -9``), its reaper does.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from etcd_recipes.testing.reaper import Reaper

__all__ = ["Belongings"]


class Belongings:
    """A folder, and at most one running process, whose output goes to a file in the folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "etcd.log"
        self.paused = False
        self._log_start = 0
        self._owner = os.getpid()
        self._process: subprocess.Popen[bytes] | None = None
        self._reaper: Reaper | None = None

    def launch(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start the process, in a session of its own; OSError if the binary does not run.

        In the terminal's own process group, Ctrl-C would stop the servers before their owner can say
        how; and a pipe that nobody reads would stop them in the end, so the output goes to a file.
        """
        reaper = self._reaper = self._reaper or Reaper(self.folder)
        with self.log.open("ab") as output:
            self._log_start = output.tell()
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=environment,
                cwd=self.folder,
            )
        reaper.name(self._process.pid)
        self.paused = False

    @property
    def pid(self) -> int | None:
        """The process id while the process runs, else None."""
        process = self._process
        if process is None or process.poll() is None:
            return None if process is None else process.pid
        self._gone()
        return None

    def _gone(self) -> None:
        """Forget an id that the system may give to somebody else from now on."""
        if self._reaper is not None:
            self._reaper.name(None)

    @property
    def exit_status(self) -> int | None:
        """What the last process ended with, or None."""
        return None if self._process is None else self._process.poll()

    def output(self) -> str:
        """Give what the process has written since it was last started."""
        try:
            with self.log.open("rb") as file:
                file.seek(self._log_start)
                return file.read().decode(errors="replace")
        except FileNotFoundError:
            return ""

    def terminate(self, patience: float) -> None:
        """Ask the process to end, and kill it if it has not after `patience` seconds."""
        if (process := self._process) is None:
            return
        process.send_signal(signal.SIGTERM)
        self.resume()  # a stopped process does not hear SIGTERM
        try:
            process.wait(patience)
            self._gone()
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End the process at once; it is gone when this returns."""
        if (process := self._process) is None:
            return
        process.kill()
        process.wait()
        self._gone()
        self.paused = False

    def pause(self) -> None:
        """Stop the process where it is; it has stopped when this returns."""
        if (process := self._process) is None or process.poll() is not None:
            return
        process.send_signal(signal.SIGSTOP)
        if sys.platform == "linux":
            os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        self.paused = True

    def resume(self) -> None:
        """Let a stopped process go on."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
        self.paused = False

    def dispose(self) -> None:
        """Kill the process and remove the folder, if they are this process's own; as often as you like."""
        if os.getpid() != self._owner:
            return
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
        reaper, self._reaper = self._reaper, None
        if reaper is not None:
            reaper.dismiss()
