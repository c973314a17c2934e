"""Every check lets a sound history pass, and refuses what it is there to refuse."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from tests.torture import account
from tests.torture.checks import CHECKS, CONVERGED, LIVELY, Counter, converged
from tests.torture.notebook import Line
from tests.torture.story import Final, tell

HEALED, FINISHED = 100.0, 120.0


class Notes:
    """Notes as workers take them, and what is read at the end; made by hand."""

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self.final: dict[str, Any] = {
            "elements": {"v3/lock": {}},
            "registers": {"v3/lock": ""},
            "outside": {"v3/lock": []},
            "watched": {},
            "members": {"m0": "x", "m1": "x", "m2": "x"},
        }

    def note(self, t: float, w: str, e: str, **what: Any) -> Line:
        line = {"t": t, "w": w, "e": e, **what}
        self.lines.append(line)
        return line

    def find(self, e: str, **what: Any) -> Line:
        found = [n for n in self.lines if n["e"] == e and what.items() <= n.items()]
        assert found, (e, what)
        return found[0]

    def drop(self, e: str, **what: Any) -> None:
        self.lines.remove(self.find(e, **what))

    def refused_by(self) -> set[str]:
        story = tell(sorted(self.lines, key=lambda n: n["t"]), Final(**self.final))
        return {name for name, check in CHECKS.items() if list(check(story, Counter()))}

    # -- what workers do -------------------------------------------------------------------------------------

    def hold(
        self, who: str, start: float, stop: float, *, token: int, line: str = "v3/lock"
    ) -> None:
        """Visit: in, write both ways, out."""
        visit = f"{who}/{start:g}"
        alone = {"kind": "", "weight": 1}
        self.note(start - 0.2, who, "began", visit=visit, line=line, wish=alone)
        self.note(
            start,
            who,
            "granted",
            visit=visit,
            token=token,
            key="k",
            promised=start + 1.9,
            place=token,
        )
        old = self.final["registers"][line]
        self.swap(who, start + 0.1, f"{visit}s", old, token)
        self.note(start + 0.3, who, "call", op=f"{visit}o", kind="outside", on=line, token=token)
        self.note(start + 0.4, who, "return", op=f"{visit}o", outcome="ok")
        self.final["outside"][line].append(f"{visit}o")
        seen = {"pause": 0.1, "believed": stop - 0.1, "promised": start + 1.9}
        self.note(stop, who, "leaving", visit=visit, seen=seen, lost=False)
        self.note(stop + 0.01, who, "over", visit=visit, outcome="ok")

    def swap(
        self, who: str, at: float, op: str, old: str, token: int, line: str = "v3/lock"
    ) -> None:
        self.note(at, who, "call", op=op, kind="swap", on=line, old=old, token=token)
        self.note(at + 0.1, who, "return", op=op, outcome="ok", value=op)
        self.final["elements"][line][op] = old, 1
        self.final["registers"][line] = op

    def gate(self, who: str, at: float, until: float, gate: str, act: str, **what: Any) -> None:
        op, given = f"{who}/{act}/{at:g}", what.pop("given", None)
        self.note(at, who, "gate", op=op, gate=gate, act=act, **what)
        self.note(until, who, "gated", op=op, outcome="ok", given=given)

    def put(self, who: str, at: float, n: int, revision: int) -> None:
        key = f"watched/{who}"
        self.note(at - 0.01, who, "puts", n=n)
        self.note(at, who, "put", n=n, called=at - 0.01, key=key, outcome="ok", revision=revision)
        self.final["watched"][key] = n, str(n)


@pytest.fixture
def notes() -> Notes:
    """A little of everything, and all of it sound."""
    notes = Notes()
    for who in ("a", "b"):
        notes.note(0.0, who, "started", api="v3", slot=who, pid=1)
    notes.hold("a", 1.0, 2.0, token=10)
    notes.hold("b", 2.1, 3.0, token=20)
    notes.hold("a", 101.0, 102.0, token=30)
    notes.hold("b", 102.1, 103.0, token=40)
    notes.note(0.1, "b", "resync", watcher="b/watch", revision=5, there={"watched/a": [1, "1"]})
    for n, revision in ((2, 6), (3, 8)):
        notes.put("a", n, n, revision)
        notes.note(n, "b", "seen", watcher="b/watch", events=[["watched/a", str(n), n, revision]])
    for at, created in ((1.0, 10), (1.5, None), (2.0, 20)):
        notes.note(at, "a", "observed", line="v3/election", created=created)
    for start, number in ((1.0, 7), (101.0, 9)):
        for who, late in (("a", 0.0), ("b", 0.1)):
            notes.gate(who, start + late, start + 0.3, "v3/double", "enter", given=number)
            notes.gate(who, start + 0.4, start + 0.6, "v3/double", "leave", of=number)
        notes.gate("a", start, start + 0.1, "v3/barrier", "hold", given=True)
        notes.gate("b", start + 0.2, start + 0.6, "v3/barrier", "wait")
        notes.gate("a", start + 0.5, start + 0.6, "v3/barrier", "release", given=True)
        for who in ("a", "b"):
            notes.gate(who, start, start + 0.1, "v3/latch", "count", of=number)
            notes.gate(who, start + 0.1, start + 0.3, "v3/latch", "wait", of=number)
    for who in ("a", "b"):
        notes.note(101.0, who, "view", api="v3", there={"a": "1", "b": "1"})
        notes.note(119.0, who, "ended", waiting=[])
    notes.note(HEALED, "director", "healed")
    notes.note(FINISHED - 1, "director", "resting")
    notes.note(FINISHED, "director", "finished")
    return notes


def test_a_sound_history_passes(notes: Notes) -> None:
    assert notes.refused_by() == set()


Defect = Callable[[Notes], object]
DEFECTS: list[tuple[str, Defect]] = []


def refused(check: str) -> Callable[[Defect], Defect]:
    def register(defect: Defect) -> Defect:
        DEFECTS.append((check, defect))
        return defect

    return register


@refused("register")
def an_acknowledged_element_is_lost(notes: Notes) -> None:
    del notes.final["elements"]["v3/lock"]["a/1s"]


@refused("register")
def an_element_was_never_written(notes: Notes) -> None:
    notes.final["elements"]["v3/lock"]["ghost"] = "b/102.1s", 1
    notes.final["registers"]["v3/lock"] = "ghost"


@refused("register")
def a_refused_element_is_there(notes: Notes) -> None:
    notes.find("return", op="a/1s")["outcome"] = "fenced"


@refused("register")
def an_element_was_written_twice(notes: Notes) -> None:
    notes.final["elements"]["v3/lock"]["a/1s"] = "", 2


@refused("register")
def an_element_was_overwritten_unseen(notes: Notes) -> None:
    notes.final["elements"]["v3/lock"]["b/2.1s"] = "", 1


@refused("outside")
def an_acknowledged_row_is_lost(notes: Notes) -> None:
    notes.final["outside"]["v3/lock"].remove("a/1o")


@refused("outside")
def a_row_was_written_twice(notes: Notes) -> None:
    notes.final["outside"]["v3/lock"].append("b/102.1o")


@refused("outside")
def a_row_of_one_who_was_refused_is_there(notes: Notes) -> None:
    notes.find("return", op="a/1o")["outcome"] = "fenced"


@refused("tokens of writes")
def a_late_write_came_in(notes: Notes) -> None:
    notes.find("call", op="b/2.1s")["token"] = 9


@refused("tokens of writes")
def a_late_row_came_in(notes: Notes) -> None:
    notes.find("call", op="b/2.1o")["token"] = 9


@refused("linearizable")
def a_swap_saw_what_was_gone(notes: Notes) -> None:
    notes.swap("a", 103.5, "late", "b/2.1s", 50)


@refused("linearizable")
def a_read_was_stale(notes: Notes) -> None:
    notes.note(103.5, "a", "call", op="r", kind="read", on="v3/lock")
    notes.note(103.6, "a", "return", op="r", outcome="ok", value="b/2.1s")


@refused("linearizable")
def a_refused_write_was_told_what_was_gone(notes: Notes) -> None:
    notes.note(103.5, "a", "call", op="f", kind="swap", on="v3/lock", old="x", token=30)
    notes.note(103.6, "a", "return", op="f", outcome="fenced", value="b/2.1s")


@refused("exclusion")
def two_believed_to_hold(notes: Notes) -> None:
    notes.find("leaving", visit="a/1")["t"] = 2.5
    notes.find("leaving", visit="a/1")["seen"]["believed"] = 2.4


@refused("notice")
def one_was_promised_what_another_one_had(notes: Notes) -> None:
    leaving = notes.find("leaving", visit="a/1")
    leaving.update(lost=True, t=2.9)
    leaving["seen"] |= {"told": 2.8, "promised": 2.7}


@refused("tokens")
def a_token_went_back(notes: Notes) -> None:
    notes.find("granted", visit="b/2.1")["token"] = 9


@refused("watchers")
def an_event_is_missing(notes: Notes) -> None:
    notes.drop("seen", t=2)


@refused("watchers")
def an_event_without_an_acknowledgement_is_missing(notes: Notes) -> None:
    notes.find("put", n=2).update(outcome="unknown", revision=None)
    notes.drop("seen", t=2)


@refused("watchers")
def the_last_event_is_missing(notes: Notes) -> None:
    notes.drop("seen", t=3)


@refused("watchers")
def an_event_came_twice(notes: Notes) -> None:
    notes.lines.append(copy.deepcopy(notes.find("seen", t=3)))


@refused("watchers")
def a_refused_write_was_seen(notes: Notes) -> None:
    notes.find("put", n=3)["outcome"] = "refused"


@refused("watchers")
def something_was_seen_that_nobody_wrote(notes: Notes) -> None:
    notes.drop("puts", n=2)
    notes.drop("put", n=2)


@refused("watchers")
def the_watch_went_back(notes: Notes) -> None:
    late = copy.deepcopy(notes.find("seen", t=2))
    notes.lines.append({**late, "t": 3.5})


@refused("watchers")
def a_gap_was_not_announced(notes: Notes) -> None:
    """One key has no gap in its versions, and the revision of another one's write is not in the log."""
    notes.put("b", 2.5, 1, 7)
    del notes.final["watched"]["watched/b"]


