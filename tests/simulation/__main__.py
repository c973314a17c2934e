"""python -m tests.simulation: play many seeds; ends with 1 when one of them finds something."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from tests.simulation.run import Outcome, Sum, play_many, trace


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=20, help="how many (20)")
    parser.add_argument("--first", type=int, default=0, help="the first one (0)")
    parser.add_argument("--seconds", type=float, default=120.0, help="simulated time of each (120)")
    parser.add_argument("--api", choices=("v3", "v2", "both"), default="both")
    parser.add_argument("--jobs", type=int, default=2, help="processes (2)")
    parser.add_argument("--json", metavar="FILE", help="write the sums there")
    parser.add_argument(
        "--trace", type=int, metavar="SEED", help="play this one, and print all of it"
    )
    return parser.parse_args()


def _say(words: str) -> None:
    sys.stdout.write(words + "\n")
    sys.stdout.flush()


def _apis(api: str) -> list[str]:
    return ["v3", "v2"] if api == "both" else [api]


def _tell(outcome: Outcome, seconds: float) -> None:
    """Say what a seed has found, and how to see it again."""
    for check, words in outcome.violations:
        _say(f"seed {outcome.seed} on {outcome.api}: {check}: {words}")
    replay = f"--trace {outcome.seed} --api {outcome.api} --seconds {seconds:g}"
    _say(f"  replay it: python -m tests.simulation {replay}")
    lines = list(trace(outcome.seed, outcome.api, seconds))
    until = next((n for n, line in enumerate(lines) if "VIOLATION" in line), len(lines) - 1)
    _say("  what came before it:")
    for line in lines[max(0, until - 40) : until + 1]:
        _say(f"    {line[:400]}")


def main() -> int:
    options = _arguments()
    if options.trace is not None:
        for api in _apis(options.api):
            for line in trace(options.trace, api, options.seconds):
                _say(line)
        return 0
    work = [
        (seed, api, options.seconds)
        for seed in range(options.first, options.first + options.seeds)
        for api in _apis(options.api)
    ]
    total = Sum()
    for outcome in play_many(work, options.jobs):
        total.add(outcome)
        if outcome.violations:
            _tell(outcome, options.seconds)
        if total.seeds % 50 == 0:
            _say(f"{total.seeds} of {len(work)} played, {len(total.violations)} violations")
    report = total.report(options.api)
    _say(json.dumps(report, indent=2))
    if options.json:
        Path(options.json).write_text(json.dumps(report, indent=2) + "\n")
    return 1 if total.violations else 0


if __name__ == "__main__":
    sys.exit(main())
