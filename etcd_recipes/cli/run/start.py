"""The start of a command: what happens between fork and exec.

Rules of this file
1. Only a process with one thread comes here, and with all signals blocked: a signal that is sent in
   between waits, and meets the command's own disposition.
2. The command finds signals as the runner found them: what nohup ignores stays ignored. What Python
   itself has changed is put back.
3. On Linux the command dies with its parent, the guard, whatever kills that. (Not if it is a program of
   another user's, such as sudo; and not what it starts itself: that is in its group, and the guard's task.)
"""

from __future__ import annotations

import errno
import os
import shutil
import signal
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NoReturn

from etcd_recipes.cli.run import status

__all__ = ["become", "death_with_parent"]

_PR_SET_PDEATHSIG = 1


def death_with_parent() -> Callable[[], object]:
    """Give what makes the calling process die with its parent; nothing where the system cannot."""
    if not sys.platform.startswith("linux"):
        return lambda: None
    import ctypes

    prctl = ctypes.CDLL(None).prctl
    return lambda: prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def become(argv: Sequence[str], environ: Mapping[str, str], mask: Collection[int]) -> NoReturn:
    """Replace this process with the command, with only the signals of `mask` blocked.

    If that cannot be, say why on stderr, and exit with the status that says so.
    """
    # What is ignored outlives exec. Python ignores these two, and has a handler for the third.
    for name in ("SIGPIPE", "SIGXFSZ", "SIGINT"):
        number = getattr(signal, name)
        if name != "SIGINT" or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    try:
        _exec(argv, environ)
    except OSError as error:
        os.write(2, f"etcd-recipes: {argv[0]}: {error.strerror}\n".encode(errors="replace"))
        os._exit(status.of_start(error))


def _exec(argv: Sequence[str], environ: Mapping[str, str]) -> NoReturn:
    try:
        os.execvpe(argv[0], list(argv), environ)  # noqa: S606 (the command of the user's)
    except OSError as error:
        path = shutil.which(argv[0])
        if error.errno != errno.ENOEXEC or path is None:
            raise
        os.execve("/bin/sh", ["sh", path, *argv[1:]], environ)  # noqa: S606 (no #!, as execvp(3))
