"""What a worker does with the recipes, over and over, writing down what it sees.

    Holds       every lock-like thing in turn; who is alone inside writes to the protected resources
    Gates       barrier, double barrier and latch in turn
    Writing     numbered values below one prefix, which others watch
    Watching    a watch of that prefix
    Observing   an observer of an election
    Registering one registration, and a view of all

Rules of this file
1. A holder writes without asking whether it still holds: what is late must be refused by whom it writes to.
2. Every write has an element of its own, never seen before.
3. Errors of the library are outcomes; anything else ends the worker, and is found.
"""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any

from etcd_recipes import (
    BrokenBarrier,
    Client,
    Compacted,
    Context,
    ContextError,
    DeadlineExceeded,
    EtcdRecipesError,
    StaleToken,
)
from etcd_recipes.core import runtime
from etcd_recipes.core.v3 import Compare, Op
from tests.properties.history import Wish
from tests.properties.subjects import SUBJECTS, Held
from tests.torture import resources
from tests.torture.notebook import Notebook, outcome_of

__all__ = [
    "PREFIX",
    "TTL",
    "Desk",
    "Gates",
    "Holds",
    "Observing",
    "Orders",
    "Registering",
    "Watching",
    "Writing",
    "register_of",
]

TTL = 2.0
PATIENCE = 6.0
"""Seconds that somebody waits in a line."""

WHILE = 4.0
"""Seconds that somebody waits at a gate."""

PREFIX = "watched/"
PARTIES = 2
OFTEN = 0.02

IN_A_FILE = ("election",)
"""The lines whose outside resource is a file; the others have a row of a table."""


class Orders:
    """What a worker was told to do in its next critical section; each is carried out once."""

    def __init__(self) -> None:
        self._pending: set[str] = set()

    def give(self, order: str) -> None:
        self._pending.add(order)

    def forget(self) -> None:
        """Take back what was not carried out yet."""
        self._pending.clear()

    def take(self, *orders: str) -> str:
        """Give the first of these that is pending, which it then is no more; "" if none is."""
        for order in orders:
            if order in self._pending:
                self._pending.discard(order)
                return order
        return ""


@dataclass(slots=True)
class Desk:
    """What every act of one worker has."""

    client: Client
    api: str
    slot: str
    slots: int
    folder: Path
    notes: Notebook
    orders: Orders
    ctx: Context
    say: Callable[..., None]
    seed: int
    resting: bool = False
    stopping: bool = False
    no_fence: bool = False

    def rng(self, what: str) -> random.Random:
        return random.Random(f"{self.seed} {self.notes.who} {what}")

    def goes_on(self, pause: float = 0.0) -> bool:
        """Wait a little; tell whether there is more to look at."""
        self.ctx.wait(pause)
        return not self.stopping and not self.ctx.done

    def acts_on(self, pause: float = 0.0) -> bool:
        """Wait a little; tell whether there is more to do."""
        return self.goes_on(pause) and not self.resting


def register_of(line: str) -> str:
    return f"register/{line}"


