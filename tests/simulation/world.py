"""The world: one run, put together from its seed, and everything of this interpreter that must not get into it.

While a run lasts, the library's runtime is the scheduler and its wire the simulated one; a process id and a host
name are those of the simulated process. What the library and its dependencies keep for the whole interpreter
(the source of their jitter, who wants to be told of forks, cached names) is set aside, and put back at the end.
"""

from __future__ import annotations

import gc
import logging
import os
import random
import socket
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import tenacity.wait

import etcd_recipes.client
from etcd_recipes import Client
from etcd_recipes.coordination import identity
from etcd_recipes.core import runtime
from tests.simulation.members import Members
from tests.simulation.model import Cluster
from tests.simulation.network import Network
from tests.simulation.record import Record
from tests.simulation.scheduler import Process, Scheduler, SimEvent, in_charge
from tests.simulation.wire import SimWire

__all__ = ["Part", "Site", "World"]

Part = Callable[["Site", Client], None]
"""What a process does, on a thread of its own, until `world.over`."""


class Site:
    """A program that is started as a process, and again after that was killed."""

    def __init__(self, world: World, name: str, parts: list[tuple[str, Part]]) -> None:
        self.world = world
        self.name = name
        self._parts = parts
        self._lives = 0
        self.trouble_until = 0.0  # of this one alone
        self.process = self._start()

    def _start(self) -> Process:
        self._lives += 1
        self.process = self.world.scheduler.process(f"{self.name}.{self._lives}")
        self.world.site_of[self.process.number] = self
        self.world.scheduler.start(self.process, self._main, "main")
        return self.process

    def _main(self) -> None:
        world = self.world
        client = Client(
            world.network.endpoints,
            api=world.api,
            header_timeout=world.header_timeout,
            session_ttl=world.ttl,
            namespace="",
        )
        threads = [runtime.spawn(self._guarded(part, client), name) for name, part in self._parts]
        for thread in threads:
            thread.join()
        client.close()

    def _guarded(self, part: Part, client: Client) -> Callable[[], None]:
        return lambda: part(self, client)

    @property
    def is_up(self) -> bool:
        return not self.process.dead

    @property
    def has_ended(self) -> bool:
        return not self.process.dead and not self.process.tasks

    def kill(self) -> None:
        """End it as a power failure does."""
        if self.is_up:
            self.world.scheduler.kill(self.process)
            self.world.network.died(self.process)
            self.world.record.died(self.process)

    def restart(self) -> None:
        if not self.is_up and not self.world.over:
            self._start()

    def pause(self) -> None:
        if self.is_up and not self.process.paused:
            self.world.scheduler.pause(self.process)

    def resume(self) -> None:
        if self.process.paused:
            self.world.scheduler.resume(self.process)
            self.trouble_until = self.world.scheduler.time + 3.0


