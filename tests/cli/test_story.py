from __future__ import annotations

import pytest

from etcd_recipes.cli.demo.story import Blow
from tests.cli.stories import KILLED, LED, TAKEN_OVER, after, event, took, wrote


def test_before_the_election_nobody_leads() -> None:
    picture = after(event("ready", "worker-1", number=3), event("ready", "worker-2", number=3))
    assert (picture.leader, picture.terms) == ("", 0)
    assert [hand.state for hand in picture.hands.values()] == ["here", "here", "starting"]


def test_the_elected_leads_under_its_token_and_the_line_is_known() -> None:
    assert (LED.leader, LED.token, LED.terms) == ("worker-1", 5, 1)
    assert LED.candidates == ("worker-1", "worker-3", "worker-2")
    assert (LED.members, LED.ruler, LED.ttl) == (("m0", "m1", "m2"), "m1", 3)
    assert LED.handed == {"001", "002", "003"}


def test_a_job_is_where_it_was_taken_until_it_is_written() -> None:
    picture = after(took("worker-2", "001", 20), since=LED)
    assert (picture.hands["worker-2"].job, picture.hands["worker-2"].token) == ("001", 20)
    assert picture.running == ("001",)
    picture = after(wrote("worker-2", "001"), since=picture)
    assert (picture.hands["worker-2"].job, picture.hands["worker-2"].done) == ("", 1)
    assert (picture.running, picture.done) == ((), {"001"})


def test_a_job_found_in_the_ledger_is_done_but_not_by_the_finder() -> None:
    picture = after(event("found", "worker-2", job="001"), since=LED)
    assert (picture.done, picture.hands["worker-2"].done) == ({"001"}, 0)


def test_after_the_kill_nobody_leads_and_the_job_is_an_orphan() -> None:
    assert (KILLED.leader, KILLED.hands["worker-1"].state) == ("", "killed")
    assert KILLED.killed == Blow("worker-1", 110.0, ("002", "003"), 5)
    assert (KILLED.running, KILLED.orphan) == (("002",), "003")


@pytest.mark.parametrize(
    ("events", "orphan"),
    [
        ([took("worker-3", "003")], ""),
        ([took("worker-3", "003"), wrote("worker-3", "003")], ""),
        ([event("found", "worker-3", job="003")], ""),
        ([took("worker-3", "004")], "003"),
    ],
    ids=["taken", "done", "found", "another"],
)
def test_an_orphan_is_one_until_somebody_takes_it(events, orphan) -> None:
    assert after(*events, since=KILLED).orphan == orphan


def test_a_late_word_of_the_dead_does_not_bring_it_back() -> None:
    picture = after(wrote("worker-1", "003"), since=KILLED)
    assert (picture.hands["worker-1"].state, picture.orphan) == ("killed", "")
    assert "003" in picture.done


def test_the_takeover_is_the_first_term_after_the_kill() -> None:
    assert (TAKEN_OVER.leader, TAKEN_OVER.taken_over) == ("worker-3", pytest.approx(2.5))
    later = after(event("elected", "worker-2", 119.0, token=60), since=TAKEN_OVER)
    assert (later.leader, later.taken_over) == ("worker-2", pytest.approx(2.5))


def test_what_the_dead_leader_said_too_late_is_no_takeover() -> None:
    late = after(event("elected", "worker-1", 110.2, token=5), since=KILLED)
    assert late.taken_over is None


def test_a_dead_member_does_not_rule_and_the_next_one_does() -> None:
    picture = after(event("crashed", "m1", 120.0, names=("005",)), since=TAKEN_OVER)
    assert (picture.ruler, picture.dead_members) == ("", {"m1"})
    assert picture.crashed == Blow("m1", 120.0, ("005",))
    assert after(event("rules", "m2", 121.0), since=picture).ruler == "m2"


@pytest.mark.parametrize(
    ("lost", "leader", "job"),
    [(event("lost", "worker-3", token=40), "", "005"),
     (event("lost", "worker-3", job="005"), "worker-3", "")],
    ids=["the-term", "a-job"],
)  # fmt: skip
def test_what_is_lost_is_the_term_or_the_job(lost, leader, job) -> None:
    picture = after(took("worker-3", "005"), lost, since=TAKEN_OVER)
    assert (picture.leader, picture.hands["worker-3"].job) == (leader, job)


def test_who_ends_does_not_lead_any_more() -> None:
    picture = after(event("ended", "worker-3"), since=TAKEN_OVER)
    assert (picture.leader, picture.hands["worker-3"].state) == ("", "gone")


def test_events_that_change_nothing_only_tell_the_time() -> None:
    picture = after(event("started", "worker-2", 130.0, number=99), since=LED)
    assert picture.at == 130.0
    assert picture.hands == LED.hands
