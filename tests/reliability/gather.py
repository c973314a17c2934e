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
from pathlib import Path
from typing import Any

import click

from etcd_recipes.testing import find_etcd
from tests.reliability.report import CutOff, Planted, Report, Run, Simulation, run_of
from tests.torture import result as torture

__all__ = ["KINDS", "Wanted", "from_files", "merged", "run", "servers"]

KINDS = ("torture", "planted", "simulation", "cut-off")


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
    found = _stamp()
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
    """Give what the simulation's summary says."""
    return Simulation(**{**body, "violations": tuple(body["violations"])})


# -- from runs ---------------------------------------------------------------------------------------------------


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
        _python(
            "tests.torture", f"--minutes={wanted.minutes:g}", f"--etcd={etcd}", f"--json={file}"
        )
        if file.exists():
            yield file


FOUND = re.compile(r"^(\w+): (?:found by (.+)|NOT FOUND)$", re.MULTILINE)
"""What `python -m tests.torture --planted` says of each bug."""


def _planted(wanted: Wanted, folder: Path) -> Iterator[Path]:
    said = _python("tests.torture", "--planted", f"--etcd={wanted.servers[0]}")
    bugs = [
        asdict(Planted(name, "torture", tuple(by.split(", ")) if by else ()))
        for name, by in FOUND.findall(said)
    ]
    file = folder / "planted-torture.json"
    file.write_text(json.dumps({"planted": bugs}))
    yield file


def _simulation(wanted: Wanted, folder: Path) -> Iterator[Path]:
    file = folder / "simulation.json"
    _python("tests.simulation", f"--seeds={wanted.seeds}", "--api=both", f"--json={file}")
    if file.exists():
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


def _python(module: str, *arguments: str, **environment: str) -> str:
    """Run a module as a program, and give what it printed; what it says of its progress is passed on."""
    command = [sys.executable, "-m", module, *arguments]
    click.echo(f"$ {' '.join(['python', *command[1:]])}", err=True)
    done = subprocess.run(
        command, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True, check=False
    )
    click.echo(done.stdout, err=True)
    return done.stdout
