"""Signals that end a program, turned into its orderly end: what it holds is released at once.

SIGTERM ends a Python program on the spot. No ``finally`` runs and no ``with`` is left, and what it held stays
held until the lease runs out. `exit_on_signals` makes of the signal what Ctrl-C already is, an exception in
the main thread: blocks are left, locks are released, sessions are revoked.

Rules of this file
1. Nothing is installed by an import. A handler of somebody else's (gunicorn's, Celery's) knows how its
   program ends, and stays; so does a signal that was told to be ignored (nohup).
2. The first signal asks, the second one kills: with the first the default actions come back, so that the
   system itself ends a program that hangs in its own clean-up.
3. The command line does without this: it cancels a Context (`cli.signals`), and is broken into nowhere.
"""

from __future__ import annotations

import signal
from types import FrameType
from typing import NoReturn

__all__ = ["exit_on_signals"]


def exit_on_signals(*signals: int) -> tuple[signal.Signals, ...]:
    """Have the first of these signals end the program in good order, by SystemExit(128 + its number).

    Without `signals` they are SIGTERM and SIGHUP, where the system has them. SystemExit is raised in the
    main thread, wherever that is: asleep, in a call, waiting for a lock. A second signal, whichever of
    them, kills at once. Gives the signals that now work this way: one that is ignored, or has a handler
    of somebody else's, is left as it is.

    ValueError outside the main thread, where Python allows no handlers, and for what is no signal or
    cannot be handled.
    """
    wanted = [_signal(number) for number in signals or _default()]
    free = [number for number in dict.fromkeys(wanted) if signal.getsignal(number) in _OURS]
    for number in free:
        try:
            signal.signal(number, _exit)
        except ValueError as error:
            raise ValueError("exit_on_signals() must be called in the main thread") from error
        except OSError as error:
            raise ValueError(f"{number.name} cannot be handled by any program") from error
    return tuple(free)


def _exit(number: int, _frame: FrameType | None) -> NoReturn:
    for each in signal.valid_signals():
        if signal.getsignal(each) is _exit:
            signal.signal(each, signal.SIG_DFL)
    raise SystemExit(128 + number)


_OURS = (signal.SIG_DFL, signal.default_int_handler, _exit)


def _default() -> list[int]:
    return [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


def _signal(number: int) -> signal.Signals:
    try:
        return signal.Signals(number)
    except ValueError as error:
        raise ValueError(f"{number!r} is not a signal") from error
