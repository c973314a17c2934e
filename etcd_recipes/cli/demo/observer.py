"""The observer: what etcd itself says about the workers, from one watch on all keys of the run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from etcd_recipes import Client, Context, ContextError
from etcd_recipes.cli.demo.event import Event
from etcd_recipes.cli.demo.follower import follow_prefix
from etcd_recipes.cli.demo.plan import Keys
from etcd_recipes.core import runtime
from etcd_recipes.core.store import Entry

__all__ = ["candidates", "observing", "registered"]


def candidates(entries: Mapping[str, Entry], keys: Keys) -> tuple[str, ...]:
    """Give the names of the candidates: the leader first, then all who wait, in the order of arrival."""
    found = [entry for key, entry in entries.items() if key.startswith(keys.candidates)]
    return tuple(entry.value for entry in sorted(found, key=lambda entry: entry.created))


def registered(entries: Mapping[str, Entry], keys: Keys) -> tuple[str, ...]:
    """Give the names of the registered workers."""
    found = [key for key in entries if key.startswith(keys.instances)]
    return tuple(sorted(key.removeprefix(keys.instances) for key in found))


@contextmanager
def observing(
    client: Client, keys: Keys, ctx: Context, tell: Callable[[Event], None]
) -> Iterator[None]:
    """Tell of the candidates and the registered workers, at each change, while the body runs."""
    limited = ctx.child()
    thread = runtime.spawn(lambda: _observe(client, keys, limited, tell), "demo-observer")
    try:
        yield
    finally:
        limited.cancel()
        thread.join()


def _observe(client: Client, keys: Keys, ctx: Context, tell: Callable[[Event], None]) -> None:
    before: dict[str, tuple[str, ...]] = {"candidates": (), "registered": ()}
    try:
        for update in follow_prefix(client, keys.prefix, ctx):
            now = {
                "candidates": candidates(update.entries, keys),
                "registered": registered(update.entries, keys),
            }
            for kind, names in now.items():
                if names != before[kind]:
                    tell(Event(kind, runtime.now(), names=names))
            before = now
    except ContextError:
        pass  # the end
