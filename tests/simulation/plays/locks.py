"""What is held: locks, read-write locks, semaphores, multi-locks; and what is written by those who are in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from etcd_recipes import Client, Fence
from etcd_recipes.core.errors import (
    ClusterError,
    ContextError,
    EmptyResponse,
    InvalidResponse,
    LockLost,
    RecipeError,
    StaleToken,
)
from etcd_recipes.core.v3.txn import Op
from tests.simulation.oracle import Fact
from tests.simulation.record import Element, Grant, Line
from tests.simulation.scheduler import SimEvent
from tests.simulation.world import Part, Site, World

__all__ = [
    "EXPECTED",
    "Outside",
    "Works",
    "how",
    "inside",
    "lock",
    "multi_lock",
    "rwlock",
    "semaphore",
    "visits",
]

EXPECTED = (ClusterError, ContextError, RecipeError, InvalidResponse, EmptyResponse)
"""What a caller has to expect when etcd and the network are not well; etcd's own refusals are not among it."""


class Outside:
    """A resource outside of etcd, with a fence before it: it remembers who wrote, in its order."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.process = world.scheduler.process(f"resource {name}")
        self.written: list[Element] = []
        self.sent: list[Element] = []
        self._fence = Fence()
        world.record.judges.append(self._judge)

    def write(self, element: Element) -> None:
        """Send a write over a network of its own, which may take its time; wait for the answer, not for ever."""
        scheduler, chance = self.world.scheduler, self.world.chance
        self.sent.append(element)
        answered: SimEvent = self.world.event()
        late = chance.random() ** 4 * 0.5
        if self.world.calm:
            late = 0.01
        elif chance.random() < 0.1:
            late = chance.random() * 2.5 * self.world.ttl
        scheduler.after(late, self._arrive, element, answered)
        answered.wait(3.0)

    def _arrive(self, element: Element, answered: SimEvent) -> None:
        def serve() -> None:
            try:
                with self._fence.writing(element.token, self.name):
                    self.written.append(element)
                element.outcome = "acknowledged"
            except StaleToken:
                element.outcome = "refused"
                self.world.record.counts["late writes refused outside"] += 1
            answered.set()

        self.world.scheduler.start(self.process, serve, "write")

    def _judge(self) -> None:
        record, where = self.world.record, f"in the resource {self.name}"
        record.check_elements(self.written, where)
        record.check_acknowledged(self.sent, self.written, where)


class Inside:
    """The same in etcd itself: elements that are written by a transaction guarded by the hold (v3)."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.prefix = f"written/{name}/"
        self.sent: list[Element] = []
        world.record.kept.append(self.prefix)
        world.record.judges.append(self._judge)

    def write(self, client: Client, grant: Grant, guards: list[Any]) -> None:
        element = self.world.record.element(grant.line.name, grant.token)
        self.sent.append(element)
        put = Op.put(self.prefix + element.name, str(element.token))
        done = client.v3.kv.txn(guards, [put], timeout=3.0)
        element.outcome = "acknowledged" if done.succeeded else "refused"
        if not done.succeeded:
            self.world.record.counts["late writes refused in etcd"] += 1

    def _judge(self) -> None:
        record, where = self.world.record, f"below {self.prefix}"
        by_name = {element.name: element for element in self.sent}
        there = []
        for fact in record.oracle.history(self.prefix):
            element = by_name.get(_last(fact))
            if element is None or fact.value != str(element.token):
                record.violation("invented", f"{fact} was written by nobody")
            else:
                there.append(element)
        record.check_elements(there, where)
        record.check_acknowledged(self.sent, there, where)


def _last(fact: Fact) -> str:
    return fact.key.rpartition("/")[2]