@refused("observers")
def the_leaders_went_back(notes: Notes) -> None:
    notes.note(3.0, "a", "observed", line="v3/election", created=10)


@refused("double barrier")
def one_was_in_before_the_other_came(notes: Notes) -> None:
    notes.find("gate", gate="v3/double", act="enter", w="b")["t"] = 1.35


@refused("double barrier")
def three_were_in(notes: Notes) -> None:
    notes.gate("c", 1.0, 1.3, "v3/double", "enter", given=7)


@refused("double barrier")
def one_was_out_before_the_other_left(notes: Notes) -> None:
    notes.find("gate", gate="v3/double", act="leave", w="b")["t"] = 1.7
    notes.find("gated", op="b/leave/1.4")["t"] = 1.9


@refused("double barrier")
def one_was_out_and_the_other_never_left(notes: Notes) -> None:
    notes.drop("gate", gate="v3/double", act="leave", w="b")


@refused("barrier")
def one_passed_a_closed_barrier(notes: Notes) -> None:
    notes.find("gated", op="b/wait/1.2")["t"] = 1.4


@refused("latch")
def one_passed_before_all_had_counted(notes: Notes) -> None:
    notes.find("gate", gate="v3/latch", act="count", w="b")["t"] = 1.5


@refused("registry")
def a_dead_instance_is_shown(notes: Notes) -> None:
    notes.note(110.0, "a", "view", api="v3", there={"a": "1", "b": "1", "dead": "1"})


