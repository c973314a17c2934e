"""Processes contend for one lock, for some seconds, each with a client of its own and a fresh server for each kind.

A handoff counts when somebody else comes next: whoever takes the same lock twice running has handed nothing over.
Fairness is the most turns of one contender over the fewest of another; it is told where each has had ten in the
mean. Two at once are turns that overlap, by one clock for all. The longest wait counts those who still wait at
the end.
"""

from __future__ import annotations

import secrets
from typing import Any

from benchmarks.arithmetic import Rounds, contention
from benchmarks.crew import Failed, in_turns, options_of, worker
from benchmarks.peers import OURS, Peer
from benchmarks.stage import Column, Figure, Stage, servers_for

WHO = ("raw", OURS, "etcd-sdk-python", "etcd3gw", "python-etcd", "kazoo")

# contenders, milliseconds of holding, seconds, rounds
FULL = (
    (2, 0, 1.5, 3),
    (8, 0, 1.5, 2),
    (32, 0, 2.0, 2),
    (128, 0, 4.0, 1),
    (2, 20, 1.5, 1),
    (8, 20, 2.0, 1),
    (32, 20, 2.5, 1),
    (128, 20, 3.0, 1),
)
QUICK = ((2, 0, 0.5, 1), (8, 20, 0.5, 1))
TINY = ((2, 0, 0.3, 1),)


def play(stage: Stage) -> Rounds:
    peers = stage.those(*WHO)
    found = {}
    for contenders, hold, seconds, rounds in stage.pick(full=FULL, quick=QUICK, tiny=TINY):

        def turn(peer: Peer, _: int, how: Any = (contenders, hold / 1000, seconds)) -> Any:
            return contend(peer, *how)

        case = f"{contenders} contenders, {hold} ms"
        found[case] = in_turns(rounds, peers, turn)
    return found


def contend(peer: Peer, contenders: int, hold: float, seconds: float) -> dict[str, Any]:
    with servers_for([peer]) as there, worker(peer) as member:
        gave = member.ask(
            "contend",
            limit=seconds + 60,
            name=f"contended-{peer.name}-{secrets.token_hex(4)}",  # those killed leave their places
            contenders=contenders,
            seconds=seconds,
            hold=hold,
            endpoints=[there[peer.store]],
            **options_of(peer),
        )
    errors = [error for each in gave["errors"] for error in each]
    if errors and not any(gave["turns"]):
        raise Failed(errors[0])
    found = contention(gave["turns"], gave["waiting"], seconds)
    return {**found, "errors": len(errors), "said": sorted(set(errors))[:3]}


FIGURE = Figure(
    "handoffs",
    "A contended lock: handoffs",
    __doc__,
    (
        Column("handoffs, x floor", "handoffs", 2, over="floor"),
        Column("handoffs a second", "handoffs"),
        Column("fairness", "fairness", 2, fold="max"),
        Column("fewest turns of one", "fewest", fold="min"),
        Column("longest wait", "longest_wait", 2, fold="max", unit="s"),
        Column("two at once", "two_at_once", fold="sum"),
        Column("errors", "errors", fold="sum"),
    ),
    play,
    drawn=("handoffs a second",),
)
