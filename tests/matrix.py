"""The tests on every CPython that is found here, and with the oldest dependencies that pyproject allows.

    python -m tests.matrix [--only PATTERN] [--list] [PYTEST ARGUMENT]...

1. A place is a Python and a resolution: each Python from the floor up with the newest dependencies, and the
   oldest of them with the lowest.
2. Each place gets a virtual environment of its own in .matrix, where it stays for the next time. The lowest
   dependencies are the lower bounds that pyproject names, each of which is a release; what they need in turn is
   pip's choice.
3. The tests run in one place after the other: two suites at once would starve each other.

A Python counts if it runs: pyenv puts names on PATH behind which there is nothing.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
HOME = ROOT / ".matrix"
FLOOR = (3, 11)
WHICH = """
import sys
import tomllib
print(sys.implementation.name, *sys.version_info[:3])
sys.exit(sys.version_info.releaselevel != "final")
"""


@dataclass(frozen=True, slots=True)
class Place:
    """A Python, and whether the dependencies are the lowest or the highest."""

    python: Path
    version: tuple[int, ...]
    lowest: bool

    @property
    def name(self) -> str:
        number = ".".join(map(str, self.version))
        return f"{number}-lowest" if self.lowest else number


def candidates() -> Iterator[Path]:
    """Give whatever may be a Python: names on PATH, and what pyenv has installed."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    folders = [*map(Path, os.environ["PATH"].split(os.pathsep)), *pyenv.glob("versions/*/bin")]
    for folder in folders:
        yield from folder.glob("python3.[0-9][0-9]")


def version_of(python: Path) -> tuple[int, ...] | None:
    """Give the version of a CPython that runs, None for anything else."""
    done = subprocess.run([python, "-c", WHICH], capture_output=True, text=True, check=False)
    kind, *numbers = done.stdout.split() or [""]
    return tuple(map(int, numbers)) if kind == "cpython" and done.returncode == 0 else None


def places(pythons: Iterable[Path]) -> list[Place]:
    """Give one place for each minor version (its newest release), and the oldest with the lowest dependencies."""
    newest: dict[tuple[int, ...], tuple[tuple[int, ...], Path]] = {}
    for python in pythons:
        version = version_of(python)
        if version is not None and version >= FLOOR:
            newest[version[:2]] = max(newest.get(version[:2], ((), python)), (version, python))
    found = sorted(newest.values())
    return [
        *(Place(python, version, lowest=False) for version, python in found),
        *(Place(python, version, lowest=True) for version, python in found[:1]),
    ]


def lower_bounds() -> list[str]:
    """Give what holds pip to the lower bounds of pyproject: of the package, its extras and its tests."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"].values()
    named = [*project["project"]["dependencies"], *project["dependency-groups"]["test"]]
    wanted = [Requirement(each) for each in (*named, *(line for extra in extras for line in extra))]
    return [
        f"{each.name}=={bound.version}"
        for each in wanted
        for bound in each.specifier
        if bound.operator == ">="
    ]


def make(place: Place) -> Path:
    """Set up the place; gives its Python."""
    folder = HOME / place.name
    python, made = folder / "bin" / "python", folder / "made"
    if not made.exists():
        subprocess.run([place.python, "-m", "venv", "--clear", folder], check=True)
        held = folder / "constraints.txt"
        held.write_text("\n".join(lower_bounds() if place.lowest else ()))
        _pip(python, "--upgrade", "pip>=25.1")
        _pip(python, "--editable", ".[all]", "--group", "test", "--constraint", str(held))
        made.touch()
    return python


def _pip(python: Path, *what: str) -> None:
    pip = [python, "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
    subprocess.run([*pip, *what], check=True, cwd=ROOT)


def run(place: Place, arguments: list[str]) -> int:
    """Run the tests there; gives pytest's status."""
    command = [make(place), "-m", "pytest", *arguments]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.matrix", description=__doc__.split("\n")[0])
    parser.add_argument(
        "--only", default="*", help="a pattern of what --list names: '3.11*', '*-lowest'"
    )
    parser.add_argument("--list", action="store_true", help="name the places, and end")
    options, arguments = parser.parse_known_args()
    there = [each for each in places(candidates()) if fnmatch(each.name, options.only)]
    if options.list or not there:
        print(*(each.name for each in there), sep="\n")
        return not there
    failed = []
    for place in there:
        print(f"== {place.name}", flush=True)
        if status := run(place, arguments):
            failed.append(f"{place.name} (status {status})")  # a negative one is a signal's number
    print("failed on:" if failed else "passed on:", *(failed or (each.name for each in there)))
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
