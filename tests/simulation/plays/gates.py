"""Gates: barriers, double barriers and latches. Nobody passes a closed one, and nobody who may pass stays behind."""

from __future__ import annotations

import re
from dataclasses import dataclass

from etcd_recipes import Client
from etcd_recipes.core.errors import BrokenBarrier, DeadlineExceeded
from tests.simulation.oracle import Fact, plain
from tests.simulation.plays.locks import EXPECTED, visits
from tests.simulation.world import Part, Site, World

__all__ = ["barrier", "double_barrier", "latch"]

_KEY = re.compile(r"([0-9]{1,18})(\.released)?")


class _Gate:
    """Who has passed, between which two revisions; judged by whether it was ever open between them.

    While a member answers reads with the past (etcd's bug 20418), the first of the two is what the client had
    seen: it takes nothing older, and of what it never heard of it can know nothing.
    """

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.prefix = f"{name}/"
        self.passed: list[tuple[int, int, str]] = []
        world.record.kept.append(self.prefix)
        world.record.judges.append(self._judge)

    def wait(self, site: Site, client: Client, call: object, timeout: float) -> bool:
        """Wait before the gate; tell whether it let us pass."""
        world = self.world
        before, seen, began = world.record.oracle.revision, _seen(client), world.now
        try:
            call(timeout)  # type: ignore[operator]
        except DeadlineExceeded:
            return False
        if world.api == "v3" and world.record.stale_until >= began:
            before = min(before, seen)
        self.passed.append((before, world.record.oracle.revision, f"{site.process}"))
        world.record.counts["gates passed"] += 1
        return True

    def is_open(self, there: dict[str, Fact]) -> bool:
        raise NotImplementedError

    def _judge(self) -> None:
        there: dict[str, Fact] = {}
        opened: list[tuple[int, int]] = []
        since: int | None = 0
        for fact in self.world.record.oracle.history(self.prefix):
            if fact.value is None:
                there.pop(fact.key, None)
            else:
                there[fact.key] = fact
            is_open = self.is_open(there)
            if since is not None and not is_open:
                opened.append((since, fact.modified - 1))
                since = None
            elif since is None and is_open:
                since = fact.modified
        if since is not None:
            opened.append((since, 1 << 62))
        for first, last, who in self.passed:
            if not any(start <= last and first <= end for start, end in opened):
                self.world.record.violation(
                    "gate", f"{who} passed {self.prefix} between {first} and {last}; it was open {opened[-5:]}"
                )  # fmt: skip


def _seen(client: Client) -> int:
    """Give the highest revision that the client has seen, on v3."""
    return max(client._gateway._horizon.seen().values(), default=0)


class _Barrier(_Gate):
    def is_open(self, there: dict[str, Fact]) -> bool:
        held: dict[int, object] = {}
        released: dict[int, object] = {}
        for key, fact in there.items():
            found = _KEY.fullmatch(key[len(self.prefix) :])
            if found:
                (released if found[2] else held)[int(found[1])] = plain(str(fact.value))
        last = max((*held, *released), default=0)
        return last not in held or released.get(last) == held[last]


class _Latch(_Gate):
    count = 1

    def __init__(self, world: World, name: str, count: int) -> None:
        self.count = count
        super().__init__(world, name)

    def is_open(self, there: dict[str, Fact]) -> bool:
        return len(there) >= self.count


def barrier(world: World, name: str) -> Part:
    """Close, open, and wait."""
    gate = _Barrier(world, name)

    def part(site: Site, client: Client) -> None:
        ttl = world.ttl if world.chance.random() < 0.5 else None
        mine = client.barrier(name, ttl=ttl)

        def visit() -> bool:
            luck = world.chance.random()
            if luck < 0.3:
                mine.hold(timeout=3.0)
                world.sleep(world.chance.random() * (0.2 if world.calm else 3.0))
                mine.release(timeout=3.0)
                return False
            if luck < 0.45:
                mine.release(timeout=3.0)
                return False
            return gate.wait(
                site, client, mine.wait, 5.0 if world.calm else world.chance.random() * 20.0
            )

        visits(site, visit)
        mine.release(timeout=5.0)

    return part


def latch(world: World, name: str) -> Part:
    """Count down, each once by its name, and wait."""
    count = 2
    gates: dict[int, _Latch] = {}

    def part(site: Site, client: Client) -> None:
        number = 0
        while not world.over:
            gate = gates.get(number) or gates.setdefault(
                number, _Latch(world, f"{name}.{number}", count)
            )
            mine = client.latch(f"{name}.{number}", count=count)
            try:
                world.sleep(world.chance.random() * (1.0 if world.calm else 6.0))
                mine.count_down(site.name, timeout=3.0)
                if gate.wait(site, client, mine.wait, 5.0 if world.calm else 20.0):
                    number += 1
            except EXPECTED as error:
                world.record.note(f"{site.process} gave up: {error!r}")

    return part


@dataclass(eq=False)
class _Visit:
    """One party's way through a double barrier."""

    who: str
    round: int = 0
    left: bool = False
    through: bool = False


def double_barrier(world: World, name: str, parties: int) -> Part:
    """Go in together, stay a moment, come out together."""
    visits_of: list[_Visit] = []
    world.record.kept.append(f"{name}/")

    def check_entered(mine: _Visit) -> None:
        same = [v for v in visits_of if v.round == mine.round]
        if len(same) > parties:
            world.record.violation(
                "round", f"{[v.who for v in same]} are in one round of {parties}"
            )
        gone = [v.who for v in same if v.through and v is not mine]
        if gone:
            world.record.violation("round", f"{gone} came out before {mine.who} had gone in")
        marks = world.record.oracle.history(f"{name}/{mine.round}/in/")
        said = {fact.key for fact in marks if fact.value is not None}
        if len(said) < parties:
            world.record.violation(
                "round", f"{mine.who} went in, one of {len(said)} that had said so"
            )

    def part(site: Site, client: Client) -> None:
        mine = client.double_barrier(name, parties=parties)

        def visit() -> bool:
            me = _Visit(f"{site.process}")
            visits_of.append(me)
            mine.enter(8.0 if world.calm else world.chance.uniform(1.0, 30.0), party=id(me))
            me.round = mine._inside[id(me)].round
            check_entered(me)
            world.record.counts["rounds entered"] += 1
            world.sleep(world.chance.random() * (0.1 if world.calm else 1.5))
            me.left = True
            try:
                mine.leave(10.0, party=id(me))
            except BrokenBarrier:
                world.record.counts["rounds broken"] += 1
                return True
            me.through = True
            behind = [v.who for v in visits_of if v.round == me.round and not v.left]
            if behind:
                world.record.violation(
                    "round", f"{me.who} came out, and {behind} had not said that they leave"
                )
            return True

        visits(site, visit)

    return part
