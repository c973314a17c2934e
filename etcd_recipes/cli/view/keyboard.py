"""A terminal for a page that is drawn anew in place, and given back as it was, whatever happens.

Rules of this file
1. The terminal is the user's: its settings and its contents come back at the end, after an error, after a
   signal that ends the program, and for as long as it is stopped (Ctrl-Z).
2. A signal handler only writes a byte to a pipe; what it means is done by who waits.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import termios
import tty
from types import FrameType
from typing import Any, Self

from rich.console import Console, RenderableType
from rich.control import Control
from rich.screen import Screen

from etcd_recipes.cli.talk import is_terminal
from etcd_recipes.core.context import Context

__all__ = ["Terminal"]

_STOP = b"z"
_AGAIN = b"w"


class Terminal:
    """A context manager: the page's screen inside, the user's outside. In the main thread only."""

    def __init__(self, console: Console, ctx: Context) -> None:
        self._console = console
        self._ctx = ctx
        self._keys = sys.stdin.fileno() if is_terminal(sys.stdin) else None
        self._settings: list[Any] = []
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        self._before: dict[int, Any] = {}

    def draw(self, page: RenderableType) -> None:
        """Show this."""
        self._console.control(Control.home())
        self._console.print(Screen(page), end="")

    def wait(self, seconds: float) -> bool:
        """Wait so long, or for what calls for a new drawing; tell whether the user wants to quit."""
        with self._ctx.on_cancel(self._wake):
            sources = [self._reader] if self._keys is None else [self._reader, self._keys]
            ready, _, _ = select.select(sources, [], [], seconds)
        if self._reader in ready and _STOP in os.read(self._reader, 4096):
            self._stop()
        if self._keys is not None and self._keys in ready:
            pressed = os.read(self._keys, 1024)
            return not pressed or b"q" in pressed.lower()
        return False

    def __enter__(self) -> Self:
        self._before = {
            signal.SIGTSTP: signal.signal(signal.SIGTSTP, self._note(_STOP)),
            signal.SIGWINCH: signal.signal(signal.SIGWINCH, self._note(_AGAIN)),
        }
        self._take()
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self._give_back()
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self._reader)
        os.close(self._writer)

    def _note(self, what: bytes) -> Any:
        def handler(_number: int, _frame: FrameType | None) -> None:
            self._wake(what)

        return handler

    def _wake(self, what: bytes = _AGAIN) -> None:
        try:
            os.write(self._writer, what)
        except OSError:
            pass  # full: it wakes anyway; or closed: there is nobody to wake

    def _take(self) -> None:
        if self._keys is not None:
            self._settings = termios.tcgetattr(self._keys)
            tty.setcbreak(self._keys, termios.TCSADRAIN)  # Ctrl-C and Ctrl-Z stay signals
        self._console.set_alt_screen(True)
        self._console.show_cursor(False)

    def _give_back(self) -> None:
        self._console.show_cursor(True)
        self._console.set_alt_screen(False)
        if self._keys is not None and self._settings:
            termios.tcsetattr(self._keys, termios.TCSADRAIN, self._settings)

    def _stop(self) -> None:
        """Stop, as Ctrl-Z is meant to; go on when the shell says so."""
        self._give_back()
        # SIGTSTP would come to the handler again.
        os.kill(os.getpid(), signal.SIGSTOP)
        self._take()
