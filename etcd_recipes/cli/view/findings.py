"""What the doctor finds: one line per question, and the limit within which each is answered.

Rules of this file
1. A question never hangs: it is asked on a thread of its own, and given up after its limit.
2. A question that fails is an answer: BROKEN, with the error's sentence.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from etcd_recipes.cli.talk import remedy
from etcd_recipes.cli.view.output import safe
from etcd_recipes.core import runtime
from etcd_recipes.core.errors import EtcdRecipesError

__all__ = ["Finding", "Level", "ask", "exit_status", "verdict"]

Level = Literal["ok", "WARN", "BROKEN"]

_BROKEN = 2
_WARNED = 1


@dataclass(frozen=True, slots=True)
class Finding:
    """One answer: `what` was asked, what came of it, and what to do (nothing when it is ok)."""

    what: str
    result: str
    level: Level = "ok"
    remedy: str = ""


def ask(what: str, question: Callable[[], Sequence[Finding]], limit: float) -> tuple[Finding, ...]:
    """Give the answers to a question; after `limit` seconds that there was none."""
    answers: list[Finding] = []
    ended = runtime.new_event()

    def run() -> None:
        try:
            answers.extend(question())
        except (EtcdRecipesError, OSError, ValueError) as error:
            answers.append(Finding(what, safe(str(error)), "BROKEN", remedy(error)))
        finally:
            ended.set()

    runtime.spawn(run, "etcd-recipes-doctor")
    if ended.wait(limit):
        failed = Finding(what, "the question itself failed: a defect", "BROKEN", "please report it")
        return tuple(answers) or (failed,)
    return (Finding(what, f"no answer within {limit:g} s", "BROKEN", "is it stopped, or cut off?"),)


def exit_status(findings: Sequence[Finding], *, strict: bool) -> int:
    """Give 0 when all is well, 1 for warnings if these count, 2 when something is broken."""
    levels = {finding.level for finding in findings}
    if "BROKEN" in levels:
        return _BROKEN
    return _WARNED if strict and "WARN" in levels else 0


def verdict(findings: Sequence[Finding]) -> str:
    """Give the sum of all findings; what is broken by name, for it may have scrolled away."""
    levels = [finding.level for finding in findings]
    warned = levels.count("WARN")
    broken = list(dict.fromkeys(f.what for f in findings if f.level == "BROKEN"))
    names = f": {', '.join(broken)}" if broken else ""
    return (
        f"{levels.count('ok')} ok, {warned} warning{'s'[: warned != 1]}, "
        f"{levels.count('BROKEN')} broken{names}"
    )
