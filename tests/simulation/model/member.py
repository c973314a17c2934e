"""One member: what it serves, to whom it is still connected, and what is wrong with it.

The rules
1. A member that is cut off (`isolated`) notices after an election timeout that it has no leader. It answers
   from what it had; its streams are silent, and catch up when it is back.
2. Faults are pulled from outside, each off by default (see `faults`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.simulation.model.errors import Refused, is_new, release
from tests.simulation.model.faults import Fault, FaultName, stand_in
from tests.simulation.model.gateway import Gateway, Kind, wants_leader
from tests.simulation.model.v2 import V2, is_wait
from tests.simulation.model.watch import WatchHandle, WatchStream
from tests.simulation.model.wire import JSON_TYPE, TEXT_TYPE, Answer, Json, Request, dump, load_many

if TYPE_CHECKING:
    from tests.simulation.model.cluster import Cluster

__all__ = ["Member"]

ELECTION = 1.0
_PATIENCE = 3.0
"""Seconds without a leader after which a stream that asked for one is ended: three election timeouts."""


class Member:
    """One member of a cluster."""

    def __init__(self, cluster: Cluster, index: int, client_url: str) -> None:
        self.cluster = cluster
        self.index = index
        self.name = f"m{index}"
        self.id = cluster.rng.getrandbits(63)
        self.client_url = client_url
        self.peer_url = f"http://m{index}:2380"
        self.version = cluster.version
        self.mvcc = cluster.mvcc
        self.switchboard = cluster.switchboard
        self.lost_at: float | None = None
        self.stale_by = 0
        """Fault: linearizable reads are answered as of this many revisions ago (bug #20418)."""
        self._isolated = False
        self._lagging = False
        self._still_at: int | None = None
        self._head = {"cluster_id": str(cluster.cluster_id), "member_id": str(self.id)}
        self._gateway = Gateway(self)
        self.v2 = V2(self)
        self._faults: deque[Fault] = deque()

    # -- how it stands to the others -----------------------------------------------------------------------------

    @property
    def isolated(self) -> bool:
        """True while it is cut off from the other members."""
        return self._isolated

    @isolated.setter
    def isolated(self, value: bool) -> None:
        if value == self._isolated:
            return
        self._isolated = value
        self.cluster.look()
        if value:
            self._stand_still()
            self.lost_at = self.cluster.now + ELECTION
            return
        self.lost_at = self.cluster.now if self.cluster.leader is None else None
        if not self._lagging:
            self._catch_up()

    @property
    def lagging(self) -> bool:
        """Fault: True while it gets nothing new, though it knows its leader; reads with quorum are right."""
        return self._lagging

    @lagging.setter
    def lagging(self, value: bool) -> None:
        was, self._lagging = self._lagging, value
        if value and not was:
            self._stand_still()
        elif was and not value and not self._isolated:
            self._catch_up()

    @property
    def stands_still(self) -> bool:
        """True while nothing new reaches it."""
        return self._still_at is not None

    @property
    def has_quorum(self) -> bool:
        """True while it can have something agreed on."""
        return not self._isolated and self.cluster.works

    def lacks_leader(self, now: float) -> bool:
        """Tell whether it knows that it has no leader."""
        return (lost := self._lost()) is not None and lost <= now

    @property
    def cut_at(self) -> float | None:
        """When its streams that asked for a leader are ended, if nothing changes."""
        lost = self._lost()
        return None if lost is None else lost + _PATIENCE

    def _lost(self) -> float | None:
        if self.lost_at is None and self.cluster.broken_at is not None:
            return self.cluster.broken_at + ELECTION
        return self.lost_at

    def reach(self) -> int:
        """Give the revision that it has."""
        return self.mvcc.revision if self._still_at is None else self._still_at

    def sight(self, *, local: bool) -> int | None:
        """Give the revision of which a read is answered, None for the newest."""
        if self.stale_by and not local:
            return max(1, self.mvcc.revision - self.stale_by)
        return self._still_at if local or self._isolated else None

    def header(self, revision: int) -> Json:
        """Give the header of an answer."""
        head = dict(self._head)
        if revision:
            head["revision"] = str(revision)
        head["raft_term"] = str(self.cluster.term)
        return head

    # -- requests ----------------------------------------------------------------------------------------------------

    def kind(self, request: Request) -> Kind:
        """Tell what a request is, so that a network can decide what becomes of it.

        "write": agreed on by all, and maybe carried out late. "read": needs a leader, changes nothing that
        is agreed on (a lease's renewal is one). "serializable": from the member's own state. "watch": to
        be opened, not answered.
        """
        method = _method(request)
        if method is not None:
            return self._gateway.kind(method, request)
        return self.v2.kind(request) if request.path.startswith("/v2/") else "other"

    def answer(self, request: Request, now: float) -> Answer:
        """Carry out a unary request, now."""
        self.cluster.now = now
        if _is_watch(request):
            raise ValueError(f"{request.path} is to be opened")
        if not self._faults:
            return self._answer(request, now)
        fault = self._faults.popleft()
        true = self._answer(request, now) if fault.applied else None
        return stand_in(fault.name, request.path, self.version, true)

    def _answer(self, request: Request, now: float) -> Answer:
        method = _method(request)
        if method is not None:
            return self._gateway.answer(method, request, now)
        if request.path.startswith("/v2/") and not is_new(self.version):
            return self.v2.answer(request, now)
        if request.path == "/health":
            return self._health(now)
        if request.path.partition("?")[0] == "/version":
            body = {"etcdserver": self.version, "etcdcluster": f"{self.version[:3]}.0"}
            return Answer(200, JSON_TYPE, dump(body).encode())
        return Answer(404, TEXT_TYPE, b"404 page not found\n")

    def open(
        self,
        request: Request,
        now: float,
        emit: Callable[[bytes], None],
        end: Callable[[], None],
    ) -> WatchHandle | Answer:
        """Open a stream: `emit` is called with each chunk, the first ones before this returns."""
        self.cluster.now = now
        if self._faults:
            return stand_in(self._faults.popleft().name, request.path, self.version, None)
        if request.path.startswith("/v2/"):
            return self.v2.open(request, now, emit, end)
        stream = WatchStream(self, emit, end, needs_leader=wants_leader(request))
        try:
            self._gateway.admit(request, now)
            asked = load_many(request.body)
        except Refused as refused:
            return self._gateway.refusal("watch", refused)
        self.cluster.streams[stream] = self
        stream.start(asked, now)
        if any(watch.progress for watch in stream.watches.values()) and not stream.closed:
            self.cluster.notifying[stream] = None
        return stream

    def _health(self, now: float) -> Answer:
        lost = self.lacks_leader(now)
        body = {"health": "false" if lost else "true"}
        if release(self.version) != (3, 4):
            body["reason"] = "RAFT NO LEADER" if lost else ""
        return Answer(503 if lost else 200, JSON_TYPE, dump(body).encode())

    # -- its streams -------------------------------------------------------------------------------------------------

    def leave(self, stream: WatchStream) -> None:
        """Forget a stream."""
        self.cluster.leave(stream)

    def sync_time(self, stream: WatchStream, now: float) -> float:
        """Give when a watch that begins in the past will be served."""
        return self.cluster.sync_time(stream, now)

    @property
    def streams(self) -> list[WatchStream]:
        """Its streams, the oldest first."""
        return [stream for stream, member in self.cluster.streams.items() if member is self]

    def _stand_still(self) -> None:
        if self._still_at is None:
            self._still_at = self.mvcc.revision
            for stream in self.streams:
                stream.look_again()
            self.v2.stand_still()

    def _catch_up(self) -> None:
        self._still_at = None
        for stream in self.streams:
            stream.look_again()
        self.v2.catch_up()

    # -- faults, each pulled from outside ----------------------------------------------------------------------------

    def fail(self, name: FaultName, *, applied: bool = False, times: int = 1) -> None:
        """Answer the next requests with a fault; `applied` carries them out all the same."""
        self._faults.extend([Fault(name, applied)] * times)

    def repeat(self, back: int) -> None:
        """Send every v3 watch the events of the last `back` revisions again (bug #15271)."""
        for stream in self.streams:
            stream.repeat(back)

    def silence(self, on: bool = True) -> None:
        """Make the v3 streams that are open silent; when it is taken off they catch up."""
        for stream in self.streams:
            stream.silent = on

    def kill(self) -> None:
        """Cut all streams, in the middle of their answers: the process was killed."""
        for stream in [*self.streams, *self.v2.hub.watches]:
            stream.kill()

    def shut_down(self) -> None:
        """End all streams as a server does that is asked to go."""
        words = (1, "grpc: the client connection is closing")
        if release(self.version) != (3, 4):
            words = (14, "error reading from server: EOF")
        for stream in self.streams:
            stream.break_off(*words)
        for watch in self.v2.hub.watches:
            watch.kill()


def _is_watch(request: Request) -> bool:
    path = request.path
    if path.startswith("/v2/"):
        return "wait=" in path and is_wait(request)
    return path in ("/v3/watch", "/v3beta/watch")


def _method(request: Request) -> str | None:
    """Give the part of a v3 path that names the method, or None for other paths."""
    path = request.path
    if path.startswith("/v3/"):
        return path[4:]
    return path[8:] if path.startswith("/v3beta/") else None
