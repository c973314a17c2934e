"""A claim: the right of one thread to one key of a session.

Whoever wants to stand at a key claims it first (``session.claim``), and gives the claim back when the key is
certainly gone; when that could not be confirmed, or a signal broke in, the session goes on removing the key
and keeps the claim until it is (``session.remove``). So no thread stands at a key that another one's late
removal may take away.
"""

from __future__ import annotations

from collections.abc import Callable

from etcd_recipes.core import runtime
from etcd_recipes.core.store import Entry

__all__ = ["Claim"]


class Claim:
    """The right to stand at one key of a session; made by ``session.claim``."""

    __slots__ = ("_on_gone", "entry", "key", "seat", "since", "swept")

    def __init__(self, key: str) -> None:
        self.key = key
        self.seat: int | None = None  # its number, where a session has several places in a line
        self.entry: Entry | None = None
        self.swept = False  # its key is being removed in the background
        self.since = 0.0
        self._on_gone: Callable[[], None] | None = None

    def guard(self, entry: Entry, on_gone: Callable[[], None]) -> None:
        """From now on the key must be there as this incarnation; `on_gone` is called when it is not."""
        self.since = runtime.now()
        self.entry = entry
        self._on_gone = on_gone

    def end(self) -> None:
        """Have nobody look after the key any more."""
        self.entry = self._on_gone = None

    def gone(self) -> None:
        """Tell the owner that the key is gone, once."""
        on_gone, self._on_gone, self.entry = self._on_gone, None, None
        if on_gone is not None:
            on_gone()