@refused("registry")
def a_view_converged_too_late(notes: Notes) -> None:
    notes.find("view", w="a")["t"] = HEALED + CONVERGED + 1


@refused("registry")
def a_view_converged_and_went_away_again(notes: Notes) -> None:
    notes.note(102.0, "a", "view", api="v3", there={"a": "1"})
    notes.note(HEALED + CONVERGED + 1, "a", "view", api="v3", there={"a": "1", "b": "1"})


@refused("registry")
def a_view_shows_an_old_payload(notes: Notes) -> None:
    notes.note(105.0, "b", "publishes", n=30)


@refused("liveness")
def one_did_not_get_in(notes: Notes) -> None:
    notes.drop("granted", visit="b/102.1")


@refused("liveness")
def one_got_in_too_late(notes: Notes) -> None:
    notes.find("granted", visit="b/102.1")["t"] = HEALED + LIVELY + 1
    notes.find("leaving", visit="b/102.1")["t"] = HEALED + LIVELY + 2


@refused("liveness")
def nobody_passed_a_gate(notes: Notes) -> None:
    for who in ("a", "b"):
        notes.drop("gated", op=f"{who}/enter/{101 if who == 'a' else 101.1:g}")


@refused("members")
def a_member_has_something_else(notes: Notes) -> None:
    notes.final["members"]["m1"] = "y"


@refused("no crash")
def a_worker_crashed(notes: Notes) -> None:
    notes.note(50.0, "a", "crashed", act="holds", why="KeyError: 'x'")


@refused("no crash")
def a_worker_did_not_end(notes: Notes) -> None:
    notes.find("ended", w="a")["waiting"] = ["gates"]


@pytest.mark.parametrize(
    ("check", "defect"), [pytest.param(c, d, id=f"{c}-{d.__name__}") for c, d in DEFECTS]
)
def test_a_defect_is_refused(notes: Notes, check: str, defect: Defect) -> None:
    defect(notes)
    assert check in notes.refused_by()


def test_every_check_has_a_history_that_it_refuses() -> None:
    assert {check for check, _ in DEFECTS} == set(CHECKS)


# -- what must not be taken for a defect ---------------------------------------------------------------------


