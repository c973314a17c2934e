"""The terminal: which process group its keys and its input are for.

Job control, as sudo does it
1. The command has a process group of its own, so that it can be ended with all it has started. A terminal
   sends Ctrl-C to one group only, and lets only that one read.
2. Where the runner has the terminal for itself (all three standard streams, the first of its job), the
   command gets it from the start. In a pipeline it gets it when it asks for it: the system stops a process
   that reads from a terminal which is not its group's.
3. So each key reaches the command once: either the terminal sends it there, or it sends it to the runner,
   which forwards it.
4. When the command is stopped (Ctrl-Z), the runner stops as well, so that the shell goes on, which takes the
   terminal. `fg` gives it to the runner and wakes that, and the runner wakes the command, if it still holds.
"""

from __future__ import annotations

import os

__all__ = ["Terminal"]


class Terminal:
    """The controlling terminal, seen by the runner's group; without one, all of it does nothing."""

    def __init__(self) -> None:
        self._group = os.getpgrp()
        try:
            self._fd = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
        except OSError:
            self._fd = -1
        first = self._group == os.getpid()
        self.ours_alone = first and all(map(os.isatty, (0, 1, 2))) and self._owner() == self._group

    def _owner(self) -> int:
        try:
            return os.tcgetpgrp(self._fd)
        except OSError:
            return 0  # there is none, or it has hung up

    def give(self, group: int) -> bool:
        """Give it to `group` if the runner has it; tell whether `group` has it now."""
        return self._move(self._group, group)

    def take_back(self, group: int) -> None:
        """Take it back from `group` if that has it."""
        self._move(group, self._group)

    def _move(self, owner: int, to: int) -> bool:
        """Only from a process that blocks SIGTTOU, which every other one in the background would get."""
        if self._owner() == owner:
            try:
                os.tcsetpgrp(self._fd, to)
            except OSError:
                return False  # the group is gone, or the terminal
        return self._owner() == to
