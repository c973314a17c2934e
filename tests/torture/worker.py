"""The process of a worker: it takes orders over its channel, and does everything that `acts` has.

It is forked from a nursery (see `tests.properties.actor`), which knows the library already and has no thread.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from etcd_recipes import Client, Context, ContextError
from etcd_recipes.signals import exit_on_signals
from tests.properties.actor import nursery
from tests.torture import plants
from tests.torture.acts import (
    Desk,
    Gates,
    Holds,
    Observing,
    Orders,
    Registering,
    Watching,
    Writing,
)
from tests.torture.notebook import Notebook

__all__ = ["Worker"]

ACTS: dict[str, Callable[[Desk], Any]] = {
    "holds": Holds,
    "barrier": lambda desk: Gates(desk, "barrier"),
    "double": lambda desk: Gates(desk, "double"),
    "latch": lambda desk: Gates(desk, "latch"),
    "writing": Writing,
    "watching": Watching,
    "observing": Observing,
    "registering": Registering,
}

ACTIVE = ("holds", "barrier", "double", "latch", "writing")
"""The acts that change something; the others look on."""


class Worker:
    """One process; `serve` returns when it is told to end, or when nobody is there to tell."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._lock = threading.Lock()
        self._orders = Orders()
        self._threads: list[threading.Thread] = []
        self._desk: Desk | None = None

    def serve(self) -> None:
        """Take orders."""
        exit_on_signals(signal.SIGTERM)
        with self._channel.makefile("r") as orders:
            for line in orders:
                order = json.loads(line)
                if (what := order.pop("do")) == "start":
                    self._start(**order)
                elif what == "rest":
                    self._rest()
                elif what == "finish":
                    self._finish()
                    return
                elif what == "calm":
                    self._orders.forget()
                else:
                    self._orders.give(what)
        os._exit(1)  # nobody is there any more

    def _start(
        self,
        *,
        who: str,
        slot: str,
        slots: int,
        api: Any,
        endpoints: list[str],
        header_timeout: float,
        folder: str,
        acts: list[str],
        seed: int,
        plant: str,
    ) -> None:
        notes = Notebook(Path(folder), who)
        client = Client(endpoints, api=api, header_timeout=header_timeout)
        desk = Desk(
            client,
            api,
            slot,
            slots,
            Path(folder),
            notes,
            self._orders,
            Context(),
            self._say,
            seed,
        )
        self._desk = desk
        if plant:
            plants.PLANTS[plant].patch(desk)
        notes.note("started", api=api, slot=slot, pid=os.getpid())
        for name in acts:
            act = ACTS[name](desk)
            thread = threading.Thread(
                target=self._run, args=(name, act.run), name=name, daemon=True
            )
            self._threads.append(thread)
            thread.start()

    def _run(self, name: str, act: Callable[[], None]) -> None:
        assert self._desk is not None
        try:
            act()
        except ContextError:
            if not self._desk.ctx.done:
                raise
        except BaseException as error:
            self._desk.notes.note("crashed", act=name, why=f"{type(error).__name__}: {error}"[:500])
            raise

    def _rest(self) -> None:
        """Change nothing any more, and look on; what is under way is brought to its end first."""
        assert self._desk is not None
        self._desk.resting = True
        threading.Thread(target=self._say_when_at_rest, daemon=True).start()

    def _say_when_at_rest(self) -> None:
        for thread in self._threads:
            if thread.name in ACTIVE:
                thread.join()
        self._say(rests=True)

    def _finish(self) -> None:
        """End, in good order."""
        desk = self._desk
        assert desk is not None
        desk.stopping = True
        for thread in self._threads:
            if thread.name != "observing":  # which ends with the Context only
                thread.join(5)
        desk.ctx.cancel()
        for thread in self._threads:
            thread.join(2)
        desk.notes.note("ended", waiting=[t.name for t in self._threads if t.is_alive()])
        desk.client.close()

    def _say(self, **event: Any) -> None:
        try:
            with self._lock:
                self._channel.sendall(json.dumps({"visit": 0, **event}).encode() + b"\n")
        except OSError:
            pass  # nobody listens any more


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is for who runs all this
    nursery(int(sys.argv[1]), Worker)
