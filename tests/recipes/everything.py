"""Everything that is held by waiting in a line, asked in one way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from etcd_recipes import Client, Contender, Hold


@dataclass(frozen=True)
class Thing:
    """One kind: how it is acquired (raises, or gives None, in time), who holds it, how one is evicted."""

    acquire: Callable[..., Hold | None]
    holders: Callable[[], tuple[Contender, ...]]
    evict: Callable[[Contender], bool]


def _lock(client: Client, name: str, **options: object) -> Thing:
    lock = client.lock(name, **options)  # type: ignore[arg-type]
    return Thing(lock.acquire, lambda: tuple(filter(None, [lock.holder()])), lock.evict)


def _reader(client: Client, name: str, **options: object) -> Thing:
    rw = client.rwlock(name, **options)  # type: ignore[arg-type]
    # The others must wait, as they do in all the other kinds; so those who come second are writers.
    return Thing(rw.read().acquire, rw.holders, rw.evict)


def _writer(client: Client, name: str, **options: object) -> Thing:
    rw = client.rwlock(name, **options)  # type: ignore[arg-type]
    return Thing(rw.write().acquire, rw.holders, rw.evict)


def _semaphore(client: Client, name: str, **options: object) -> Thing:
    semaphore = client.semaphore(name, permits=1, **options)  # type: ignore[arg-type]
    return Thing(semaphore.acquire, semaphore.holders, semaphore.evict)


def _election(client: Client, name: str, **options: object) -> Thing:
    election = client.election(name, **options)  # type: ignore[arg-type]
    return Thing(election.campaign, lambda: election.candidates()[:1], election.evict)


FIRST = {
    "lock": _lock,
    "reader": _reader,
    "writer": _writer,
    "semaphore": _semaphore,
    "election": _election,
}
"""Makes each kind for one who comes first."""

NEXT = {**FIRST, "reader": _writer}
"""Makes each kind for one who has to wait for the first."""
