"""Seeds that have found something, each played again by the tests: name, seed, store, and what it found.

A seed means another run when plays or faults change: who changes them takes the mend out, and looks for a seed
that finds it again. So each finding has a direct test, too: those of
tests/v2/test_replies.py, tests/core/v3/test_store.py, tests/v2/test_feed.py and
tests/recipes/test_election_transfer.py.

Found by a stream that stayed silent (seed 300 on v3, as it was then), and kept by tests that need no seed: a watch
whose connection was forgotten by the network waited for ever (tests/core/http/test_connection.py,
tests/v3/test_forgotten_connection.py).
"""

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
    seconds: float = 60.0


REGRESSIONS: tuple[Regression, ...] = (
    Regression(
        "half an answer to a write on v2",
        0,
        "v2",
        "a write whose 201 was cut short by a proxy was said to have had no effect",
        ("keys",),
    ),
    Regression(
        "the limit of a semaphore at a member that lives in the past",
        43,
        "v3",
        "who waited for a semaphore was told that a revision is of the future, by a member whose reads were stale",
        ("sem",),
    ),
    Regression(
        "a view on v2 whose member is cut off",
        40,
        "v2",
        "a view on v2 whose member was cut off from all others saw nothing for up to a minute",
        ("registry",),
    ),
    Regression(
        "a transfer that is the first to hear that the lease has ended",
        60,
        "v3",
        "a leader that handed over after its lease had ended was told of a lease, and not that its term was over",
        ("election",),
    ),
)
