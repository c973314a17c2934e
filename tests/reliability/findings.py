"""What torture, simulation and planted bugs have found in the library, and was mended.

A finding has the seed that found it, and the test that keeps it from coming back: one that forces it, or one
that plays that seed again, and names it.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["FINDINGS", "Finding"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What was wrong, in a sentence for users; found `by` torture or the simulation; `test` as pytest names it."""

    what: str
    by: str
    seed: int
    test: str


FINDINGS: tuple[Finding, ...] = ()
