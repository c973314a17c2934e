"""The subjects: every lock-like thing, made to look alike.

A subject says how to enter, who may be in together, and what three visitors want who all exclude each
other (`rivals`), and four who stand in one line and do not all (`mixed`). What `enter` gives is a Held:
the few verbs of a hold that the suite asks, whichever handle a recipe has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from etcd_recipes import Client, Context, DeadlineExceeded
from tests.properties.history import ALONE, Rule, Wish

__all__ = ["SUBJECTS", "Held", "Subject"]

PERMITS = 3


@dataclass(frozen=True, slots=True)
class Held:
    """What was let in: the hold, the fencing token and the key that stands for its place in the line."""

    hold: Any
    token: int
    key: str


Enter = Callable[[Client, str, Wish, float, float | None, Context], Held | None]


@dataclass(frozen=True, slots=True)
class Subject:
    """One lock-like thing; `enter` takes a client, name, wish, ttl, timeout and Context."""

    name: str
    enter: Enter
    may: Rule
    rivals: tuple[Wish, ...] = (ALONE,) * 3
    mixed: tuple[Wish, ...] = (ALONE,) * 4
    lines: Callable[[str], tuple[str, ...]] = lambda name: (name,)


def _plain(hold: Any) -> Held | None:
    return None if hold is None else Held(hold, hold.token, hold.key)


def _lock(client: Client, name: str, wish: Wish, ttl: float, timeout: Any, ctx: Context) -> Any:
    return _plain(client.lock(name, ttl=ttl).acquire(timeout=timeout, ctx=ctx))


def _rwlock(client: Client, name: str, wish: Wish, ttl: float, timeout: Any, ctx: Context) -> Any:
    rw = client.rwlock(name, ttl=ttl)
    side: Any = rw.read() if wish.kind == "read" else rw.write()
    return _plain(side.acquire(timeout=timeout, ctx=ctx))


def _semaphore(
    client: Client, name: str, wish: Wish, ttl: float, timeout: Any, ctx: Context
) -> Any:
    semaphore = client.semaphore(name, permits=PERMITS, weight=wish.weight, ttl=ttl)
    return _plain(semaphore.acquire(timeout=timeout, ctx=ctx))


def _election(client: Client, name: str, wish: Wish, ttl: float, timeout: Any, ctx: Context) -> Any:
    try:
        return _plain(client.election(name, ttl=ttl).campaign("me", timeout=timeout, ctx=ctx))
    except DeadlineExceeded:
        return None


def _both(name: str) -> tuple[str, ...]:
    return f"{name}-a", f"{name}-b"


def _multi_lock(
    client: Any, name: str, wish: Wish, ttl: float, timeout: Any, ctx: Context
) -> Held | None:
    hold = client.multi_lock(_both(name), ttl=ttl).acquire(timeout=timeout, ctx=ctx)
    if hold is None:
        return None
    first, _ = _both(name)
    keys = hold.keys.values() if isinstance(hold.keys, Mapping) else hold.keys
    return Held(hold, hold.tokens[first], next(k for k in keys if k.startswith(f"{first}/")))


def _one(inside: Sequence[Wish]) -> bool:
    return len(inside) <= 1


def _readers_or_a_writer(inside: Sequence[Wish]) -> bool:
    return len(inside) <= 1 or all(wish.kind == "read" for wish in inside)


def _within_permits(inside: Sequence[Wish]) -> bool:
    return sum(wish.weight for wish in inside) <= PERMITS


READ, WRITE, weighing = Wish("read"), Wish("write"), partial(Wish, "")

SUBJECTS: dict[str, Subject] = {
    subject.name: subject
    for subject in [
        Subject("lock", _lock, _one),
        Subject("election", _election, _one),
        Subject(
            "rwlock",
            _rwlock,
            _readers_or_a_writer,
            rivals=(WRITE, READ, WRITE),
            mixed=(WRITE, READ, READ, WRITE),
        ),
        Subject(
            "semaphore",
            _semaphore,
            _within_permits,
            rivals=(weighing(2), weighing(2), weighing(3)),
            mixed=(weighing(2), weighing(2), weighing(1), weighing(1)),
        ),
        Subject("multi_lock", _multi_lock, _one, lines=_both),
    ]
    if subject.name != "multi_lock" or hasattr(Client, "multi_lock")
}
