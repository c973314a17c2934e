"""Planted bugs: well-known defects of coordination clients, put into the library one at a time; each must be caught.

A simulation that misses one of them is void. Each says on which store and in which plays it can show, and which
checks may catch it; `seed` is one that is known to. Patches are taken out again.

    python -m tests.simulation.planted            searches a seed for each, from several starting points
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any
from unittest import mock

from etcd_recipes import Barrier, Context, Fence, Registration
from etcd_recipes.coordination import contenders
from etcd_recipes.coordination.follow import _Following
from etcd_recipes.coordination.hold import Hold
from etcd_recipes.coordination.line import Line
from etcd_recipes.coordination.rounds import View
from etcd_recipes.core import retry
from etcd_recipes.core.store import Entry, Guard, Standing
from etcd_recipes.core.v2 import replies as replies_v2
from etcd_recipes.core.v2 import requests as requests_v2
from etcd_recipes.core.v2.grant import V2Grant
from etcd_recipes.core.v3 import replies, requests
from etcd_recipes.core.v3.assembly import Assembly
from etcd_recipes.core.v3.frames import Frames
from tests.properties import variants
from tests.simulation.scenarios import populate
from tests.simulation.world import World

__all__ = ["PLANTED", "Bug", "caught_by", "is_sound", "planted", "search"]


@dataclass(frozen=True, slots=True)
class Bug:
    """A defect; `patch` puts it in, with `put` of this module or of the broken variants."""

    patch: Callable[[], None]
    plays: tuple[str, ...]
    checks: Collection[str]
    api: str = "v3"
    seed: int = 0


PLANTED: dict[str, Bug] = {}


def bug(
    *checks: str, plays: tuple[str, ...] = ("lock",), api: str = "v3", seed: int = 0
) -> Callable[[Callable[[], None]], Callable[[], None]]:
    def register(patch: Callable[[], None]) -> Callable[[], None]:
        PLANTED[patch.__name__] = Bug(patch, plays, checks, api, seed)
        return patch

    return register


_undo: list[tuple[Any, str, Any]] = []


def put(owner: Any, name: str, replacement: Any) -> Any:
    """Replace what is there; give what was, and remember it."""
    before = (
        owner.__dict__.get(name, getattr(owner, name))
        if isinstance(owner, type)
        else getattr(owner, name)
    )
    _undo.append((owner, name, before))
    _set(owner, name, replacement)
    return before


def _set(owner: Any, name: str, value: Any) -> None:
    if isinstance(owner, type) or type(owner).__name__ == "module":
        setattr(owner, name, value)
    else:
        object.__setattr__(owner, name, value)  # past "frozen"


@contextmanager
def planted(which: Bug) -> Iterator[None]:
    """Run the body with the bug in."""
    with mock.patch.object(variants, "_put", put):
        which.patch()
    try:
        yield
    finally:
        while _undo:
            _set(*_undo.pop())


# -- fencing ---------------------------------------------------------------------------------------------------


@bug("late write")
def no_fence() -> None:
    """The resource takes whatever token comes."""

    @contextmanager
    def writing(self: Fence, token: int, resource: str = "", **_limits: Any) -> Iterator[None]:
        yield

    put(Fence, "writing", writing)


@bug("late write", seed=10)
def no_guard() -> None:
    """A write to etcd is guarded by nothing."""
    put(Hold, "guard", property(lambda self: Guard("nobody", 0)))


# -- the place in the line ------------------------------------------------------------------------------------


@bug("belief", "fifo", plays=("lock", "election"), seed=0)
def no_own_key_check() -> None:
    """Goes in when those ahead have left, with its own place or without."""
    variants.no_look_at_the_own_place()


@bug("belief", "exclusion", "fifo", "watch", seed=17)
def release_by_name() -> None:
    """Deletes whatever stands at the key."""
    variants.releases_by_name()


@bug("exclusion", "fifo", "belief", plays=("sem",))
def rank_by_count() -> None:
    """Goes in when fewer stand ahead than there are permits, however many each of them has."""

    def blockers(standing: Standing) -> tuple[Entry, ...]:
        limit = contenders.permits_of(standing.mine) if standing.mine is not None else None
        return () if len(standing.ahead) < (limit or 1) else standing.ahead

    put(contenders.PERMITS, "blockers", blockers)


@bug("liveness", "orphan", seed=3)
def a_new_place_for_each_join() -> None:
    """A join that is repeated takes a new place, behind the one that it took unawares."""
    variants.a_new_place_for_each_join()


@bug("liveness", seed=20)
def no_second_read() -> None:
    """Watches from now on, and does not look at what happened before the watch was there."""

    def next_(self: Line, seen: Standing, ctx: Context) -> Standing:
        assert seen.mine is not None
        blockers = {entry.key: entry for entry in self._rule.blockers(seen)}
        with self._store.watch(ctx, keys=set(blockers), own=seen.mine.key, quiet=10.0) as feed:
            self._way_is_free(feed, seen, blockers)
        return self._store.standing(
            self.name, seen.mine, ctx, ahead=self._rule.ahead, beside=self.beside
        )

    put(Line, "_next", next_)


# -- the clock ---------------------------------------------------------------------------------------------------


@bug("belief", "exclusion", "promise", seed=16)
def deadline_from_the_reply() -> None:
    """Believes that the lease began when it heard of it."""
    variants.counts_the_ttl_from_the_reply()


@bug("belief", "exclusion", "promise")
def no_deadline() -> None:
    """Holds until etcd tells otherwise."""
    variants.knows_no_deadline()


@bug("fifo", "belief", "exclusion", "orphan", "liveness", api="v2")
def plain_put_renewal() -> None:
    """Renews a key by writing it, and so makes it anew, ahead of all who came since."""

    def refresh(self: V2Grant, key: str, attached: Any, ctx: Context) -> bool:
        action = requests_v2.set_(key, attached.sealed, ttl=self.ttl)
        answer = replies_v2.response(self._service.call(replace(action, replay=True), ctx))
        attached.modified = answer.node.modified_index
        return True

    put(V2Grant, "_refresh", refresh)


# -- the wire --------------------------------------------------------------------------------------------------


@bug("doubled", plays=("keys",), api="v2")
def blind_replay() -> None:
    """Sends a create in order again when its answer was lost."""
    before = put(
        requests_v2, "create_in_order", lambda *a, **k: replace(before(*a, **k), replay=True)
    )


@bug("watch", plays=("keys",))
def line_splitting_watch() -> None:
    """Takes each piece for whole lines."""

    def feed(self: Frames, piece: bytes) -> Iterator[dict[str, Any]]:
        for line in piece.split(b"\n"):
            try:
                yield json.loads(line)
            except ValueError:
                continue

    put(Frames, "feed", feed)


@bug("watch", plays=("keys",), seed=16)
def no_revision_guard() -> None:
    """Delivers what a server repeats."""

    def is_new(self: Assembly, batch: Any) -> bool:
        self._claimed = 0
        self._delivered = batch.revision
        return True

    put(Assembly, "_is_new", is_new)


@bug("liveness", "view", plays=("registry",), seed=29)
def no_hasleader() -> None:
    """Does not ask for a leader, so a member that is cut off keeps its silence."""
    put(requests, "REQUIRE_LEADER", {})


@bug("foreign error", seed=14)
def code_2_is_final() -> None:
    """Takes etcd's "context deadline exceeded" for a refusal."""
    before = put(replies, "_in_doubt", lambda error: error.code != 2 and before(error))


