"""The guard: cancels the task that runs a body when what the body relies on is lost.

The algorithm is that of ``asyncio.timeout``
1. Remember how many cancels were asked of the task before the body.
2. A loss cancels the task, once, on its own loop, while the body runs: the CancelledError is thrown where the
   body waits, never after it.
3. At the end take that one cancel back (``uncancel``). If none is left but those of before, and the body
   ended with the CancelledError, it is ours: LockLost takes its place. Otherwise somebody else, such as a
   TaskGroup, a timeout or a guard further out, wants the task to end, and the CancelledError goes on.
"""

from __future__ import annotations

import asyncio

__all__ = ["Guard"]


class Guard:
    """The guard of one body, in the task that runs it."""

    def __init__(self) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("what is held is entered by a task; there is none here")
        self.task = task
        self._before = task.cancelling()
        self._is_open = True
        self._has_cut = False

    def cut(self) -> None:
        """Cancel the body; nothing happens when it has ended, or the second time. On the task's loop."""
        if self._is_open and not self._has_cut:
            self._has_cut = True
            self.task.cancel("what was held is lost")

    def leave(self, kind: type[BaseException] | None) -> bool:
        """End, and tell whether the exception that ends the body (of this `kind`) is this guard's cancel alone."""
        self._is_open = False
        if not self._has_cut:
            return False
        alone = self.task.uncancel() <= self._before
        return alone and kind is not None and issubclass(kind, asyncio.CancelledError)