class World:
    """One run; `seconds` is all its time, of which the last part is calm; `plays` are those to draw from."""

    def __init__(
        self, seed: int, *, api: str = "v3", seconds: float = 120.0, plays: tuple[str, ...] = ()
    ) -> None:
        self.seed = seed
        self.plays = plays
        self.api: Any = api
        chance = random.Random(f"{seed}/{api}")
        steal = chance.choice((150.0, 400.0, 400.0, 1e9))
        self.scheduler = Scheduler(chance.getrandbits(64), steal=steal)
        self.chance = self.scheduler.chance
        self.faults: Counter[str] = Counter()
        version = chance.choice(("3.5.1", "3.5.1", "3.4.23", "3.6.5" if api == "v3" else "3.5.1"))
        self.cluster = Cluster(rng=random.Random(chance.getrandbits(64)), version=version)
        self.members = Members(self.scheduler, self.cluster, self.faults)
        self.network = Network(self.scheduler, self.members, self.faults)
        self.record = Record(self)
        self.members.on_change = self.record.look
        self.ttl = chance.choice((3.0, 4.0, 5.0, 8.0))
        self.header_timeout = chance.choice((0.5, 1.0, 1.0))
        self.began = self.scheduler.time
        self.heals_at = self.began + seconds * 0.75
        self.stops_at = self.began + seconds * 0.92
        self.ends_at = self.began + seconds
        self.calm = False
        self.over = False
        self.trouble_until = self.began + 3.0  # for everybody
        self.silent_until = 0.0  # some streams are, until the system finds out
        self.sites: list[Site] = []
        self.shared: dict[str, object] = {}  # what the parts of one play have together
        self.site_of: dict[int, Site] = {}
        self.history_was_lost = False  # by a compaction, or on v2 by a thousand events
        self._revisions: list[tuple[float, int]] = []
        self._note_revision()

    def _note_revision(self) -> None:
        self._revisions.append((self.now, self.record.oracle.revision))
        self.scheduler.after(0.5, self._note_revision)

    def revision_of(self, time: float) -> int:
        """Give the revision that there was at that time, or half a second before."""
        return max((r for t, r in self._revisions if t <= time), default=0)

    @property
    def now(self) -> float:
        return self.scheduler.time

    def trouble(self, seconds: float) -> None:
        """Say that nothing can be expected of anybody for so long."""
        self.trouble_until = max(self.trouble_until, self.now + seconds)

    def sleep(self, seconds: float) -> None:
        self.scheduler.sleep(seconds)

    def event(self) -> SimEvent:
        return self.scheduler.new_event()

    def run(self, prepare: Callable[[World], None]) -> Record:
        """Play it all: `prepare` makes the sites and the faults."""
        with surroundings(self):
            prepare(self)
            self._until(self.heals_at)
            self._heal()
            self._until(self.stops_at)
            self.over = True
            self._until(self.ends_at)
            self._end()
            self.record.judge()
            self.scheduler.close()
        return self.record

    def _until(self, time: float) -> None:
        if self.record.violations:
            return
        if not self.scheduler.run(time):
            self.record.violation("deadlock", "everybody waits for ever")

    def _heal(self) -> None:
        self.calm = True
        self.members.mend_all()
        self.network.mend_all()
        for site in self.sites:
            site.resume()
            site.restart()
        self.trouble(3.0)

    def _end(self) -> None:
        """Give those that have not ended a last while; then say who they are."""
        for _ in range(30):
            if self.record.violations or all(s.has_ended or not s.is_up for s in self.sites):
                break
            self._until(self.now + 1.0)
        else:
            for stuck in self.scheduler.stuck():
                self.record.violation("stuck", stuck)
        for failure in self.scheduler.failures:
            self.record.violation("foreign error", failure)


@contextmanager
def surroundings(world: World) -> Iterator[None]:
    """Let nothing of this interpreter into the run, and nothing out of it."""
    scheduler = world.scheduler

    def wire(*_args: Any, **_kwargs: Any) -> SimWire:
        return SimWire(world.network, scheduler.task().process)

    def pid() -> int:
        return 1 if scheduler.current is None else scheduler.current.process.number

    logger = logging.getLogger("etcd_recipes")
    level = logger.level
    with ExitStack() as stack:
        stack.enter_context(in_charge(scheduler))
        stack.enter_context(mock.patch.object(etcd_recipes.client, "Wire", wire))
        jitter = random.Random(scheduler.chance.getrandbits(64))
        stack.enter_context(mock.patch.object(tenacity.wait, "random", jitter))
        stack.enter_context(mock.patch.object(os, "getpid", pid))
        stack.enter_context(mock.patch.object(socket, "gethostname", return_value="sim"))
        for kept in ("_fork_aware", "_exit_hooks"):
            stack.enter_context(mock.patch.object(runtime, kept, weakref.WeakSet()))
        stack.callback(identity._process.cache_clear)
        stack.callback(logger.setLevel, level)
        identity._process.cache_clear()
        logger.setLevel(logging.CRITICAL + 1)
        gc.collect(0)
        gc.disable()
        stack.callback(gc.enable)
        yield
