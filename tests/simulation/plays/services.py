"""The registry: instances that come, change and go, and views whose events are etcd's own history."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass

from etcd_recipes import Client, Registration
from etcd_recipes.core.errors import ContextError
from tests.simulation.oracle import Fact, wish_of
from tests.simulation.plays.locks import EXPECTED
from tests.simulation.record import BOUND
from tests.simulation.scheduler import Process
from tests.simulation.world import Part, Site, World

__all__ = ["follower", "registrar"]

SERVICE = "api"


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
        self._missing: dict[_Open, float] = {}
        world.scheduler.after(0.5, self._patrol)
        world.record.judges.append(self._judge)

    def _patrol(self) -> None:
        there = {fact.key: fact for fact in self.world.record.oracle.below(self.prefix)}
        for each in self.known:
            self._check(each, there.get(each.key))
        self.world.scheduler.after(0.5, self._patrol)

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
        if (
            world.now
            > max(since, world.trouble_until, each.site.trouble_until) + 2 * world.ttl + BOUND
        ):
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


def registrar(world: World, name: str) -> Part:
    """Register, change, and close; again and again."""
    services = _Services(world, name)

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
            world.record.counts["registrations"] += 1
            until = world.now + (2.0 if world.calm else world.chance.random() * 30.0)
            while world.now < until and not world.over:
                world.sleep(world.chance.random() * (0.5 if world.calm else 5.0))
                if world.chance.random() < 0.5:
                    made.update(metadata={"n": str(world.chance.randrange(100))}, timeout=2.0)
            _close(made, 5.0 if world.chance.random() < 0.8 else 0.01)
            mine.closed = world.now
            world.sleep(world.chance.random() * 2.0)

    return part


def _close(made: Registration, timeout: float) -> None:
    with suppress(ContextError):
        made.close(timeout=timeout)


def follower(world: World, name: str) -> Part:
    """Keep a view, and write down all its events; at the end it must be what is there."""

    def part(site: Site, client: Client) -> None:
        while not world.over:
            seen: list[tuple[str, str | None]] = []
            try:
                view = client.registry(name).follow(SERVICE, max_drop=1.0, timeout=5.0)
            except EXPECTED:
                continue
            first = [_content(instance) for instance in view.instances]
            events = view.events(timeout=world.stops_at - world.now + 2.0)
            world.record.judges.append(
                lambda seen=seen, first=first: _judge(world, name, first, seen)
            )
            try:
                for event in events:
                    instance = event.new or event.old
                    assert instance is not None
                    seen.append((instance.id, event.new and _content(event.new)))
            except ContextError:
                pass
            with world.record.aside():
                _check_converged(world, name, view)
            view.close()

    return part


def _content(instance: object) -> str:
    return json.dumps([instance.address, dict(instance.metadata), instance.draining])  # type: ignore[attr-defined]


def _stated(fact: Fact) -> str:
    wish = wish_of(fact)
    return json.dumps([wish.get("address"), wish.get("metadata", {}), wish.get("draining", False)])


def _check_converged(world: World, name: str, view: object) -> None:
    """The view must show each instance that has been there for long, and none that has been gone for long."""
    prefix = f"{name}/{SERVICE}/"
    old = world.revision_of(world.now - BOUND)
    shown = {instance.id for instance in view.instances}  # type: ignore[attr-defined]
    there = {fact.key[len(prefix) :] for fact in world.record.oracle.below(prefix)}
    recent = {f.key[len(prefix) :] for f in world.record.oracle.history(prefix) if f.modified > old}
    if wrong := (shown ^ there) - recent:
        world.record.violation(
            "view", f"{name}: shows {sorted(shown)}, there are {sorted(there)}: {wrong}"
        )


def _judge(world: World, name: str, first: list[str], seen: list[tuple[str, str | None]]) -> None:
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
