"""Leases: what lives as long as somebody renews it.

The rules
1. A lease ends when its time is over *and* the leader has noticed, which looks every half second. A renewal
   that comes in between finds it gone.
2. A new leader starts every lease anew, with its full ttl and an election timeout on top.
3. A key belongs to the lease of its last put.
"""

from __future__ import annotations

__all__ = ["LONGEST", "Lease", "Lessor"]

LONGEST = 9_000_000_000


class Lease:
    """One lease; `expiry` in the seconds of the caller's clock."""

    __slots__ = ("expiry", "id", "keys", "ttl")

    def __init__(self, id_: int, ttl: int, now: float) -> None:
        self.id = id_
        self.ttl = ttl
        self.expiry = now + ttl
        self.keys: set[bytes] = set()


class Lessor:
    """All leases."""

    def __init__(self, least: int) -> None:
        self.least = least
        self.leases: dict[int, Lease] = {}
        self._of: dict[bytes, Lease] = {}

    def grant(self, id_: int, ttl: int, now: float) -> Lease:
        """Make a lease."""
        lease = self.leases[id_] = Lease(id_, max(ttl, self.least), now)
        return lease

    def drop(self, id_: int) -> list[bytes]:
        """Forget a lease; give its keys in order, which are to be deleted."""
        return sorted(self.leases.pop(id_).keys)

    def promote(self, now: float, extension: float) -> None:
        """Rule 2."""
        for lease in self.leases.values():
            lease.expiry = now + lease.ttl + extension

    def attach(self, key: bytes, id_: int) -> None:
        """Rule 3; with 0 the key belongs to none."""
        before = self._of.pop(key, None)
        if before is not None:
            before.keys.discard(key)
        lease = self.leases.get(id_)
        if lease is not None:
            lease.keys.add(key)
            self._of[key] = lease

    def expired(self, now: float) -> list[int]:
        """Give the leases whose time is over, the earliest first."""
        over = [(lease.expiry, lease.id) for lease in self.leases.values() if lease.expiry <= now]
        return [id_ for _, id_ in sorted(over)]

    def next_expiry(self) -> float | None:
        """Give when the next lease's time is over."""
        return min((lease.expiry for lease in self.leases.values()), default=None)
