"""The process of some visitors: takes orders as JSON lines, and reports what it sees with clock readings.

`nursery` is a process with everything imported and no thread, which forks actors on demand: an actor costs
some milliseconds in place of half a second, and is a process of its own to kill and to stop.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
from collections.abc import Callable
from typing import Any

from etcd_recipes import Client, Context
from etcd_recipes.core import runtime
from tests.properties import variants
from tests.properties.history import Wish
from tests.properties.subjects import SUBJECTS, Held

__all__ = ["nursery"]

OFTEN = 0.02
"""Seconds between two looks at a hold."""

Report = Callable[..., None]


class _Visit:
    """One visitor: a thread that enters, and looks at its hold until it is to leave or has lost it."""

    def __init__(self, order: dict[str, Any], client: Client, report: Report) -> None:
        self._order = order
        self._client = client
        self._report = report
        self._ctx = Context()
        self._over = threading.Event()  # to leave, or to desert
        self._deserts = False
        self._leave_timeout: float | None = None
        threading.Thread(target=self._run, daemon=True).start()

    def cancel(self) -> None:
        self._ctx.cancel()

    def leave(self, timeout: float | None) -> None:
        self._leave_timeout = timeout
        self._over.set()

    def desert(self) -> None:
        self._deserts = True
        self._over.set()

    def _run(self) -> None:
        order = self._order
        self._report(began=runtime.now())
        try:
            held = SUBJECTS[order["subject"]].enter(
                self._client,
                order["name"],
                Wish(**order["wish"]),
                order["ttl"],
                order["timeout"],
                self._ctx,
            )
        except Exception as error:
            self._report(gave_up=runtime.now(), why=f"{type(error).__name__}: {error}", over=True)
            return
        if held is None:
            self._report(gave_up=runtime.now(), why="timeout", over=True)
            return
        self._hold(held)

    def _hold(self, held: Held) -> None:
        granted = before = runtime.now()
        seen: dict[str, float] = {"promised": before + held.hold.remaining(), "pause": 0.0}
        if held.hold.is_held:
            seen["believed"] = before
        self._report(granted=granted, token=held.token, key=held.key, **seen)
        self._report(place=self._place(held.key))
        lost = self._look(held.hold, seen)
        if self._deserts:
            return
        self._report(**seen, **({} if lost else {"leaving": runtime.now()}))
        held.hold.release(
            timeout=self._leave_timeout
        )  # of a lost one, too: it must not hurt anybody
        self._report(over=True)

    def _look(self, hold: Any, seen: dict[str, float]) -> bool:
        """Look at the hold until it is time to leave (False) or it is lost (True)."""
        last = runtime.now()
        until = last + (self._order["stay"] or float("inf"))
        while not self._over.wait(0 if self._order["closely"] else OFTEN):
            before, remaining = runtime.now(), hold.remaining()
            held = hold.is_held or not hold.lost.is_set()  # either would let its work go on
            seen["pause"] = max(seen["pause"], before - last)
            if not held:
                seen["told"] = runtime.now()
                return True
            last = seen["believed"] = before
            seen["promised"] = max(seen["promised"], before + remaining)
            if before >= until:
                break
        return False

    def _place(self, key: str) -> int | None:
        """Give the revision at which the key was made, read through the Store."""
        try:
            entry = self._client._sessions.store.get(key, Context(1.0))
        except Exception:
            return None
        return None if entry is None else entry.created


class _Actor:
    """The visits of one process, by number, and its clients, by name."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._lock = threading.Lock()
        self._clients: dict[str, Client] = {}
        self._visits: dict[int, _Visit] = {}

    def serve(self) -> None:
        """Take orders until told to end, or until nobody is there to give any."""
        with self._channel.makefile("r") as orders:
            for line in orders:
                order = json.loads(line)
                if order["do"] == "end":
                    return
                getattr(self, "_" + order.pop("do"))(**order)

    def _vary(self, variant: str) -> None:
        variants.VARIANTS[variant].patch()
        self._say({"visit": 0, "varied": variant})

    def _enter(self, **order: Any) -> None:
        number: int = order["visit"]

        def report(**event: Any) -> None:
            self._say({"visit": number, **event})

        self._visits[number] = _Visit(order, self._client(order), report)

    def _client(self, order: dict[str, Any]) -> Client:
        name = order["client"]
        if name not in self._clients:
            self._clients[name] = Client(
                order["endpoint"], api=order["api"], header_timeout=order["header_timeout"]
            )
        return self._clients[name]

    def _cancel(self, visit: int) -> None:
        self._visits[visit].cancel()

    def _leave(self, visit: int, timeout: float | None) -> None:
        self._visits[visit].leave(timeout)

    def _desert(self, visit: int) -> None:
        self._visits[visit].desert()

    def _say(self, event: dict[str, Any]) -> None:
        try:
            with self._lock:
                self._channel.sendall(json.dumps(event).encode() + b"\n")
        except OSError:
            pass  # nobody listens any more


def nursery(place: int, actor: Callable[[socket.socket], Any] = _Actor) -> None:
    """Fork an `actor` for each descriptor that comes over the socket `place`, and answer with its pid.

    A client of each kind is made first, so that everything it needs is imported.

    The children are not waited for: so no pid is given to anybody else while this process lives.
    """
    for api in ("v3", "v2"):
        Client("http://127.0.0.1:1", api=api).close()
    assert threading.active_count() == 1, "a fork would lose threads"
    with socket.socket(fileno=place) as parent:
        while (message := socket.recv_fds(parent, 16, 1))[0]:
            (descriptor,) = message[1]
            if not (pid := os.fork()):
                parent.close()
                actor(socket.socket(fileno=descriptor)).serve()
                return  # to the end of the interpreter, as any program does
            os.close(descriptor)
            parent.sendall(pid.to_bytes(8, "big"))


if __name__ == "__main__":
    nursery(int(sys.argv[1]))
