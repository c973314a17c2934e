"""Lifetime: until when a command may run, when it is asked to end, and when it is killed.

Rules of this file
1. Pure: points in time in, a step out. No clock, no process.
2. While nothing says otherwise, `until` is when the hold could be somebody else's. The command is asked to
   end `notice` seconds before, and is dead by then.
3. When the hold is taken away (a lease revoked, a key deleted), nothing is certain any more: the command is
   asked at once, and killed `grace` seconds later.
4. Once asked, always asked: a renewal that comes later does not bring the command back. And a date for
   the killing is only ever brought forward.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

__all__ = ["Lifetime", "Step"]


class Step(Enum):
    """What to do with the command now."""

    LEAVE = "leave"
    ASK = "ask"
    KILL = "kill"


@dataclass(frozen=True, slots=True)
class Lifetime:
    """Until when a command may run. Points are of `runtime.now`, the others are seconds.

    `until` is None when there is nothing to lose. `kill_at` is None while it was not asked to end.
    """

    grace: float
    until: float | None = None
    notice: float = 0.0
    kill_at: float | None = None

    @classmethod
    def under(cls, ttl: float, until: float, grace: float) -> Lifetime:
        """Give the lifetime under a lease of `ttl`.

        A notice of more than a third of the ttl would come before the renewals, which are a third of
        the ttl apart, have had their second chance.
        """
        return cls(grace, until, min(grace, ttl / 3))

    @property
    def asked(self) -> bool:
        """True once the command has been asked to end."""
        return self.kill_at is not None

    def renewed(self, until: float) -> Lifetime:
        """Give the lifetime after a renewal."""
        return self if self.asked else replace(self, until=until)

    def taken(self, now: float) -> Lifetime:
        """Give the lifetime of a command whose hold was taken away."""
        kill_at = now + self.grace
        return replace(
            self, kill_at=kill_at if self.kill_at is None else min(self.kill_at, kill_at)
        )

    def abandoned(self, now: float) -> Lifetime:
        """Give the lifetime of a command whose runner is gone: the hold stays certain for a while."""
        taken = self.taken(now)
        if self.until is None or taken.kill_at is None:
            return taken
        return replace(taken, kill_at=min(taken.kill_at, max(now, self.until)))

    def run_out(self) -> Lifetime:
        """Give the lifetime of a command that was asked because `until` came near."""
        return replace(self, kill_at=self.until)

    def step(self, now: float) -> Step:
        """Give what is due at `now`."""
        if self.kill_at is not None:
            return Step.KILL if now >= self.kill_at else Step.LEAVE
        if self.until is not None and now >= self.until - self.notice:
            return Step.ASK
        return Step.LEAVE

    def patience(self, now: float) -> float | None:
        """Give the seconds until something is due, None if nothing ever is."""
        if self.kill_at is not None:
            return max(0.0, self.kill_at - now)
        return None if self.until is None else max(0.0, self.until - self.notice - now)
