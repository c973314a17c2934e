"""The leader dies, and every writer is served again in less than two seconds."""

from __future__ import annotations

import pytest

from tests.proof.leader_kill import run, say
from tests.tools import late, long
from tests.v2 import figures

BOUND = 2.0
"""Seconds. A client that waits for the answer of a survivor is served after seven."""
ADDED = 0.3
"""Seconds that a client may add to etcd's own election; two processors are shared by all."""


@pytest.mark.timeout(long(120, 300))
def test_no_writer_waits_two_seconds_for_the_next_leader() -> None:
    done = run(long(1, 5))
    figures.say("\n".join(say(done)))
    assert done.account.lost == set(), "acknowledged writes were lost"
    assert done.account.invented == set(), "writes are there that were refused, or never made"
    for each in done.rounds:
        worst = max(each.gaps)
        story = f"elected after {each.elected:.2f} s\n{each.story_of(worst)}"
        bound = each.elected + ADDED if each.is_void else min(each.elected + ADDED, BOUND)
        if worst >= bound:
            raise late(worst - bound, story)
