"""What goes wrong, and when: incidents drawn from the seed, one every few seconds, until everything is mended.

Each world has some kinds of incidents only: a bug that one of them brings out is not hidden behind the noise of
all the others, and where nothing but one member at a time is cut off, more can be expected of the rest.

An incident says how long nothing can be expected of anybody (`world.trouble`), or of one process.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.simulation.members import Host
from tests.simulation.network import KEEP_ALIVE

if TYPE_CHECKING:
    from tests.simulation.world import Site, World

__all__ = ["Troublemaker"]

UNARY = (
    "request lost",
    "request reset",
    "reply lost",
    "reply reset",
    "reply late",
    "reply slow",
    "write late",
    "answer cut",
    "answer half",
    "said to have failed",
    "said to have failed, not carried out",
    "refused",
)
STREAMS = ("silent", "ended", "cut", "reset", "repeats")


class Troublemaker:
    """Makes the incidents of one world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.chance = world.chance
        kinds: list[tuple[float, Callable[[], None]]] = [
            (3.0, self._weather),
            (2.0, self._crash),
            (2.0, self._stop),
            (2.0, self._isolate),
            (0.6, self._no_quorum),
            (1.0, self._election),
            (2.0, self._cut_process),
            (2.0, self._last_word),
            (2.0, self._compact),
            (3.0, self._streams),
            (3.0, self._pause),
            (2.0, self._kill),
            (2.0, self._rob),
            (1.0, self._stale),
        ]
        luck = self.chance.random()
        if luck < 0.1:
            kinds = [(1.0, self._isolate)]
        elif luck < 0.8:
            kinds = self.chance.sample(kinds, self.chance.randrange(2, 7))
        self._weights = [weight for weight, _ in kinds]
        self._kinds = [kind for _, kind in kinds]
        self._pace = self.chance.choice((1.5, 3.0, 5.0))
        self._next()

    def _next(self) -> None:
        self.world.scheduler.after(self.chance.uniform(0.3, 2.0) * self._pace, self._happen)

    def _happen(self) -> None:
        if self.world.calm:
            return
        kind = self.chance.choices(self._kinds, self._weights)[0]
        self.world.record.note(f"INCIDENT {kind.__name__}")
        kind()
        self._next()

    def _later(self, seconds: float, mend: Callable[[], None]) -> None:
        self.world.scheduler.after(seconds, mend)

    def _count(self, fault: str) -> None:
        self.world.faults[fault] += 1

    # -- the network -------------------------------------------------------------------------------------------

    def _weather(self) -> None:
        weather, chance = self.world.network.weather, self.chance
        kinds = chance.sample(UNARY, chance.randrange(1, 5))
        weather.unary = {kind: chance.random() for kind in kinds}
        weather.rough = chance.choice((0.05, 0.2, 0.5))
        weather.slow = chance.choice((1.0, 1.0, 3.0, 30.0))
        lasts = chance.uniform(0.5, 8.0)
        self.world.trouble(lasts + 12.0)  # a member that said nothing is believed for a while
        self._count("bad weather")
        self._later(lasts, weather.clear)

    def _cut_process(self) -> None:
        site, chance = self._a_site(), self.chance
        if site is None:
            return
        network, process = self.world.network, site.process
        hosts = range(len(self.world.members.hosts))
        if chance.random() < 0.5:
            hosts = [chance.choice(list(hosts))]  # type: ignore[assignment]
        forth, back = chance.choice(((True, True), (True, False), (False, True)))
        for host in hosts:
            network.cut(process, host, forth=forth, back=back)
        lasts = chance.random() * 3.0 * self.world.ttl
        site.trouble_until = max(site.trouble_until, self.world.now + lasts + 14.0)
        self._count("process cut off" if forth and back else "process cut off one way")

        def mend() -> None:
            for host in hosts:
                network.mend(process, host)

        self._later(lasts, mend)

    def _last_word(self) -> None:
        """Answer a renewal at the last moment, and let nothing follow."""
        site, world = self._a_site(), self.world
        if site is None:
            return
        process, lasts = site.process, world.ttl * self.chance.uniform(1.0, 2.0)
        site.trouble_until = max(site.trouble_until, world.now + world.ttl + lasts + 14.0)
        self._count("last word")

        def cut() -> None:
            if world.calm or process.dead:
                return
            for host in world.members.hosts:
                world.network.cut(process, host.number)
            self._later(lasts, mend)

        def mend() -> None:
            for host in world.members.hosts:
                world.network.mend(process, host.number)

        world.network.let_it_be_the_last(process, cut)

    def _streams(self) -> None:
        network = self.world.network
        streams = network.streams()
        if not streams:
            return
        how = self.chance.choice(STREAMS)
        for pipe in self.chance.sample(streams, self.chance.randrange(1, 1 + len(streams))):
            network.spoil(pipe, how)
        if how in ("silent", "repeats"):  # on v2 nothing is repeated: those are silent, too
            self.world.trouble(14.0)
            self.world.silent_until = self.world.now + KEEP_ALIVE

    # -- the members -------------------------------------------------------------------------------------------

    def _a_host(self) -> Host | None:
        """Give a member that is well, while most of them are; rather the leader."""
        members = self.world.members
        well = [host for host in members.hosts if host.counts]
        if len(well) < len(members.hosts):
            return None
        leader = members.leader
        if leader is not None and self.chance.random() < 0.6:
            return leader
        return self.chance.choice(well)

    def _crash(self) -> None:
        host = self._a_host()
        if host is not None:
            host.crash()
            self._count("member crashed")
            self.world.trouble(5.0)
            self._later(self.chance.uniform(0.5, 15.0), host.restart)

    def _stop(self) -> None:
        host = self._a_host()
        if host is not None:
            host.stop()
            lasts = self.chance.choice((1.0, 5.0, 15.0)) * self.chance.random()
            self._count("member stopped")
            self.world.trouble(lasts + 14.0)
            self._later(lasts, host.go_on)

    def _isolate(self) -> None:
        host = self._a_host()
        if host is not None:
            led = self.world.members.leader is host
            host.isolate()
            lasts = self.chance.choice((3.0, 20.0, 20.0)) * (0.2 + self.chance.random())
            self._count("member cut off")
            if led:
                self.world.trouble(3.0)
            back = self.chance.uniform(6.5, 7.5) if lasts > 15.0 else self.chance.uniform(0.5, 1.8)
            self._later(lasts + back, host.rejoin)

    def _no_quorum(self) -> None:
        lasts = self.chance.uniform(0.5, 2.5) * self.world.ttl
        for host in self.chance.sample(self.world.members.hosts, 2):
            if self.chance.random() < 0.5:
                host.crash()
                self._later(lasts, host.restart)
            else:
                host.isolate()
                self._later(lasts, host.rejoin)
        self._count("quorum lost")
        self.world.trouble(lasts + 5.0)

    def _election(self) -> None:
        self.world.members.change_leader()
        self._count("leader moved")
        self.world.trouble(3.0)

    def _compact(self) -> None:
        cluster = self.world.cluster
        if self.world.api == "v2":
            cluster.v2.forget()
            self.world.history_was_lost = True
            self._count("history cleared")
            return
        back = self.chance.choice((0, 1, 5, 50))
        if cluster.revision - back > cluster.mvcc.compacted + 1:
            cluster.compact(cluster.revision - back)
            self.world.history_was_lost = True
            self._count("compaction")

    def _stale(self) -> None:
        host = self.chance.choice(self.world.members.hosts)
        host.member.stale_by = self.chance.randrange(1, 10)
        self._count("stale reads")
        self.world.trouble(8.0)

        def mend() -> None:
            host.member.stale_by = 0

        lasts = self.chance.uniform(0.5, 5.0)
        self.world.record.stale_until = max(self.world.record.stale_until, self.world.now + lasts)
        self._later(lasts, mend)

    # -- the processes -----------------------------------------------------------------------------------------

    def _a_site(self) -> Site | None:
        """Give a program that runs; rather one that holds something."""
        running = [site for site in self.world.sites if site.is_up and not site.process.paused]
        holding = {
            grant.process for line in self.world.record.lines.values() for grant in line.grants
        }
        holders = [site for site in running if site.process in holding]
        if holders and self.chance.random() < 0.7:
            running = holders
        return self.chance.choice(running) if running else None

    def _pause(self) -> None:
        site = self._a_site()
        if site is not None:
            site.pause()
            self._count("process paused")
            self._later(
                self.chance.choice((0.5, 1.5, 3.0)) * self.world.ttl * self.chance.random(),
                site.resume,
            )

    def _kill(self) -> None:
        site = self._a_site()
        if site is not None:
            site.kill()
            self._count("process killed")
            self._later(self.chance.random() * 8.0, site.restart)

    def _rob(self) -> None:
        """Be an operator who deletes a contender's key, or revokes its lease."""
        oracle = self.world.record.oracle
        keys = [
            fact for line in self.world.record.lines.values() for fact in oracle.below(f"{line.name}/")
            if fact.lease
        ]  # fmt: skip
        if not keys:
            return
        fact = self.chance.choice(keys)
        self._count("key taken by an operator")
        self.world.record.take(fact, lease=self.chance.random() < 0.3)