class Works:
    """What the holders of one line do inside: writes here and there, with pauses, until they have had enough."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.outside = Outside(world, name)
        self.inside = Inside(world, name) if world.api == "v3" else None

    def __call__(self, client: Client, grant: Grant, guards: Callable[[], list[Any]]) -> None:
        chance, calm = self.world.chance, self.world.calm
        for _ in range(chance.randrange(1, 3) if calm else chance.randrange(0, 5)):
            self.world.sleep(chance.random() ** 2 * (0.05 if calm else 1.5))
            self.world.record.promised(grant)
            if not grant.hold.is_held:
                return
            if self.inside is not None and chance.random() < 0.6:
                self.inside.write(client, grant, guards())
            else:
                element = self.world.record.element(grant.line.name, grant.token)
                self.outside.write(element)


def visits(site: Site, visit: Callable[[], bool]) -> None:
    """Visit again and again until it is over; once it is calm, somebody must get in now and then."""
    world = site.world
    process, had_luck, calm_since = world.scheduler.process_of(site), True, 0.0
    while not world.over:
        if world.calm and not calm_since:
            calm_since, had_luck = world.now, False
        try:
            had_luck = visit() or had_luck
        except EXPECTED as error:
            world.record.note(f"{process} gave up: {type(error).__name__}: {error}")
            world.record.counts[f"gave up: {type(error).__name__}"] += 1
        if not world.over:
            world.sleep(world.chance.random() ** 2 * (1.0 if world.calm else 6.0))
    if calm_since and not had_luck and world.now - calm_since > 2 * world.ttl + 10.0:
        world.record.violation(
            "liveness", f"{process} had no luck in {world.now - calm_since:.1f} calm seconds"
        )


def how(world: World) -> dict[str, Any]:
    """Draw how patient an acquire is."""
    luck = world.chance.random()
    if luck < 0.1 and not world.calm:
        return {"blocking": False}
    return {"timeout": 30.0 if world.calm or luck < 0.6 else world.chance.uniform(0.05, 10.0)}


def inside(
    site: Site,
    lines: dict[str, Line],
    hold: Any,
    wish: dict[str, object],
    work: Callable[[list[Grant]], None],
) -> bool:
    """Be in, of one line or of several: say so, work, and leave, now and then without waiting for a yes."""
    world = site.world
    tokens = getattr(hold, "tokens", None)
    if tokens is None:
        entered = [(next(iter(lines.values())), hold.key, hold.token)]
    else:
        entered = [(lines[n], key, tokens[n]) for n, key in zip(tokens, hold.keys, strict=True)]
    grants = [
        world.record.granted(site, line, hold, key, token, wish) for line, key, token in entered
    ]
    try:
        work(grants)
    except LockLost:
        pass
    finally:
        for grant in grants:
            world.record.leaving(grant)
        hold.release(timeout=world.chance.choice((None, None, 0.01, 1.0)))
    return True


def lock(world: World, name: str) -> Part:
    """Take turns with a lock."""
    line, work = world.record.line(name, "lock"), Works(world, name)

    def part(site: Site, client: Client) -> None:
        mine = client.lock(name, ttl=world.ttl)

        def visit() -> bool:
            hold = mine.acquire(**how(world))
            if hold is None:
                return False
            return inside(
                site,
                {name: line},
                hold,
                {},
                lambda grants: work(client, grants[0], lambda: [hold.guard]),
            )

        visits(site, visit)

    return part


def multi_lock(world: World, name: str) -> Part:
    """Take two or three locks of three at once, or one of them by itself."""
    names = [f"{name}{letter}" for letter in "abc"]
    lines = {each: world.record.line(each, "lock") for each in names}
    for line in lines.values():
        line.beside = [other for other in lines.values() if other is not line]
    works = {each: Works(world, each) for each in names}

    def part(site: Site, client: Client) -> None:
        def visit() -> bool:
            wanted = world.chance.sample(names, world.chance.randrange(1, 4))
            if len(wanted) == 1:
                hold: Any = client.lock(wanted[0]).acquire(**how(world))
            else:
                hold = client.multi_lock(wanted).acquire(**how(world))
            if hold is None:
                return False

            def guards() -> list[Any]:
                return list(hold.guards) if len(wanted) > 1 else [hold.guard]

            def work(grants: list[Grant]) -> None:
                for grant in grants:
                    works[grant.line.name](client, grant, guards)

            return inside(site, {w: lines[w] for w in wanted}, hold, {}, work)

        visits(site, visit)

    return part


def rwlock(world: World, name: str) -> Part:
    """Read together, write alone; now and then go on as a reader."""
    line, work = world.record.line(name, "rwlock"), Works(world, name)

    def part(site: Site, client: Client) -> None:
        mine = client.rwlock(name)

        def visit() -> bool:
            writes = world.chance.random() < 0.4
            hold = (mine.write() if writes else mine.read()).acquire(**how(world))
            if hold is None:
                return False

            def write(grants: list[Grant]) -> None:
                work(client, grants[0], lambda: [hold.guard])
                if world.chance.random() < 0.3 and hold.is_held:
                    grants[0].wish = {"kind": "read"}
                    hold.downgrade(timeout=2.0)
                    world.sleep(world.chance.random())

            def read(grants: list[Grant]) -> None:
                world.sleep(world.chance.random() * (0.1 if world.calm else 1.5))
                world.record.promised(grants[0])

            kind = "write" if writes else "read"
            return inside(site, {name: line}, hold, {"kind": kind}, write if writes else read)

        visits(site, visit)

    return part


def semaphore(world: World, name: str) -> Part:
    """Share some permits."""
    permits = world.chance.randrange(1, 5)
    line = world.record.line(name, "semaphore", permits)

    def part(site: Site, client: Client) -> None:
        mine = client.semaphore(name, permits=permits)

        def visit() -> bool:
            weight = world.chance.randrange(1, permits + 1)
            hold = mine.acquire(weight=weight, **how(world))
            if hold is None:
                return False

            def stay(grants: list[Grant]) -> None:
                world.sleep(world.chance.random() * (0.1 if world.calm else 2.0))
                world.record.promised(grants[0])

            return inside(site, {name: line}, hold, {"weight": weight}, stay)

        visits(site, visit)

    return part