class Holds:
    """See the module's docstring."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._rng = desk.rng("holds")

    def run(self) -> None:
        turn: list[str] = []
        while self._desk.acts_on(self._rng.uniform(0.002, 0.02)):
            turn = turn or self._rng.sample(list(SUBJECTS), len(SUBJECTS))
            self._visit(turn.pop())

    def _visit(self, name: str) -> None:
        desk, subject = self._desk, SUBJECTS[name]
        line, wish, visit = (
            f"{desk.api}/{name}",
            self._rng.choice(subject.mixed),
            desk.notes.number(),
        )
        desk.notes.note("began", visit=visit, line=line, wish=asdict(wish))
        try:
            held = subject.enter(desk.client, line, wish, TTL, PATIENCE, desk.ctx)
        except EtcdRecipesError as error:
            outcome = outcome_of(error)
            desk.notes.note("gave_up", visit=visit, outcome=outcome, why=_why(error))
            desk.ctx.wait(0.05)
            return
        if held is None:
            desk.notes.note("gave_up", visit=visit, outcome="refused", why="timeout")
            return
        alone = name != "semaphore" and not subject.may([wish, wish])
        _Section(desk, self._rng, line, visit, wish, held, alone=alone).run()


class _Section:
    """One critical section."""

    def __init__(
        self,
        desk: Desk,
        rng: random.Random,
        line: str,
        visit: str,
        wish: Wish,
        held: Held,
        *,
        alone: bool,
    ) -> None:
        self._desk = desk
        self._rng = rng
        self._line = line
        self._visit = visit
        self._held = held
        self._alone = alone
        self._guards = self._guards_of(held.hold)
        self._seen: dict[str, float] = {"pause": 0.0}
        self._last = runtime.now()

    def _guards_of(self, hold: Any) -> tuple[Any, ...]:
        if self._desk.api == "v2":
            return ()
        return tuple(hold.guards) if hasattr(hold, "guards") else (hold.guard,)

    def run(self) -> None:
        held, note = self._held, self._desk.notes.note
        before = runtime.now()
        promised = before + held.hold.remaining()
        self._seen["promised"] = promised
        place = self._guards[0].created if self._guards else None
        note(
            "granted",
            visit=self._visit,
            token=held.token,
            key=held.key,
            promised=promised,
            place=place,
        )
        self._look()
        if self._alone:
            self._write()
        self._linger() if self._alone else self._desk.ctx.wait(self._rng.uniform(0.01, 0.08))
        self._look()
        told = "told" in self._seen
        note("leaving", visit=self._visit, seen=self._seen, lost=told)
        try:
            confirmed = held.hold.release()
        except EtcdRecipesError as error:
            note("over", visit=self._visit, outcome=outcome_of(error), why=_why(error))
        else:
            note("over", visit=self._visit, outcome="ok" if confirmed else "unknown")

    def _write(self) -> None:
        """Write to the protected resources; somewhere in between an order strikes, if there is one."""
        strike = self._rng.randrange(3)
        self._strike(strike == 0)
        old = self._read() if self._guards else None
        self._strike(strike == 1)
        if old is not None:
            self._swap(old)
        self._strike(strike == 2)
        self._write_outside()
        self._look()

    def _linger(self) -> None:
        """Stay inside: a moment, or on order until it was told of its loss, or for two ttls."""
        if not self._desk.orders.take("linger", f"linger {self._line}"):
            self._desk.ctx.wait(self._rng.uniform(0.002, 0.02))
            return
        self._desk.say(lingers=self._held.key, guard=[g.created for g in self._guards])
        end = runtime.now() + 2 * TTL
        while runtime.now() < end and "told" not in self._seen and self._desk.goes_on(OFTEN):
            self._look()

    def _strike(self, now: bool) -> None:
        if not now or not (order := self._desk.orders.take("freeze", "die")):
            return
        self._desk.notes.note("strikes", order=order, visit=self._visit, line=self._line)
        os.kill(os.getpid(), signal.SIGKILL if order == "die" else signal.SIGSTOP)
        self._desk.notes.note("struck", order=order, visit=self._visit)

    def _look(self) -> None:
        before = runtime.now()
        held = self._held.hold.is_held or not self._held.hold.lost.is_set()
        self._seen["pause"] = max(self._seen["pause"], before - self._last)
        self._last = before
        if held:
            self._seen["believed"] = before
            self._seen["promised"] = max(
                self._seen["promised"], before + self._held.hold.remaining()
            )
        elif "told" not in self._seen:
            self._seen["told"] = runtime.now()

    # -- the register in etcd --------------------------------------------------------------------------------

    def _read(self) -> str | None:
        note, op = self._desk.notes.note, self._desk.notes.number()
        note("call", op=op, kind="read", on=self._line)
        try:
            found = self._desk.client.v3.kv.get(register_of(self._line))
        except EtcdRecipesError as error:
            note("return", op=op, outcome="refused", why=_why(error))
            return None
        value = "" if found is None else found.text
        note("return", op=op, outcome="ok", value=value)
        return value

    def _swap(self, old: str) -> None:
        note, element = self._desk.notes.note, self._desk.notes.number()
        note("call", op=element, kind="swap", on=self._line, old=old, token=self._held.token)
        try:
            outcome, value = self._swapped(old, element)
        except EtcdRecipesError as error:
            note("return", op=element, outcome=outcome_of(error), why=_why(error))
        else:
            note("return", op=element, outcome=outcome, value=value)

    def _swapped(self, old: str, element: str) -> tuple[str, str | None]:
        register = register_of(self._line)
        there = Compare.value(register) == old if old else Compare.version(register) == 0
        conditions = [] if self._desk.no_fence else [*self._guards, there]
        record = Op.put(f"element/{self._line}/{element}", f"{self._held.token} {old}")
        keys = [guard.key for guard in self._guards]
        done = self._desk.client.v3.kv.txn(
            conditions,
            [Op.put(register, element), record],
            [Op.get(register), *(Op.get(key) for key in keys)],
        )
        if done.succeeded:
            return "ok", element
        found, *holds = done.responses
        value = found.kvs[0].text if found.kvs else ""
        there_now = [each.kvs[0].create_revision if each.kvs else 0 for each in holds]
        stood = there_now == [guard.created for guard in self._guards]
        return ("changed" if stood else "fenced"), value

    # -- outside ---------------------------------------------------------------------------------------------

    def _write_outside(self) -> None:
        note, element = self._desk.notes.note, self._desk.notes.number()
        token, folder = self._held.token, self._desk.folder
        if self._desk.no_fence:
            token = 1 << 60  # as good as no check: it passes, and the log has what it was
        note("call", op=element, kind="outside", on=self._line, token=self._held.token)
        try:
            if self._line.endswith(IN_A_FILE):
                name = self._line.replace("/", "-")
                resources.write_file(folder / f"{name}.log", element, token)
            else:
                resources.write_row(folder / "resource.db", self._line, element, token)
        except StaleToken:
            note("return", op=element, outcome="fenced")
        else:
            note("return", op=element, outcome="ok")


class Gates:
    """See the module's docstring; `which` is barrier, double or latch.

    Each has a thread of its own: two who wait for each other at different gates would wait in vain.
    """

    def __init__(self, desk: Desk, which: str) -> None:
        self._desk = desk
        self._rng = desk.rng(which)
        client, api = desk.client, desk.api
        self._barrier = client.barrier(f"{api}/barrier")
        self._double = client.double_barrier(f"{api}/double", parties=PARTIES, ttl=TTL)
        self._rounds = count(1)
        self._round = next(self._rounds)
        self._acts: tuple[Callable[[], None], ...] = {
            "barrier": (self._pass_barrier, self._close_barrier),
            "double": (self._meet,),
            "latch": (self._count_down,),
        }[which]

    def run(self) -> None:
        while self._desk.acts_on(self._rng.uniform(0.1, 0.4)):
            self._rng.choice(self._acts)()

    def _do(self, gate: str, go: Callable[[], Any], **what: Any) -> bool:
        """Go through one gate, and note when it began and what came of it."""
        note, op = self._desk.notes.note, self._desk.notes.number()
        note("gate", op=op, gate=f"{self._desk.api}/{gate}", **what)
        try:
            given = go()
        except BrokenBarrier as error:
            note("gated", op=op, outcome="broken", why=_why(error))
        except EtcdRecipesError as error:
            late = isinstance(error, DeadlineExceeded)
            note("gated", op=op, outcome="timeout" if late else outcome_of(error), why=_why(error))
        else:
            note("gated", op=op, outcome="ok", given=given)
            return True
        return False

    def _pass_barrier(self) -> None:
        self._do("barrier", lambda: self._barrier.wait(WHILE, ctx=self._desk.ctx), act="wait")

    def _close_barrier(self) -> None:
        self._do("barrier", self._barrier.hold, act="hold")
        self._desk.ctx.wait(self._rng.uniform(0.05, 0.3))
        while not self._do("barrier", self._barrier.release, act="release"):
            if self._desk.ctx.wait(0.2):
                return

    def _meet(self) -> None:
        double = self._double

        def enter() -> int:
            double.enter(WHILE, ctx=self._desk.ctx)
            return double._inside[runtime.thread_id()].round

        if not self._do("double", enter, act="enter"):
            return
        inside = double._inside[runtime.thread_id()].round
        self._desk.ctx.wait(self._rng.uniform(0.0, 0.05))
        self._do("double", lambda: double.leave(WHILE, ctx=self._desk.ctx), act="leave", of=inside)

    def _count_down(self) -> None:
        desk, number = self._desk, self._round
        latch = desk.client.latch(f"{desk.api}/latch-{number}", count=desk.slots)
        self._do("latch", lambda: latch.count_down(by=desk.slot), act="count", of=number)
        passed = self._do("latch", lambda: latch.wait(WHILE, ctx=desk.ctx), act="wait", of=number)
        if passed:
            self._round = next(self._rounds)


class Writing:
    """See the module's docstring."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._key = f"{PREFIX}{desk.notes.who}"

    def run(self) -> None:
        desk = self._desk
        for number in count(1):
            if not desk.acts_on(0.02):
                return
            desk.notes.note("puts", n=number)
            called, revision, why = runtime.now(), None, ""
            try:
                revision = desk.client.v3.kv.put(self._key, str(number)).revision
                outcome = "ok"
            except EtcdRecipesError as error:
                outcome, why = outcome_of(error), _why(error)
            extra = {"why": why} if why else {}
            desk.notes.note(
                "put",
                n=number,
                called=called,
                key=self._key,
                outcome=outcome,
                revision=revision,
                **extra,
            )


