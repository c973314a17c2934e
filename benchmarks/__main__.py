"""``python -m benchmarks [--quick] [--json] [FIGURE ...]``: measure, and print a table or JSON."""

from __future__ import annotations

import argparse
import json
from typing import Any

from benchmarks import handoffs, pairs, takeover

FIGURES = {"pairs": pairs.run, "handoffs": handoffs.run, "takeover": takeover.run}


def show(figures: dict[str, Any], indent: str = "") -> None:
    for name, value in figures.items():
        if isinstance(value, dict):
            print(f"{indent}{name.replace('_', ' ')}")
            show(value, indent + "  ")
        else:
            print(f"{indent}{name.replace('_', ' '):<{36 - len(indent)}} {value}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("figures", nargs="*", choices=[*FIGURES, []], help="all, if none is named")
    options = parser.parse_args()
    wanted = options.figures or list(FIGURES)
    results = {name: FIGURES[name](quick=options.quick) for name in wanted}
    if options.json:
        print(json.dumps(results, indent=2))
    else:
        show(results)


if __name__ == "__main__":
    main()
