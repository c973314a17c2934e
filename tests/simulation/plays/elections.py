"""Elections: candidates that lead, proclaim, hand over and resign, and observers that see every leader there was."""

from __future__ import annotations

import json

from etcd_recipes import Client, Contender, Context
from etcd_recipes.core.errors import ContextError, RecipeError
from tests.simulation.oracle import Fact, plain
from tests.simulation.plays.locks import EXPECTED, Works, inside, visits
from tests.simulation.record import Grant
from tests.simulation.world import Part, Site, World

__all__ = ["candidate", "observer"]

Leader = tuple[str, int, str]


def candidate(world: World, name: str) -> Part:
    """Stand for election, and lead for a while."""
    line, work = world.record.line(name, "lock"), Works(world, name)

    def part(site: Site, client: Client) -> None:
        election = client.election(name)
        said = 0

        def value() -> str:
            nonlocal said
            said += 1
            return json.dumps({"pid": site.process.number, "said": said})

        def visit() -> bool:
            patience = 30.0 if world.calm else world.chance.uniform(0.5, 20.0)
            term = election.campaign(value(), timeout=patience)

            def lead(grants: list[Grant]) -> None:
                work(client, grants[0], lambda: [term.guard])
                if world.chance.random() < 0.3:
                    term.proclaim(value(), timeout=2.0)
                if world.chance.random() < 0.2:
                    world.record.promised(grants[0])
                    others = election.candidates(timeout=2.0)[1:]
                    if others:
                        world.record.leaving(grants[0])  # from some moment of this call on
                        term.transfer(world.chance.choice(others), timeout=3.0)

            return inside(site, {name: line}, term, {}, lead)

        visits(site, visit)

    return part


def observer(world: World, name: str) -> Part:
    """Watch who leads, for as long as the process lives; each sight is compared with what there was."""

    def part(site: Site, client: Client) -> None:
        seen: list[Leader | None] = []
        world.record.judges.append(lambda: _judge(world, name, seen))
        try:
            ctx = Context(timeout=world.stops_at + 4.0 - world.now)
            while not world.over:
                try:
                    for leader in client.election(name).observe(ctx=ctx):
                        seen.append(_seen(leader))  # noqa: PERF401 (what was seen before an error counts)
                except EXPECTED as error:
                    if isinstance(error, ContextError | RecipeError):
                        return
                    del seen[:]  # etcd refuses, as far as it can tell: it begins anew
        finally:
            world.record.note(f"{site.process} has seen {len(seen)} leaders of {name}")

    return part


def _seen(leader: Contender | None) -> Leader | None:
    return leader and (leader.key, leader.token, leader.value)


def leaders(history: list[Fact], name: str) -> list[Leader | None]:
    """Give who led, one after the other, by the history of the line."""
    line: dict[str, Fact] = {}
    found: list[Leader | None] = [None]
    at = 0
    for number, fact in enumerate(history):
        if fact.value is None:
            line.pop(fact.key, None)
        else:
            line[fact.key] = fact
        at = fact.modified
        if number + 1 < len(history) and history[number + 1].modified == at:
            continue  # of one revision, the last is what counts
        first = min(line.values(), key=lambda f: f.created, default=None)
        leader = first and (first.key, first.created, plain(str(first.value)))
        if leader != found[-1]:
            found.append(leader)
    return found


def _judge(world: World, name: str, seen: list[Leader | None]) -> None:
    there = leaders(world.record.oracle.history(f"{name}/"), name)
    if not seen:
        return
    if not world.history_was_lost:
        runs = (there[at : at + len(seen)] for at in range(len(there) - len(seen) + 1))
        if seen not in list(runs):
            world.record.violation(
                "observer", f"{name}: saw {seen[:6]}..., which is no part of {there[:6]}..."
            )
    else:
        rest = iter(there)
        if not all(leader in rest for leader in seen):
            world.record.violation("observer", f"{name}: saw {seen}, but there were {there}")
