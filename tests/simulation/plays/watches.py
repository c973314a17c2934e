"""The keys themselves: writers of unique elements, and watchers whose logs have to be etcd's own history."""

from __future__ import annotations

from dataclasses import dataclass, field

from etcd_recipes import Client
from etcd_recipes.core.errors import ContextError, HistoryLost
from etcd_recipes.core.v3.txn import Op
from tests.simulation.oracle import Fact
from tests.simulation.plays.locks import EXPECTED
from tests.simulation.record import BOUND, Element
from tests.simulation.world import Part, Site, World

__all__ = ["watcher", "writer"]


class _Written:
    """All elements of one prefix."""

    def __init__(self, world: World, prefix: str) -> None:
        self.world = world
        self.prefix = prefix
        self.sent: list[Element] = []
        world.record.kept.append(prefix)
        world.record.judges.append(self._judge)

    def element(self) -> Element:
        made = self.world.record.element(self.prefix, 0)
        self.sent.append(made)
        return made

    def _judge(self) -> None:
        record, where = self.world.record, f"below {self.prefix}"
        by_name = {element.name: element for element in self.sent}
        history = record.oracle.history(self.prefix)
        there = [by_name.get(_name(fact)) for fact in history if fact.value is not None]
        if None in there:
            record.violation("invented", f"something {where} was written by nobody")
        known = [element for element in there if element is not None]
        record.check_elements(known, where, ordered=False)
        record.check_acknowledged(self.sent, known, where)


def _name(fact: Fact) -> str:
    return str(fact.value)


def writer(world: World, name: str) -> Part:
    """Write elements: on v3 under names of their own, some several at once; on v2 in order, into a queue."""
    prefix = f"{name}/"
    written = _Written(world, prefix)

    def part(site: Site, client: Client) -> None:
        while not world.over:
            elements = [written.element() for _ in range(world.chance.choice((1, 1, 1, 3)))]
            try:
                if world.api == "v2":
                    client.v2.keys.create_in_order(name, elements[0].name, timeout=3.0)
                    elements = elements[:1]
                else:
                    puts = [Op.put(prefix + e.name, e.name) for e in elements]
                    client.v3.kv.txn([], puts, timeout=3.0)
                for element in elements:
                    element.outcome = "acknowledged"
            except EXPECTED as error:
                if not getattr(error, "maybe_applied", False):
                    for element in elements:
                        element.outcome = "refused"
            world.sleep(world.chance.random() ** 2 * 3.0)

    return part


@dataclass(eq=False)
class _Log:
    """One watch's events, to be compared with the history from where it began (0: from the first of them)."""

    world: World
    prefix: str
    begun: int
    seen: list[tuple[int, str]] = field(default_factory=list)
    complete_until: int = 0  # the revision that it must have come to

    def __post_init__(self) -> None:
        self.world.record.judges.append(self.judge)

    def end(self) -> None:
        """Hear that the watch went on to the end: what was there for long must have come."""
        self.complete_until = self.world.revision_of(self.world.now - BOUND)

    def judge(self) -> None:
        begun = self.begun or (self.seen[0][0] if self.seen else 1 << 62)
        history = self.world.record.oracle.history(self.prefix)
        there = [(fact.modified, str(fact.value)) for fact in history if fact.modified >= begun]
        due = [event for event in there if event[0] <= self.complete_until]
        if self.seen != there[: len(self.seen)]:
            wrong = next(i for i, e in enumerate(self.seen) if i >= len(there) or e != there[i])
            self._tell(
                f"event {wrong} is {self.seen[wrong:][:3]}, and there was {there[wrong:][:3]}"
            )
        elif len(due) > len(self.seen):
            self._tell(f"{due[len(self.seen) :][:3]} did not come")

    def _tell(self, words: str) -> None:
        self.world.record.violation("watch", f"{self.prefix} from {self.begun}: {words}")


def watcher(world: World, name: str) -> Part:
    """Watch all that is written below a prefix; begin again where etcd says so."""
    watch = _watch_v2 if world.api == "v2" else _watch_v3

    def part(site: Site, client: Client) -> None:
        start = 0
        while not world.over:
            try:
                watch(world, client, name, start)
            except HistoryLost as error:
                start = error.resume_from
                world.record.counts["watches whose history was lost"] += 1
            except EXPECTED:
                start = 0
                world.sleep(0.2)

    return part


def _watch_v3(world: World, client: Client, name: str, start: int) -> None:
    prefix = f"{name}/"
    with client.v3.watch(prefix, prefix=True, start_revision=start, timeout=10.0) as watch:
        log = _Log(world, prefix, watch.revision + 1)
        while not world.over:
            try:
                event = watch.next(timeout=1.0)
            except ContextError:
                continue
            log.seen.append((event.kv.mod_revision, event.kv.text))
        log.end()


def _watch_v2(world: World, client: Client, name: str, start: int) -> None:
    watch = client.v2.keys.watcher(name, after_index=start, recursive=True)
    log = _Log(world, f"{name}/", start + 1 if start else 0)
    try:
        while not world.over:
            try:
                event = watch.next(timeout=1.0)
            except ContextError:
                continue
            log.seen.append((event.node.modified_index, str(event.node.value)))
    finally:
        watch.close()
