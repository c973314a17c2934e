"""The board: what a worker has seen of the jobs, and what it does next because of it.

Rules of this file
1. Pure, but for `Board`, which hands what was seen from the thread that follows etcd to those that act.
2. What was seen is old by the time it is used. It says what to try; whether that works, etcd says, in one
   transaction or under a lock.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from etcd_recipes.cli.demo.plan import Keys, Plan
from etcd_recipes.core import runtime
from etcd_recipes.core.context import Context
from etcd_recipes.core.errors import DeadlineExceeded
from etcd_recipes.core.store import Entry

__all__ = ["Board", "Counter", "Job", "Seen", "choose", "has_room", "read"]


@dataclass(frozen=True, slots=True)
class Job:
    """A job that was handed out and is not done: how long it takes, and who handed it out."""

    name: str
    seconds: float
    leader: str = ""
    token: int = 0

    def encode(self) -> str:
        """Give the value of its key."""
        return json.dumps({"seconds": self.seconds, "leader": self.leader, "token": self.token})


@dataclass(frozen=True, slots=True)
class Counter:
    """How many jobs were handed out, and under which token the last one; `modified` is its revision."""

    handed: int = 0
    token: int = 0
    modified: int = 0

    def encode(self) -> str:
        """Give the value of its key."""
        return json.dumps({"handed": self.handed, "token": self.token})

    @classmethod
    def decode(cls, value: str, modified: int) -> Counter:
        """Give the counter that a value is."""
        data = json.loads(value)
        return cls(data["handed"], data["token"], modified)


@dataclass(frozen=True, slots=True)
class Seen:
    """The jobs, those of them that are under a lock, and the counter, all at one revision."""

    jobs: Mapping[str, Job] = field(default_factory=dict)
    locked: frozenset[str] = frozenset()
    counter: Counter = Counter()


def read(entries: Mapping[str, Entry], keys: Keys) -> Seen:
    """Read the entries below ``keys.work``; what is not of the demo's making is passed over."""
    jobs: dict[str, Job] = {}
    locked: set[str] = set()
    counter = Counter()
    for key, entry in entries.items():
        kind, _, rest = key.removeprefix(keys.work).partition("/")
        if key == keys.counter:
            counter = Counter.decode(entry.value, entry.modified)
        elif kind == "jobs":
            jobs[rest] = Job(rest, **json.loads(entry.value))
        elif kind == "locks":
            locked.add(rest.partition("/")[0])  # below it: a key for each who holds or waits
    return Seen(jobs, frozenset(locked), counter)


def has_room(seen: Seen, plan: Plan) -> bool:
    """Tell whether a leader should hand out a job now, or has handed out the last one."""
    return len(seen.jobs) < plan.outstanding or seen.counter.handed >= plan.jobs


def choose(seen: Seen, turn: int, tried: frozenset[str]) -> Job | None:
    """Choose a job that nobody has; None if there is none that was not tried already.

    Each worker begins at a place of its own (`turn`): if all began at the first, all but one would find
    it taken.
    """
    free = sorted(seen.jobs.keys() - seen.locked - tried)
    return seen.jobs[free[turn % len(free)]] if free else None


class Board:
    """Where the follower's thread shows what it has seen, and others wait for what they need."""

    def __init__(self) -> None:
        self._seen = Seen()
        self._waiters: set[runtime.Event] = set()
        self._lock = runtime.new_lock()

    @property
    def seen(self) -> Seen:
        """What was seen last."""
        return self._seen

    def show(self, seen: Seen) -> None:
        """Replace what was seen, and wake all who wait."""
        with self._lock:
            self._seen = seen
            waiters = list(self._waiters)
        for waiter in waiters:
            waiter.set()

    def wait_for(
        self, wanted: Callable[[Seen], bool], ctx: Context, *, at_most: float | None = None
    ) -> Seen:
        """Wait until `wanted` holds, or `at_most` seconds, and give what was seen last.

        Raises the error of `ctx` when that ends.
        """
        limited = ctx.child(at_most)
        event = runtime.new_event()
        with self._lock:
            self._waiters.add(event)
        try:
            while not wanted(self._seen):
                limited.wait_for(event)
                event.clear()
        except DeadlineExceeded:
            ctx.check()
        finally:
            with self._lock:
                self._waiters.discard(event)
        return self._seen
