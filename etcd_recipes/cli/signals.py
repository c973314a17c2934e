"""Signals, heard on a thread; and those that end a program, turned into the cancel of a Context.

Rules of this file
1. No exception ever breaks into the program's course: whatever waits, waits with a Context, and ends
   with it. So what is tidied up is never interrupted half-way, however often Ctrl-C is pressed.
2. A signal handler may run between any two instructions, even inside the lock of a Context. So the
   handlers do nothing; the interpreter writes the signal's number to a pipe, and a thread reads it.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from etcd_recipes.core import runtime
from etcd_recipes.core.context import Context

__all__ = ["ENDING", "Caught", "cancelled_by_signals", "hearing_signals"]

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_END = b"\0"


@dataclass(slots=True)
class Caught:
    """The first signal that came; 0 while none has."""

    number: int = 0

    @property
    def status(self) -> int:
        """The exit status that tells of it, as shells do: 130 after Ctrl-C."""
        return 128 + self.number

    @property
    def name(self) -> str:
        """Its name, such as SIGINT."""
        return signal.Signals(self.number).name


@contextmanager
def cancelled_by_signals(ctx: Context) -> Iterator[Caught]:
    """Run the body so that SIGINT, SIGTERM and SIGHUP cancel `ctx`; in the main thread only."""
    caught = Caught()

    def cancel(number: int) -> None:
        if number in ENDING:
            caught.number = caught.number or number
            ctx.cancel(f"{caught.name} was received")

    with hearing_signals(ENDING, cancel):
        yield caught


@contextmanager
def hearing_signals(numbers: Collection[int], hear: Callable[[int], None]) -> Iterator[None]:
    """Run the body so that each of these signals is given to `hear`, on a thread, and does nothing else.

    In the main thread only. A signal that is ignored stays so, but for SIGINT. `hear` is also told of
    signals for which somebody else has a handler.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    # nohup means it; but a shell's `&` ignores SIGINT for all, and nobody who sends it means that.
    heard = [
        number
        for number in numbers
        if number == signal.SIGINT or signal.getsignal(number) is not signal.SIG_IGN
    ]
    before = {number: signal.signal(number, _nothing) for number in heard}
    wakeup = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    thread = runtime.spawn(lambda: _listen(reader, hear), "etcd-recipes-signals")
    try:
        yield
    finally:
        signal.set_wakeup_fd(wakeup)
        os.write(writer, _END)
        thread.join()
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(reader)
        os.close(writer)


def _nothing(_number: int, _frame: object) -> None:
    pass


def _listen(reader: int, hear: Callable[[int], None]) -> None:
    while (byte := os.read(reader, 1)) != _END:
        hear(byte[0])
