"""The checks hold on an honest ledger, and each of them fails on one that was tampered with."""

from __future__ import annotations

from dataclasses import replace

import pytest

from etcd_recipes.cli.demo.evidence import Evidence
from etcd_recipes.cli.demo.ledger import Row
from etcd_recipes.cli.demo.story import Blow
from etcd_recipes.cli.demo.verdict import judge, longest_silence, longest_standstill, takeover

# who did what: kind, who, job, token, and when
HONEST = [
    ("term", "a", "", 5, 1.0),
    ("handout", "a", "1", 5, 1.1),
    ("take", "b", "1", 7, 1.2),
    ("handout", "a", "2", 5, 1.3),
    ("take", "a", "2", 9, 1.4),
    ("done", "b", "1", 7, 2.0),  # a is killed at 2.1, with job 2 in hand
    ("term", "b", "", 20, 5.0),
    ("take", "c", "2", 22, 5.05),
    ("handout", "b", "3", 20, 5.1),
    ("refused", "a", "late", 5, 5.2),
    ("done", "c", "2", 22, 5.5),  # a member is killed at 5.55
    ("take", "b", "3", 25, 5.6),
    ("done", "b", "3", 25, 7.0),
]


def log_of(lines: list[tuple[str, str, str, int, float]]) -> tuple[Row, ...]:
    return tuple(Row(seq, *line) for seq, line in enumerate(lines, 1))


def evidence_of(lines: list[tuple[str, str, str, int, float]]) -> Evidence:
    log = log_of(lines)
    return Evidence(
        jobs=("1", "2", "3"),
        ttl=3.0,
        rows=tuple(row for row in log if row.kind == "done"),
        log=log,
        killed=Blow("a", 2.1, ("2",), 5),
        crashed=Blow("m0", 5.55, ("3",)),
    )


GOOD = evidence_of(HONEST)


def failing(evidence: Evidence) -> dict[str, str]:
    return {check.name: check.found for check in judge(evidence) if not check.ok}


def test_an_honest_ledger_passes_every_check() -> None:
    assert failing(GOOD) == {}
    assert len(judge(GOOD)) == 7


def changed(n: int, **fields: object) -> Evidence:
    """The honest ledger with line `n` (counted from 0) changed."""
    names = ("kind", "who", "job", "token", "at")
    line = tuple(fields.get(name, old) for name, old in zip(names, HONEST[n], strict=True))
    return evidence_of([*HONEST[:n], line, *HONEST[n + 1 :]])  # type: ignore[list-item]


def without(n: int) -> Evidence:
    return evidence_of(HONEST[:n] + HONEST[n + 1 :])


def moved(n: int, to: int) -> Evidence:
    rest = HONEST[:n] + HONEST[n + 1 :]
    return evidence_of([*rest[:to], HONEST[n], *rest[to:]])


@pytest.mark.parametrize(
    ("evidence", "check", "words"),
    [
        (without(12), "jobs done exactly once", "missing: 3"),
        (replace(GOOD, rows=(*GOOD.rows, GOOD.rows[0])), "jobs done exactly once", "done twice: 1"),
        (changed(12, job="9"), "jobs done exactly once", "never ordered: 9"),
        (changed(6, token=5), "tokens strictly grow", "term of b: 5 after 5"),
        (changed(6, token=4), "tokens strictly grow", "term of b: 4 after 5"),
        (changed(7, token=9), "tokens strictly grow", "lock of job 2: 9 after 9"),
        (changed(7, token=8), "tokens strictly grow", "lock of job 2: 8 after 9"),
        (changed(10, who="a", token=9), "tokens strictly grow", "job 2 was written by a under 9"),
        (changed(10, token=30), "tokens strictly grow", "which is not its last hold"),
        (changed(8, token=5, who="a"), "never two leaders", "a led under token 5 after 20"),
        (moved(3, 8), "never two leaders", "a led under token 5 after 20"),
        (changed(6, token=5), "never two leaders", "token 5 has two owners: a, b"),
        (changed(8, who="c"), "never two leaders", "token 20 has two owners: b, c"),
        (without(6), "never two leaders", "b handed out job 3 without a term of token 20"),
        (changed(8, job="2"), "never two leaders", "job 2 was handed out twice"),
        (replace(GOOD, killed=None), "killed while jobs ran", "the leading worker was not killed"),
        (replace(GOOD, crashed=None), "killed while jobs ran", "that leads was not killed"),
        (replace(GOOD, killed=Blow("a", 2.1, (), 5)), "killed while jobs ran", "when no job ran"),
        (replace(GOOD, crashed=Blow("m0", 5.55, ())), "killed while jobs ran", "when no job ran"),
        (replace(GOOD, killed=None), "takeover in time", "nobody took over"),
        (evidence_of(HONEST[:6]), "takeover in time", "nobody took over"),
        (changed(6, at=6.61), "takeover in time", "after 4.51 s; the bound is ttl + 1.5 s = 4.5 s"),
        (replace(GOOD, deserters=("b ended with status 1",)), "no worker failed", "b ended with"),
        (replace(GOOD, left=("key x",)), "nothing left behind", "key x"),
    ],
    ids=[
        "missing", "twice", "unknown", "same-term-token", "lower-term-token", "same-lock-token",
        "lower-lock-token", "outdated-row", "foreign-row", "old-leader", "late-handout",
        "shared-token", "usurper", "no-term", "handed-twice", "not-killed", "no-member-killed",
        "killed-at-rest", "member-killed-at-rest", "no-kill-no-takeover", "no-takeover",
        "too-slow", "deserter", "left-behind",
    ],
)  # fmt: skip
def test_a_ledger_that_was_tampered_with_fails(evidence, check: str, words: str) -> None:
    found = failing(evidence)
    assert check in found, found
    assert words in found[check]


def test_a_member_that_must_not_be_killed_is_not_missed() -> None:
    given = replace(GOOD, crashed=None, may_crash=False)
    assert failing(given) == {}
    assert longest_silence(given) is None


def test_the_takeover_is_the_first_write_as_a_leader_under_a_higher_token() -> None:
    proof = takeover(GOOD)
    assert proof is not None
    assert (proof.who, proof.token, proof.at) == ("b", 20, 5.0)


def test_the_longest_silence_counts_from_the_crash() -> None:
    assert longest_silence(GOOD) == pytest.approx(1.4)
    late = replace(GOOD, crashed=Blow("m0", 5.2, ("3",)))
    assert longest_silence(late) == pytest.approx(1.4)
    alone = replace(GOOD, crashed=Blow("m0", 5.61, ("3",)))
    assert longest_silence(alone) == pytest.approx(1.39)


def test_new_work_stands_still_until_a_job_is_taken_or_handed_out() -> None:
    assert longest_standstill(GOOD) == pytest.approx(0.05)
    assert longest_standstill(replace(GOOD, crashed=Blow("m0", 2.1, ()))) == pytest.approx(2.95)
    assert longest_standstill(replace(GOOD, crashed=Blow("m0", 5.61, ("3",)))) is None
    assert longest_standstill(replace(GOOD, crashed=None)) is None


def test_an_empty_ledger_fails_and_says_so_without_falling_over() -> None:
    found = failing(Evidence(jobs=("1",), ttl=3.0))
    assert set(found) == {"jobs done exactly once", "killed while jobs ran", "takeover in time"}
