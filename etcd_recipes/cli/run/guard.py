"""The guard: the process that starts the command, watches it, and ends it when its time is over.

It is told (over a pipe from the runner)
    run env lifetime    start the command
    renewed until       the hold is certain until then
    taken               the hold is gone: ask the command to end, kill it when its grace is over
    signal number       pass it on to the command's group
    resume              go on after a stop
    (nothing any more)  the runner is gone, however it ended: the same as taken
It tells
    started pid
    stopped had_terminal    by the terminal's keys or for want of it; the runner stops, too
    ended status late       the command has ended, `late` if the hold was not renewed in time

Rules of this file
1. One thread, which waits in `wait` (and for what it has killed). All signals but SIGCHLD are blocked:
   whoever sends them means the command, and the runner passes them on.
2. What is ended is the command's process group. That the command itself has ended is not enough then: its
   group must be empty, or is killed.
3. A command that ends by itself may leave others of its group behind; they are none of ours.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Collection, Sequence
from multiprocessing.connection import Connection, Pipe, wait
from typing import Any

from etcd_recipes.cli.run.lifetime import Lifetime, Step
from etcd_recipes.cli.run.start import become, death_with_parent
from etcd_recipes.cli.run.terminal import Terminal
from etcd_recipes.core import runtime

__all__ = ["start_guard"]

_LOOK = 0.02
"""Seconds between two looks at a group whose leader has ended: the system tells nobody of its end."""

_LONGEST = 3600.0
"""Seconds; what polls counts them in milliseconds, and has room for 24 days."""

_FOR_WANT_OF_TERMINAL = (signal.SIGTTIN, signal.SIGTTOU)
_JOB_CONTROL = (*_FOR_WANT_OF_TERMINAL, signal.SIGTSTP)


def start_guard(argv: Sequence[str]) -> tuple[Connection[Any, Any], int]:
    """Fork the guard of a command; give the line to it, and its process id.

    Only while this process has one thread. Nothing is run yet.
    """
    ours, theirs = Pipe()
    terminal = Terminal()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    pid = os.fork()
    if pid:
        theirs.close()
        return ours, pid
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals() - {signal.SIGCHLD})
        os.setpgid(0, 0)  # the runner's group may be killed as a whole
        ours.close()
        _Guard(theirs, argv, terminal, mask).serve()
    finally:
        os._exit(0)


class _Guard:
    """See the module's docstring."""

    def __init__(
        self,
        line: Connection[Any, Any],
        argv: Sequence[str],
        terminal: Terminal,
        mask: Collection[int],
    ) -> None:
        self._line: Connection[Any, Any] | None = line
        self._argv = argv
        self._terminal = terminal
        self._mask = mask
        self._die_with_parent = death_with_parent()
        self._group = 0  # of the command, which is also its process id; 0 while none runs
        self._status: int | None = None
        self._had_terminal = False
        self._late = False
        self._lifetime = Lifetime(0.0)
        self._child, wakeup = os.pipe()
        os.set_blocking(wakeup, False)
        os.set_blocking(self._child, False)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)

    def serve(self) -> None:
        """Serve the runner until it is gone and no command runs."""
        while self._line is not None or self._group:
            sources: list[Any] = [self._child] if self._line is None else [self._child, self._line]
            ready = wait(sources, self._patience())
            if self._child in ready:
                os.read(self._child, 512)
            if self._line in ready:
                self._hear()
            if self._group:
                self._look()
            if self._group:
                self._act()

    def _patience(self) -> float | None:
        if not self._group:
            return None
        patience = self._lifetime.patience(runtime.now())
        longest = _LONGEST if self._status is None else _LOOK
        return longest if patience is None else min(patience, longest)

    # -- what the runner says ------------------------------------------------------------------------------------

    def _hear(self) -> None:
        assert self._line is not None
        try:
            what, *rest = self._line.recv()
        except (EOFError, OSError):
            self._line = None
            self._end(self._lifetime.abandoned(runtime.now()))
            return
        if what == "run":
            self._run(*rest)
        elif not self._group:
            pass  # it ended before the word came
        elif what == "renewed":
            self._lifetime = self._lifetime.renewed(*rest)
        elif what == "taken":
            self._end(self._lifetime.taken(runtime.now()))
        elif what == "signal":
            self._send(*rest)
        elif what == "resume":
            self._had_terminal = self._had_terminal and self._terminal.give(self._group)
            self._send(signal.SIGCONT)

    def _say(self, *message: object) -> None:
        if self._line is not None:
            try:
                self._line.send(message)
            except OSError:
                pass  # heard as the end of the line

    # -- the command -----------------------------------------------------------------------------------------------

    def _run(self, env: dict[str, str], lifetime: Lifetime) -> None:
        self._lifetime, self._status, self._late = lifetime, None, False
        self._had_terminal = self._terminal.ours_alone
        # Blocked while the child is no command yet: see `start`.
        guard = os.getpid()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
        pid = os.fork()
        if not pid:
            try:
                os.setpgid(0, 0)
                self._die_with_parent()
                if os.getppid() != guard:  # it died before the line above
                    os._exit(1)
                if self._had_terminal:
                    self._terminal.give(os.getpid())
                become(self._argv, {**os.environ, **env}, self._mask)
            finally:
                os._exit(1)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        try:
            os.setpgid(pid, pid)  # whichever of the two comes first
        except OSError:
            pass  # it did it, and is the command by now
        self._group = pid
        self._say("started", pid)

    def _look(self) -> None:
        """See whether the command has stopped or ended."""
        while self._status is None:
            pid, status = os.waitpid(self._group, os.WNOHANG | os.WUNTRACED)
            if not pid:
                return
            if os.WIFSTOPPED(status):
                self._stopped(os.WSTOPSIG(status))
            else:
                self._status = status
        if not (self._lifetime.asked and self._send(0)):
            self._ended()

    def _stopped(self, number: int) -> None:
        if number in _FOR_WANT_OF_TERMINAL and self._terminal.give(self._group):
            self._had_terminal = True
            self._send(signal.SIGCONT)
        elif number in _JOB_CONTROL:  # SIGSTOP is somebody's who will send SIGCONT
            self._say("stopped", self._had_terminal)

    def _act(self) -> None:
        """Do what is due by the clock."""
        step = self._lifetime.step(runtime.now())
        if step is Step.ASK:
            self._late = True
            self._end(self._lifetime.run_out())
        elif step is Step.KILL:
            self._send(signal.SIGKILL)
            if self._status is None:
                _, self._status = os.waitpid(self._group, 0)  # at once, whatever it does
            self._ended()

    def _end(self, lifetime: Lifetime) -> None:
        """Ask the command to end, once; a stopped one has to be woken to hear it."""
        asked, self._lifetime = self._lifetime.asked, lifetime
        if self._group and not asked:
            self._send(signal.SIGTERM)
            self._send(signal.SIGCONT)

    def _ended(self) -> None:
        self._terminal.take_back(self._group)
        self._group = 0
        self._say("ended", self._status, self._late)

    def _send(self, number: int) -> bool:
        """Send a signal to the command's group; tell whether there is anybody left to hear it."""
        try:
            os.killpg(self._group, number)
        except (ProcessLookupError, PermissionError):  # macOS: all who are left are zombies
            return False
        return True
