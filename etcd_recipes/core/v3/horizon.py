"""The horizon: how far a client has seen a cluster's history go, so that nobody takes it back.

A member that was paused, or restored from an old disk, has answered linearizable reads with what was true
some time ago. So an answer that must be fresh is refused when its revision is below the highest that this
client had seen when it asked, and another member is asked.

When every fresh answer has been refused for `PATIENCE` seconds, the history itself has gone back: the
cluster was restored from a backup. Then the new history counts, and the log says so; a client that is dead
until it is restarted would help nobody.

Rules of this file
1. Decisions only: the time is told, not read.
2. Revisions of different clusters (by the header's cluster id) are not compared.
3. What was seen is a value: it is replaced when it grows, so that who asks what was seen need not wait for a lock,
   nor does an answer that says nothing new.
"""

from __future__ import annotations

from collections.abc import Mapping

from etcd_recipes.core import runtime

__all__ = ["PATIENCE", "Horizon"]

PATIENCE = 15.0
"""Seconds for which a history that goes back is taken for a member's mistake."""


_MANY = 100
"""Clusters that are remembered: more than a client ever meets, unless somebody invents them."""


class Horizon:
    """See the module's docstring; free to be used by many threads."""

    def __init__(self) -> None:
        self.epoch = 0  # how often the history has gone back
        self._highest: Mapping[str, int] = {}
        self._refusing_since: dict[str, float] = {}
        self._lock = runtime.new_lock()
        runtime.at_fork(self)

    def seen(self) -> Mapping[str, int]:
        """Give the highest revision seen so far, by cluster id; to be kept from before a request is sent."""
        return self._highest

    def note(self, cluster: str, revision: int) -> None:
        """Remember a revision, from whatever answer."""
        if revision <= self._highest.get(cluster, 0):
            return
        with self._lock:
            highest = dict(self._highest)
            if cluster not in highest and len(highest) >= _MANY:
                del highest[next(iter(highest))]
            highest[cluster] = max(revision, highest.get(cluster, 0))
            self._highest = highest

    def admit(self, cluster: str, revision: int, before: Mapping[str, int], now: float) -> bool:
        """Tell whether a fresh answer counts, given what was `seen` before its request was sent."""
        if revision >= before.get(cluster, 0):
            self._refusing_since.pop(cluster, None)
            return True
        with self._lock:
            since = self._refusing_since.setdefault(cluster, now)
            if now - since < PATIENCE:
                return False
            self._refusing_since.pop(cluster, None)
            self._highest = {**self._highest, cluster: revision}
            self.epoch += 1
            return True

    def after_fork_in_child(self) -> None:
        """Take a lock of the child's own: another thread of the parent may have held this one."""
        self._lock = runtime.new_lock()
