"""The keys themselves: writers of unique elements, and watchers whose logs have to be etcd's own history."""

from __future__ import annotations

from etcd_recipes import Client
from etcd_recipes.core.errors import Compacted, ContextError, EtcdRecipesError, EventIndexCleared
from etcd_recipes.core.v3.txn import Op
from tests.simulation.oracle import Fact
from tests.simulation.plays.locks import EXPECTED
from tests.simulation.record import Element
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


def watcher(world: World, name: str) -> Part:
    """Watch all that is written below a prefix; begin again where etcd says so."""
    prefix = f"{name}/"

    def on_v3(site: Site, client: Client) -> None:
        start = 0
        while not world.over:
            log: list[tuple[int, str]] = []
            try:
                with client.v3.watch(prefix, prefix=True, start_revision=start, timeout=10.0) as watch:
                    begun = watch.revision + 1
                    world.record.judges.append(_Log(world, prefix, begun, log))
                    while not world.over:
                        try:
                            event = watch.next(timeout=1.0)
                        except ContextError:
                            continue
                        log.append((event.kv.mod_revision, event.kv.text))
            except Compacted as error:
                start = error.resume_from
                world.record.counts["watches compacted"] += 1
            except EXPECTED:
                start = 0
                world.sleep(0.2)

    def on_v2(site: Site, client: Client) -> None:
        after = 0
        while not world.over:
            log: list[tuple[int, str]] = []
            watch = client.v2.keys.watcher(name, after_index=after, recursive=True)
            begun = after + 1 if after else 0
            try:
                world.record.judges.append(_Log(world, prefix, begun, log))
                while not world.over:
                    try:
                        event = watch.next(timeout=1.0)
                    except ContextError:
                        continue
                    log.append((event.node.modified_index, str(event.node.value)))
            except EventIndexCleared as error:
                after = error.resume_from
                world.record.counts["watches cleared"] += 1
            except EtcdRecipesError:
                after = 0
                world.sleep(0.2)
            finally:
                watch.close()

    return on_v2 if world.api == "v2" else on_v3


class _Log:
    """One watch's events, to be compared with the history from where it began."""

    def __init__(
        self, world: World, prefix: str, begun: int, log: list[tuple[int, str]]
    ) -> None:
        self._world, self._prefix, self._begun, self._log = world, prefix, begun, log

    def __call__(self) -> None:
        log = self._log
        if not log:
            return
        begun = self._begun or log[0][0]
        history = self._world.record.oracle.history(self._prefix)
        there = [(fact.modified, str(fact.value)) for fact in history if fact.modified >= begun]
        if log != there[: len(log)]:
            wrong = next(i for i in range(len(log)) if i >= len(there) or log[i] != there[i])
            self._world.record.violation(
                "watch", f"{self._prefix} from {begun}: event {wrong} is {log[wrong : wrong + 3]}, "
                f"and there was {there[wrong : wrong + 3]}"
            )  # fmt: skip
