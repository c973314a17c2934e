"""The troupe: the worker processes, as the stage sees them.

Rules of this file
1. Each worker is a process in a session of its own, so that the terminal's Ctrl-C reaches the stage only.
2. Only processes that were started here are signalled, through their Popen objects, which know a process
   that is gone from a stranger that got its number. All are waited for.
3. A worker's stdin is never written to after its role: that it ends is how a worker hears that the stage
   is gone, even after kill -9.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from etcd_recipes.cli.demo.event import Event, from_line
from etcd_recipes.cli.demo.inbox import Inbox
from etcd_recipes.cli.demo.worker import Role
from etcd_recipes.core import runtime

__all__ = ["Troupe"]

_FAREWELL = 8.0  # seconds that a worker may take to sign off


class Troupe:
    """The worker processes of one run; on leaving ``with`` all are stopped, however it is left."""

    def __init__(self, inbox: Inbox, folder: Path) -> None:
        self._inbox = inbox
        self._folder = folder
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._readers: list[runtime.Thread] = []
        self._killed: set[str] = set()
        self._stopped = False

    def start(self, role: Role) -> None:
        """Start the worker, and listen to it."""
        with self._log(role.name).open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "etcd_recipes.cli.demo.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        self._processes[role.name] = process
        self._readers.append(
            runtime.spawn(lambda: self._listen(role.name, process), f"demo-{role.name}")
        )
        assert process.stdin is not None
        try:
            os.write(process.stdin.fileno(), role.to_line().encode())
        except BrokenPipeError:
            pass  # it has ended already; its status and last words will tell why
        self._inbox.put(Event("started", runtime.now(), role.name, number=process.pid))

    def kill(self, name: str) -> None:
        """Kill -9 the worker; it is gone when this returns."""
        self._killed.add(name)
        self._processes[name].kill()
        self._processes[name].wait()

    def stop(self, *, last: str = "") -> None:
        """Ask all to leave, and wait for them; one that does not go in time is killed.

        The one called `last` is asked when the others are gone: a leader that went first would be
        succeeded by somebody who is about to leave, too.
        """
        self._stopped = True
        self._dismiss([name for name in self._processes if name != last])
        self._dismiss([name for name in self._processes if name == last])
        for reader in self._readers:
            reader.join()
        for process in self._processes.values():
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None
                pipe.close()

    def _dismiss(self, names: list[str]) -> None:
        for name in names:
            self._processes[name].terminate()
        deadline = runtime.now() + _FAREWELL
        for name in names:
            process = self._processes[name]
            try:
                process.wait(max(0.0, deadline - runtime.now()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                self._tell(name, f"did not leave within {_FAREWELL:g} s and was killed")

    @property
    def pids(self) -> tuple[int, ...]:
        """The ids of all processes that were ever started here."""
        return tuple(process.pid for process in self._processes.values())

    def deserters(self) -> tuple[str, ...]:
        """Say which workers ended otherwise than they were told to, and with which last words."""
        return tuple(
            f"{name} ended with status {process.returncode}{self._last_words(name)}"
            for name, process in self._processes.items()
            if process.returncode not in (None, 0) and name not in self._killed
        )

    def _listen(self, name: str, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            event = from_line(line.decode(errors="replace"))
            self._inbox.put(event or Event("trouble", runtime.now(), name, text=repr(line)))
        status = process.wait()
        self._inbox.put(Event("ended", runtime.now(), name, number=status))

    def _tell(self, name: str, text: str) -> None:
        self._inbox.put(Event("trouble", runtime.now(), name, text=text))

    def _log(self, name: str) -> Path:
        return self._folder / f"{name}.log"

    def _last_words(self, name: str) -> str:
        words = self._log(name).read_text(errors="replace").strip().splitlines()
        return f": {words[-1]}" if words else ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._stopped:
            self.stop()