# -- the other recipes -----------------------------------------------------------------------------------------


@bug("gate", plays=("barrier",))
def a_dead_watch_opens_the_barrier() -> None:
    """Takes the end of a watch for the end of the waiting."""

    def wait(self: Barrier, timeout: float | None = None, *, ctx: Context | None = None) -> None:
        limited = Context(timeout, parent=ctx)
        with self._store.watch(limited, prefix=self._prefix, quiet=10.0) as feed:
            if not self.held(ctx=limited):
                return
            feed.next()

    put(Barrier, "wait", wait)


@bug("round", plays=("double",))
def in_when_all_have_come() -> None:
    """Goes in when enough have come, whether or not each of them has said that it goes in."""
    put(View, "opened", property(lambda self: len(self.members) > 0))


@bug("registration", plays=("registry",), seed=24)
def no_healing() -> None:
    """A registration that was lost stays lost."""
    put(Registration, "_heal", lambda self: None)


@bug("observer", "view", plays=("election", "registry"))
def follows_from_now() -> None:
    """Watches from now on when a watch has ended, and so misses what was between the two."""

    def open_(self: _Following) -> Any:
        def watch() -> Any:
            return self.store.watch(self.ctx, prefix=self.prefix, after=None, quiet=10.0)

        return retry.HEALING.run(self.ctx, watch, on_failure=self.on_trouble)

    put(_Following, "open", open_)


# -- the search ------------------------------------------------------------------------------------------------


QUICK = 60.0
"""Seconds that the runs of the tests last, for which `Bug.seed` is known."""


def caught_by(which: Bug, seed: int, seconds: float = QUICK) -> str | None:
    """Run one seed with the bug in; give the check that caught it."""
    world = World(seed, api=which.api, seconds=seconds, plays=which.plays)
    with planted(which):
        record = world.run(populate)
    return next((what for what, _ in record.violations if what in which.checks), None)


def is_sound(which: Bug, seed: int, seconds: float = QUICK) -> bool:
    """Tell whether the same seed finds nothing without the bug: else it has caught something else."""
    world = World(seed, api=which.api, seconds=seconds, plays=which.plays)
    return not world.run(populate).violations


def search(which: Bug, first: int, most: int, seconds: float = 120.0) -> tuple[int, str] | None:
    """Give how many seeds it took, and the check that caught it; None when so many were not enough."""
    for number in range(most):
        check = caught_by(which, first + number, seconds)
        if check is not None and is_sound(which, first + number, seconds):
            return number + 1, check
    return None


def main(arguments: list[str]) -> int:
    """Search each bug from three starting points; the names given, or all."""
    most, missed = 200, 0
    for name, which in PLANTED.items():
        if arguments and name not in arguments:
            continue
        found = [search(which, first, most) for first in (0, 10_000, 20_000)]
        took = [most + 1 if each is None else each[0] for each in found]
        checks = sorted({each[1] for each in found if each is not None})
        missed += max(took) > most
        seeds = ", ".join("missed" if t > most else str(t) for t in took)
        median = statistics.median(took)
        sys.stdout.write(f"{name:28} {median:4.0f} seeds ({seeds}), by {', '.join(checks)}\n")
        sys.stdout.flush()
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
