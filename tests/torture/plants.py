"""Planted bugs: a run with one of them in its workers must fail, or the harness is blind.

Each names the kinds of fault that bring it to light, so that a short run is enough, and the checks of which
one at least must find it. Most are the broken variants of the properties, one of them with a twist.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from etcd_recipes.coordination import contenders
from etcd_recipes.core.store import Entry, Standing
from etcd_recipes.core.v3.assembly import Assembly, EventBatch
from tests.properties.variants import VARIANTS

__all__ = ["PLANTS", "Plant"]


@dataclass(frozen=True, slots=True)
class Plant:
    """A bug; `patch` puts it into a worker's process, `kinds` are the faults that show it."""

    patch: Callable[[Any], None]
    kinds: tuple[str, ...]
    breaks: tuple[str, ...]


PLANTS: dict[str, Plant] = {}


def plant(*breaks: str, kinds: tuple[str, ...]) -> Callable[[Callable[[Any], None]], Any]:
    def register(patch: Callable[[Any], None]) -> Callable[[Any], None]:
        PLANTS[patch.__name__] = Plant(patch, kinds, breaks)
        return patch

    return register


@plant("tokens of writes", "linearizable", "register", kinds=("holder paused",))
def no_fence(desk: Any) -> None:
    """Writes without a condition and without a token."""
    desk.no_fence = True


@plant("exclusion", "notice", kinds=("holder paused",))
def no_deadline(desk: Any) -> None:
    """Holds until etcd says otherwise."""
    VARIANTS["knows_no_deadline"].patch()


@plant("exclusion", "notice", kinds=("holder paused behind late replies",))
def deadline_from_the_reply(desk: Any) -> None:
    """Counts the ttl from when it heard of it."""
    VARIANTS["counts_the_ttl_from_the_reply"].patch()


@plant("exclusion", "notice", kinds=("late release",))
def release_by_name(desk: Any) -> None:
    """Deletes whatever stands at the key."""
    VARIANTS["releases_by_name"].patch()


@plant("exclusion", "notice", "tokens", kinds=("place removed",))
def no_own_key_check(desk: Any) -> None:
    """Does not look whether its own place is still there."""
    VARIANTS["no_look_at_the_own_place"].patch()


@plant("exclusion", kinds=("follower killed",))
def rank_by_count(desk: Any) -> None:
    """Counts those ahead, whatever they weigh."""
    before = contenders.PERMITS.blockers

    def blockers(standing: Standing) -> tuple[Entry, ...]:
        if standing.mine is None:
            return before(standing)
        light = [replace(entry, value=_light(entry.value)) for entry in standing.ahead]
        mine = replace(standing.mine, value=_light(standing.mine.value))
        return before(replace(standing, mine=mine, ahead=tuple(light)))

    object.__setattr__(contenders.PERMITS, "blockers", blockers)


def _light(value: str) -> str:
    """Give the value of an entry that weighs one."""
    for weight in (2, 3):
        value = value.replace(f'"weight":{weight}', '"weight":1')
    return value


@plant("watchers", kinds=("follower killed", "leader killed"))
def no_revision_guard(desk: Any) -> None:
    """Asks for what it was given last once more, and gives it again."""

    def is_new(self: Assembly, batch: EventBatch) -> bool:
        self._claimed = 0
        self._delivered = batch.revision
        return True

    def again(self: Assembly) -> int:
        return 0 if self._delivered is None else max(1, self._delivered)

    Assembly._is_new = is_new  # type: ignore[method-assign]
    Assembly.next_revision = property(again)  # type: ignore[assignment]
