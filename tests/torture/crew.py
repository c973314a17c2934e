"""The crew: the workers as those see them who hurt them. Who dies is replaced, in its slot, by another one."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Self

from etcd_recipes.testing import FaultProxy
from tests.processes import is_dead, is_stopped
from tests.properties.company import Actor, Company
from tests.tools import eventually
from tests.torture.janitor import Janitor
from tests.torture.notebook import Notebook

__all__ = ["Crew", "Slot"]

PATIENCE = 20.0


@dataclass(slots=True)
class Slot:
    """One place in the crew, and who has it now. With `proxies` its way to etcd leads through them."""

    name: str
    api: str
    acts: tuple[str, ...]
    endpoints: tuple[str, ...]
    header_timeout: float = 1.0
    proxies: tuple[FaultProxy, ...] = ()
    generations: count[int] = field(default_factory=lambda: count(1))
    who: str = ""
    actor: Actor | None = None
    ends: bool = False

    @property
    def pid(self) -> int:
        assert self.actor is not None
        return self.actor.pid


COMMON = ("holds", "barrier", "double", "latch", "registering")
V3 = (
    (*COMMON, "writing"),
    (*COMMON, "writing", "observing"),
    (*COMMON, "writing", "watching"),
    (*COMMON, "watching"),
    (*COMMON, "writing", "observing"),
)
"""What the workers on v3 do. The first two have their ways through proxies; the third and fourth watch."""

V2 = (COMMON, (*COMMON, "observing"))

HEADER_TIMEOUTS = (1.0, 3.0)
"""Of the two behind proxies: one is as clients are, one is patient."""


class Crew:
    """All workers; started with `with`, and at its end there is none left."""

    def __init__(
        self,
        endpoints: Sequence[str],
        folder: Path,
        janitor: Janitor,
        notes: Notebook,
        *,
        seed: int,
        plant: str,
        with_v2: bool,
        environment: dict[str, str],
    ) -> None:
        self._folder = folder
        self._janitor = janitor
        self._notes = notes
        self._seed = seed
        self._plant = plant
        self._environment = environment
        self._stack = ExitStack()
        self.v3 = tuple(
            self._slot(f"a{n}", "v3", acts, endpoints, behind=n < len(HEADER_TIMEOUTS), n=n)
            for n, acts in enumerate(V3)
        )
        v2 = enumerate(V2) if with_v2 else ()
        self.v2 = tuple(
            self._slot(f"b{n}", "v2", acts, endpoints, behind=False, n=n) for n, acts in v2
        )

    def _slot(
        self,
        name: str,
        api: str,
        acts: tuple[str, ...],
        endpoints: Sequence[str],
        *,
        behind: bool,
        n: int,
    ) -> Slot:
        if not behind:
            return Slot(name, api, acts, tuple(endpoints))
        proxies = tuple(self._proxy(each) for each in endpoints)
        ways = tuple(proxy.endpoint for proxy in proxies)
        return Slot(name, api, acts, ways, HEADER_TIMEOUTS[n], proxies)

    def _proxy(self, endpoint: str) -> FaultProxy:
        proxy = FaultProxy(endpoint)
        self._stack.callback(proxy.close)
        return proxy

    @property
    def slots(self) -> tuple[Slot, ...]:
        return (*self.v3, *self.v2)

    def start(self, slot: Slot) -> None:
        """Have somebody new take the slot."""
        if slot.actor is not None:
            slot.actor.close()
            self._janitor.spare(slot.actor.pid)
        slot.actor = actor = self._company.actor()
        slot.ends = False
        self._janitor.kill(actor.pid)
        slot.who = f"{slot.name}.{next(slot.generations)}"
        same = self.v3 if slot.api == "v3" else self.v2
        actor.say(
            "start",
            who=slot.who,
            slot=slot.name,
            slots=len(same),
            api=slot.api,
            endpoints=list(slot.endpoints),
            header_timeout=slot.header_timeout,
            folder=str(self._folder),
            acts=list(slot.acts),
            seed=self._seed,
            plant=self._plant,
        )

    def order(self, slot: Slot, what: str) -> None:
        assert slot.actor is not None
        slot.actor.say(what)

    def kill(self, slot: Slot, how: int = signal.SIGKILL) -> None:
        """End whoever has the slot with this signal; it is gone when another one takes the slot."""
        self._notes.note("killed", who=slot.who, how=signal.Signals(how).name)
        slot.ends = True
        os.kill(slot.pid, how)

    def stop(self, slot: Slot) -> None:
        os.kill(slot.pid, signal.SIGSTOP)
        eventually(lambda: is_stopped(slot.pid), PATIENCE)

    def resume(self, slot: Slot) -> None:
        os.kill(slot.pid, signal.SIGCONT)

    def has_died(self, slot: Slot) -> bool:
        return is_dead(slot.pid)

    def is_free(self, slot: Slot) -> bool:
        """Tell whether somebody else is to take the slot: whoever has it is dead, or had time enough to end."""
        return slot.ends or is_dead(slot.pid)

    def has_stopped(self, slot: Slot) -> bool:
        return is_stopped(slot.pid)

    def rest(self) -> None:
        """Have all bring to an end what they do, and look on; wait for that."""
        for slot in self.slots:
            self.order(slot, "rest")
        self._wait_for_all(self._rests)

    def _rests(self, slot: Slot) -> bool:
        assert slot.actor is not None
        return any("rests" in report for report in list(slot.actor.reports.get(0, ())))

    def finish(self) -> None:
        """Have all end in good order, and wait for that."""
        for slot in self.slots:
            self.order(slot, "finish")
        self._wait_for_all(self.has_died)

    def _wait_for_all(self, condition: Callable[[Slot], bool]) -> None:
        for slot in self.slots:
            try:
                eventually(lambda: condition(slot), PATIENCE)  # noqa: B023
            except AssertionError:
                self._notes.note("stuck", who=slot.who)

    def drawn(self, rng: random.Random, slots: Sequence[Slot] | None = None) -> Slot:
        return rng.choice(self.slots if slots is None else slots)

    def __enter__(self) -> Self:
        self._company = Company("tests.torture.worker", **self._environment)
        self._janitor.kill(self._company.pid)
        for slot in self.slots:
            self.start(slot)
        return self

    def __exit__(self, *_: object) -> None:
        for slot in self.slots:
            if slot.actor is not None:
                slot.actor.close()
                self._janitor.spare(slot.actor.pid)
        self._janitor.spare(self._company.pid)
        self._company.__exit__(None, None, None)
        self._stack.close()
