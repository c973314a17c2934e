"""One run: places, crew and director; then everything is read, and told.

The algorithm
1. Three members, and workers that do everything all the time. A moment for them to get going.
2. The plan: faults, one slot after the other.
3. The healing; then, with everybody still at work and nothing going wrong, a quiet time.
4. The workers end. Everything is read, through every member.
5. The notes are put together, and checked.
"""

from __future__ import annotations

import hashlib
import platform
import random
import shutil
import tempfile
from collections.abc import Callable, Collection
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from etcd_recipes import Client, Context
from etcd_recipes.core import runtime
from etcd_recipes.testing import etcd_version
from tests.properties.subjects import SUBJECTS
from tests.torture import account, resources
from tests.torture.acts import IN_A_FILE, PREFIX, TTL, register_of
from tests.torture.checks import check_all, converged
from tests.torture.clock import Clock, NoClock
from tests.torture.crew import Crew
from tests.torture.director import Director
from tests.torture.janitor import Janitor
from tests.torture.notebook import Notebook, read
from tests.torture.places import Places, open_places
from tests.torture.plan import KINDS, Slot, draw, round_length
from tests.torture.plants import PLANTS
from tests.torture.result import Check, Result
from tests.torture.story import Final, Story, tell

__all__ = ["QUIET", "Options", "run"]

WARM_UP = 2.0
QUIET = 11.0
"""Seconds without a fault at the end: a member that was cut off for long serves again only after up to 7.5."""

SHORT = 2.0
"""The same where only a planted bug is to be found."""

REST = 1.0
"""Seconds in which nothing changes any more, and everybody looks on."""

TRIES = 3
"""So often a fault that has not struck is tried again: it needs somebody to be at the right place."""

FLOOR = 3.0
"""Acknowledged fenced writes per second, below which a run shows nothing."""

LINES = tuple(f"{api}/{name}" for api in ("v3", "v2") for name in SUBJECTS)


@dataclass(frozen=True, slots=True)
class Options:
    """What is to be run; `say` is told how it goes on, `keep` is a folder for the notes."""

    seconds: float
    etcd: Path
    seed: int
    places: str | None = None
    plant: str = ""
    keep: Path | None = None
    command: str = ""
    say: Callable[[str], None] = print


def run(options: Options) -> Result:
    """Run, and give what came of it; whatever happens, nothing is left behind."""
    folder = Path(tempfile.mkdtemp(prefix="etcd-recipes-torture-"))
    janitor = Janitor()
    try:
        janitor.later(f"rm -rf {folder}")
        with ExitStack() as stack:
            result = _Run(options, folder, janitor, stack).carry_out()
        if options.keep is not None:
            shutil.copytree(folder, options.keep, dirs_exist_ok=True)
        return result
    finally:
        janitor.close()


