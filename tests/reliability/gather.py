"""Where the figures come from: programs that are run, or files with what they gave.

Each of them is a command of its own, and is run as one: what stands in the report can be done again by hand.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from etcd_recipes.testing import find_etcd
from tests.reliability.report import CutOff, Planted, Report, Simulation, run_of
from tests.torture import result as torture

__all__ = ["KINDS", "Wanted", "from_files", "merged", "run", "servers"]

KINDS = ("torture", "planted", "simulation", "cut-off")


TRIES = 3
"""Runs until one is not void: etcd 3.5.1 may lose count when members crash, and a fault may find nobody to strike."""

VOID = 3
"""The exit status of such a run."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be run."""

    kinds: tuple[str, ...]
    servers: tuple[Path, ...]
    minutes: float
    seeds: int
    keep: Path | None = None


def servers() -> Iterator[Path]:
    """Give the test kit's etcd, and the machine's own if that is another one."""
    first = find_etcd()
    yield first
    second = shutil.which("etcd")
    if second is not None and Path(second).resolve() != first.resolve():
        yield Path(second)


def merged(old: Report, new: Report) -> Report:
    """Give the old report with what the new one has in its place."""
    measured = {each.result.etcd: each for each in (*old.torture, *new.torture)}
    cut_off = {each.etcd: each for each in (*old.cut_off, *new.cut_off)}
    anew = {bug.where for bug in new.planted}
    return Report(
        made=new.made or old.made,
        machine=new.machine or old.machine,
        torture=tuple(sorted(measured.values(), key=lambda each: _number(each.result.etcd))),
        simulation=new.simulation or old.simulation,
        planted=(*(bug for bug in old.planted if bug.where not in anew), *new.planted),
        cut_off=tuple(sorted(cut_off.values(), key=lambda each: _number(each.etcd))),
    )


def _number(version: str) -> list[int]:
    """Give what puts the newest version first."""
    return [-int(number) for number in version.split(".")]


# -- from files --------------------------------------------------------------------------------------------------


def from_files(paths: Sequence[Path]) -> Report:
    """Give the report of these results, whatever each of them is; ValueError for one that is none."""
    found = _stamp() if paths else Report()
    for path in paths:
        found = _with(found, path.read_text(), path)
    return found


def _stamp() -> Report:
    return Report(
        made=datetime.now(UTC).date().isoformat(),
        machine=f"{os.cpu_count()} processors, {platform.system()} {platform.release().split('-')[0]}",
    )


def _with(report: Report, text: str, path: Path) -> Report:
    body = json.loads(text)
    if "latencies" in body:
        result = torture.load(text)
        return replace(report, torture=(*report.torture, run_of(result)))
    if "simulated_hours" in body:
        return replace(report, simulation=(*report.simulation, simulated(body)))
    if "planted" in body:
        bugs = tuple(Planted(**{**bug, "by": tuple(bug["by"])}) for bug in body["planted"])
        return replace(report, planted=(*report.planted, *bugs))
    if "cut_off" in body:
        cut = body["cut_off"]
        made = CutOff(**{**cut, "asked": tuple(cut["asked"]), "library": tuple(cut["library"])})
        return replace(report, cut_off=(*report.cut_off, made))
    raise ValueError(f"{path} has no result that the report knows")


def simulated(body: dict[str, Any]) -> Simulation:
    """Give what the summary of `python -m tests.simulation` says."""
    api, seeds, hours = body["api"], body["seeds"], body["simulated_hours"]
    return Simulation(
        command=f"python -m tests.simulation --seeds {seeds} --api {api}",
        api=api,
        seeds=seeds,
        seconds=round(hours * 3600 / seeds),
        simulated_hours=hours,
        ratio=body["times_real"],
        requests=body["requests"],
        acquisitions=body["acquisitions"],
        late_writes_refused=body["late_writes_refused"],
        faults=body["faults"],
        counts=body["counts"],
        violations=tuple("seed {seed} on {api}: {check}".format(**v) for v in body["violations"]),
    )


