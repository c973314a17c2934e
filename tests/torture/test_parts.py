"""The parts of the torture run that can be looked at alone: the plan, the result, notes, the janitor, the fences."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from etcd_recipes import ClusterError, EtcdRecipesError, StaleToken
from etcd_recipes.core.errors import EndpointError
from tests.processes import is_dead
from tests.tools import child, eventually, waits_in_the_kernel
from tests.torture import resources
from tests.torture.checks import CHECKS
from tests.torture.director import HAPPENINGS
from tests.torture.janitor import Janitor
from tests.torture.notebook import Notebook, outcome_of, read
from tests.torture.plan import KINDS, draw, round_length
from tests.torture.plants import PLANTS
from tests.torture.result import (
    Check,
    Fault,
    Gaps,
    Holding,
    Latency,
    Operations,
    Result,
    Takeover,
    Watching,
    load,
    store,
)

# -- the plan ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_one_round_has_every_kind_and_no_more_faults_than_time(seed: int) -> None:
    slots = draw(seed, round_length())
    assert Counter(kind for slot in slots for kind in slot.kinds) == Counter(KINDS)
    for one, following in pairwise(slots):
        assert one.at + one.lasting < following.at
    assert slots == draw(seed, round_length())
    assert slots != draw(seed + 1, round_length())


def test_a_plan_of_what_there_is_not_is_empty() -> None:
    assert draw(1, 60.0, ()) == []


def test_every_kind_can_be_played_and_every_plant_found() -> None:
    assert set(HAPPENINGS) == set(KINDS)
    for plant in PLANTS.values():
        assert set(plant.kinds) <= set(KINDS)
        assert plant.breaks
        assert set(plant.breaks) <= set(CHECKS)


# -- notes and results ---------------------------------------------------------------------------------------


def test_notes_are_read_in_the_order_of_time_and_a_torn_line_is_left_out(tmp_path: Path) -> None:
    one, two = Notebook(tmp_path, "a"), Notebook(tmp_path, "b")
    two.note("second", t=2.0)
    one.note("first", t=1.0, x="\n")
    with (tmp_path / "b.jsonl").open("a") as file:
        file.write('{"t":3.0,"w":"b","e":"to')
    assert [line["e"] for line in read(tmp_path)] == ["first", "second"]
    assert one.number() != two.number()


def test_only_what_was_certainly_not_carried_out_is_refused() -> None:
    for doubt, outcome in ((True, "unknown"), (False, "refused")):
        attempt = EndpointError("http://a", "gone", maybe_applied=doubt)
        assert outcome_of(ClusterError([attempt])) == outcome
    assert outcome_of(EtcdRecipesError("x")) == "refused"
    with pytest.raises(KeyError):
        outcome_of(KeyError("not an outcome"))


RESULT = Result(
    verdict="void",
    why=("too few",),
    project="1",
    etcd="3.5.1",
    python="3.11",
    seed=1,
    command="x",
    places="loopback",
    planted="",
    ttl=2.0,
    seconds=90.0,
    workers={"v3": 5},
    skipped={"loss": "no"},
    faults=(Fault("leader killed", "m0", 1.0, 2.0),),
    operations={"swap": Operations(1, 2, 3, 1)},
    checks=(Check("register", True, 5, 0, ()),),
    gaps=(Gaps("leader killed", 1.0, 2.0, (1.0, 2.0)),),
    takeovers=(Takeover("calm", 1.0, 2.5),),
    late_writes_refused=1,
    overlaps_unfenced={"v3/lock": 1},
    overlaps_fenced=0,
    histories=4,
    history_operations=100,
    converged={"a0.1": 0.5},
    watching=Watching(1, 2, 3),
    holdings=(Holding("v3/lock", "a0.1", 7, 1.0, 2.0, "lost"),),
    latencies=(Latency(1, 20, 0.1),),
)


def test_a_result_is_read_as_it_was_written() -> None:
    assert load(store(RESULT)) == RESULT
    with pytest.raises(ValueError, match="schema"):
        load(store(replace(RESULT, schema=0)))


# -- what is protected ---------------------------------------------------------------------------------------


def test_resources_refuse_a_late_token_and_keep_what_came_in(tmp_path: Path) -> None:
    database, file = tmp_path / "r.db", tmp_path / "r.log"
    resources.make_table(database, ["line"])
    for element, token in (("a", 5), ("b", 7), ("c", 7)):
        resources.write_row(database, "line", element, token)
        resources.write_file(file, element, token)
    with pytest.raises(StaleToken):
        resources.write_row(database, "line", "late", 6)
    with pytest.raises(StaleToken):
        resources.write_file(file, "late", 6)
    kept = [("a", 5), ("b", 7), ("c", 7)]
    assert resources.read_table(database, "line") == kept
    assert resources.read_file(file) == kept


# -- the janitor ---------------------------------------------------------------------------------------------

OWNER = """
    import json, sys
    from tests.torture.janitor import Janitor
    janitor = Janitor()
    for pid in sys.argv[1:3]:
        janitor.kill(int(pid))
    janitor.spare(int(sys.argv[2]))
    janitor.later(f"rm {sys.argv[3]}/inner && touch {sys.argv[3]}/done")
    janitor.later(f"touch {sys.argv[3]}/inner")
    print(json.dumps("ready"), flush=True)
    sys.stdin.readline()
"""


def test_a_ctrl_c_does_not_reach_the_janitor() -> None:
    janitor = Janitor()
    pid = janitor._process.pid
    try:
        assert os.getsid(pid) == pid
    finally:
        janitor.close()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_whatever_a_run_ends_of_the_janitor_clears_up(how: int, tmp_path: Path) -> None:
    """Its processes are killed (stopped ones, too), its commands run, the last one first."""
    sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
    with subprocess.Popen(sleep) as doomed, subprocess.Popen(sleep) as spared:
        try:
            os.kill(doomed.pid, signal.SIGSTOP)
            with child(OWNER, str(doomed.pid), str(spared.pid), str(tmp_path)) as owner:
                assert owner.read() == "ready"
                eventually(lambda: waits_in_the_kernel(owner.pid))
                owner.signal(how)
                owner.wait()
            eventually((tmp_path / "done").exists)
            eventually(lambda: is_dead(doomed.pid))
            assert spared.poll() is None
        finally:
            for process in (doomed, spared):
                process.kill()
