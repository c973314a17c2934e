"""Exit statuses: what each number means, and which one an end of the command is.

The table is part of the public contract: `docs/reference/cli.md`. Pure, but for the look at the file system
that `unusable` takes.
"""

from __future__ import annotations

import errno
import os
import shutil

__all__ = [
    "FAILED",
    "LOST",
    "NOT_ACQUIRED",
    "NOT_EXECUTABLE",
    "NOT_FOUND",
    "of_start",
    "of_wait",
    "unusable",
]

LOST = 75  # EX_TEMPFAIL of sysexits: try again later
NOT_ACQUIRED = 124  # as timeout(1)
FAILED = 125
NOT_EXECUTABLE = 126  # this and the next as a shell
NOT_FOUND = 127


def of_wait(status: int) -> int:
    """Give the exit status of a process from what waitpid says; 128 + N when signal N has killed it."""
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def of_start(error: OSError) -> int:
    """Give the exit status for a command that could not be started."""
    absent = error.errno in (errno.ENOENT, errno.ENOTDIR)
    return NOT_FOUND if absent else NOT_EXECUTABLE


def unusable(command: str) -> tuple[int, str] | None:
    """Give the exit status and a sentence if there is no such command, or None if it can be started.

    Asked before anything is acquired, so that nobody waits an hour to learn of a slip of the pen.
    """
    if shutil.which(command) is not None:
        return None
    if shutil.which(command, mode=os.F_OK) is not None or os.path.isdir(command):  # noqa: PTH112
        return NOT_EXECUTABLE, f"{command}: it is there, but cannot be executed"
    return NOT_FOUND, f"{command}: command not found"