class _Run:
    def __init__(self, options: Options, folder: Path, janitor: Janitor, stack: ExitStack) -> None:
        self._options = options
        self._folder = folder
        self._janitor = janitor
        self._stack = stack
        self._say = options.say
        self._skipped: dict[str, str] = {}
        self._notes = Notebook(folder, "director")

    def carry_out(self) -> Result:
        self._clock = self._wound_up()
        self._places = self._opened()
        resources.make_table(self._folder / "resource.db", list(LINES))
        self._begun = runtime.now()
        workers = self._torment()
        final = self._read()
        story = tell(read(self._folder), final)
        self._say("checking")
        return self._result(story, workers)

    def _wound_up(self) -> Clock | None:
        try:
            return Clock(self._folder)
        except NoClock as error:
            self._skipped["clock jump"] = str(error)
            return None

    def _opened(self) -> Places:
        options = self._options
        places, why = open_places(options.places, self._janitor, options.etcd)
        self._stack.enter_context(places)
        self._skipped |= places.missing
        self._say(f"etcd {self._version} x 3, on {places.name}{f' ({why})' if why else ''}")
        for kind, reason in self._skipped.items():
            self._say(f"no {kind!r}: {reason}")
        return places

    @property
    def _version(self) -> str:
        return ".".join(map(str, etcd_version(self._options.etcd)))

    @property
    def _kinds(self) -> Collection[str]:
        wanted = KINDS if not self._options.plant else PLANTS[self._options.plant].kinds
        return [kind for kind in wanted if kind not in self._skipped]

    # -- steps 1 to 4 ----------------------------------------------------------------------------------------

    def _torment(self) -> dict[str, int]:
        options = self._options
        crew = Crew(
            self._places.endpoints,
            self._folder,
            self._janitor,
            self._notes,
            seed=options.seed,
            plant=options.plant,
            with_v2=etcd_version(options.etcd) < (3, 6, 0),
            environment={} if self._clock is None else self._clock.environment,
        )
        with crew, Client(self._places.endpoints) as operator:
            director = Director(self._places, crew, operator, self._clock, self._notes)
            Context().wait(WARM_UP)
            self._play(director)
            director.calm()
            self._notes.note("healed")
            quiet = SHORT if options.plant else QUIET
            self._say(f"healed; quiet for {quiet:g} s")
            Context().wait(quiet)
            self._notes.note("resting")
            crew.rest()
            Context().wait(REST)
            crew.finish()
            self._notes.note("finished")
        return {"v3": len(crew.v3), "v2": len(crew.v2)}

    def _play(self, director: Director) -> None:
        """Step 2: the slots at their times, or later where one took longer; one round at least."""
        begun, seconds = runtime.now(), self._options.seconds
        for moment in draw(self._options.seed, seconds, self._kinds):
            late = runtime.now() - begun > seconds
            if late and moment.at >= round_length(self._kinds) - 0.01 and not self._options.plant:
                break
            Context().wait(max(0.0, begun + moment.at - runtime.now()))
            self._play_one(director, moment)
        for kind in sorted(director.missed) * TRIES:
            if kind in director.missed:
                self._play_one(director, Slot(0.0, (kind,), 2.0, self._options.seed))

    def _play_one(self, director: Director, moment: Slot) -> None:
        self._say(f"{runtime.now() - self._begun:6.1f} s  {' + '.join(moment.kinds)}")
        director.play(moment)

    # -- step 5 ----------------------------------------------------------------------------------------------

    def _read(self) -> Final:
        """Read everything through every member; what the checks compare is the first one's."""
        members = {}
        for member in self._places.members:
            with Client(member.endpoint, header_timeout=None) as client:
                client.v3.kv.get("x")  # it has caught up with the others when this is answered
                members[member.name] = {
                    (kv.key.decode(), kv.text, kv.version, kv.mod_revision)
                    for prefix in ("element/", "register/", PREFIX)
                    for kv in client.v3.kv.scan(prefix, prefix=True, serializable=True)
                }
        first = next(iter(members.values()))
        return Final(
            elements=_elements(first),
            registers={
                line: value for line in LINES for value in _values(first, register_of(line))
            },
            outside={line: self._outside(line) for line in LINES},
            watched={
                key: (times, value) for key, value, times, _ in first if key.startswith(PREFIX)
            },
            members={name: _digest(there) for name, there in members.items()},
        )

    def _outside(self, line: str) -> list[str]:
        if line.endswith(IN_A_FILE):
            written = resources.read_file(self._folder / f"{line.replace('/', '-')}.log")
        else:
            written = resources.read_table(self._folder / "resource.db", line)
        return [element for element, _ in written]

    def _result(self, story: Story, workers: dict[str, int]) -> Result:
        options, begun = self._options, self._begun
        checks = check_all(story)
        faults = account.faults_of(story, begun)
        holdings = account.holdings_of(story, begun)
        operations = account.operations_of(story)
        late = account.late_writes_refused(story)
        seconds = story.ended - begun
        verdict, why = self._verdict(checks, story, seconds)
        registers = {act.on for act in story.acts if act.kind == "swap"}
        shown = [h for h in holdings if h.line in ("v3/lock", "v3/election") or h.end != "released"]
        return Result(
            verdict=verdict,
            why=tuple(why),
            project=version("etcd-recipes"),
            etcd=self._version,
            python=platform.python_version(),
            seed=options.seed,
            command=options.command,
            places=self._places.name,
            planted=options.plant,
            ttl=TTL,
            seconds=round(seconds, 1),
            workers=workers,
            skipped=self._skipped,
            faults=faults,
            operations=operations,
            checks=checks,
            gaps=account.gaps_of(story),
            takeovers=account.takeovers_of(story, begun),
            late_writes_refused=late,
            overlaps_unfenced=account.overlaps_of(holdings),
            overlaps_fenced=sum(c.contradictions for c in checks if c.name == "tokens of writes"),
            histories=len(registers),
            history_operations=sum(c.looked_at for c in checks if c.name == "linearizable"),
            converged={who: round(at, 2) for who, at in converged(story).items()},
            watching=account.watching_of(story),
            holdings=tuple(shown),
            latencies=account.latencies_of(story, begun),
            pauses_of_holders=sum(line["order"] == "freeze" for line in story.by("struck")),
        )

    def _verdict(
        self, checks: tuple[Check, ...], story: Story, seconds: float
    ) -> tuple[str, list[str]]:
        """Give the verdict, and why it is that."""
        broken = [check.name for check in checks if not check.held]
        if broken == ["members"] or (broken and "members" in broken and self._loses_count):
            return "void", ["the members do not have the same: a defect of this server"]
        if broken:
            return "failed", broken
        why = list(self._missing(checks, story, seconds))
        return ("void", why) if why else ("passed", [])

    @property
    def _loses_count(self) -> bool:
        """Members of these servers that crash under load may come to count revisions differently."""
        return (3, 5, 0) <= etcd_version(self._options.etcd) < (3, 5, 3)

    def _missing(self, checks: tuple[Check, ...], story: Story, seconds: float) -> list[str]:
        """Give what a run must have had to show anything."""
        why = []
        swaps = sum(act.kind == "swap" and act.outcome == "ok" for act in story.acts)
        if swaps < FLOOR * seconds:
            why.append(f"{swaps} fenced writes in {seconds:.0f} s are too few")
        if not account.late_writes_refused(story):
            why.append("no late write was refused")
        played = {line["kind"] for line in story.by("fault")}
        why += [f"no {kind!r}" for kind in self._kinds if kind not in played]
        why += [f"{check.name!r} had nothing to look at" for check in checks if not check.looked_at]
        return why


def _elements(there: set[tuple[str, str, int, int]]) -> dict[str, dict[str, tuple[str, int]]]:
    found: dict[str, dict[str, tuple[str, int]]] = {}
    for key, value, times, _ in there:
        if key.startswith("element/"):
            _, api, name, element = key.split("/", 3)
            old = value.partition(" ")[2]
            found.setdefault(f"{api}/{name}", {})[element] = old, times
    return found


def _values(there: Any, key: str) -> list[str]:
    return [value for name, value, _, _ in there if name == key]


def _digest(there: set[tuple[str, str, int, int]]) -> str:
    return hashlib.sha256(repr(sorted(there)).encode()).hexdigest()


def a_seed() -> int:
    return random.SystemRandom().randrange(10**6)
