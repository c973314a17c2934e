"""Seeds that have found something, each played again by the tests: name, seed, store, and what it found."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["REGRESSIONS", "Regression"]


@dataclass(frozen=True, slots=True)
class Regression:
    """A seed, and what was wrong when it was found; it has to pass."""

    name: str
    seed: int
    api: str
    found: str
    plays: tuple[str, ...] = ()


REGRESSIONS: tuple[Regression, ...] = (
    Regression(
        "half an answer to a write on v2",
        1024,
        "v2",
        "a write whose 201 was cut short by a proxy was said to have had no effect",
    ),
)
