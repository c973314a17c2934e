"""The reliability report: runs everything, or takes results that are there, and writes page and pictures.

    python -m tests.reliability                        all: torture and planted bugs on each etcd, simulation
    python -m tests.reliability --only torture         one of: torture, simulation, planted, cut-off
    python -m tests.reliability --from FILE...         results of torture and simulation; nothing is run
    python -m tests.reliability --from                 no new results: the page is written anew
    python -m tests.reliability --to FOLDER            into another folder than that of the documentation

What is new takes the place of what the report has of the same kind; the rest of it stays. Results are kept
beside the report's JSON only as far as page and pictures need them; `--keep` puts the whole ones into a folder.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import click

from tests.reliability import gather, publish
from tests.reliability.report import Report
from tests.reliability.tables import is_green


def main() -> int:
    options = _arguments()
    old = publish.read(options.to)
    if options.files is not None:
        new = gather.from_files(options.files)
    else:
        new = gather.run(
            gather.Wanted(
                tuple(options.only or gather.KINDS),
                tuple(options.etcd or gather.servers()),
                options.minutes,
                options.seeds,
                options.keep,
            )
        )
    report = gather.merged(old, new)
    publish.write(report, options.to)
    return _say(report)


def _say(report: Report) -> int:
    wrong = list(is_green(report))
    for words in wrong:
        click.echo(f"NOT GOOD: {words}", err=True)
    return 1 if wrong else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.reliability",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--from", dest="files", nargs="*", type=Path, help="results that are there")
    parser.add_argument("--only", nargs="+", choices=gather.KINDS)
    parser.add_argument("--minutes", type=float, default=10.0, help="of torture, for each etcd")
    parser.add_argument("--seeds", type=int, default=1000, help="of the simulation")
    parser.add_argument("--etcd", nargs="+", type=Path, help="the servers' binaries")
    parser.add_argument("--keep", type=Path, help="where to put the results as they were")
    parser.add_argument("--to", type=Path, default=publish.FOLDER)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
