"""Torture: all recipes, in many processes, on three real members, while everything goes wrong.

    python -m tests.torture --minutes 10 --etcd PATH --seed N --json FILE
    python -m tests.torture --planted             every planted bug must be found

Exit status: 0 passed, 1 failed, 3 void (nothing was contradicted, but nothing was shown either).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from etcd_recipes.testing import find_etcd
from tests.torture.plan import round_length
from tests.torture.plants import PLANTS
from tests.torture.result import Result, store
from tests.torture.run import QUIET, WARM_UP, Options, a_seed, run

EXIT = {"passed": 0, "failed": 1, "void": 3}
PLANTED = 20.0
"""Seconds of faults for a planted bug."""


def main() -> int:
    options = _arguments()
    if options.planted:
        return _planted(options)
    around = WARM_UP + QUIET + 4
    seconds = max(0.0, options.minutes * 60 - around)
    if seconds < round_length() and not options.plant:
        click.echo(f"void: one round of faults alone takes {round_length():.0f} s", err=True)
        return EXIT["void"]
    result = _run(options, seconds, options.plant)
    click.echo("\n".join(tell(result)))
    if options.json:
        options.json.write_text(store(result))
    return EXIT[result.verdict]


def _run(options: argparse.Namespace, seconds: float, plant: str) -> Result:
    seed = a_seed() if options.seed is None else options.seed
    click.echo(f"seed {seed}{f', planted: {plant}' if plant else ''}", err=True)
    return run(
        Options(
            seconds=seconds,
            etcd=options.etcd or find_etcd(),
            seed=seed,
            places=options.places,
            plant=plant,
            keep=options.keep,
            command=f"python -m tests.torture --minutes {options.minutes:g} --seed {seed}",
            say=lambda line: click.echo(line, err=True),
        )
    )


def _planted(options: argparse.Namespace) -> int:
    """Run every planted bug for a short time; 0 when each was found, by a check that it is known to break."""
    missed = []
    for name, plant in PLANTS.items():
        result = _run(options, PLANTED, name)
        found = [check for check in result.checks if not check.held]
        by = [check.name for check in found if check.name in plant.breaks]
        click.echo(f"{name}: {'found by ' + ', '.join(by) if by else 'NOT FOUND'}")
        for check in found:
            click.echo(f"    {check.name}: {check.found[0]}")
        if not by:
            missed.append(name)
    return 1 if missed else 0


def tell(result: Result) -> Iterator[str]:
    """Say in a few lines what came of a run."""
    yield f"{result.verdict}: etcd {result.etcd}, {result.places}, seed {result.seed}, {result.seconds:g} s"
    yield from (f"  because of {why}" for why in result.why)
    for check in result.checks:
        against = "" if check.held else f", {check.contradictions} against it"
        yield f"  {'ok ' if check.held else 'NOT'} {check.name} ({check.looked_at}{against})"
        yield from (f"        {line}" for line in check.found)
    for what, done in result.operations.items():
        yield f"  {what}: {done.ok} ok, {done.refused} refused, {done.unknown} unknown ({done.applied} applied)"
    for gap in result.gaps:
        yield f"  gap, {gap.kind}: median {gap.median:.2f} s, worst {gap.worst:.2f} s"
    for each in result.takeovers:
        yield f"  takeover, {each.how}: {each.seconds:.2f} s"
    yield f"  late writes refused: {result.late_writes_refused}; holders paused: {result.pauses_of_holders}"
    yield f"  overlaps, unfenced: {result.overlaps_unfenced}; fenced: {result.overlaps_fenced}"
    yield f"  views converged after {max(result.converged.values(), default=0):.1f} s at most"
    yield f"  {result.watching}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.5)
    parser.add_argument("--etcd", type=Path, help="the server's binary")
    parser.add_argument("--seed", type=int, help="what goes wrong, and when")
    parser.add_argument("--places", choices=("netns", "loopback"))
    parser.add_argument("--json", type=Path, help="where to put the result")
    parser.add_argument("--keep", type=Path, help="where to put the notes of all workers")
    parser.add_argument("--plant", choices=sorted(PLANTS), default="", help="run with this bug")
    parser.add_argument("--planted", action="store_true", help="run with each of the planted bugs")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
