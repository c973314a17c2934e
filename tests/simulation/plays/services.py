"""The registry: instances that come, change and go, and views whose events are etcd's own history."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass

from etcd_recipes import Client, Discovery, Registration
from etcd_recipes.core.errors import ContextError
from tests.simulation.oracle import Fact, wish_of
from tests.simulation.plays.locks import EXPECTED
from tests.simulation.record import BOUND
from tests.simulation.scheduler import Process
from tests.simulation.world import Part, Site, World

__all__ = ["follower", "registrar"]

SERVICE = "api"

LAG = 6.5
"""Seconds that a view may lag behind: 4 until a member that was cut off says so, and some for the next one."""


@dataclass(eq=False)
class _Open:
    """A registration, as its owner sees it."""

    key: str
    owner: str
    process: Process
    site: Site
    address: str
    closed: float | None = None


class _Services:
    """What must be there: looked at twice a second by the play's own patrol."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.prefix = f"{name}/{SERVICE}/"
        self.known: list[_Open] = []
        self.views: list[tuple[Site, Process, Discovery]] = []
        self._missing: dict[_Open, float] = {}
        self._there: set[str] = set()
        self._changed: dict[str, float] = {}  # when an instance came or went, by its id
        world.scheduler.after(0.5, self._patrol)
        world.record.judges.append(self._judge)

    def _patrol(self) -> None:
        there = {fact.key: fact for fact in self.world.record.oracle.below(self.prefix)}
        for each in self.known:
            self._check(each, there.get(each.key))
        ids = {key[len(self.prefix) :] for key in there}
        for id_ in sorted(ids ^ self._there):
            self._changed[id_] = self.world.now
        self._there = ids
        with self.world.record.aside():
            for view in self.views:
                self._check_view(*view)
        self.world.scheduler.after(0.5, self._patrol)

    def _check_view(self, site: Site, process: Process, view: Discovery) -> None:
        """A view shows what has been there for a while of fine weather, and not what has been gone for as long."""
        world = self.world
        fine_since = max(world.trouble_until, site.trouble_until)
        if process.dead or process.paused or view.closed or world.now < fine_since:
            return
        bound = LAG if world.api == "v3" else LAG + 8.0
        for id_ in sorted({instance.id for instance in view.instances} ^ self._there):
            since = self._changed.setdefault(
                id_, world.now
            )  # it may have come and gone between two looks
            if world.now > max(fine_since, since) + bound:
                word = "does not show" if id_ in self._there else "still shows"
                world.record.violation("view", f"{process} {word} {id_}, since {since:.1f}")

    def _check(self, each: _Open, fact: Fact | None) -> None:
        world = self.world
        mine = fact is not None and wish_of(fact).get("owner") == each.owner
        if each.closed is not None:
            if not mine:
                self._missing.pop(each, None)
                return
            # A copy of a request may have made it anew, late; the keeper of the session takes it away.
            since = max(
                self._missing.setdefault(each, world.now),
                world.trouble_until,
                each.site.trouble_until,
            )
            if world.now > since + world.ttl + BOUND:
                world.record.violation(
                    "registration", f"{each.key} was closed, and is there since {since:.1f}"
                )
                self._missing[each] = world.now
            return
        if mine or each.process.dead or each.process.paused:
            self._missing.pop(each, None)
            return
        since = self._missing.setdefault(each, world.now)
        fine_since = max(since, world.trouble_until, each.site.trouble_until)
        if world.now > fine_since + world.ttl + BOUND:
            world.record.violation(
                "registration", f"{each.key} of {each.process} has not come back since {since:.1f}"
            )
            self._missing[each] = world.now

    def _judge(self) -> None:
        for each in self.known:
            fact = self.world.record.oracle.get(each.key)
            if (
                each.closed is not None
                and fact is not None
                and wish_of(fact).get("owner") == each.owner
            ):
                self.world.record.violation(
                    "registration", f"{each.key} was closed, and is there at the end"
                )


def _services(world: World, name: str) -> _Services:
    made = world.shared.get(name)
    if made is None:
        made = world.shared[name] = _Services(world, name)
    assert isinstance(made, _Services)
    return made


def registrar(world: World, name: str) -> Part:
    """Register, change, and close; again and again."""
    services = _services(world, name)

    def part(site: Site, client: Client) -> None:
        registry = client.registry(name)
        number = 0
        while not world.over:
            number += 1
            address = f"{site.process}:{number}"
            try:
                made = registry.register(SERVICE, address, timeout=5.0, check=None)
            except EXPECTED as error:
                world.record.note(f"{site.process} could not register: {error!r}")
                world.sleep(0.3)
                continue
            mine = _Open(made._key, made.instance.owner, site.process, site, address)
            services.known.append(mine)
            changes = world.chance.random() < 0.5  # an update would heal it as well
            world.record.counts["registrations"] += 1
            until = world.now + world.chance.random() * (
                5.0 if world.calm else world.chance.choice((5.0, 20.0, 80.0))
            )
            while world.now < until and not world.over:
                world.sleep(world.chance.random() * (0.5 if world.calm else 5.0))
                if changes and world.chance.random() < 0.5:
                    made.update(metadata={"n": str(world.chance.randrange(100))}, timeout=2.0)
            _close(made, 5.0 if world.chance.random() < 0.8 else 0.01)
            mine.closed = world.now
            world.sleep(world.chance.random() * 2.0)

    return part


def _close(made: Registration, timeout: float) -> None:
    with suppress(ContextError):
        made.close(timeout=timeout)


def follower(world: World, name: str) -> Part:
    """Keep a view, and write down all its events."""
    services = _services(world, name)

    def part(site: Site, client: Client) -> None:
        while not world.over:
            seen: list[tuple[str, str | None]] = []
            try:
                view = client.registry(name).follow(SERVICE, max_drop=1.0, timeout=5.0)
            except EXPECTED:
                continue
            services.views.append((site, world.scheduler.process_of(site), view))
            events = view.events(timeout=world.stops_at - world.now + 2.0)
            world.record.judges.append(lambda seen=seen: _judge(world, name, seen))
            try:
                for event in events:
                    instance = event.new or event.old
                    assert instance is not None
                    seen.append((instance.id, event.new and _content(event.new)))
            except ContextError:
                pass
            view.close()

    return part


def _content(instance: object) -> str:
    return json.dumps([instance.address, dict(instance.metadata), instance.draining])  # type: ignore[attr-defined]


def _stated(fact: Fact) -> str:
    wish = wish_of(fact)
    return json.dumps([wish.get("address"), wish.get("metadata", {}), wish.get("draining", False)])


def _judge(world: World, name: str, seen: list[tuple[str, str | None]]) -> None:
    """Each instance's states must have come in the order in which they were, none left out, none made up."""
    prefix = f"{name}/{SERVICE}/"
    history: dict[str, list[str | None]] = {}
    for fact in world.record.oracle.history(prefix):
        states = history.setdefault(fact.key[len(prefix) :], [None])
        state = None if fact.value is None else _stated(fact)
        if state != states[-1]:
            states.append(state)
    mine: dict[str, list[str | None]] = {}
    for id_, state in seen:
        mine.setdefault(id_, []).append(state)
    for id_, states in mine.items():
        there = history.get(id_, [])
        exact = any(there[at : at + len(states)] == states for at in range(len(there)))
        rest = iter(there)
        in_order = all(state in rest for state in states)
        if not (in_order if world.history_was_lost else exact):
            world.record.violation("view", f"{name}/{id_}: saw {states}, and there were {there}")
