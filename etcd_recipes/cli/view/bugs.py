"""Known bugs of etcd's versions that leases, watches and data suffer from; and which a server has.

Rules of this file
1. The table is data: a bug, what it does to users of recipes, and the first good patch of each line
   ("3.5": 13 is 3.5.13). A line that is not named has had the fix from its beginning if it is newer than
   all that are, and will never have it if it is older.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["BUGS", "Bug", "bugs_of", "parse"]

_Version = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Bug:
    """One bug: what it does, since which version, and the first patch of each line that is without it."""

    what: str
    fixed: Mapping[tuple[int, int], int]
    since: _Version = (3, 0, 0)

    def is_in(self, version: _Version) -> bool:
        """Tell whether a server of that version has it."""
        line = version[:2]
        if version < self.since:
            return False
        if line in self.fixed:
            return version[2] < self.fixed[line]
        return line < max(self.fixed)

    def remedy(self, version: _Version) -> str:
        """Give the versions to upgrade to from that one."""
        ahead = [
            (*line, patch) for line, patch in sorted(self.fixed.items()) if line >= version[:2]
        ]
        return " or ".join(".".join(map(str, each)) for each in ahead)


BUGS = (
    Bug(
        "data of a member can differ from the others' after a crash",
        {(3, 5): 3},
        since=(3, 5, 0),
    ),
    Bug(
        "a member can die of a transaction that only reads, when whoever asked has gone away",
        {(3, 4): 23, (3, 5): 7},
    ),
    Bug(
        "an old leader that hung can revoke leases that live",
        {(3, 4): 31, (3, 5): 13},
    ),
    Bug(
        "a watch can lose events around a compaction",
        {(3, 4): 31, (3, 5): 13},
    ),
    Bug(
        "a watch can miss a deletion at the compacted revision",
        {(3, 4): 36, (3, 5): 18},
    ),
    Bug(
        "a keep-alive can answer success for a lease that was revoked",
        {(3, 4): 38, (3, 5): 23, (3, 6): 5},
    ),
    Bug(
        "leases end by the wall clock, which may jump",
        {(3, 5): 0},
    ),
)


def bugs_of(version: str) -> tuple[Bug, ...]:
    """Give the bugs of a server's version; none for a version that cannot be read."""
    parsed = parse(version)
    return () if parsed is None else tuple(bug for bug in BUGS if bug.is_in(parsed))


def parse(version: str) -> _Version | None:
    """Give "3.5.1-pre" as (3, 5, 1)."""
    numbers = version.partition("-")[0].partition("+")[0].split(".")
    if len(numbers) != 3 or not all(number.isdecimal() for number in numbers):
        return None
    major, minor, patch = map(int, numbers)
    return major, minor, patch
