"""Members die under a watch, and it misses nothing."""

from __future__ import annotations

import pytest

from tests.proof.watch_kills import run, say
from tests.tools import long
from tests.v2 import figures

TRIES = 3
"""Members of the kit's etcd 3.5.1 may come to count revisions differently; see `watch_kills.Account`."""


@pytest.mark.timeout(long(120, 900))
def test_a_watch_gives_every_event_once_while_members_are_killed() -> None:
    events = long(3_000, 100_000)
    for _ in range(TRIES):
        done = long(
            lambda: run(events, kills=2, batch=10, pause=0.01, election_timeout=500),
            lambda: run(events, kills=12),
        )()
        figures.say(say(done))
        if done.members_agree:
            break
    assert done.members_agree, "the members never agreed: try another etcd"
    assert done.events == events
    assert done.flawless, say(done)
