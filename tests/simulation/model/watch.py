"""Watches on v3: streams, and what each of their watches is sent.

The rules
1. A watch that begins in the past is served by a loop that runs ten times a second, up to a thousand
   revisions in one message; from then on, as one that begins now, each revision is a message when it is made.
2. A watch that begins before the compacted revision is cancelled, and its stream stays open and silent.
3. What happens on a stream is sent in the order of the revisions; nothing is sent while it is held, because
   its member is cut off or it was made silent, and all of it afterwards.
4. A stream that asked for a leader is ended when there has been none for three election timeouts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from tests.simulation.model.errors import Refused, stream_error
from tests.simulation.model.mvcc import Change, Mvcc, within
from tests.simulation.model.wire import (
    JSON_TYPE,
    Json,
    choice,
    dump,
    flag,
    listed,
    message,
    number,
    raw,
)

__all__ = ["Switchboard", "Watch", "WatchHandle", "WatchStream"]

BATCH = 1000
FRAGMENT = 1_572_864 + 524_288

_FILTERS = ("NOPUT", "NODELETE")


class WatchHandle:
    """A stream as its client has it; `headers` stand before the first chunk.

    `cut` is True when it ended without the end of an answer, as when its server was killed.
    """

    status = 200

    def __init__(
        self,
        headers: Mapping[str, str],
        emit: Callable[[bytes], None],
        end: Callable[[], None],
        leave: Callable[[Any], None],
    ) -> None:
        self.headers = headers
        self.cut = False
        self.closed = False
        self._emit = emit
        self._end = end
        self._leave = leave

    def emit(self, chunk: bytes) -> None:
        """Send a chunk."""
        if not self.closed:
            self._emit(chunk)

    def close(self) -> None:
        """The client leaves: nothing more is sent."""
        if not self.closed:
            self.closed = True
            self._leave(self)

    def finish(self) -> None:
        """The server ends the answer."""
        if not self.closed:
            self.close()
            self._end()

    def kill(self) -> None:
        """The connection breaks."""
        self.cut = True
        self.finish()


class Watch:
    """One watch of a stream; `next` is the first revision that it is to be sent, once it is in step."""

    __slots__ = (
        "end",
        "filters",
        "fragment",
        "heard",
        "id",
        "key",
        "next",
        "prev_kv",
        "progress",
        "stream",
        "sync_at",
    )

    def __init__(self, stream: WatchStream, body: Json, start: int) -> None:
        self.stream = stream
        self.id = 0
        self.key = raw(body, "key") or b"\0"
        self.end = raw(body, "range_end")
        self.next = start
        self.sync_at: float | None = None
        self.prev_kv = flag(body, "prev_kv")
        self.fragment = flag(body, "fragment")
        self.progress = flag(body, "progress_notify")
        self.heard = 0.0
        self.filters = {
            choice({"filter": name}, "filter", _FILTERS) for name in listed(body, "filters")
        }

    def wants(self, change: Change) -> bool:
        """Tell whether an event is to be sent."""
        key = change.key
        if self.end:
            if not within(key, self.key, self.end):
                return False
        elif key != self.key:
            return False
        return not self.filters or f"NO{change.kind}" not in self.filters


class Switchboard:
    """Who is to hear of a key, of all the watches that are in step."""

    def __init__(self) -> None:
        self._of_key: dict[bytes, dict[Watch, None]] = {}
        self._of_range: dict[Watch, None] = {}

    def add(self, watch: Watch) -> None:
        """Let a watch hear of what comes."""
        if watch.end:
            self._of_range[watch] = None
        else:
            self._of_key.setdefault(watch.key, {})[watch] = None

    def drop(self, watch: Watch) -> None:
        """Forget a watch."""
        self._of_range.pop(watch, None)
        same = self._of_key.get(watch.key)
        if same is not None and same.pop(watch, self) is None and not same:
            del self._of_key[watch.key]

    def hear(self, changes: tuple[Change, ...]) -> dict[Watch, list[Change]]:
        """Give what each watch is to hear of a revision."""
        found: dict[Watch, list[Change]] = {}
        for change in changes:
            for watch in self._of_key.get(change.key, ()):
                if watch.wants(change):
                    found.setdefault(watch, []).append(change)
            for watch in self._of_range:
                if watch.wants(change):
                    found.setdefault(watch, []).append(change)
        return found


class Host(Protocol):
    """What a stream needs of its member."""

    version: str
    mvcc: Mvcc
    switchboard: Switchboard

    @property
    def stands_still(self) -> bool: ...
    def header(self, revision: int) -> Json: ...
    def reach(self) -> int: ...
    def leave(self, stream: Any) -> None: ...
    def sync_time(self, stream: Any, now: float) -> float: ...


class WatchStream(WatchHandle):
    """The watches of one request."""

    def __init__(
        self,
        host: Host,
        emit: Callable[[bytes], None],
        end: Callable[[], None],
        *,
        needs_leader: bool,
    ) -> None:
        super().__init__(JSON_TYPE, emit, end, host.leave)
        self.needs_leader = needs_leader
        self.watches: dict[int, Watch] = {}
        self.held_at: int | None = host.reach() if host.stands_still else None
        """The revision up to which it was served when it began to be held."""
        self._host = host
        self._silent = False
        self._last_id = -1

    def close(self) -> None:
        """The client leaves: nothing more is sent."""
        for watch in self.watches.values():
            self._host.switchboard.drop(watch)
        super().close()

    # -- held ----------------------------------------------------------------------------------------------------

    @property
    def silent(self) -> bool:
        """Fault: True while nothing is sent, though the stream stays open."""
        return self._silent

    @silent.setter
    def silent(self, value: bool) -> None:
        self._silent = value
        self.look_again()

    def look_again(self) -> None:
        """Begin to be held, or stop and send what was missed, revision by revision."""
        if self._silent or self._host.stands_still:
            if self.held_at is None:
                self.held_at = self._host.reach()
        elif self.held_at is not None:
            first, self.held_at = self.held_at + 1, None
            for revision in range(first, self._host.reach() + 1):
                self._replay(revision)

    def _replay(self, revision: int) -> None:
        changes = self._host.mvcc.log[revision]
        for watch in list(self.watches.values()):
            if watch.sync_at is None and revision >= watch.next:
                self._send_events(watch, [change for change in changes if watch.wants(change)])

    # -- what the client asks ------------------------------------------------------------------------------------

    def ask(self, body: Json, now: float) -> None:
        """Take one object of the request's body; one that is none of the three is not answered at all."""
        if "create_request" in body:
            self._create(message(body, "create_request"), now)
        elif "cancel_request" in body:
            id_ = number(message(body, "cancel_request"), "watch_id")
            if (watch := self.watches.pop(id_, None)) is not None:
                self._host.switchboard.drop(watch)
                self._send({"canceled": True}, id_)
        elif "progress_request" in body:
            self._send({}, -1)

    def _create(self, body: Json, now: float) -> None:
        reach = self._host.reach()
        start = number(body, "start_revision") or reach + 1
        watch = Watch(self, body, start)
        watch.heard = now
        if watch.end and watch.end != b"\0" and watch.key >= watch.end:
            self._refuse("mvcc: watcher range is empty")
        elif (id_ := self._id(number(body, "watch_id"))) is None:
            self._refuse("mvcc: duplicate watch ID provided on the WatchStream")
        else:
            watch.id = id_
            self.watches[id_] = watch
            self._send({"created": True}, id_)
            if start <= reach:
                watch.sync_at = self._host.sync_time(self, now)
            else:
                self._host.switchboard.add(watch)

    def _refuse(self, why: str) -> None:
        self._send({"created": True, "canceled": True, "cancel_reason": why}, -1)

    def _id(self, wanted: int) -> int | None:
        if wanted:
            return None if wanted in self.watches else wanted
        self._last_id += 1
        while self._last_id in self.watches:
            self._last_id += 1
        return self._last_id

    # -- what is sent ----------------------------------------------------------------------------------------------

    def deliver(self, watch: Watch, changes: list[Change], revision: int) -> None:
        """Send what a revision brought to one of the watches."""
        if self.held_at is None and revision >= watch.next:
            self._send_events(watch, changes)

    def sync(self, now: float) -> None:
        """Rule 1: serve the watches that begin in the past, if their time has come."""
        for watch in list(self.watches.values()):
            if watch.sync_at is not None and watch.sync_at <= now:
                self._sync(watch, now)

    def _sync(self, watch: Watch, now: float) -> None:
        mvcc, reach = self._host.mvcc, self._host.reach()
        if watch.next < mvcc.compacted:
            del self.watches[watch.id]
            body = {"canceled": True, "compact_revision": str(mvcc.compacted)}
            self._send(body, watch.id, revision=0)
            return
        until = min(reach, watch.next + BATCH - 1)
        events = [
            change
            for changes in mvcc.log[watch.next : until + 1]
            for change in changes
            if watch.wants(change)
        ]
        watch.next = max(watch.next, until + 1)
        watch.sync_at = None
        if until < reach:
            watch.sync_at = self._host.sync_time(self, now)
        else:
            self._host.switchboard.add(watch)
        self._send_events(watch, events)

    def repeat(self, back: int) -> None:
        """Send the last `back` revisions again, as servers do that have bug #15271."""
        log, reach = self._host.mvcc.log, self._host.reach()
        for watch in self.watches.values():
            if watch.sync_at is None:
                for revision in range(max(2, reach + 1 - back), reach + 1):
                    self._send_events(watch, [c for c in log[revision] if watch.wants(c)])

    def progress(self, now: float, every: float) -> None:
        """Tell the watches that asked for it how far they are, when nothing came for long."""
        for watch in self.watches.values():
            if watch.progress and not self.silent and now - watch.heard >= every:
                watch.heard = now
                self._send({}, watch.id)

    def progress_times(self, every: float) -> list[float]:
        """Give when progress messages are due."""
        return [w.heard + every for w in self.watches.values() if w.progress and not self.silent]

    def break_off(self, code: int, words: str) -> None:
        """End the stream with an error."""
        self.emit(stream_error(self._host.version, code, words))
        self.finish()

    # -- messages --------------------------------------------------------------------------------------------------

    def _send_events(self, watch: Watch, changes: list[Change]) -> None:
        if not changes:
            return
        shapes = [self._event(watch, change) for change in changes]
        if watch.fragment and len(shapes) > 1:
            self._send_pieces(watch, shapes)
        else:
            self._send({"events": shapes}, watch.id)

    def _send_pieces(self, watch: Watch, shapes: list[Json]) -> None:
        for piece, is_last in _pieces(shapes, FRAGMENT):
            body: Json = {"events": piece} if is_last else {"fragment": True, "events": piece}
            self._send(body, watch.id)

    def _event(self, watch: Watch, change: Change) -> Json:
        shape = change.shape()
        prev = change.prev
        if watch.prev_kv and prev is not None and change.revision > self._host.mvcc.compacted:
            shape = shape | {"prev_kv": prev.shape()}
        return shape

    def _send(self, body: Json, id_: int, *, revision: int | None = None) -> None:
        header = self._host.header(self._host.reach() if revision is None else revision)
        result: Json = {"header": header}
        if id_:
            result["watch_id"] = str(id_)
        self.emit(dump({"result": result | body}).encode() + b"\n")

    def start(self, asked: Iterable[Json], now: float) -> None:
        """Take the whole body of the request."""
        for body in asked:
            try:
                self.ask(body, now)
            except Refused as refused:
                self.break_off(2, refused.message)
                return


def _pieces(shapes: list[Json], most: int) -> Iterable[tuple[list[Json], bool]]:
    """Cut events into pieces of less than `most` bytes, each with one event at least."""
    piece: list[Json] = []
    size = 0
    for shape in shapes:
        more = len(dump(shape)) * 3 // 4
        if piece and size + more >= most:
            yield piece, False
            piece, size = [], 0
        piece.append(shape)
        size += more
    yield piece, True
