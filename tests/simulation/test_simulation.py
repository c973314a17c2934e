"""The simulation as a test: some seeds of every kind, every planted bug at a seed that shows it, and old findings."""

from __future__ import annotations

import pytest

from tests.simulation.planted import PLANTED, caught_by
from tests.simulation.regressions import REGRESSIONS, Regression
from tests.simulation.run import play
from tests.simulation.scenarios import PLAYS, populate
from tests.simulation.world import World
from tests.tools import long


@pytest.mark.parametrize("api", ["v3", "v2"])
@pytest.mark.parametrize("first", [0, 100])
def test_no_seed_finds_anything(api: str, first: int) -> None:
    for seed in range(first, first + long(1, 100)):
        outcome = play(seed, api, long(60.0, 120.0))
        assert outcome.violations == [], f"seed {seed} on {api}"
        assert outcome.requests > 100


@pytest.mark.parametrize("name", PLANTED)
def test_every_planted_bug_is_caught(name: str) -> None:
    bug = PLANTED[name]
    assert caught_by(bug, bug.seed) is not None


@pytest.mark.parametrize("old", REGRESSIONS, ids=lambda old: old.name)
def test_what_a_seed_has_found_stays_mended(old: Regression) -> None:
    world = World(old.seed, api=old.api, plays=old.plays, seconds=old.seconds)
    assert world.run(populate).violations == []


def test_every_play_plays() -> None:
    for name in PLAYS:
        world = World(5, seconds=12.0, plays=(name,))
        assert world.run(populate).violations == []
        assert world.network.requests > 10, name
