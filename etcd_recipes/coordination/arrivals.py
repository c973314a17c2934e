"""Arrivals: who stands in a line, the first to come first, kept up change by change. Pure.

A change costs a search and a shift in a list, however long the line is; whoever comes stands at its end.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable

from etcd_recipes.core.store import Change

__all__ = ["Arrivals"]


class Arrivals:
    """The keys of a line in the order of their creation; `is_contender` says which keys count."""

    def __init__(self, is_contender: Callable[[str], bool]) -> None:
        self._is_contender = is_contender
        self._created: dict[str, int] = {}
        self._order: list[tuple[int, str]] = []

    def take(self, changes: Iterable[Change]) -> None:
        """Bring it to the state after `changes`."""
        for change in changes:
            now = None if change.entry is None else change.entry.created
            before = self._created.get(change.key)
            if now == before or not self._is_contender(change.key):
                continue
            if before is not None:
                del self._order[bisect_left(self._order, (before, change.key))]
                del self._created[change.key]
            if now is not None:
                insort(self._order, (now, change.key))
                self._created[change.key] = now

    @property
    def first(self) -> str | None:
        """The key of the one who came first; None when nobody is there."""
        return self._order[0][1] if self._order else None
