"""The door of the program ``etcd-recipes``.

Rules of this file
1. A Ctrl-C is heard by the commands that have something to tidy up (`signals`); everywhere else it ends the
   process by the signal, without a word. KeyboardInterrupt would be a traceback out of some import, or, in a
   callback of the interpreter's own, be lost.
2. Nothing else is imported before that is settled.
3. Who has SIGINT ignored (``nohup``, ``&`` in a script) keeps it ignored.
"""

from __future__ import annotations

import signal

__all__ = ["main"]


def main() -> None:
    """Run the command line, and end the process with its exit status."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from etcd_recipes.cli.main import main as run

    run()
