"""The stage: one scene, played on several subjects at the same time, with the same processes.

A scene is written once: each step is taken for every subject before the next begins. Steps wait for what
they are about, for as long as a visitor is patient, and never judge: that is done by `checkers`, over the
histories that are built when all is over. What must have happened for the scene to mean anything is an
assertion of the scene's own.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from etcd_recipes import Client, Context, LeaseNotFound
from etcd_recipes.core import runtime
from etcd_recipes.testing import FaultProxy
from tests.properties.checkers import broken
from tests.properties.company import Actor, Company
from tests.properties.history import History, Visit, Wish, visit_of
from tests.properties.subjects import SUBJECTS, Subject
from tests.recipes.operator import remove

__all__ = ["BOUND", "LASTING", "TTL", "Part", "Place", "Play", "Stage", "end", "mixed", "rival"]

BOUND = 8.0
"""Seconds within which a patient visitor must get in when nobody is in its way.

It takes milliseconds; a waiter that missed a departure would look again by itself after ten seconds.
"""

SETTLING = 1.5
"""Seconds to wait for what shows more when it has happened, and nothing false when it has not."""

GONE = 2.5
"""Seconds, beside the ttl where one must end, within which nothing is left."""

TTL = 2.0
"""Seconds; the server's least. For those whose lease is to end, or whose loss is to be noticed soon."""

LASTING = 10.0
"""Seconds; the ttl of all others, whose leases outlive a machine that stands still for a while."""

