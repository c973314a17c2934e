"""The record: what everybody did and believed, held against what is really in etcd while it happens.

Checked at every grant, at every end of a lease, and twice a second
    exclusion    of those who believe that they hold (`is_held`), no two may not be in together; running or not
    belief       whoever believes so has its key in etcd (unless an operator took it)
    promise      nobody goes in before the end of what one that died was promised (`remaining`)
    tokens       of two that exclude each other, the later one has the greater token
    fifo         whoever goes in may, by who stands before it in etcd
    liveness     whoever may go in is told within `BOUND` seconds of fine weather
    orphans      whoever has left, leaves no key behind for longer than that and a ttl
Checked at the end, by unique elements: see `judge`.

Rules of this file
* It looks at etcd past the wire, and at a hold's own word in the middle of everything, without disturbing anybody.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from etcd_recipes.core.store import Entry
from tests.simulation.oracle import Fact, Oracle, OracleV2, OracleV3, wish_of
from tests.simulation.scheduler import Process

if TYPE_CHECKING:
    from tests.simulation.world import Site, World

__all__ = ["Element", "Grant", "Line", "Record"]

BOUND = 8.0
"""Seconds: 4 until a member that was cut off says so, an election, and as much again for everything else."""


@dataclass(slots=True)
class Line:
    """One thing that is held: its contenders stand below `name`."""

    name: str
    kind: str  # lock, rwlock, semaphore
    permits: int = 1
    bound: float = BOUND
    grants: list[Grant] = field(default_factory=list)  # of those who have not left
    ghosts: list[Grant] = field(default_factory=list)  # who died while they held
    highest: dict[str, int] = field(default_factory=dict)  # token, by kind of wish
    since: dict[tuple[str, int], float] = field(default_factory=dict)  # first seen in front
    been_in: dict[tuple[str, int], Grant] = field(default_factory=dict)
    beside: list[Line] = field(
        default_factory=list
    )  # those that a multi-lock takes together with it

    def admitted(self, line: list[Fact]) -> list[Fact]:
        """Give those who may be in, of a line in the order of arrival."""
        if self.kind == "lock":
            return line[:1]
        if self.kind == "rwlock":
            return _readers(line)
        inside, total = [], 0
        for fact in line:
            total += int(str(wish_of(fact).get("weight", self.permits)))
            if total > self.permits:
                break
            inside.append(fact)
        return inside

    def may(self, wishes: list[dict[str, object]]) -> bool:
        """Tell whether these may be in together."""
        if len(wishes) < 2:
            return True
        if self.kind == "rwlock":
            return all(wish.get("kind") == "read" for wish in wishes)
        return (
            self.kind == "semaphore" and sum(int(str(w["weight"])) for w in wishes) <= self.permits
        )


def _readers(line: list[Fact]) -> list[Fact]:
    inside = []
    for fact in line:
        if wish_of(fact).get("kind") != "read":
            return inside or [fact]
        inside.append(fact)
    return inside


@dataclass(slots=True, eq=False)
class Grant:
    """One visit, from going in to leaving."""

    line: Line
    site: Site
    process: Process
    hold: Any
    key: str
    created: int
    token: int
    wish: dict[str, object]
    at: float
    left: float | None = None
    robbed: bool = False
    promised: float = 0.0

    def believes(self) -> bool:
        return self.left is None and not self.process.dead and bool(self.hold.is_held)

    def __str__(self) -> str:
        return f"{self.process} ({self.key}, token {self.token}, in since {self.at:.3f})"


@dataclass(slots=True)
class Element:
    """A write with a name of its own; `outcome` is acknowledged, refused, or unknown."""

    line: str
    name: str
    token: int
    outcome: str = "unknown"


class Record:
    """See the module's docstring."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.oracle: Oracle = (OracleV3 if world.api == "v3" else OracleV2)(world.cluster)
        self.violations: list[tuple[str, str]] = []
        self.counts: Counter[str] = Counter()
        self.lines: dict[str, Line] = {}
        self.elements: dict[str, Element] = {}
        self.taken: dict[tuple[str, int], int] = {}  # by operators: incarnations of keys, and when
        self.judges: list[Callable[[], None]] = []
        self.kept: list[str] = []  # prefixes of what may be there at the end
        self.stale_until = 0.0  # when the last member that answers reads with the past is cured
        self._patrolling = False

    # -- what is said ------------------------------------------------------------------------------------------

    def violation(self, what: str, words: str) -> None:
        """Note that something is wrong: the run ends with it."""
        self.note(f"VIOLATION {what}: {words}")
        self.violations.append((what, f"{self.world.now:.3f}: {words}"))
        self.world.scheduler.halted = True

    def note(self, words: str) -> None:
        if self.world.scheduler.trace is not None:
            self.world.scheduler.trace(words)

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Look at something of the library's without being a thread of it: nobody else gets a turn."""
        scheduler = self.world.scheduler
        current, scheduler.current = scheduler.current, None
        try:
            yield
        finally:
            scheduler.current = current

    def line(self, name: str, kind: str, permits: int = 1) -> Line:
        """Give the line of that name."""
        if name not in self.lines:
            bound = BOUND if self.world.api == "v3" else BOUND + 6.0
            self.lines[name] = Line(name, kind, permits, bound)
        if not self._patrolling:
            self._patrolling = True
            self.world.scheduler.after(0.5, self._patrol)
        return self.lines[name]

    # -- holds -------------------------------------------------------------------------------------------------

    def granted(
        self, site: Site, line: Line, hold: Any, key: str, token: int, wish: dict[str, object]
    ) -> Grant:
        """Hear that somebody has gone in: checks fifo, promise and tokens, and all that `look` checks."""
        world = self.world
        with self.aside():
            created = _entry(hold, key).created
            grant = Grant(
                line,
                site,
                world.scheduler.process_of(site),
                hold,
                key,
                created,
                token,
                wish,
                world.now,
            )
            # Whom an operator robs after his place was confirmed (at the token's revision) cannot know yet.
            grant.robbed = self.taken.get((key, created), 0) > token
            self.counts["acquired"] += 1
            self.note(f"GRANTED {grant}")
            if grant.believes() and not grant.robbed:
                self._check_entry(grant)
            grant.promised = world.now + hold.remaining()
            line.grants.append(grant)
            line.been_in[key, created] = grant
            self._look_at(line)
        return grant

    def _check_entry(self, grant: Grant) -> None:
        line = grant.line
        below = self._standing(line)
        inside = [(fact.key, fact.created) for fact in line.admitted(below)]
        if (grant.key, grant.created) not in inside:
            self.violation("fifo", f"{grant} went in past {[fact.key for fact in below[:3]]}")
        for other in line.ghosts:
            if other.promised > self.world.now and not line.may([other.wish, grant.wish]):
                self.violation("promise", f"{other} died, promised to be alone until {other.promised:.3f}, "
                                          f"and {grant} went in")  # fmt: skip
        self._check_token(grant)

    def _check_token(self, grant: Grant) -> None:
        line = grant.line
        if line.kind == "semaphore":
            return
        kind = str(grant.wish.get("kind", ""))
        before = max((t for k, t in line.highest.items() if not (k == kind == "read")), default=0)
        if grant.token <= before:
            self.violation("tokens", f"{grant} after somebody who had {before}")
        line.highest[kind] = max(grant.token, line.highest.get(kind, 0))

    def promised(self, grant: Grant) -> None:
        """Hear what a hold says is left of it."""
        with self.aside():
            left = grant.hold.remaining()
            grant.promised = max(grant.promised, self.world.now + left) if left else grant.promised

    def leaving(self, grant: Grant) -> None:
        """Hear that somebody is about to leave, or has learned of a loss."""
        if grant.left is None:
            self.note(f"LEAVING {grant}")
            grant.left = self.world.now
            grant.line.grants.remove(grant)

    def take(self, fact: Fact, *, lease: bool) -> None:
        """Be the operator who takes a key, or the lease under it and all that rests on it."""
        keys = self.oracle.take(fact, lease=lease)
        for taken in keys:
            self.taken[taken.key, taken.created] = self.oracle.revision
        for line in self.lines.values():
            for grant in line.grants:
                grant.robbed = grant.robbed or (grant.key, grant.created) in self.taken
        self.look()

    def died(self, process: Process) -> None:
        for line in self.lines.values():
            for grant in [g for g in line.grants if g.process is process]:
                with self.aside():
                    if grant.hold.is_held and not grant.robbed:
                        line.ghosts.append(grant)
                self.leaving(grant)

    # -- looks -------------------------------------------------------------------------------------------------

    def look(self) -> None:
        """Check exclusion and belief everywhere."""
        with self.aside():
            for line in self.lines.values():
                if line.grants:
                    self._look_at(line)

    def _look_at(self, line: Line) -> None:
        believers = [grant for grant in line.grants if grant.believes() and not grant.robbed]
        for grant in believers:
            fact = self.oracle.get(grant.key)
            if fact is None or fact.created != grant.created:
                self.violation("belief", f"{grant} believes to hold a key that is not there")
                grant.robbed = True
        if not line.may([grant.wish for grant in believers]):
            self.violation("exclusion", " and ".join(map(str, believers)))
            for grant in believers:
                grant.robbed = True

    def _standing(self, line: Line) -> list[Fact]:
        below = self.oracle.below(f"{line.name}/")
        return [fact for fact in below if "/" not in fact.key[len(line.name) + 1 :].lstrip(".")
                and not fact.key[len(line.name) + 1 :].startswith(".")]  # fmt: skip

    def _patrol(self) -> None:
        self.look()
        for line in self.lines.values():
            self._check_front(line)
        self.world.scheduler.after(0.5, self._patrol)

    def _check_front(self, line: Line) -> None:
        now = self.world.now
        front: dict[tuple[str, int], float] = {}
        for fact in line.admitted(self._standing(line)):
            name = (fact.key, fact.created)
            front[name] = line.since.get(name, now)
            grant = line.been_in.get(name)
            if grant is None:
                self._check_told(line, fact, front)
            elif grant.left is not None:
                self._check_gone(line, grant)
        line.since = front

    def _check_told(self, line: Line, fact: Fact, front: dict[tuple[str, int], float]) -> None:
        world, name = self.world, (fact.key, fact.created)
        pid = wish_of(fact).get("pid")
        site = world.site_of.get(int(str(pid)) if pid else -1)
        if site is None or site.process.number != pid or not site.is_up:
            if world.now > max(front[name], world.trouble_until) + 3 * world.ttl + 5.0:
                self.violation("orphan", f"{fact.key} stands in front, and nobody knows it")
                front[name] = world.now
        elif site.process.paused or any(self._waits_for(beside, pid) for beside in line.beside):
            front[name] = world.now
        elif world.now > max(front[name], world.trouble_until, site.trouble_until) + line.bound:
            waited = world.now - front[name]
            self.violation(
                "liveness", f"{site.process} ({fact.key}) may go in since {waited:.1f} s"
            )
            front[name] = world.now

    def _waits_for(self, line: Line, pid: object) -> bool:
        """Tell whether a thread of this process waits in the line, or for another thread of it that is in.

        The latter has no place of its own: threads of one process go to the line one at a time.
        """
        standing = self._standing(line)
        ours = [fact for fact in standing if wish_of(fact).get("pid") == pid]
        granted = (line.been_in.get((fact.key, fact.created)) for fact in ours)
        waits = standing[len(line.admitted(standing)) :]
        return any(fact in waits for fact in ours) or any(
            grant is not None and grant.left is None for grant in granted
        )

    def _check_gone(self, line: Line, grant: Grant) -> None:
        world = self.world
        assert grant.left is not None
        since = max(grant.left, world.trouble_until, grant.site.trouble_until)
        if world.now > since + line.bound + 2 * world.ttl and not grant.process.paused:
            self.violation(
                "orphan", f"{grant} left at {grant.left:.3f}, and its key is still there"
            )
            del line.been_in[grant.key, grant.created]

    # -- elements ----------------------------------------------------------------------------------------------

    def element(self, line: str, token: int) -> Element:
        """Give a new element to be written."""
        made = Element(line, f"e{len(self.elements)}", token)
        self.elements[made.name] = made
        return made

    def check_elements(self, there: list[Element], where: str, *, ordered: bool = True) -> None:
        """Compare what was found, in its order, with what was said of it."""
        found = Counter(element.name for element in there)
        for name, often in found.items():
            if often > 1:
                self.violation("doubled", f"{name} is there {often} times, {where}")
        highest = 0
        for element in there:
            if element.outcome == "refused":
                self.violation("invented", f"{element.name} was refused, and is there, {where}")
            if ordered and element.token < highest:
                self.violation(
                    "late write", f"{element.name} with {element.token} after {highest}, {where}"
                )
            highest = max(highest, element.token)

    def check_acknowledged(self, mine: list[Element], there: list[Element], where: str) -> None:
        """Check that nothing acknowledged is missing."""
        names = {element.name for element in there}
        for element in mine:
            if element.outcome == "acknowledged" and element.name not in names:
                self.violation(
                    "lost", f"{element.name} was acknowledged, and is not there, {where}"
                )

    # -- the end -----------------------------------------------------------------------------------------------

    def judge(self) -> None:
        """Check what can only be checked at the end: the elements, what was left behind, and the plays' own."""
        if self.violations:
            return
        for check in self.judges:
            check()
        for fact in self.oracle.below(""):
            if not any(fact.key.startswith(prefix) for prefix in self.kept):
                self.violation("orphan", f"{fact.key} = {fact.value!r} was left behind")


def _entry(hold: Any, key: str) -> Entry:
    """Give what a hold, or one of several held together, stands on."""
    holds = getattr(hold, "_holds", (hold,))
    entry: Entry = next(each._entry for each in holds if each.key == key)
    return entry