def test_a_write_without_an_answer_may_be_there_or_not(notes: Notes) -> None:
    notes.find("return", op="b/102.1s")["outcome"] = "unknown"
    assert notes.refused_by() == set()
    del notes.final["elements"]["v3/lock"]["b/102.1s"]
    notes.final["registers"]["v3/lock"] = "a/101s"
    assert notes.refused_by() == set()


def test_a_write_whose_worker_was_killed_is_one_without_an_answer(notes: Notes) -> None:
    notes.drop("return", op="b/102.1s")
    assert notes.refused_by() == set()


def test_a_write_refused_for_the_lock_is_no_swap_that_failed(notes: Notes) -> None:
    """The register still has the old value: that the write was refused says nothing about it."""
    notes.note(103.5, "a", "call", op="f", kind="swap", on="v3/lock", old="b/102.1s", token=30)
    notes.note(103.6, "a", "return", op="f", outcome="fenced", value="b/102.1s")
    assert notes.refused_by() == set()


def test_a_killed_holder_makes_room(notes: Notes) -> None:
    """Killed inside, and its lease ended: the next one is in, though it never left."""
    for event in ("leaving", "over"):
        notes.drop(event, visit="a/1")
    notes.note(1.9, "director", "killed", who="a", how="SIGKILL")
    assert notes.refused_by() == set()


def test_an_announced_gap_is_none(notes: Notes) -> None:
    notes.drop("seen", t=2)
    notes.note(2.5, "b", "resync", watcher="b/watch", revision=7, there={"watched/a": [2, "2"]})
    assert notes.refused_by() == set()


def test_a_broken_round_of_a_double_barrier_is_no_defect(notes: Notes) -> None:
    notes.find("gated", op="a/leave/1.4")["outcome"] = "broken"
    notes.drop("gate", gate="v3/double", act="leave", w="b")
    assert notes.refused_by() == set()


def test_who_gave_up_before_a_double_barrier_was_not_in(notes: Notes) -> None:
    for at in (3.0, 5.0, 7.0):
        notes.gate("a", at, at + 1, "v3/double", "enter")
        notes.find("gated", op=f"a/enter/{at:g}")["outcome"] = "timeout"
    assert notes.refused_by() == set()


# -- the figures ---------------------------------------------------------------------------------------------


def test_the_figures_are_those_of_the_story(notes: Notes) -> None:
    notes.find("return", op="a/1o")["outcome"] = "fenced"
    notes.find("return", op="b/102.1s")["outcome"] = "unknown"
    notes.note(2.05, "a", "fault", kind="leader killed", target="m0", begun=1.9, end=2.0)
    story = tell(sorted(notes.lines, key=lambda n: n["t"]), Final(**notes.final))
    assert account.late_writes_refused(story) == 1
    assert account.operations_of(story)["swap"].unknown == 1
    assert account.operations_of(story)["swap"].applied == 1
    assert account.operations_of(story)["v3/lock"].ok == 4
    assert [each.worst for each in account.gaps_of(story)] == [1.0]
    late = {"kind": "leader stopped", "target": "m0", "begun": 2.9, "end": 3.0}
    notes.note(2.95, "director", "fault", **late)  # most of the gap lies before it
    story = tell(sorted(notes.lines, key=lambda n: n["t"]), Final(**notes.final))
    assert [each.kind for each in account.gaps_of(story)] == ["leader killed"]
    assert account.watching_of(story).delivered == 2
    assert converged(story) == {"a": 1.0, "b": 1.0}


def test_an_overlap_is_counted_for_the_one_who_was_overrun(notes: Notes) -> None:
    story = tell(sorted(notes.lines, key=lambda n: n["t"]), Final(**notes.final))
    assert account.overlaps_of(account.holdings_of(story, 0.0)) == {"v3/lock": 0}
    notes.find("leaving", visit="a/1").update(t=2.5, lost=True)
    story = tell(sorted(notes.lines, key=lambda n: n["t"]), Final(**notes.final))
    assert account.overlaps_of(account.holdings_of(story, 0.0)) == {"v3/lock": 1}


def test_the_death_of_a_holder_is_measured_to_the_next_grant(notes: Notes) -> None:
    notes.note(1.5, "a", "strikes", order="die", visit="a/1", line="v3/lock")
    fault = {"kind": "holder killed", "target": "a"}
    notes.note(1.9, "director", "fault", begun=1.4, end=1.8, **fault)
    story = tell(sorted(notes.lines, key=lambda n: n["t"]), Final(**notes.final))
    assert [(each.how, each.seconds) for each in account.takeovers_of(story, 0.0)] == [
        ("calm", 0.6)
    ]
