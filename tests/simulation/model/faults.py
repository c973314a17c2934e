"""The faults of servers that were met or are known: the vocabulary of those who pull them.

What needs no word here: a member that is cut off (`Member.isolated`), a cluster without a leader
(`Cluster.elect`), a watch that is cancelled for compaction and stays open (it always does).

Answers that stand in for the true one (`Member.fail`): the request is carried out before, or it is not.
    leader changed              503/14; v2 500/300
    timed out                   503/14; v2 500/300
    timed out, leader failed    the same with etcd's longer words
    deadline                    500 with code 2, "context deadline exceeded"; v2 as "timed out"
    watcher cleared             v2 only: 400 with code 400
    truncated                   the true answer, with half of its body
    empty                       200 without a body
Flags: `Member.stale_by`, `WatchHandle.silent` (or `Member.silence`). Deeds: `Member.repeat`, `Member.kill`,
`Member.shut_down`, `V2Store.forget`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tests.simulation.model import errors, v2errors
from tests.simulation.model.errors import status_of, stream_error, unary_error
from tests.simulation.model.v2errors import V2Error
from tests.simulation.model.wire import JSON_TYPE, Answer, dump

__all__ = ["Fault", "FaultName", "stand_in"]

FaultName = Literal[
    "leader changed",
    "timed out",
    "timed out, leader failed",
    "deadline",
    "watcher cleared",
    "truncated",
    "empty",
]

_WORDS = {
    "leader changed": errors.LEADER_CHANGED,
    "timed out": errors.TIMED_OUT,
    "timed out, leader failed": errors.TIMED_OUT_LEADER,
    "deadline": errors.DEADLINE,
}


@dataclass(frozen=True, slots=True)
class Fault:
    """What becomes of the next request: its answer, and whether it is carried out."""

    name: FaultName
    applied: bool


def stand_in(name: FaultName, path: str, version: str, true: Answer | None) -> Answer:
    """Give the answer that a fault puts in the place of the `true` one, if there is one."""
    if name == "truncated" and true is not None:
        return Answer(true.status, true.headers, true.body[: len(true.body) // 2])
    if name in ("truncated", "empty"):
        return Answer(200, JSON_TYPE, b"")
    if path.startswith("/v2"):
        return _on_v2(name)
    code, words = _WORDS.get(name, errors.TIMED_OUT)
    form = stream_error if path.endswith(("lease/keepalive", "/watch")) else unary_error
    return Answer(status_of(version, code), JSON_TYPE, form(version, code, words))


def _on_v2(name: FaultName) -> Answer:
    error = V2Error(300, _WORDS.get(name, errors.TIMED_OUT)[1])
    if name == "deadline":
        error = V2Error(300, errors.TIMED_OUT[1])
    if name == "watcher cleared":
        error = V2Error(400)
    body = dump(v2errors.shape(error)).encode() + b"\n"
    return Answer(v2errors.status_of(error.code), JSON_TYPE | {"X-Etcd-Index": "0"}, body)
