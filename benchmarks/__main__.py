"""How fast it is here, side by side with its rivals.

    make bench                                   every figure, with every peer that can be had: about eight minutes
    make bench ARGS=--quick                      shows that all works, in a minute; installs nothing
    make bench ARGS='--only latency pairs'       some figures
    make bench ARGS='--peers etcd3gw,kazoo'      beside the floors and ourselves, only these; none: --peers ''
    make bench ARGS='--json FILE'                all rounds, as JSON
    make bench ARGS=--report                     into docs/performance; only figures of a whole run go there
    make bench ARGS=--page                       measures nothing: writes the page from its figures.json

Exit status: 0, whatever was measured; 2 for arguments that make no sense.
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
import platform
import sys
import time
from pathlib import Path

from benchmarks import page, servers, tables
from benchmarks.environments import available
from benchmarks.figures import FIGURES
from benchmarks.peers import PEERS, Peer
from benchmarks.results import Measured, Results, merged, store
from benchmarks.stage import Figure, Scale, Stage
from etcd_recipes.testing import etcd_version, find_etcd


def main() -> None:
    options = _arguments()
    if options.page:
        page.write(page.read())
        return
    results = measure(options)
    if options.json:
        options.json.write_text(store(results))
    print(tables.aims(results))
    if options.report:
        page.write(merged(page.read(), results))


def measure(options: argparse.Namespace) -> Results:
    peers, missing = available(options.peers, install=not options.quick)
    for name, why in missing.items():
        _say(f"without {name}: {why}")
    scale: Scale = "quick" if options.quick else "full"
    stage = Stage(scale, tuple(peers))
    load = os.getloadavg()[0]  # once: later on it is of our own making
    found: dict[str, Measured] = {}
    for name in options.only or FIGURES:
        found[name] = _measured(FIGURES[name], stage, missing, load)
        print(f"\n## {FIGURES[name].title}\n\n{tables.figure(FIGURES[name], found[name])}\n")
        _say(f"{name}: {found[name].seconds:.0f} s")
    return Results(found)


def _measured(figure: Figure, stage: Stage, missing: dict[str, str], load: float) -> Measured:
    begun = time.monotonic()
    rounds = figure.play(stage)
    return Measured(
        made=dt.datetime.now(dt.UTC).date().isoformat(),
        scale=stage.scale,
        machine=f"{os.cpu_count()} cores, {platform.system()}",
        load=round(load, 2),
        seconds=round(time.monotonic() - begun, 1),
        versions=_versions(stage),
        left_out=missing,
        rounds={case: {k: list(v) for k, v in each.items()} for case, each in rounds.items()},  # type: ignore[arg-type]
    )


def _versions(stage: Stage) -> dict[str, str]:
    found = {
        "Python": platform.python_version(),
        "etcd": ".".join(map(str, etcd_version(find_etcd()))),
    }
    if not servers.why_no_zookeeper():
        found["ZooKeeper"] = servers.zookeeper_version()
    return found | {peer.name: ", ".join(peer.pins) for peer in stage.peers if peer.is_foreign}


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    parser.add_argument("--only", nargs="+", choices=list(FIGURES), metavar="FIGURE")
    parser.add_argument("--peers", type=_peers, default=list(PEERS.values()))
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--page", action="store_true")
    options = parser.parse_args()
    if options.quick and options.report:
        parser.error("figures of a quick run do not go into the documentation")
    return options


def _peers(names: str) -> list[Peer]:
    """Give the peers of these names, and those that are always there."""
    wanted = set(filter(None, names.split(",")))
    if unknown := wanted - PEERS.keys():
        raise argparse.ArgumentTypeError(f"no such peer: {', '.join(sorted(unknown))}")
    return [peer for peer in PEERS.values() if not peer.is_foreign or peer.name in wanted]


if __name__ == "__main__":
    main()
