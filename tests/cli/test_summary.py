from __future__ import annotations

import json
from dataclasses import replace

import pytest

from etcd_recipes.cli.demo.evidence import Run
from etcd_recipes.cli.demo.plan import Plan
from etcd_recipes.cli.demo.story import Blow
from etcd_recipes.cli.demo.summary import as_json, as_lines, failed
from etcd_recipes.cli.demo.verdict import judge
from tests.cli.test_verdict import GOOD, without

PLAN = Plan(workers=3, jobs=3, seed=4)


def run_of(evidence) -> Run:
    return Run(PLAN, "three members of etcd", 12.34, evidence)


def lines_of(evidence) -> list[str]:
    return as_lines(run_of(evidence), judge(evidence))


def test_a_good_run_is_told_in_order_and_fits_a_narrow_terminal() -> None:
    lines = lines_of(GOOD)
    assert lines == [
        "",
        "What happened",
        "  a leads, under token 5",
        "  a, the leader, gets kill -9; b leads 2.90 s later",
        "  b leads, under token 20",
        "  c has done job 2, which a died with, under token 22",
        "  m0, leading etcd, gets kill -9; no new work for 0.05 s (no write: 1.40 s)",
        "  writes under an outdated token that the ledger refused: 1",
        "",
        "Checks",
        "  ok    jobs done exactly once  3 jobs, 3 rows in the ledger",
        "  ok    tokens strictly grow    2 terms: 5 < 20; 4 holds of 3 job locks",
        "  ok    never two leaders       3 handouts, in 2 reigns one after the other",
        "  ok    killed while jobs ran   a (1 job ran), m0 (1 job ran)",
        "  ok    takeover in time        after 2.90 s; the bound is ttl + 1.5 s = 4.5 s",
        "  ok    no worker failed        all but the killed one left when told to",
        "  ok    nothing left behind     no process, no folder, no key",
        "",
        "all 7 checks hold (12.3 s)",
    ]
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize(
    ("crashed", "words"),
    [
        (Blow("m0", 5.55, ("3",)), "; no new work for 0.05 s (no write: 1.40 s)"),
        (Blow("m0", 5.65, ("3",)), "; no write for 1.35 s"),
        (Blow("m0", 7.5, ("3",)), "; nothing is written any more"),
    ],
    ids=["taken", "only-done", "nothing"],
)
def test_the_members_kill_is_told_with_what_it_cost(crashed: Blow, words: str) -> None:
    lines = lines_of(replace(GOOD, crashed=crashed))
    assert f"  m0, leading etcd, gets kill -9{words}" in lines


def test_a_bad_run_says_so_last() -> None:
    lines = lines_of(without(12))
    assert lines[-1] == "1 of 7 checks FAILED (12.3 s)"
    assert "  FAIL  jobs done exactly once  missing: 3" in lines


@pytest.mark.parametrize("evidence", [GOOD, without(12)], ids=["good", "bad"])
def test_json_and_text_say_the_same(evidence) -> None:
    checks = judge(evidence)
    report = json.loads(as_json(run_of(evidence), checks))
    assert report["ok"] is not failed(checks)
    for check in report["checks"]:
        word = "ok" if check["ok"] else "FAIL"
        assert any(
            line.split()[:1] == [word] and check["name"] in line and check["found"] in line
            for line in lines_of(evidence)
        )
    assert report["worker_kill"]["seconds"] == 2.9
    assert report["worker_kill"]["jobs_inherited"] == ["2"]
    assert report["plan"] == {"workers": 3, "jobs": 3, "ttl": 3, "seed": 4}


def test_a_kill_that_was_not_to_be_is_said_to_be_left_out() -> None:
    given = replace(GOOD, crashed=None, may_crash=False)
    assert "  no etcd member gets kill -9: that etcd is not the demo's own" in lines_of(given)
    report = json.loads(as_json(run_of(given), judge(given)))
    assert report["member_kill"] == {"killed": None, "why": "not the demo's own etcd"}


def test_a_run_in_which_nothing_happened_can_be_told() -> None:
    nothing = replace(GOOD, rows=(), log=(), killed=None, crashed=None)
    assert lines_of(nothing)[-1].startswith("3 of 7 checks FAILED")
    report = json.loads(as_json(run_of(nothing), judge(nothing)))
    assert (report["worker_kill"], report["member_kill"]["killed"]) == (None, None)
