"""The members as machines: they crash, are stopped, are cut off from each other, and elect leaders.

What becomes of a request that comes to a member
    which has a leader                          it is carried out
    which reads of its own state                it is answered, be it old
    which knows that it has no leader           it is refused, if it asked for a leader (`hasleader`)
    which does not know it yet, or is not asked it is held: a read until there is a new leader ("leader changed")
                                                or for 7 s, now and then for two rounds of that (13.9 s); a write for
                                                7 s, and whether it was carried out meanwhile, behind the election,
                                                nobody can tell
    which is stopped                            it is taken by the system, and carried out when the member goes on
    which is down                               the connection is refused, or reset

Rules of this file
* One change of leadership at a time: a leader that is lost is gone at once, and after 1.2 to 1.6 s those who are
  left have another one, if they are a majority.
* An old leader that is cut off answers no renewals, as one that does would be a defect of etcd's that nobody can
  defend against by clocks (it has had that one).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tests.simulation.model import Answer, Cluster, Request
from tests.simulation.model.errors import stream_error, unary_error
from tests.simulation.scheduler import Scheduler
from tests.simulation.wire import Pipe

if TYPE_CHECKING:
    from tests.simulation.network import Network

__all__ = ["Host", "Members"]

HELD = 7.0
"""Seconds for which a member holds what it cannot have agreed on: 5 s and two election timeouts."""

DOUBT_3 = ((14, "etcdserver: request timed out"), (2, "context deadline exceeded"))


class Host:
    """One member's machine."""

    def __init__(self, members: Members, number: int) -> None:
        self.members = members
        self.number = number
        self.member = members.cluster.members[number]
        self.state = "up"  # up, down, stopped
        self.epoch = 0
        self.cut = False
        self.unaware_until = 0.0  # of having no leader
        self._backlog: list[tuple[Pipe, Request, str]] = []
        self._outbox: list[Callable[[], None]] = []

    @property
    def counts(self) -> bool:
        """True while it can be one of a majority."""
        return self.state == "up" and not self.cut

    def take(self, pipe: Pipe, request: Request, fate: str) -> None:
        """Serve a request that has arrived."""
        if self.state == "stopped":
            self._backlog.append((pipe, request, fate))
        elif self.member.kind(request) == "watch":
            self._open(pipe, request)
        else:
            self._serve(pipe, request, fate)

    # -- unary -------------------------------------------------------------------------------------------------

    def _serve(self, pipe: Pipe, request: Request, fate: str) -> None:
        members, now = self.members, self.members.scheduler.time
        kind = self.member.kind(request)
        if kind in ("other", "serializable") or (self.counts and members.has_leader):
            self._carry_out(pipe, request, fate, kind)
        elif wants_leader(request) and now >= self.unaware_until:
            self._answer(pipe, request, fate)
        else:
            members.hold(self, pipe, request, kind)

    def _carry_out(self, pipe: Pipe, request: Request, fate: str, kind: str) -> None:
        if fate.startswith("said to have failed"):
            if fate == "said to have failed":
                self.apply(request)
            self.fail(pipe, request)
        else:
            self._answer(pipe, request, fate)

    def _answer(self, pipe: Pipe, request: Request, fate: str) -> None:
        self.members.network.reply(pipe, self.apply(request), fate)

    def apply(self, request: Request) -> Answer:
        """Carry it out, now."""
        answer = self.member.answer(request, self.members.scheduler.time)
        if (
            self.member.kind(request) == "write"
        ):  # a renewal can only make the next deadline a later one
            self.members.changed()
        return answer

    def fail(self, pipe: Pipe, request: Request, code: int = 0, words: str = "") -> None:
        """Say that nobody knows what has become of it."""
        if request.path.startswith("/v2"):
            body = (
                b'{"errorCode":300,"message":"Raft Internal Error",'
                b'"cause":"etcdserver: request timed out","index":0}'
            )
            answer = Answer(500, {"Content-Type": "application/json"}, body)
        else:
            if not code:
                code, words = self.members.chance.choice(DOUBT_3)
            status = 500 if code == 2 else 503
            form = stream_error if request.path.endswith("keepalive") else unary_error
            body = form(self.members.cluster.version, code, words)
            answer = Answer(status, {"Content-Type": "application/json"}, body)
        self.members.network.reply(pipe, answer)

    # -- streams -----------------------------------------------------------------------------------------------

    def _open(self, pipe: Pipe, request: Request) -> None:
        network, members = self.members.network, self.members
        early: list[Callable[[], None]] = []  # what the member says before the head is on its way
        ready: list[bool] = []

        def say(send: Callable[[], None]) -> None:
            if ready:
                self._out(send)
            else:
                early.append(send)

        def emit(data: bytes) -> None:
            say(lambda: network.chunk(pipe, data))

        def end() -> None:
            say(lambda: network.end(pipe, bool(getattr(pipe.handle, "cut", False))))

        opened = self.member.open(request, members.scheduler.time, emit, end)
        if isinstance(opened, Answer):
            network.reply(pipe, opened)
            return
        if pipe.closed:
            opened.close()
            return
        pipe.handle = opened
        network.head(pipe, opened.status, opened.headers)
        ready.append(True)
        for send in early:
            send()
        members.changed()

    def _out(self, send: Callable[[], None]) -> None:
        """Send something by itself; what a stopped member has to say, it says when it goes on."""
        if self.state == "stopped":
            self._outbox.append(send)
        else:
            send()

    # -- its fate ----------------------------------------------------------------------------------------------

    def stop(self) -> None:
        if self.state == "up":
            self.state = "stopped"
            self.members.lost(self)

    def go_on(self) -> None:
        """Go on after a stop: everything that was sent meanwhile is carried out now."""
        if self.state != "stopped":
            return
        self.state = "up"
        self.members.regained(self)
        outbox, self._outbox = self._outbox, []
        backlog, self._backlog = self._backlog, []
        for send in outbox:
            send()
        for pipe, request, fate in backlog:
            late = self.members.chance.uniform(0.0, 0.3)
            self.members.scheduler.after(late, self._take_late, pipe, request, fate)

    def _take_late(self, pipe: Pipe, request: Request, fate: str) -> None:
        if self.state != "down":
            self.take(pipe, request, fate)

    def crash(self) -> None:
        if self.state != "down":
            self.state = "down"
            self.epoch += 1
            self._backlog, self._outbox = [], []
            self.members.network.reset_host(self)
            self.member.kill()
            self.members.lost(self)

    def restart(self) -> None:
        if self.state == "down":
            self.state = "up"
            self.members.regained(self)

    def isolate(self) -> None:
        """Cut it off from the other members."""
        if not self.cut:
            self.cut = True
            self.member.isolated = True
            self.members.lost(self)

    def rejoin(self) -> None:
        if self.cut:
            self.cut = False
            self.member.isolated = False
            self.members.regained(self)


