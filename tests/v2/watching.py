"""What the tests of the watcher share."""

from __future__ import annotations

from etcd_recipes import DeadlineExceeded
from etcd_recipes.core.v2.values import Response
from etcd_recipes.core.v2.watcher import Watcher
from tests.core.calls import FOREVER, Call
from tests.tools import eventually

__all__ = ["settle", "values", "waiting"]


def values(watcher: Watcher, count: int) -> list[str]:
    return [watcher.next(timeout=FOREVER).node.value for _ in range(count)]


def waiting(watcher: Watcher) -> Call[Response]:
    """Start a `next`, and give it when its poll is open."""
    call: Call[Response] = Call(watcher.next)
    eventually(lambda: watcher._poll, what="the poll")
    return call


def settle(watcher: Watcher) -> None:
    """Wait in vain, until the poll is open."""
    for _ in range(100):
        try:
            watcher.next(timeout=0.05)
        except DeadlineExceeded:
            if watcher._poll is not None:
                return
    raise AssertionError("the poll does not open")
