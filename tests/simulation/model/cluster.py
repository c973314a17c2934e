"""The cluster: what its members agree on, who leads, and what its clocks bring about.

The rules
1. There is one copy of what is agreed on. A member that is cut off sees it as it was then.
2. Leases and v2 ttls end while there is a leader that the others hear, at the steps of half a second in which
   it looks.
3. A member that was killed or stopped takes no part: whoever does that to it makes it `isolated` as well.
4. All chance is the caller's `rng`, all time his `now`.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence

from tests.simulation.model.errors import LEASE_NOT_FOUND, Refused
from tests.simulation.model.kv import Keys
from tests.simulation.model.leases import Lessor
from tests.simulation.model.member import Member
from tests.simulation.model.mvcc import Change, Kv, Mvcc
from tests.simulation.model.v2store import Event, V2Store
from tests.simulation.model.watch import Switchboard, WatchStream

__all__ = ["Cluster"]

ELECTION = 1.0
"""Seconds without a word after which a member takes its leader for lost."""

_STEP = 0.5
_SYNC = 0.1


class Cluster:
    """A model of an etcd cluster; see the module's docstring.

    `version` decides in what form answers are given, `ttl_least` is the shortest lease, `history` the
    number of v2 events that are kept, `endpoints` what the members advertise to clients.
    """

    def __init__(
        self,
        members: int = 3,
        *,
        rng: random.Random,
        version: str = "3.5.1",
        ttl_least: int = 2,
        history: int = 1000,
        endpoints: Sequence[str] = (),
        progress_interval: float = 600.0,
    ) -> None:
        self.rng = rng
        self.version = version
        self.now = 0.0
        self.term = 2
        self.leader: int | None = 0
        self.raft_index = 4
        self.broken_at: float | None = None
        self.cluster_id = rng.getrandbits(63)
        self.progress_interval = progress_interval
        self.mvcc = Mvcc()
        self.lessor = Lessor(ttl_least)
        self.v2 = V2Store(version, history)
        self.streams: dict[WatchStream, Member] = {}
        self.switchboard = Switchboard()
        self.notifying: dict[WatchStream, None] = {}
        self._keys = Keys(self.mvcc, self.lessor)
        self._published = self.mvcc.revision
        self._published_v2 = 0
        self._phase = rng.randrange(32) / 64  # an exact number, so that steps are exact too
        self._syncing: dict[WatchStream, float] = {}
        names = [f"http://m{i}:2379" for i in range(members)]
        urls = [*endpoints, *names[len(endpoints) :]]
        self.members = tuple(Member(self, index, urls[index]) for index in range(members))

    # -- who leads -----------------------------------------------------------------------------------------------

    @property
    def revision(self) -> int:
        """The revision of the v3 store."""
        return self.mvcc.revision

    @property
    def works(self) -> bool:
        """True while there is a leader, and it hears a majority."""
        if self.leader is None or self.members[self.leader].isolated:
            return False
        return 2 * sum(not member.isolated for member in self.members) > len(self.members)

    def look(self) -> None:
        """Remember since when it does not work; for whoever changes who is connected to whom."""
        if self.works:
            self.broken_at = None
        elif self.broken_at is None:
            self.broken_at = self.now

    def elect(self, leader: int | None, now: float) -> None:
        """Begin a new term, under this leader or under none; leases start anew."""
        self.now = now
        self.term += 1
        self.raft_index += 1
        self.leader = leader
        for member in self.members:
            if not member.isolated:
                member.lost_at = now if leader is None else None
        self.look()
        if leader is not None:
            self.lessor.promote(now, ELECTION)

    # -- what time brings ------------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Do what is due: end leases, serve watches that begin in the past, end those without a leader."""
        self.now = now
        if self.works:
            self._expire(now)
        for stream, due in list(self._syncing.items()):
            if due <= now and not stream.silent:
                del self._syncing[stream]
                stream.sync(now)
        for stream in list(self.notifying):
            stream.progress(now, self.progress_interval)
        for stream, cut in self._cuts():
            if cut <= now:
                stream.break_off(14, "etcdserver: no leader")

    def _cuts(self) -> list[tuple[WatchStream, float]]:
        """Give the streams that will be ended for want of a leader, and when."""
        lost = {member: cut for member in self.members if (cut := member.cut_at) is not None}
        if not lost:
            return []
        return [
            (stream, lost[member])
            for stream, member in self.streams.items()
            if stream.needs_leader and member in lost
        ]

    def _expire(self, now: float) -> None:
        until = self._last_step(now)
        for id_ in self.lessor.expired(until):
            self.revoke(id_)
        while self.v2.expire(until, now) is not None:
            self.publish_v2()

    def next_deadline(self) -> float | None:
        """Give when `tick` will next have something to do."""
        due = [when for stream, when in self._syncing.items() if not stream.silent]
        if self.works:
            ends = (self.lessor.next_expiry(), self.v2.next_expiry())
            due += [self._next_step(end) for end in ends if end is not None]
        due += [cut for _, cut in self._cuts()]
        for stream in self.notifying:
            due += stream.progress_times(self.progress_interval)
        return min(due, default=None)

    def _last_step(self, now: float) -> float:
        return self._phase + math.floor((now - self._phase) / _STEP) * _STEP

    def _next_step(self, when: float) -> float:
        return self._phase + math.ceil((when - self._phase) / _STEP) * _STEP

    def sync_time(self, stream: WatchStream, now: float) -> float:
        """Give when a watch that begins in the past will be served."""
        due = self._syncing.get(stream)
        if due is None:
            due = self._syncing[stream] = now + self.rng.random() * _SYNC
        return due

    # -- what members do to it ---------------------------------------------------------------------------------------

    def publish(self) -> None:
        """Tell the watches what is new."""
        mvcc = self.mvcc
        self.raft_index += 1
        while self._published < mvcc.revision:
            self._published += 1
            heard = self.switchboard.hear(mvcc.log[self._published])
            for watch, changes in heard.items():
                watch.stream.deliver(watch, changes, self._published)

    def publish_v2(self) -> None:
        """Tell those who wait on v2 what is new."""
        events = self.v2.events
        while self._published_v2 < len(events):
            event = events[self._published_v2]
            self._published_v2 += 1
            for member in self.members:
                if not member.stands_still:
                    member.v2.hub.deliver(event)

    def new_lease_id(self) -> int:
        """Give an id that is not in use."""
        while (id_ := self.rng.getrandbits(62) + 1) in self.lessor.leases:
            pass
        return id_

    def leave(self, stream: WatchStream) -> None:
        """Forget a stream."""
        self.streams.pop(stream, None)
        self._syncing.pop(stream, None)
        self.notifying.pop(stream, None)

    # -- for operators and checkers ----------------------------------------------------------------------------------

    def revoke(self, lease: int) -> None:
        """End a lease; its keys are deleted in one revision. Refused if there is none."""
        if lease not in self.lessor.leases:
            raise Refused(*LEASE_NOT_FOUND)
        for key in self.lessor.drop(lease):
            self.lessor.attach(key, 0)
            self.mvcc.delete(key, b"")
        self.mvcc.commit()
        self.publish()

    def compact(self, revision: int) -> None:
        """Compact; Refused for a revision that is compacted already, or still to come."""
        self._keys.compact({"revision": revision})

    def keys(self) -> Mapping[bytes, Kv]:
        """Give all v3 keys as they are now; not to be changed."""
        return self.mvcc.live

    def history(self) -> list[Change]:
        """Give every v3 event there has been, oldest first, compacted ones included."""
        return [change for changes in self.mvcc.log for change in changes]

    def v2_history(self) -> list[Event]:
        """Give every v2 event there has been, oldest first, refreshes included."""
        return self.v2.events