_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a scene plays: a server, and which of its stores."""

    endpoint: str
    api: str


@dataclass(slots=True)
class Play:
    """One subject, under a name of its own; `proxy` is the way to etcd of those who go through it."""

    subject: Subject
    name: str
    proxy: FaultProxy | None = None
    parts: list[Part] = field(default_factory=list)

    @property
    def lines(self) -> tuple[str, ...]:
        return self.subject.lines(self.name)


@dataclass(eq=False, slots=True)
class Part:
    """One visit as the stage sees it."""

    number: int
    who: str
    play: Play
    actor: Actor
    wish: Wish
    patient: bool
    acts: list[dict[str, Any]] = field(default_factory=list)
    waits_at: str = ""  # its key, seen in the line

    @property
    def reports(self) -> Sequence[dict[str, Any]]:
        return self.actor.reports.get(self.number, ())

    def told(self, what: str) -> Any:
        return next((r[what] for r in reversed(self.reports) if what in r), None)

    @property
    def decided(self) -> bool:
        """True when it was let in, or gave up, or is no more."""
        return self.actor.over or any("granted" in r or "gave_up" in r for r in self.reports)

    @property
    def over(self) -> bool:
        return self.actor.over or any("over" in r for r in self.reports)

    def visit(self) -> Visit:
        seen = [*self.reports, *self.acts]
        return visit_of(self.who, seen, wish=self.wish, patient=self.patient)


Parts = Sequence[Part]


class Stage:
    """Directs a scene; made for each, closed with `with`."""

    def __init__(
        self,
        company: Company,
        place: Place,
        subjects: Iterable[str],
        pair: tuple[Actor, Actor],
        *,
        variant: str | None = None,
        bound: float = BOUND,
    ) -> None:
        self.place = place
        self.bound = bound
        self.one, self.other = pair
        self._company = company
        self._variant = variant
        self._number = next(_numbers)
        self._operator = Client(place.endpoint, api=place.api, header_timeout=5.0)  # type: ignore[arg-type]
        self.plays = [Play(SUBJECTS[name], f"stage-{self._number}-{name}") for name in subjects]
        self._store = self._operator._sessions.store
        self._actors: list[Actor] = []
        self._ends_by_ttl = False

    @property
    def api(self) -> str:
        return self.place.api

    def actor(self) -> Actor:
        """Start an actor of the scene's own, which ends with it."""
        actor = self._company.actor(self._variant)
        self._actors.append(actor)
        return actor

    def proxies(self) -> list[FaultProxy]:
        """Put a proxy before the server for each subject; `enter` takes it with ``through=True``."""
        for play in self.plays:
            play.proxy = FaultProxy(self.place.endpoint)
        return [play.proxy for play in self.plays if play.proxy is not None]

    def struck(self) -> None:
        """Wait until the fault has hit a request of each subject; a scene without it would show nothing."""
        proxies = [play.proxy for play in self.plays if play.proxy is not None]
        assert self._wait(lambda: all(proxy.hits for proxy in proxies), BOUND), "no fault was met"

    # -- what visitors do ----------------------------------------------------------------------------------

    def enter(
        self, actor: Actor, who: str, wish: Callable[[Subject], Wish], **how: Any
    ) -> list[Part]:
        """Have one enter at each subject; see `enter_one`."""
        return [self.enter_one(play, actor, who, wish(play.subject), **how) for play in self.plays]

    def enter_one(
        self,
        play: Play,
        actor: Actor,
        who: str,
        wish: Wish,
        *,
        client: str | None = None,
        timeout: float | None = None,
        stay: float | None = None,
        closely: bool = False,
        through: bool = False,
        header_timeout: float = 1.0,
        ttl: float = LASTING,
    ) -> Part:
        """Have one enter; it stays until told to leave, or so many seconds.

        It is patient, and must get in, unless it has a `timeout` or a short lease. `client` is whose
        client it shares, `through` says that its way to etcd is the subject's proxy.
        """
        patient = timeout is None and ttl >= LASTING
        part = Part(next(_numbers), who, play, actor, wish, patient)
        play.parts.append(part)
        proxy = play.proxy if through else None
        name = f"{self._number} {client or who}"
        actor.say(
            "enter",
            visit=part.number,
            client=name if proxy is None else f"{name} {play.name}",
            endpoint=self.place.endpoint if proxy is None else proxy.endpoint,
            api=self.api,
            header_timeout=header_timeout,
            subject=play.subject.name,
            name=play.name,
            wish=asdict(wish),
            ttl=ttl,
            timeout=timeout,
            stay=stay,
            closely=closely,
        )
        return part

    def line_up(self, actor: Actor, who: str, wish: Callable[[Subject], Wish], **how: Any) -> Parts:
        """Have one enter, and wait until it stands in the line behind all others."""
        before = {play.name: set(self._below(play.lines[0])) for play in self.plays}
        parts = self.enter(actor, who, wish, **how)
        for part in parts:
            there = before[part.play.name]
            what = f"{who}'s place in the line of {part.play.name}"
            stands = self._wait(lambda p=part, b=there: self._stands(p, b), BOUND)  # type: ignore[misc]
            assert stands, f"no {what}"
        return parts

    def _stands(self, part: Part, before: set[str]) -> bool:
        """Note its key when there is a new one; a broken variant may have been in and out by now."""
        part.waits_at = next(iter(set(self._below(part.play.lines[0])) - before), "")
        return part.waits_at != "" or part.over

    def decided(self, parts: Parts, within: float = 0.0) -> bool:
        """Wait until each was let in, or gave up; `within` is what it may take beside the bound."""
        within += self.bound
        if not self._wait(lambda: all(part.decided for part in parts), within):
            for part in parts:
                if not part.decided:
                    part.acts.append({"late": within})
            return False
        return True

    def not_yet(self, parts: Parts) -> None:
        """Give them a moment in which they might get in, though they should not."""
        self._wait(lambda: any(part.decided for part in parts), 1.0)

    def over(self, parts: Parts, within: float = 0.0) -> None:
        """Wait until each has been in and has left, or has learned that it lost."""
        if self.decided(parts, within):
            self._wait(lambda: all(part.over for part in parts), within + SETTLING)

    def _wait(self, condition: Callable[[], bool], within: float) -> bool:
        """Wait for the condition, more gently than `eventually`; tell whether it came true."""
        patience = Context(within)
        while not (met := condition()) and not patience.wait(0.02):
            pass
        return met

    def cancel(self, parts: Parts) -> None:
        for part in parts:
            part.actor.say("cancel", visit=part.number)

    def leave(self, parts: Parts, timeout: float | None = None) -> None:
        for part in parts:
            part.actor.say("leave", visit=part.number, timeout=timeout)

    def desert(self, parts: Parts) -> None:
        for part in parts:
            part.actor.say("desert", visit=part.number)

    # -- what is done to them --------------------------------------------------------------------------------

    def remove(self, parts: Parts) -> None:
        """Delete their keys, as an operator would."""
        for part in parts:
            with self._taking([part]):
                remove(self._operator, self._key(part), self.api)

    def revoke(self, parts: Parts) -> None:
        """End the leases under their keys; on v2, which has none, the keys."""
        if self.api == "v2":
            self.remove(parts)
            return
        leases = {self._key(p).rpartition("/")[2].partition("-")[0] for p in parts}
        with self._taking(parts):
            for lease in filter(None, leases):  # one that was never in has no key
                with suppress(LeaseNotFound):  # ended by itself, while the machine stood still
                    self._operator.v3.lease.revoke(int(lease, 16))

    def take(self, part: Part) -> None:
        """Delete the key of one that holds, if it is still there for the same visit."""
        entry = self._store.get(self._key(part), Context(5.0))
        if entry is not None and entry.created == part.told("place"):
            with self._taking([part]):
                self._store.delete(entry, Context(5.0))

    @contextmanager
    def _taking(self, parts: Parts) -> Iterator[None]:
        """Note when it was taken, and a revision at which it was certainly gone."""
        taken = runtime.now()
        yield
        for part in parts:
            gone = self._store.list(f"{part.play.lines[0]}/", Context(5.0)).revision
            part.acts.append({"taken": taken, "taken_by": gone})

    def _key(self, part: Part) -> str:
        key: str = part.told("key") or part.waits_at
        return key

    def kill(self, actor: Actor) -> None:
        """Kill the process, and with it all its visits."""
        self._ends_by_ttl = True
        self._mark(actor, "killed")
        actor.kill()

    def end(self, actor: Actor) -> None:
        """Have the process end as any program does that has no more to do."""
        self._mark(actor, "leaving")
        actor.say("end")

    def _mark(self, actor: Actor, act: str) -> None:
        now = runtime.now()
        for part in self.parts():
            if part.actor is actor and not part.over:
                part.acts.append({act: now})

    # -- the end ---------------------------------------------------------------------------------------------

    def parts(self) -> list[Part]:
        return [part for play in self.plays for part in play.parts]

    def _below(self, line: str) -> list[str]:
        return [entry.key for entry in self._store.list(f"{line}/", Context(5.0)).entries]

    def _left(self, play: Play) -> tuple[str, ...]:
        return tuple(key for line in play.lines for key in self._below(line))

    def verdict(self) -> dict[str, list[str]]:
        """End all visits, look what is left, have a fresh one enter, and give the broken properties."""
        left = self._empty()
        if not any(left.values()):
            self.over(self.enter(self.other, "fresh", rival(0), stay=0.001))
        found: dict[str, list[str]] = {}
        for play in self.plays:
            visits = tuple(part.visit() for part in play.parts)
            history = History(visits, play.subject.may, TTL, left[play.name])
            for name, faults in broken(history).items():
                found.setdefault(name, []).extend(f"{play.subject.name}: {f}" for f in faults)
        return found

    def _empty(self) -> dict[str, tuple[str, ...]]:
        parts = [part for part in self.parts() if not part.over]
        self.cancel(parts)
        self.leave(parts)
        self._wait(lambda: all(part.over for part in parts), self.bound)
        bound = GONE + (TTL if self._ends_by_ttl else 0)
        self._wait(lambda: not any(self._left(play) for play in self.plays), bound)
        return {play.name: self._left(play) for play in self.plays}

    def story(self) -> str:
        """Tell all that was seen, for whoever has to find out why."""
        return "\n".join(repr(part.visit()) for part in self.parts())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        end(self._actors)
        for play in self.plays:
            if play.proxy is not None:
                play.proxy.close()
        self._operator.close()


def end(actors: Iterable[Actor]) -> None:
    """Have them end as programs do, so that no lease of theirs lives on; those who cannot are killed."""
    for actor in actors:
        actor.say("end")
    for actor in actors:
        actor.close(patience=3.0)


def rival(number: int) -> Callable[[Subject], Wish]:
    """Give the wish of the rival of this number: each excludes the others."""
    return lambda subject: subject.rivals[number]


def mixed(number: int) -> Callable[[Subject], Wish]:
    """Give the wish of this number in a line in which not all exclude each other."""
    return lambda subject: subject.mixed[number]
