"""The pool: instances to choose from, in the order of their ids, kept up change by change.

Rules of this file
1. A change costs a search and a shift in a list, a choice costs a search, however many there are: a view of
   ten thousand must neither be built anew for each that comes and goes, nor looked through for each pick.
2. What one strategy alone needs, the ring, is made when it is first asked for, and kept up from then on.
3. Not safe for threads: its owner locks.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from typing import overload

from etcd_recipes.recipes.registry.instance import Instance

__all__ = ["Pool"]

_PROBES = 24
"""How many places on the ring a key asks at: with so many the busiest has a few percent more than its share."""

_Point = tuple[bytes, str]


class Pool(Sequence[Instance]):
    """Instances in the order of their ids, as a sequence; and by zone, by weight, and on a ring."""

    def __init__(self, instances: Iterable[Instance] = ()) -> None:
        self._members: dict[str, Instance] = {}
        self._ids: list[str] = []
        self._zones: dict[str, list[str]] = {}
        self._weights: dict[int, list[str]] = {}
        self._ring: list[_Point] | None = None
        for instance in instances:
            self.put(instance)

    def put(self, instance: Instance) -> None:
        """Take the instance in, in the place of another one of its id."""
        self.drop(instance.id)
        self._members[instance.id] = instance
        insort(self._ids, instance.id)
        insort(self._zones.setdefault(instance.zone, []), instance.id)
        insort(self._weights.setdefault(instance.weight, []), instance.id)
        if self._ring is not None:
            insort(self._ring, _point(instance.id))

    def drop(self, id_: str) -> Instance | None:
        """Take the instance out, and give it; None when it is not here."""
        instance = self._members.get(id_)
        if instance is None:
            return None
        _remove(self._ids, id_)
        _remove_from(self._zones, instance.zone, id_)
        _remove_from(self._weights, instance.weight, id_)
        if self._ring is not None:
            del self._ring[bisect_left(self._ring, _point(id_))]
        del self._members[
            id_
        ]  # last: in a child of fork that came in between, every id has its instance
        return instance

    def get(self, id_: str) -> Instance | None:
        """Give the instance of this id; None when it is not here."""
        return self._members.get(id_)

    def of(self, id_: str) -> Instance:
        """Give the instance of an id that is here."""
        return self._members[id_]

    def ids(self) -> Sequence[str]:
        """Give the ids in their order; valid until the next change."""
        return self._ids

    # -- as a sequence -----------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._ids)

    @overload
    def __getitem__(self, index: int) -> Instance: ...
    @overload
    def __getitem__(self, index: slice) -> list[Instance]: ...
    def __getitem__(self, index: int | slice) -> Instance | list[Instance]:
        if isinstance(index, slice):
            return [self._members[id_] for id_ in self._ids[index]]
        return self._members[self._ids[index]]

    def __iter__(self) -> Iterator[Instance]:
        return map(self._members.__getitem__, self._ids)

    # -- what strategies ask -----------------------------------------------------------------------------------

    def of_zone(self, zone: str) -> Sequence[str]:
        """Give the ids of a zone, in their order; valid until the next change."""
        return self._zones.get(zone, ())

    def by_weight(self) -> Iterable[tuple[int, Sequence[str]]]:
        """Give each weight, with the ids that have it; valid until the next change."""
        return self._weights.items()

    def nearest(self, key: str) -> Instance:
        """Give the instance that `key` belongs to: a departure moves only the keys of the one that left.

        Each instance is a point on a ring. The key asks at several places for the next point, and the
        closest of these has it (multi-probe consistent hashing).
        """
        ring = self._ring
        if ring is None:
            ring = self._ring = sorted(_point(id_) for id_ in self._ids)
        found = []
        for place in _places(key):
            index = bisect_left(ring, (place, ""))
            at, id_ = ring[index % len(ring)]
            found.append((_number(at) - _number(place) + (index == len(ring)) * _ROUND, id_))
        return self._members[min(found)[1]]


_SIZE = 8  # bytes of a place on the ring
_ROUND = 1 << 8 * _SIZE


def _point(id_: str) -> _Point:
    return hashlib.blake2b(id_.encode("utf-8", "surrogatepass"), digest_size=_SIZE).digest(), id_


def _places(key: str) -> Iterator[bytes]:
    """Give the places at which a key asks; eight come out of one digest."""
    data, left = key.encode("utf-8", "surrogatepass"), _PROBES
    for number in count():
        digest = hashlib.blake2b(data, salt=number.to_bytes(16, "big")).digest()
        for start in range(0, len(digest), _SIZE):
            if not left:
                return
            left -= 1
            yield digest[start : start + _SIZE]


def _number(place: bytes) -> int:
    return int.from_bytes(place, "big")


def _remove(ids: list[str], id_: str) -> None:
    del ids[bisect_left(ids, id_)]


def _remove_from(
    groups: dict[str, list[str]] | dict[int, list[str]], name: object, id_: str
) -> None:
    ids = groups[name]  # type: ignore[index]
    _remove(ids, id_)
    if not ids:
        del groups[name]  # type: ignore[arg-type]
