"""Watches on v2: who waits for what at one member, and who is told of an event.

The rules
1. Told are: those who wait for the key itself; those who wait for all below one of the directories above it,
   unless a hidden name lies in between; and those who wait for something that the event took away.
2. An event ends a wait, unless it is a stream. (A stream on something that is taken away is told twice, and
   one that begins with an event of the past is told nothing after it: etcd's own ways.)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tests.simulation.model.v2store import Event
from tests.simulation.model.watch import WatchHandle
from tests.simulation.model.wire import dump

__all__ = ["Hub", "V2Watch"]


class V2Watch(WatchHandle):
    """One wait."""

    def __init__(
        self,
        headers: Mapping[str, str],
        emit: Callable[[bytes], None],
        end: Callable[[], None],
        leave: Callable[[Any], None],
        *,
        path: str,
        recursive: bool,
        stream: bool,
        since: int,
    ) -> None:
        super().__init__(headers, emit, end, leave)
        self.path = path
        self.recursive = recursive
        self.stream = stream
        self.since = since
        self.missed: list[Event] = []

    def tell(self, event: Event) -> None:
        """Send an event."""
        self.emit(dump(event.shape()).encode() + b"\n")
        if not self.stream:
            self.finish()


class Hub:
    """The waits at one member."""

    def __init__(self) -> None:
        self._by_path: dict[str, list[V2Watch]] = {}

    def add(self, watch: V2Watch) -> None:
        """Let it wait."""
        self._by_path.setdefault(watch.path, []).append(watch)

    def leave(self, watch: V2Watch) -> None:
        """Forget a wait."""
        waiting = self._by_path.get(watch.path, [])
        if watch in waiting:
            waiting.remove(watch)
            if not waiting:
                del self._by_path[watch.path]

    @property
    def watches(self) -> list[V2Watch]:
        """All waits."""
        return [watch for waiting in self._by_path.values() for watch in waiting]

    def deliver(self, event: Event) -> None:
        """Tell those whom an event concerns."""
        if event.refresh or not self._by_path:
            return
        for path in event.removed:
            self._tell(event, path, taken=True)
        key = event.key
        at = 0
        while at >= 0:
            self._tell(event, key[:at] or "/", taken=False)
            at = key.find("/", at + 1)
        self._tell(event, key, taken=False)

    def _tell(self, event: Event, path: str, *, taken: bool) -> None:
        waiting = self._by_path.get(path)
        if waiting is None:
            return
        itself = event.key == path
        if (
            not itself
            and "/_" in "/" + event.key[len(path) :].lstrip("/")
            and len(path) <= len(event.key)
        ):
            return
        for watch in list(waiting):
            if (watch.recursive or itself or taken) and event.index >= watch.since:
                watch.tell(event)