# -- from runs ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Done:
    """How a program ended, and what it said."""

    status: int
    said: str


def run(wanted: Wanted) -> Report:
    """Run what is wanted, one after the other, and give what came of it."""
    with tempfile.TemporaryDirectory(prefix="etcd-recipes-report-") as scratch:
        folder = wanted.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        files = [file for kind in wanted.kinds for file in RUNS[kind](wanted, folder)]
        return from_files(files)


def _torture(wanted: Wanted, folder: Path) -> Iterator[Path]:
    for number, etcd in enumerate(wanted.servers):
        file = folder / f"torture-{number}.json"
        for _ in range(TRIES):
            done = _python(
                "tests.torture", f"--minutes={wanted.minutes:g}", f"--etcd={etcd}", f"--json={file}"
            )
            if done.status != VOID:
                break
        yield file


TORTURED = re.compile(r"^(?P<name>\w+): (?:found by (?P<by>.+)|NOT FOUND)$", re.MULTILINE)
"""What `python -m tests.torture --planted` says of each bug."""

SIMULATED = re.compile(
    r"^(?P<name>\w+) +(?P<seeds>\d+) seeds \([\d, ]+\), by (?P<by>.+)$"
    r"|^(?P<missed>\w+) +\d+ seeds \(.*missed.*\), by .*$",
    re.MULTILINE,
)
"""What `python -m tests.simulation.planted` says of each: a bug that one of the searches missed is not found."""


def _planted(wanted: Wanted, folder: Path) -> Iterator[Path]:
    tortured = _python("tests.torture", "--planted", f"--etcd={wanted.servers[0]}").said
    simulated = _python("tests.simulation.planted").said
    bugs = [
        *bugs_of(tortured, TORTURED, "torture", "tests.torture.plants"),
        *bugs_of(simulated, SIMULATED, "simulation", "tests.simulation.planted"),
    ]
    file = folder / "planted.json"
    file.write_text(json.dumps({"planted": [asdict(bug) for bug in bugs]}, indent=1))
    yield file


def bugs_of(said: str, shape: re.Pattern[str], where: str, module: str) -> Iterator[Planted]:
    """Give the planted bugs that a program spoke of; what each does, its docstring says."""
    known = import_module(module)
    for found in shape.finditer(said):
        groups = found.groupdict()
        name = groups["name"] or groups["missed"]
        by = tuple(groups["by"].split(", ")) if groups["by"] else ()
        seeds = float(groups["seeds"]) if groups.get("seeds") else None
        yield Planted(name, (getattr(known, name).__doc__ or "").rstrip("."), where, by, seeds)


def _simulation(wanted: Wanted, folder: Path) -> Iterator[Path]:
    for api in ("v3", "v2"):
        file = folder / f"simulation-{api}.json"
        _python("tests.simulation", f"--seeds={wanted.seeds}", f"--api={api}", f"--json={file}")
        yield file


def _cut_off(wanted: Wanted, folder: Path) -> Iterator[Path]:
    for number, etcd in enumerate(wanted.servers):
        file = folder / f"cut-off-{number}.json"
        _python("tests.reliability.cutoff", f"--json={file}", ETCD_RECIPES_ETCD=str(etcd))
        yield file


RUNS = {
    "torture": _torture,
    "planted": _planted,
    "simulation": _simulation,
    "cut-off": _cut_off,
}


def _python(module: str, *arguments: str, **environment: str) -> Done:
    """Run a module as a program; what it says is passed on as it comes."""
    command = [sys.executable, "-m", module, *arguments]
    click.echo(f"$ {' '.join(['python', *command[1:]])}", err=True)
    said = []
    with subprocess.Popen(
        command, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            click.echo(line, err=True, nl=False)
            said.append(line)
    return Done(process.returncode, "".join(said))
