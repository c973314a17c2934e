"""The reaper: a process that clears up after its owner, whatever the owner dies of.

How it works
1. It reads lines from a pipe that only its owner can write to: each is the id of the process to end, or
   nothing while there is none.
2. The owner's death closes the pipe, whatever it died of. Then the reaper kills the last process that was
   named, removes the folder, and ends.

Rules of this file
* A road not taken: asking the kernel to kill the server with its parent (PR_SET_PDEATHSIG). It means the
  thread that started the server, which may well end before the program; it leaves the folder behind, which
  is memory; and only Linux has it.
* The reaper has a session of its own and holds nothing of its owner's: no Ctrl-C reaches it, and nobody
  waits for its output.
"""

from __future__ import annotations

import contextlib
import subprocess
from pathlib import Path
from typing import IO

from etcd_recipes.core import runtime

__all__ = ["Reaper"]

_SCRIPT = """
while read -r line; do pid=$line; done
[ -z "$pid" ] || kill -9 "$pid"
rm -rf -- "$1"
"""


class Reaper:
    """Kills what was named last, and removes `folder`, when this process ends without `dismiss`."""

    def __init__(self, folder: Path) -> None:
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", _SCRIPT, "etcd-recipes-reaper", str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
            bufsize=0,
        )
        runtime.at_fork(self)

    def name(self, pid: int | None) -> None:
        """Have this process ended with ours; None: no process any more. Nothing happens in a forked child."""
        pipe = self._pipe()
        if not pipe.closed:
            with contextlib.suppress(BrokenPipeError):  # somebody killed the reaper: as without one
                pipe.write(f"{'' if pid is None else pid}\n".encode())

    def dismiss(self) -> None:
        """End the reaper; call it when there is nothing left for it to clear up."""
        self.name(None)
        self._pipe().close()
        self._process.wait()

    def _pipe(self) -> IO[bytes]:
        assert self._process.stdin is not None
        return self._process.stdin

    def after_fork_in_child(self) -> None:
        """Let go of the pipe: the parent's death must close it, even while a child lives."""
        self._pipe().close()
