"""Chaos: many visits and many faults at once, drawn from a seed.

`draw` is pure: a seed gives a plan, which is who comes when, for what, for how long, and what goes wrong
when. `play` carries it out. What happens in between is the machine's choice, so a seed that failed may have
to be played some times before it fails again.

Three actors: the *calm* one only competes, so all of its visits that do not give up must get in; the *shaky*
one has its replies lost and delayed and its connections cut, an operator takes its keys, and it is stopped
for longer than the ttl; the *mortal* one is killed, and another one takes over its part.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from etcd_recipes import Context
from etcd_recipes.core import runtime
from etcd_recipes.testing import FaultProxy
from tests.properties.history import Wish
from tests.properties.stage import LASTING, TTL, Part, Stage
from tests.properties.subjects import SUBJECTS
from tests.recipes.operator import TAKES_A_PLACE
from tests.tools import eventually

__all__ = ["Step", "draw", "play"]

PATIENCE = 20.0
"""Seconds for a visit of the calm one, in a line that is never empty and waits for the dead more than once."""

WHILE = 0.2
"""Seconds that a fault waits for somebody whom it hits."""

PER_SECOND = 6
"""Visits to each subject."""

NETWORK = ("lose a join", "lose any", "cut", "reset", "delay", "heal")


@dataclass(frozen=True, slots=True)
class Step:
    """What happens so many seconds after the start; `number` tells visits apart."""

    at: float
    what: str
    number: int = 0
    visit: Arrival | None = None


@dataclass(frozen=True, slots=True)
class Arrival:
    """One that comes; without `timeout` it is patient."""

    subject: str
    actor: str
    client: int
    wish: Wish
    timeout: float | None
    stay: float


def draw(seed: int, seconds: float, subjects: Sequence[str] = tuple(SUBJECTS)) -> list[Step]:
    """Give the plan of this seed, in the order of time."""
    rng = random.Random(seed)
    steps: list[Step] = []
    for number in range(int(seconds * PER_SECOND * len(subjects))):
        steps += _visit(rng, number, rng.uniform(0, seconds), rng.choice(subjects))
    for _ in range(int(5 * seconds)):
        steps.append(Step(rng.uniform(0.2, seconds), rng.choice(NETWORK)))
    for _ in range(int(3 * seconds)):
        steps.append(Step(rng.uniform(0.2, seconds), "take"))
    for start in range(0, max(1, int(seconds)), 6):
        stopped = start + rng.uniform(0.3, 1.0)
        steps += [Step(stopped, "stop"), Step(stopped + TTL + 0.5, "resume")]
        steps.append(Step(start + rng.uniform(0.3, 1.5), "kill"))
    return sorted(steps, key=lambda step: step.at)


def _visit(rng: random.Random, number: int, at: float, subject: str) -> list[Step]:
    actor = rng.choice(["calm", "calm", "shaky", "mortal"])
    hurried = actor != "calm" or rng.random() < 0.3
    arrival = Arrival(
        subject=subject,
        actor=actor,
        client=rng.randrange(2),
        wish=rng.choice(SUBJECTS[subject].mixed),
        timeout=rng.choice([0.2, 1.0, 5.0]) if hurried else None,
        stay=rng.uniform(0.001, 0.06) if actor == "calm" else rng.uniform(0.05, 0.3),
    )
    steps = [Step(at, "arrive", number, arrival)]
    if hurried and rng.random() < 0.4:
        steps.append(Step(at + rng.uniform(0.0, 0.3), "cancel", number))
    return steps


def play(stage: Stage, plan: Sequence[Step], seed: int) -> dict[str, list[str]]:
    """Carry the plan out; gives the broken properties."""
    chaos = _Chaos(stage, seed)
    start = runtime.now()
    for step in plan:
        Context().wait(max(0.0, start + step.at - runtime.now()))
        chaos.take(step)
    return chaos.end()


class _Chaos:
    def __init__(self, stage: Stage, seed: int) -> None:
        self._stage = stage
        self._rng = random.Random(seed)
        self._plays = {play.subject.name: play for play in stage.plays}
        self._actors = {
            "calm": stage.other,
            "shaky": stage.actor(),
            "mortal": stage.actor(),
        }
        self._parts: dict[int, Part] = {}
        self._proxies = stage.proxies()
        self._acts = {
            "stop": self._stop,
            "resume": self._actors["shaky"].resume,
            "kill": self._kill,
            "take": self._take,
        }

    def take(self, step: Step) -> None:
        if step.visit is not None:
            self._arrive(step.number, step.visit)
        elif step.what == "cancel":
            self._stage.cancel([self._parts[step.number]])
        elif step.what in NETWORK:
            self._break(step.what)
        else:
            self._acts[step.what]()

    def _arrive(self, number: int, visit: Arrival) -> None:
        self._parts[number] = self._stage.enter_one(
            self._plays[visit.subject],
            self._actors[visit.actor],
            f"{visit.actor}-{number}",
            visit.wish,
            client=f"{visit.actor}-{visit.client}",
            timeout=visit.timeout,
            stay=visit.stay,
            through=visit.actor == "shaky",
            ttl=LASTING if visit.actor == "calm" else TTL,
        )

    def _break(self, how: str) -> None:
        for proxy in self._proxies:
            self._break_one(proxy, how)

    def _break_one(self, proxy: FaultProxy, how: str) -> None:
        match how:
            case "lose a join":
                proxy.lose_reply(only=TAKES_A_PLACE[self._stage.api], times=1)
            case "lose any":
                proxy.lose_reply(times=self._rng.randint(1, 3))
            case "cut":
                proxy.cut("body", times=self._rng.randint(1, 3))
            case "reset":
                proxy.reset(times=self._rng.randint(1, 3))
            case "delay":
                proxy.delay(0.1, jitter=0.2)
            case _:
                proxy.heal()

    def _stop(self) -> None:
        self._inside("shaky")
        self._actors["shaky"].stop()

    def _kill(self) -> None:
        self._inside("mortal")
        self._stage.kill(self._actors["mortal"])
        self._actors["mortal"] = self._stage.actor()

    def _take(self) -> None:
        """Delete the key of one that holds."""
        if inside := self._inside("shaky"):
            self._stage.take(self._rng.choice(inside))

    def _inside(self, actor: str) -> list[Part]:
        """Give who of this actor holds; waits a while for somebody to do so."""

        def look() -> list[Part]:
            mine = [part for part in self._parts.values() if part.actor is self._actors[actor]]
            return [part for part in mine if part.told("place") and not part.over]

        with suppress(AssertionError):
            return eventually(look, WHILE)
        return []

    def end(self) -> dict[str, list[str]]:
        for proxy in self._proxies:
            proxy.heal()
        self._stage.over([part for part in self._parts.values() if not part.actor.over], PATIENCE)
        return self._stage.verdict()
