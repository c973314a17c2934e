"""The director: carries the plan out.

A kind of fault is a context manager: what is before its `yield` begins it, what is behind ends it. It gives
its target, for people. One of the servers and one of the clients may be under way at the same time.

Rules of this file
1. Whatever happens in between, at the end of a slot all members run, the network is well, all workers are
   there and nobody is stopped.
2. What depends on luck (somebody must stand in line, or be in its critical section) is waited for, and the
   fault counts only when it has struck.
"""

from __future__ import annotations

import random
import signal
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress

from etcd_recipes import Client, Context, EtcdRecipesError
from etcd_recipes.core import runtime
from etcd_recipes.core.v3 import Compare, Op
from etcd_recipes.testing import FaultProxy
from tests.tools import eventually
from tests.torture.acts import TTL
from tests.torture.clock import Clock
from tests.torture.crew import Crew, Slot
from tests.torture.member import Member
from tests.torture.notebook import Notebook
from tests.torture.places import Places
from tests.torture.plan import Slot as Moment

__all__ = ["Director"]

SOON = 3.0
"""Seconds within which somebody comes by who is to be struck."""

AT_LEAST = 1.0
"""Seconds for which a fault lasts, however long it took to begin."""

HOUR = 3600

LINE = "v3/lock"
RELEASE = b'"request_delete_range":{"key":"' + b64encode(LINE.encode())[:8]
"""What a release of that line has in it."""

Happening = Iterator[str]


class NotStruck(Exception):
    """What the fault needs did not come about in time."""


