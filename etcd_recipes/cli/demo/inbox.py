"""The inbox: where the threads that listen put events, and the stage takes them out."""

from __future__ import annotations

from collections import deque

from etcd_recipes.cli.demo.event import Event
from etcd_recipes.core import runtime
from etcd_recipes.core.context import Context

__all__ = ["Inbox"]


class Inbox:
    """Events from many threads to one."""

    def __init__(self) -> None:
        self._events: deque[Event] = deque()
        self._news = runtime.new_event()

    def put(self, event: Event) -> None:
        """Add an event."""
        self._events.append(event)
        self._news.set()

    def take(self, ctx: Context, seconds: float) -> list[Event]:
        """Wait for events, at most `seconds`, and give them in order; raises the error of `ctx`."""
        with ctx.on_cancel(self._news.set):
            self._news.wait(seconds)
        ctx.check()
        return self.rest()

    def rest(self) -> list[Event]:
        """Give what is there, without waiting."""
        self._news.clear()  # before the events: one that comes now is taken, or rings again
        events = []
        while self._events:
            events.append(self._events.popleft())
        return events
