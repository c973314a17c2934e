"""A free lock is taken and given back, with a new lock object each time, as `with client.lock(name)` does.

The floor is the same line of locks by hand: a transaction that puts a key and looks who is ahead, and a fenced
delete. Locks on v2 and of ZooKeeper are compared with it, too. Requests and leases are counted by the server: a
lease that is left behind lives until its ttl.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from benchmarks.arithmetic import Rounds, percentile
from benchmarks.crew import Worker, in_turns, worker
from benchmarks.peers import OURS, OURS_V2, PEERS, Peer
from benchmarks.servers import counted
from benchmarks.stage import Column, Figure, Stage, servers_for

WHO = ("raw", OURS, "etcd-sdk-python", "etcd3gw", OURS_V2, "python-etcd", "kazoo")
COUNTED = 20
"""Pairs over which requests are counted."""


def play(stage: Stage) -> Rounds:
    rounds = stage.pick(full=7, quick=2, tiny=1)
    pairs = stage.pick(full=150, quick=40, tiny=5)
    peers = stage.those(*WHO)
    with servers_for(peers) as there, ExitStack() as stack:
        crew: dict[str, Worker] = {}
        costs: dict[str, dict[str, float | None]] = {}
        for peer in peers:
            member = stack.enter_context(worker(peer, [there[peer.store]]))
            member.ask("repeat", what="pair", count=5, name=f"warm-{peer.name}")
            crew[peer.name] = member
            costs[peer.name] = cost(peer, member, there[peer.store])

        def turn(peer: Peer, number: int) -> dict[str, Any]:
            name = f"pairs-{peer.name}-{number}"
            gave = crew[peer.name].ask("repeat", what="pair", count=pairs, name=name)
            return {
                "pairs": gave["per_second"],
                "p50_us": percentile(gave["us"], 0.5),
                "p99_us": percentile(gave["us"], 0.99),
                "cpu_us": gave["cpu_us"],
                **costs[peer.name],
            }

        return {"uncontended": in_turns(rounds, peers, turn)}


def cost(peer: Peer, member: Worker, endpoint: str) -> dict[str, float | None]:
    """Give how many requests a pair makes, and how many leases stay behind when the client is closed."""
    if peer.store == "zookeeper":
        return {"requests": None, "leases": None}
    before = counted(endpoint)
    member.ask("repeat", what="pair", count=COUNTED, name=f"counted-{peer.name}")
    requests = (counted(endpoint) - before).total() / COUNTED
    if peer.store == "v2":
        return {"requests": requests, "leases": None}
    there = leases(endpoint)
    with worker(peer, [endpoint]) as other:
        other.ask("repeat", what="pair", count=COUNTED, name=f"left-{peer.name}")
        other.ask("disconnect")
    return {"requests": requests, "leases": (leases(endpoint) - there) / COUNTED}


def leases(endpoint: str) -> int:
    """Give how many leases there are, as the server lists them."""
    with worker(PEERS["raw"], [endpoint]) as raw:
        return int(raw.ask("leases"))


FIGURE = Figure(
    "pairs",
    "A free lock: pairs of acquire and release",
    __doc__,
    (
        Column("pairs, x floor", "pairs", 2, over="floor"),
        Column("CPU, x floor", "cpu_us", 2, over="floor"),
        Column("requests a pair", "requests", 2),
        Column("leases left a pair", "leases", 2),
        Column("pairs a second", "pairs"),
        Column("p50", "p50_us", unit="µs"),
        Column("p99", "p99_us", unit="µs"),
        Column("client CPU", "cpu_us", unit="µs"),
    ),
    play,
    drawn=("pairs, x floor",),
)
