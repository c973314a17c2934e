"""The company: actors as the tests see them. It starts the nursery, gives orders and collects the reports."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.processes import is_stopped
from tests.tools import eventually

__all__ = ["Actor", "Company"]

ROOT = Path(__file__).parents[2]


class Actor:
    """One process of visitors; `reports` has what it said of each visit."""

    def __init__(self, channel: socket.socket, pid: int) -> None:
        self.pid = pid
        self.reports: dict[int, list[dict[str, Any]]] = {}
        self._channel = channel
        self._ears = threading.Thread(target=self._listen, daemon=True)
        self._ears.start()

    def _listen(self) -> None:
        with self._channel.makefile("r") as lines:
            try:
                for line in lines:
                    event = json.loads(line)
                    self.reports.setdefault(event["visit"], []).append(event)
            except (OSError, ValueError):
                pass  # it was killed in the middle of a line

    @property
    def over(self) -> bool:
        """True when the process has ended, and all that it said has been heard."""
        return not self._ears.is_alive()

    def say(self, do: str, **order: Any) -> None:
        try:
            self._channel.sendall(json.dumps({"do": do, **order}).encode() + b"\n")
        except OSError:
            pass  # it is dead, as some are meant to be

    def stop(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)
        eventually(lambda: is_stopped(self.pid))

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        self._ears.join(5)

    def close(self, patience: float = 0.0) -> None:
        """Kill the process, when it had so many seconds to end by itself."""
        self._ears.join(patience)
        self.kill()
        self._channel.close()


class Company:
    """All actors of a test session; to be closed. `module` is the program of their nursery."""

    def __init__(self, module: str = "tests.properties.actor", **environment: str) -> None:
        self._nursery, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            )
        self._lock = threading.Lock()
        self._actors: list[Actor] = []

    @property
    def pid(self) -> int:
        """The id of the nursery."""
        return self._process.pid

    def actor(self, variant: str | None = None) -> Actor:
        """Start an actor: of the sound library, or of a broken variant."""
        ours, theirs = socket.socketpair()
        with self._lock, theirs:
            socket.send_fds(self._nursery, [b"one"], [theirs.fileno()])
            pid = int.from_bytes(self._nursery.recv(8), "big")
            actor = Actor(ours, pid)
            self._actors.append(actor)
        if variant is not None:
            actor.say("vary", variant=variant)
            eventually(lambda: actor.over or 0 in actor.reports)
            assert not actor.over, f"the patch of {variant} does not fit any more"
        return actor

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for actor in self._actors:
            actor.close()
        self._nursery.close()
        assert self._process.wait(10) == 0