class Director:
    """Does to the places and to the crew what the plan says."""

    def __init__(
        self, places: Places, crew: Crew, operator: Client, clock: Clock | None, notes: Notebook
    ) -> None:
        self._places = places
        self._crew = crew
        self._operator = operator
        self._clock = clock
        self._notes = notes
        self._rng = random.Random()
        self.missed: set[str] = set()

    def play(self, moment: Moment) -> None:
        """Play one slot; what did not strike is in `missed` then."""
        self._rng = random.Random(moment.seed)
        end = runtime.now() + moment.lasting
        with ExitStack() as stack:
            stack.callback(self._mend)
            for kind in moment.kinds:
                stack.enter_context(self._noted(kind))
            Context().wait(max(AT_LEAST, end - runtime.now()))

    @contextmanager
    def _noted(self, kind: str) -> Iterator[None]:
        happening = HAPPENINGS[kind]
        begun = runtime.now()
        try:
            with happening(self) as target:
                struck = True
                start = runtime.now()
                yield
        except NotStruck as error:
            self._notes.note("not_struck", kind=kind, why=str(error))
            self.missed.add(kind)
            struck, start, target = False, begun, ""
            yield
        if struck:
            self.missed.discard(kind)
            self._notes.note(
                "fault", kind=kind, target=target, begun=min(begun, start), end=runtime.now()
            )

    def calm(self) -> None:
        """Have nothing go wrong any more."""
        for slot in self._crew.slots:
            self._crew.order(slot, "calm")
        Context().wait(0.5)
        self._mend()

    def _mend(self) -> None:
        """Rule 1."""
        for slot in self._crew.slots:
            if self._crew.is_free(slot):
                self._crew.start(slot)
            else:
                self._crew.resume(slot)
            for proxy in slot.proxies:
                proxy.heal()
        if self._clock is not None:
            self._clock.jump(0)
        self._places.revive()

    # -- whom it hits ----------------------------------------------------------------------------------------

    def leader(self) -> Member:
        return self._places.leader()

    def follower(self) -> Member:
        return self._rng.choice(self._places.others(self._places.leader()))

    def victim(self) -> Slot:
        """Give a worker whose way leads through proxies."""
        return self._crew.drawn(self._rng, [slot for slot in self._crew.slots if slot.proxies])

    # -- the servers -----------------------------------------------------------------------------------------

    @contextmanager
    def killed(self, member: Member) -> Happening:
        member.kill()
        yield member.name

    @contextmanager
    def stopped(self, member: Member) -> Happening:
        member.pause()
        yield member.name
        member.resume()

    @contextmanager
    def ended(self, member: Member) -> Happening:
        member.stop()
        yield member.name

    @contextmanager
    def partitioned(self, member: Member) -> Happening:
        self._places.partition(member)
        yield member.name
        self._places.heal()

    @contextmanager
    def partitioned_one_way(self, member: Member) -> Happening:
        incoming = self._rng.random() < 0.5
        self._places.partition(member, incoming=incoming, outgoing=not incoming)
        yield f"{member.name}, what {'comes in' if incoming else 'goes out'}"
        self._places.heal()

    @contextmanager
    def cut_from_clients(self) -> Happening:
        member = self._rng.choice(self._places.members)
        self._places.cut_clients(member)
        yield member.name
        self._places.heal()

    @contextmanager
    def loss(self) -> Happening:
        for member in self._places.members:
            self._places.lose(member, 0.3)
        yield "30 % of the packets to each member"
        self._places.heal()

    @contextmanager
    def moved(self) -> Happening:
        leader, follower = self.leader(), self.follower()
        with suppress(EtcdRecipesError):
            self._operator.v3.maintenance.move_leader(self._places.ids[follower.name], timeout=3.0)
        yield f"from {leader.name} to {follower.name}"

    @contextmanager
    def quorum_lost(self) -> Happening:
        members = self._rng.sample(self._places.members, 2)
        kill = self._rng.random() < 0.5
        for member in members:
            member.kill() if kill else member.pause()
        yield f"{' and '.join(m.name for m in members)} {'killed' if kill else 'stopped'}"

    # -- the ways of clients ---------------------------------------------------------------------------------

    @contextmanager
    def replies_lost(self) -> Happening:
        victim, only = self.victim(), self._rng.choice([b"", b"/v3/kv/txn", b"/v3/lease"])
        for proxy in victim.proxies:
            proxy.lose_reply(only=only)
        yield victim.who

    @contextmanager
    def late_replies(self) -> Happening:
        victim = self.victim()
        for proxy in victim.proxies:
            proxy.delay(0.1, jitter=1.4)
        yield victim.who

    @contextmanager
    def late_requests(self) -> Happening:
        """A few requests stay on their way, and arrive when the slot is over."""
        victim = self.victim()
        for proxy in victim.proxies:
            proxy.hold(only=b"/v3/kv/txn", times=2)
        yield victim.who

    @contextmanager
    def late_release(self) -> Happening:
        """A copy of a release arrives when the one who sent it, and has released since, is in again."""
        victim = self._crew.v3[0]
        before = [proxy.hits for proxy in victim.proxies]
        for proxy in victim.proxies:
            proxy.hold(only=RELEASE, times=1)

        def held_up() -> list[FaultProxy]:
            pairs = zip(victim.proxies, before, strict=True)
            return [proxy for proxy, hits in pairs if proxy.hits > hits]

        self._wait(lambda: bool(held_up()), f"{victim.who} released nothing")
        holding = held_up()[0]
        for proxy in victim.proxies:
            if proxy is not holding:
                proxy.heal()
        key, _ = self._lingering(victim, LINE)
        holding.heal()
        yield f"{victim.who}, in again with {key}"

    @contextmanager
    def cut_off(self) -> Happening:
        victim = self.victim()
        for proxy in victim.proxies:
            proxy.blackhole()
        yield victim.who

    # -- etcd's history, and what an operator does -----------------------------------------------------------

    @contextmanager
    def compaction(self) -> Happening:
        """One watcher looks away while the history that it has not seen is compacted; the others look on."""
        watchers = [slot for slot in self._crew.v3 if "watching" in slot.acts]
        away = self._rng.choice(watchers)
        self._crew.order(away, "doze")
        Context().wait(1.0)
        try:
            now = self._operator.v3.kv.range("x", timeout=2.0).revision
            self._operator.v3.kv.compact(now, timeout=2.0)
        except EtcdRecipesError as error:
            raise NotStruck(str(error)) from error
        yield f"at {now}, with {away.who} away"

    @contextmanager
    def clock_jump(self) -> Happening:
        assert self._clock is not None
        way = self._rng.choice([HOUR, -HOUR])
        self._clock.jump(way)
        yield f"{way:+} s"
        self._clock.jump(0)

    def _lingering(self, slot: Slot | None = None, line: str = "") -> tuple[str, list[int]]:
        """Have a worker stay inside (of this line); give its key, and the creation of what it holds."""
        slot = slot or self._crew.drawn(self._rng, self._crew.v3)
        assert slot.actor is not None
        reports = slot.actor.reports
        before = len(reports.get(0, ()))
        self._crew.order(slot, f"linger {line}".strip())
        self._wait(lambda: len(reports.get(0, ())) > before, f"{slot.who} did not linger")
        report = reports[0][before]
        return report["lingers"], report["guard"]

    @contextmanager
    def hold_removed(self) -> Happening:
        key, created = self._lingering()
        self._take(key, created[0])
        yield key

    @contextmanager
    def place_removed(self) -> Happening:
        key, _ = self._lingering()
        line = key.rpartition("/")[0]

        def waiting() -> tuple[str, int] | None:
            found = self._operator.v3.kv.range(f"{line}/", prefix=True, timeout=1.0).kvs
            places = sorted(found, key=lambda kv: kv.create_revision)[1:]
            return (places[-1].key.decode(), places[-1].create_revision) if places else None

        try:
            place = eventually(waiting, SOON)
        except (AssertionError, EtcdRecipesError) as error:
            raise NotStruck(f"nobody stood behind {key}") from error
        assert place is not None
        self._take(*place)
        yield place[0]

    def _take(self, key: str, created: int) -> None:
        """Delete this incarnation of a key, as an operator would."""
        before = runtime.now()
        try:
            done = self._operator.v3.kv.txn(
                [Compare.create_revision(key) == created], [Op.delete(key)], timeout=2.0
            )
        except EtcdRecipesError as error:  # it may be gone: that excuses what depends on it
            self._notes.note("taken", t=before, key=key, created=created, revision=0)
            raise NotStruck(str(error)) from error
        if not done.succeeded:
            raise NotStruck(f"{key} was gone")
        self._notes.note("taken", t=before, key=key, created=created, revision=done.revision)

    # -- the workers -----------------------------------------------------------------------------------------

    @contextmanager
    def worker_stopped(self) -> Happening:
        slot = self._crew.drawn(self._rng)
        self._crew.stop(slot)
        yield slot.who

    @contextmanager
    def worker_signalled(self, how: int) -> Happening:
        slot = self._crew.drawn(self._rng)
        self._crew.kill(slot, how)
        yield slot.who

    @contextmanager
    def holder_paused(self) -> Happening:
        slots = self._rng.sample(self._crew.v3, 2) + self._rng.sample(
            self._crew.v2, min(1, len(self._crew.v2))
        )
        for slot in slots:
            self._crew.order(slot, "freeze")
        for slot in slots:
            self._wait(lambda: self._crew.has_stopped(slot), f"{slot.who} held nothing")  # noqa: B023
        Context().wait(TTL)
        yield " and ".join(slot.who for slot in slots)

    @contextmanager
    def holder_paused_behind_late_replies(self) -> Happening:
        """It hears late of one renewal, and none after that one reaches etcd; then it stands still."""
        slot = max(self._crew.slots, key=lambda each: each.header_timeout)
        key, _ = self._lingering(slot)
        for proxy in slot.proxies:
            proxy.delay(TTL)
        Context().wait(
            0.55 * TTL
        )  # by then a renewal is on its way, and the one before is still good
        for proxy in slot.proxies:
            # This lets go of what was delayed; a second renewal would prolong the lease.
            proxy.blackhole(replies=False, only=b"/v3/lease/keepalive")
        Context().wait(0.1 * TTL)
        self._crew.stop(slot)
        yield f"{slot.who}, with {key}"

    @contextmanager
    def holder_killed(self, *, with_the_leader: bool) -> Happening:
        leader = self.leader()
        slot = self._crew.drawn(self._rng, self._crew.v3)
        self._crew.order(slot, "die")
        self._wait(lambda: self._crew.has_died(slot), f"{slot.who} held nothing")
        if with_the_leader:
            leader.kill()
        Context().wait(TTL + 1.0)  # another fault now would have the lease of the dead live longer
        yield f"{slot.who} and {leader.name}" if with_the_leader else slot.who

    def _wait(self, condition: Callable[[], bool], why: str, within: float = SOON) -> None:
        try:
            eventually(condition, within)
        except AssertionError as error:
            raise NotStruck(why) from error