class Watching:
    """See the module's docstring."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._name = f"{desk.notes.who}/watch"

    def run(self) -> None:
        desk = self._desk
        revision = self._resync()
        while desk.goes_on() and revision is not None:
            try:
                with desk.client.v3.watch(
                    PREFIX, prefix=True, start_revision=revision + 1
                ) as watcher:
                    revision = self._follow(watcher, revision)
            except Compacted:
                revision = self._resync()
            except EtcdRecipesError as error:
                desk.notes.note("watch_trouble", watcher=self._name, why=_why(error))
                desk.ctx.wait(0.1)

    def _resync(self) -> int | None:
        """Read what is there, say so, and give the revision to go on from."""
        while self._desk.goes_on(0.01):
            try:
                found = self._desk.client.v3.kv.range(PREFIX, prefix=True)
            except EtcdRecipesError:
                continue
            there = {kv.key.decode(): [kv.version, kv.text] for kv in found.kvs}
            self._desk.notes.note(
                "resync", watcher=self._name, revision=found.revision, there=there
            )
            revision: int = found.revision
            return revision
        return None

    def _follow(self, watcher: Any, revision: int) -> int:
        """Note what comes, until the end, or until told to doze; give the revision to go on from."""
        while self._desk.goes_on():
            if self._desk.orders.take("doze"):
                self._desk.ctx.wait(TTL)
                return revision
            try:
                batch = watcher.next_batch(timeout=0.5)
            except DeadlineExceeded:
                continue
            revision = max(revision, batch.revision)
            events = [
                [e.kv.key.decode(), e.kv.text, e.kv.version, e.kv.mod_revision]
                for e in batch.events
            ]
            self._desk.notes.note("seen", watcher=self._name, events=events)
        return revision


class Observing:
    """See the module's docstring."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def run(self) -> None:
        desk = self._desk
        line = f"{desk.api}/election"
        try:
            for leader in desk.client.election(line).observe(ctx=desk.ctx):
                created = None if leader is None else leader.token
                desk.notes.note("observed", line=line, created=created)
        except ContextError:
            pass


class Registering:
    """See the module's docstring."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def run(self) -> None:
        desk, shown, number = self._desk, None, 0
        registry = desk.client.registry(f"{desk.api}/registry")
        with (
            self._begun(lambda: self._register(registry)) as registration,
            self._begun(lambda: registry.follow("api")) as view,
        ):
            while desk.goes_on(0.1):
                number += 1
                if number % 10 == 0 and not desk.resting:
                    desk.notes.note("publishes", n=number)
                    registration.update(metadata={"n": str(number)}, timeout=1.0)
                now = {i.id: i.metadata.get("n", "0") for i in view.instances}
                if now != shown:
                    shown = now
                    desk.notes.note("view", api=desk.api, there=now)

    def _register(self, registry: Any) -> Any:
        return registry.register(
            "api",
            "10.0.0.1:80",
            id=self._desk.notes.who,
            metadata={"n": "0"},
            ttl=TTL,
            timeout=1.0,
        )

    def _begun(self, begin: Callable[[], Any]) -> Any:
        """Begin, however long that takes: what has begun heals by itself."""
        while True:
            try:
                return begin()
            except EtcdRecipesError:
                self._desk.ctx.check()
                self._desk.ctx.wait(0.1)


def _why(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:200]
