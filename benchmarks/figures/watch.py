"""A client watches a prefix while another process, over a raw socket, puts keys below it: one by one, and a hundred
in each transaction.

Put one by one, the writer is the limit, not the reader: look at the CPU of an event. Lost are the keys of which no
event came. python-etcd's long polls see the last 1,000 events of a store; ZooKeeper's watches tell that something
changed, not what, so kazoo has no place here.
"""

from __future__ import annotations

from typing import Any

from benchmarks.arithmetic import Rounds
from benchmarks.crew import in_turns, worker
from benchmarks.peers import OURS, PEERS, Peer, floor_of
from benchmarks.stage import Column, Figure, Stage, servers_for

V3 = ("raw", OURS, "etcd-sdk-python", "etcd3gw")
CASES = {"put one by one": (1, (*V3, "python-etcd")), "100 in a transaction": (100, V3)}
VALUE = "x" * 100


def play(stage: Stage) -> Rounds:
    events = stage.pick(full=10_000, quick=500, tiny=200)
    rounds = stage.pick(full=2, quick=1, tiny=1)
    found = {}
    for case, (batch, who) in CASES.items():
        peers = stage.those(*who)
        with servers_for(peers) as there:

            def turn(peer: Peer, number: int, batch: int = batch, there: Any = there) -> Any:
                prefix = f"watched-{peer.name.replace(' ', '-')}-{batch}-{number}/"
                return watched(peer, there[peer.store], prefix, events, batch)

            found[case] = in_turns(rounds, peers, turn)
    return found


def watched(peer: Peer, endpoint: str, prefix: str, events: int, batch: int) -> dict[str, Any]:
    with worker(peer, [endpoint]) as reader, worker(PEERS[floor_of(peer.name)], [endpoint]) as w:
        reader.ask("watch", prefix=prefix)
        last = f"{prefix}{events - 1:06}"
        reader.begin("count", last=last, patience=30.0, limit=60.0)
        took = w.ask("write", prefix=prefix, count=events, batch=batch, value=VALUE)
        gave = reader.answer()
    return {
        "per_second": gave["per_second"],
        "cpu_us": gave["cpu_us"] if gave["seen"] else None,
        "lost": events - gave["different"],
        "twice": gave["seen"] - gave["different"],
        "behind": max(0.0, gave["seconds"] - took),
        "ended": gave["ended"],
    }


FIGURE = Figure(
    "watch",
    "Watching",
    __doc__,
    (
        Column("CPU of an event, x floor", "cpu_us", 2, over="floor"),
        Column("events, x floor", "per_second", 2, over="floor"),
        Column("lost", "lost", fold="sum"),
        Column("seen twice", "twice", fold="sum"),
        Column("events a second", "per_second"),
        Column("CPU of an event", "cpu_us", unit="µs"),
    ),
    play,
    drawn=("CPU of an event, x floor",),
)