HAPPENINGS: dict[str, Callable[[Director], AbstractContextManager[str]]] = {
    "leader killed": lambda d: d.killed(d.leader()),
    "follower killed": lambda d: d.killed(d.follower()),
    "leader stopped": lambda d: d.stopped(d.leader()),
    "follower stopped": lambda d: d.stopped(d.follower()),
    "leader ended": lambda d: d.ended(d.leader()),
    "follower ended": lambda d: d.ended(d.follower()),
    "leader partitioned": lambda d: d.partitioned(d.leader()),
    "follower partitioned": lambda d: d.partitioned(d.follower()),
    "leader partitioned one way": lambda d: d.partitioned_one_way(d.leader()),
    "follower partitioned one way": lambda d: d.partitioned_one_way(d.follower()),
    "clients cut from a member": lambda d: d.cut_from_clients(),
    "loss": lambda d: d.loss(),
    "leader moved": lambda d: d.moved(),
    "quorum lost": lambda d: d.quorum_lost(),
    "replies lost": lambda d: d.replies_lost(),
    "late replies": lambda d: d.late_replies(),
    "late requests": lambda d: d.late_requests(),
    "late release": lambda d: d.late_release(),
    "client cut off": lambda d: d.cut_off(),
    "compaction": lambda d: d.compaction(),
    "clock jump": lambda d: d.clock_jump(),
    "hold removed": lambda d: d.hold_removed(),
    "place removed": lambda d: d.place_removed(),
    "worker stopped": lambda d: d.worker_stopped(),
    "worker ended": lambda d: d.worker_signalled(signal.SIGTERM),
    "worker killed": lambda d: d.worker_signalled(signal.SIGKILL),
    "holder paused": lambda d: d.holder_paused(),
    "holder paused behind late replies": lambda d: d.holder_paused_behind_late_replies(),
    "holder killed": lambda d: d.holder_killed(with_the_leader=False),
    "holder killed with the leader": lambda d: d.holder_killed(with_the_leader=True),
}
