"""What torture and simulation have found in the library, and was mended.

What the simulation found stands in its regressions, and is taken from there. A finding has the seed that found
it, and the test that keeps it from coming back: one that forces it, or one that plays that seed again.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.simulation.regressions import REGRESSIONS

__all__ = ["FINDINGS", "Finding"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What was wrong, in a sentence for users; found `by` torture or the simulation; `test` as pytest names it."""

    what: str
    by: str
    seed: int
    test: str


TORTURE: tuple[Finding, ...] = ()

SIMULATION = tuple(
    Finding(
        old.found,
        f"simulation, on {old.api}",
        old.seed,
        "tests/simulation/test_simulation.py::test_what_a_seed_has_found_stays_mended",
    )
    for old in REGRESSIONS
)

FINDINGS: tuple[Finding, ...] = (*TORTURE, *SIMULATION)