class Members:
    """All of them, and who leads."""

    network: Network

    def __init__(self, scheduler: Scheduler, cluster: Cluster, faults: Counter[str]) -> None:
        self.scheduler = scheduler
        self.cluster = cluster
        self.chance = scheduler.chance
        self.faults = faults
        self.hosts = [Host(self, number) for number in range(len(cluster.members))]
        self.has_leader = True
        self.on_change: Callable[[], None] = lambda: None
        self._waiting: list[Callable[[], None]] = []  # for a leader
        self._electing = False
        self._tick_at = 0.0
        cluster.elect(0, scheduler.time)

    def kind(self, host: int, request: Request) -> str:
        return self.hosts[host].member.kind(request)

    # -- time --------------------------------------------------------------------------------------------------

    def changed(self) -> None:
        """Look when the cluster next has something to do by itself."""
        due = self.cluster.next_deadline()
        now = self.scheduler.time
        if due is not None and (self._tick_at <= now or due < self._tick_at):
            self._tick_at = max(due, now)
            self.scheduler.at(self._tick_at, self._tick)

    def _tick(self) -> None:
        now = self.scheduler.time
        before = self.cluster.revision
        self.cluster.tick(now)
        self._tick_at = 0.0
        if self.cluster.revision != before:
            self.on_change()
        self.changed()

    # -- leadership --------------------------------------------------------------------------------------------

    @property
    def leader(self) -> Host | None:
        return None if self.cluster.leader is None else self.hosts[self.cluster.leader]

    def lost(self, host: Host) -> None:
        """Hear that a member is gone, for the others."""
        now = self.scheduler.time
        host.unaware_until = now + self.chance.uniform(1.0, 2.0)
        majority = sum(each.counts for each in self.hosts) * 2 > len(self.hosts)
        if self.has_leader and (self.leader is host or not majority):
            self._depose()
        self.changed()

    def _depose(self) -> None:
        now = self.scheduler.time
        self.has_leader = False
        self.faults["leader lost"] += 1
        for host in self.hosts:
            host.unaware_until = max(host.unaware_until, now + self.chance.uniform(0.9, 1.2))
        self.cluster.elect(None, now)
        self._elect_later(1.2, 1.6)

    def regained(self, host: Host) -> None:
        """Hear that a member is back."""
        if not self.has_leader:
            self._elect_later(0.5, 1.8)
        self.changed()

    def change_leader(self) -> None:
        """Have another one lead, without anybody dying."""
        if self.has_leader:
            self._depose()

    def _elect_later(self, least: float, most: float) -> None:
        if not self._electing:
            self._electing = True
            self.scheduler.after(self.chance.uniform(least, most), self._elect)

    def _elect(self) -> None:
        self._electing = False
        there = [host.number for host in self.hosts if host.counts]
        if self.has_leader or len(there) * 2 <= len(self.hosts):
            return
        self.cluster.elect(self.chance.choice(there), self.scheduler.time)
        self.has_leader = True
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each()
        self.changed()

    # -- what is held ------------------------------------------------------------------------------------------

    def hold(self, host: Host, pipe: Pipe, request: Request, kind: str) -> None:
        """Hold a request that comes to a member without a leader."""
        if kind == "write":
            self._hold_write(host, pipe, request)
        else:
            self._hold_read(host, pipe, request)

    def _hold_write(self, host: Host, pipe: Pipe, request: Request) -> None:
        self.faults["write held"] += 1
        if not host.cut and self.chance.random() < 0.5:

            def behind_the_election() -> None:
                self.faults["write applied behind an election"] += 1
                self.scheduler.after(self.chance.uniform(0.0, 0.3), self._apply_late, host, request)

            self._waiting.append(behind_the_election)
        self.scheduler.after(HELD, self._fail, host, pipe, request)

    def _apply_late(self, host: Host, request: Request) -> None:
        if self.has_leader and host.counts:
            host.apply(request)
            self.on_change()

    def _hold_read(self, host: Host, pipe: Pipe, request: Request) -> None:
        self.faults["read held"] += 1
        answered: list[bool] = []

        def leader_changed() -> None:
            if not answered and host.counts:
                answered.append(True)
                host.fail(pipe, request, 14, "etcdserver: leader changed")

        def too_long() -> None:
            if not answered:
                answered.append(True)
                self._fail(host, pipe, request)

        self._waiting.append(leader_changed)
        self.scheduler.after(HELD + self.chance.choice((0.0, 0.0, 6.9)), too_long)

    def _fail(self, host: Host, pipe: Pipe, request: Request) -> None:
        if host.state == "up" and host.epoch == pipe.epoch:
            if host.cut or not self.has_leader:
                host.fail(pipe, request)
            else:
                words = "etcdserver: request timed out, possibly due to previous leader failure"
                host.fail(pipe, request, 14, words)

    def mend_all(self) -> None:
        """Have all of them up, together."""
        for host in self.hosts:
            host.restart()
            host.go_on()
            host.rejoin()


def wants_leader(request: Request) -> bool:
    """Tell whether a request asks to be refused rather than held."""
    headers: Any = request.headers
    return any(name.lower() == "grpc-metadata-hasleader" for name in headers)
