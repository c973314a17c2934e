"""The verdict: the checks over what the ledger says, and over what was left behind.

Rules of this file
1. Pure: evidence in, checks out. The same checks fail on a ledger that was tampered with; tests see to it.
2. The ledger is the witness, not what the workers told: they might be wrong about themselves.
3. A check says in one sentence what it found, also when it holds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

from etcd_recipes.cli.demo.evidence import Evidence
from etcd_recipes.cli.demo.ledger import Row

__all__ = ["GRACE", "Check", "judge", "longest_silence", "longest_standstill", "takeover"]

GRACE = 1.5
"""Seconds that a takeover may take beyond the ttl: etcd looks for expired leases twice a second."""


@dataclass(frozen=True, slots=True)
class Check:
    """One check: what must hold, whether it does, and what was found."""

    name: str
    ok: bool
    found: str


def judge(evidence: Evidence) -> tuple[Check, ...]:
    """Give all checks; the run is good when all of them hold."""
    return (
        _jobs_once(evidence),
        _tokens_grow(evidence),
        _one_leader(evidence),
        _blows_fell(evidence),
        _takeover_in_time(evidence),
        _workers_stayed(evidence),
        _nothing_left(evidence),
    )


def takeover(evidence: Evidence) -> Row | None:
    """Give the first write as a leader under a higher token than the killed leader's, or None."""
    killed = evidence.killed
    leading = (row for row in evidence.log if row.kind in ("term", "handout"))
    return next((row for row in leading if killed and row.token > killed.token), None)


def longest_silence(evidence: Evidence) -> float | None:
    """Give the longest time without a write to the ledger after the etcd member was killed, or None."""
    return _longest_gap(evidence, ("term", "handout", "take", "done"))


def longest_standstill(evidence: Evidence) -> float | None:
    """Give the longest time without a job handed out or taken after the etcd member was killed, or None.

    Jobs that run are finished without etcd; to hand out or to take one needs it.
    """
    return _longest_gap(evidence, ("handout", "take"))


def _longest_gap(evidence: Evidence, kinds: tuple[str, ...]) -> float | None:
    if evidence.crashed is None:
        return None
    began = evidence.crashed.at
    times = [row.at for row in evidence.log if row.at > began and row.kind in kinds]
    return max((b - a for a, b in pairwise([began, *sorted(times)])), default=None)


def _jobs_once(evidence: Evidence) -> Check:
    count = Counter(row.job for row in evidence.rows)
    wrong = {
        "missing": sorted(set(evidence.jobs) - count.keys()),
        "done twice": sorted(job for job, times in count.items() if times > 1),
        "never ordered": sorted(count.keys() - set(evidence.jobs)),
    }
    found = _faults(f"{word}: {_list(jobs)}" for word, jobs in wrong.items() if jobs)
    return Check(
        "jobs done exactly once",
        not found,
        found or f"{len(evidence.jobs)} jobs, {len(evidence.rows)} rows in the ledger",
    )


def _tokens_grow(evidence: Evidence) -> Check:
    terms = _of(evidence.log, "term")
    takes = sorted(_of(evidence.log, "take"), key=lambda row: (row.job, row.seq))
    locks = [list(rows) for _, rows in groupby(takes, key=lambda row: row.job)]
    faults = [f"term of {b.who}: {b.token} after {a.token}" for a, b in _shrinking(terms)]
    faults += [
        f"lock of job {b.job}: {b.token} after {a.token}"
        for rows in locks
        for a, b in _shrinking(rows)
    ]
    last = {rows[0].job: (rows[-1].who, rows[-1].token) for rows in locks}
    faults += [
        f"job {row.job} was written by {row.who} under {row.token}, which is not its last hold"
        for row in evidence.rows
        if last.get(row.job) != (row.who, row.token)
    ]
    return Check(
        "tokens strictly grow",
        not faults,
        _faults(faults)
        or f"{len(terms)} terms: {' < '.join(str(row.token) for row in terms)}; "
        f"{len(takes)} holds of {len(locks)} job locks",
    )


def _one_leader(evidence: Evidence) -> Check:
    written = [row for row in evidence.log if row.kind in ("term", "handout")]
    handouts = _of(written, "handout")
    terms = {(row.who, row.token) for row in _of(written, "term")}
    owners: dict[int, set[str]] = {}
    for row in written:
        owners.setdefault(row.token, set()).add(row.who)
    faults = [
        f"{b.who} led under token {b.token} after {a.token} had been seen"
        for a, b in pairwise(written)
        if b.token < a.token
    ]
    faults += [
        f"token {token} has two owners: {_list(sorted(who))}"
        for token, who in owners.items()
        if len(who) > 1
    ]
    faults += [
        f"{row.who} handed out job {row.job} without a term of token {row.token}"
        for row in handouts
        if (row.who, row.token) not in terms
    ]
    twice = [job for job, times in Counter(row.job for row in handouts).items() if times > 1]
    faults += [f"job {job} was handed out twice" for job in twice]
    reigns = len(list(groupby(row.token for row in handouts)))
    return Check(
        "never two leaders",
        not faults,
        _faults(faults) or f"{len(handouts)} handouts, in {reigns} reigns one after the other",
    )


def _blows_fell(evidence: Evidence) -> Check:
    blows = {"the leading worker": evidence.killed}
    if evidence.may_crash:
        blows["the etcd member that leads"] = evidence.crashed
    faults = [f"{whom} was not killed" for whom, blow in blows.items() if blow is None]
    faults += [
        f"{whom} was killed when no job ran" for whom, b in blows.items() if b and not b.running
    ]
    fell = [
        f"{blow.who} ({len(blow.running)} job{'s' * (len(blow.running) != 1)} ran)"
        for blow in blows.values()
        if blow
    ]
    skipped = "" if evidence.may_crash else "; that etcd is not ours to kill"
    return Check("killed while jobs ran", not faults, _faults(faults) or _list(fell) + skipped)


def _takeover_in_time(evidence: Evidence) -> Check:
    name, bound = "takeover in time", evidence.ttl + GRACE
    proof = takeover(evidence)
    if evidence.killed is None or proof is None:
        return Check(name, False, "nobody took over")
    seconds = proof.at - evidence.killed.at
    return Check(
        name,
        seconds <= bound,
        f"after {seconds:.2f} s; the bound is ttl + {GRACE:g} s = {bound:g} s",
    )


def _workers_stayed(evidence: Evidence) -> Check:
    return Check(
        "no worker failed",
        not evidence.deserters,
        _faults(evidence.deserters) or "all but the killed one left when told to",
    )


def _nothing_left(evidence: Evidence) -> Check:
    return Check(
        "nothing left behind",
        not evidence.left,
        _faults(evidence.left) or "no process, no folder, no key",
    )


def _of(log: Iterable[Row], kind: str) -> list[Row]:
    return [row for row in log if row.kind == kind]


def _shrinking(rows: Sequence[Row]) -> list[tuple[Row, Row]]:
    return [(a, b) for a, b in pairwise(rows) if b.token <= a.token]


def _list(words: Sequence[str]) -> str:
    shown = ", ".join(words[:8])
    return shown if len(words) <= 8 else f"{shown} and {len(words) - 8} more"


def _faults(faults: Iterable[str]) -> str:
    return "; ".join(faults)
