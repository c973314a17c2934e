"""The end of the story, as text for people and as one JSON object for programs; both say the same.

Rules of this file
1. Pure: a run and its checks in, text or values out.
2. The first thing a person looks for stands last: whether all checks hold.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from etcd_recipes.cli.demo.evidence import Run
from etcd_recipes.cli.demo.ledger import Row
from etcd_recipes.cli.demo.verdict import (
    GRACE,
    Check,
    longest_silence,
    longest_standstill,
    takeover,
)

__all__ = ["as_json", "as_lines", "failed"]


def failed(checks: tuple[Check, ...]) -> bool:
    """Tell whether a check failed."""
    return not all(check.ok for check in checks)


def as_lines(run: Run, checks: tuple[Check, ...]) -> list[str]:
    """Say what happened, what was checked, and how it went."""
    width = max(len(check.name) for check in checks)
    lines = ["", "What happened", *(f"  {line}" for line in _happened(run)), "", "Checks"]
    lines += [
        f"  {'ok  ' if check.ok else 'FAIL'}  {check.name:<{width}}  {check.found}"
        for check in checks
    ]
    bad = sum(not check.ok for check in checks)
    end = f"{bad} of {len(checks)} checks FAILED" if bad else f"all {len(checks)} checks hold"
    return [*lines, "", f"{end} ({run.seconds:.1f} s)"]


def _happened(run: Run) -> list[str]:
    """Give the turns of the story, in order, and what has no time of its own last."""
    turns = [(row.at, f"{row.who} leads, under token {row.token}") for row in _terms(run)]
    evidence, last = run.evidence, []
    if (killed := evidence.killed) is not None:
        turns.append((killed.at, f"{killed.who}, the leader, gets kill -9{_after_kill(run)}"))
        turns += [(row.at, _inheritance(row, killed.who)) for row in _inherited(run)]
    if (crashed := evidence.crashed) is not None:
        turns.append((crashed.at, f"{crashed.who}, leading etcd, gets kill -9{_after_crash(run)}"))
    elif not evidence.may_crash:
        last.append("no etcd member gets kill -9: that etcd is not the demo's own")
    refused = sum(row.kind == "refused" for row in evidence.log)
    last.append(f"writes under an outdated token that the ledger refused: {refused}")
    return [text for _, text in sorted(turns)] + last


def _after_kill(run: Run) -> str:
    proof, killed = takeover(run.evidence), run.evidence.killed
    if proof is None or killed is None:
        return "; nobody takes over"
    return f"; {proof.who} leads {proof.at - killed.at:.2f} s later"


def _after_crash(run: Run) -> str:
    standstill, silence = longest_standstill(run.evidence), longest_silence(run.evidence)
    if silence is None:
        return "; nothing is written any more"
    if standstill is None:  # the last jobs ran already
        return f"; no write for {silence:.2f} s"
    return f"; no new work for {standstill:.2f} s (no write: {silence:.2f} s)"


def _inheritance(row: Row, dead: str) -> str:
    return f"{row.who} has done job {row.job}, which {dead} died with, under token {row.token}"


def _terms(run: Run) -> list[Row]:
    return [row for row in run.evidence.log if row.kind == "term"]


def _inherited(run: Run) -> list[Row]:
    """Give the rows of jobs that the killed worker had begun and somebody else did."""
    killed = run.evidence.killed
    if killed is None:
        return []
    begun = {row.job for row in run.evidence.log if row.kind == "take" and row.who == killed.who}
    return [row for row in run.evidence.rows if row.job in begun and row.who != killed.who]


def as_json(run: Run, checks: tuple[Check, ...]) -> str:
    """Give all of it as one JSON object."""
    return json.dumps(_values(run, checks), indent=2)


def _values(run: Run, checks: tuple[Check, ...]) -> dict[str, Any]:
    evidence = run.evidence
    return {
        "ok": not failed(checks),
        "checks": [asdict(check) for check in checks],
        "plan": asdict(run.plan),
        "etcd": run.place,
        "seconds": round(run.seconds, 2),
        "ttl_granted": evidence.ttl,
        "jobs_done": len(evidence.rows),
        "terms": [{"leader": row.who, "token": row.token} for row in _terms(run)],
        "worker_kill": _worker_kill(run),
        "member_kill": _member_kill(run),
        "refused_writes": sum(row.kind == "refused" for row in evidence.log),
        "left_behind": list(evidence.left),
    }


def _worker_kill(run: Run) -> dict[str, Any] | None:
    killed, proof = run.evidence.killed, takeover(run.evidence)
    if killed is None:
        return None
    return {
        "killed": killed.who,
        "token": killed.token,
        "jobs_running": list(killed.running),
        "next_leader": proof.who if proof else None,
        "next_token": proof.token if proof else None,
        "seconds": round(proof.at - killed.at, 3) if proof else None,
        "bound": run.evidence.ttl + GRACE,
        "jobs_inherited": [row.job for row in _inherited(run)],
    }


def _member_kill(run: Run) -> dict[str, Any] | None:
    crashed = run.evidence.crashed
    if crashed is None:
        why = "not the demo's own etcd" if not run.evidence.may_crash else "it never came to that"
        return {"killed": None, "why": why}
    standstill, silence = longest_standstill(run.evidence), longest_silence(run.evidence)
    return {
        "killed": crashed.who,
        "jobs_running": list(crashed.running),
        "longest_time_without_new_work": None if standstill is None else round(standstill, 3),
        "longest_time_without_a_write": None if silence is None else round(silence, 3),
    }
