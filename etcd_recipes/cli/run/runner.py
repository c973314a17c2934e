"""The runner: runs a command, as often as it is told, while something is held.

Rules of this file
1. The guard is forked first; then signals are heard; then there may be threads, clients and leases.
2. Signals mean the command while it runs, and are passed on to it, each once; while it does not (waiting
   for the lock, between two terms) those that end a program end the wait.
3. Nothing is released before the guard has said that the command has ended. If the guard itself is gone,
   the command is killed from here.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from etcd_recipes.cli.run.guard import start_guard
from etcd_recipes.cli.run.lifetime import Lifetime
from etcd_recipes.cli.signals import Caught, hearing_signals
from etcd_recipes.core import runtime
from etcd_recipes.core.context import Context
from etcd_recipes.core.errors import EtcdRecipesError, LockLost

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from etcd_recipes.coordination.hold import Hold

__all__ = ["ENDING", "End", "GuardLost", "Runner"]

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
"""What ends a wait. Whatever runs is only told of it."""

_TO_COMMAND = (*ENDING, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH)

_LOOKS_PER_TTL = 12
"""How often the guard is told of a renewal; it would ask the command to end two thirds through a ttl."""


class GuardLost(EtcdRecipesError):
    """The process that guards the command was killed, and so was the command."""


@dataclass(frozen=True, slots=True)
class End:
    """How a run of the command ended: waitpid's status, and why the hold was lost ("" if it was not)."""

    status: int
    lost: str = ""


class Runner:
    """A command that may be run; made in the main thread before there are others, used with ``with``.

    `ctx` ends when a signal says so while nothing runs; `caught` is the first of them, whatever ran.
    `hurried` is set by the second of them. `intercept` is asked about each signal while the command runs (on a
    thread that must not be held up); what it says True to, it passes on itself, by `forward`.
    """

    def __init__(
        self, argv: Sequence[str], intercept: Callable[[int], bool] = lambda _: False
    ) -> None:
        self.ctx = Context()
        self.caught = Caught()
        self.hurried = runtime.new_event()
        self._intercept = intercept
        self._lock = runtime.new_lock()
        self._running = False
        self._runs = 0
        self._group = 0
        self._line: Connection[Any, Any] | None = None
        if argv:
            self._line, self._guard = start_guard(argv)
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        """Hear signals from here on."""
        signal.signal(
            signal.SIGTTOU, signal.SIG_IGN
        )  # words on stderr while the command has the terminal
        self._stack.enter_context(hearing_signals(_TO_COMMAND, self._hear))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let the guard go, and wait for it."""
        self._dismiss()
        self._stack.close()

    def run(self, env: Mapping[str, str], *, grace: float, hold: Hold | None = None) -> End:
        """Run the command to its end, ending it when `hold` is lost; give how it ended.

        Raises Cancelled, and runs nothing, if a signal has come before, and LockLost if `hold` was lost
        before; GuardLost if the guard was killed.
        """
        lifetime = Lifetime(grace)
        if hold is not None:
            hold.check()
            lifetime = Lifetime.under(hold.session.ttl, _until(hold), grace)
        with self._lock:
            self.ctx.check()
            self._tell("run", dict(env), lifetime)
            self._running = True
            self._runs += 1
        stop = signal.signal(signal.SIGTSTP, _nothing)
        try:
            return self._attend(hold)
        except BaseException:
            self._dismiss()  # it ends the command, and that before anything is released
            raise
        finally:
            signal.signal(signal.SIGTSTP, stop)
            with self._lock:
                self._running = False

    def stand(self, hold: Hold) -> str:
        """Run nothing, until a signal comes or `hold` is lost; give why it was lost, "" if it was not."""
        over = runtime.new_event()
        hold.on_lost(lambda _reason: over.set())
        with self.ctx.on_cancel(over.set):
            over.wait(None)
        return _why_lost(hold)

    def forward(self, number: int) -> None:
        """Send a signal to the command, if it runs."""
        self._tell("signal", number)

    # -- while it runs -------------------------------------------------------------------------------------------

    def _attend(self, hold: Hold | None) -> End:
        assert self._line is not None
        period = None if hold is None else min(hold.session.ttl / _LOOKS_PER_TTL, 60.0)
        if hold is not None:
            hold.on_lost(partial(self._taken, self._runs))
        while True:
            if not self._line.poll(period):
                self._tell_until(hold)
                continue
            what, *rest = self._receive()
            if what == "ended":
                return _end(hold, *rest)
            if what == "started":
                (self._group,) = rest
            else:
                self._stop_too(*rest)
                self._tell_until(hold)
                if hold is None or hold.is_held:
                    self._tell("resume")

    def _receive(self) -> Any:
        assert self._line is not None
        try:
            return self._line.recv()
        except (EOFError, OSError):
            if self._group:
                try:
                    os.killpg(self._group, signal.SIGKILL)
                except OSError:
                    pass  # it died with the guard
            raise GuardLost(
                "the process that guards the command was killed, so the command was, too"
            ) from None

    def _tell_until(self, hold: Hold | None) -> None:
        # Once lost, it is for `taken` to say so: that leaves the command its grace.
        if hold is not None and hold.is_held:
            self._tell("renewed", _until(hold))

    def _taken(self, run: int, _reason: str) -> None:
        """Hear of a loss, on a thread that may come late: it must not end the command of the next term."""
        with self._lock:
            if self._running and run == self._runs:
                self._tell("taken")

    def _tell(self, *message: object) -> None:
        with self._lock:
            if self._line is not None:
                try:
                    self._line.send(message)
                except OSError:
                    pass  # the guard is gone, and `_receive` hears of it

    def _stop_too(self, had_terminal: bool) -> None:
        """Stop as the command has, so that the shell goes on; come back with SIGCONT.

        A terminal would have stopped the whole group. Where nobody could wake us (no shell has started
        us), the system does not stop us either.
        """
        before = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        if had_terminal:
            os.kill(0, signal.SIGTSTP)
        else:
            signal.raise_signal(signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, before)

    # -- signals, on their thread ----------------------------------------------------------------------------------

    def _hear(self, number: int) -> None:
        with self._lock:
            # To a command that runs, a hangup may mean that it should read its settings again.
            if number in ENDING and not (self._running and number == signal.SIGHUP):
                self._note(number)
            if not self._running or self._intercept(number):
                return
        self.forward(number)

    def _note(self, number: int) -> None:
        if self.caught.number:
            self.hurried.set()
        self.caught.number = self.caught.number or number
        if not self._running:
            self.ctx.cancel(f"{self.caught.name} was received")

    def _dismiss(self) -> None:
        with self._lock:
            line, self._line = self._line, None
        if line is not None:
            line.close()
            try:
                os.waitpid(self._guard, 0)
            except ChildProcessError:
                pass  # whoever started us ignores SIGCHLD, and so do we


def _nothing(_number: int, _frame: object) -> None:
    pass


def _until(hold: Hold) -> float:
    now = runtime.now()  # read first: the sum must not be later than the truth
    return now + hold.remaining()


def _end(hold: Hold | None, status: int, late: bool) -> End:
    if late:
        return End(status, "its lease is about to run out, and cannot be renewed")
    return End(status, "" if hold is None else _why_lost(hold))


def _why_lost(hold: Hold) -> str:
    try:
        hold.check()
    except LockLost as error:
        return str(error)
    return ""
