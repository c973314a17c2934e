"""One get and one put of 100 bytes, one after the other, on one connection: latency, and CPU of the client.

v3 reads are linearizable, on all sides. The v2 API reads from the member that is asked, or with a quorum: both
are shown. ZooKeeper reads from the server that is asked.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from benchmarks.arithmetic import Rounds, percentile
from benchmarks.crew import Worker, in_turns, worker
from benchmarks.peers import OURS, OURS_V2, Peer
from benchmarks.stage import Column, Figure, Stage, servers_for

V3 = ("raw", OURS, "etcd-sdk-python", "etcd3gw", "kazoo")
V2 = ("raw v2", OURS_V2, "python-etcd")
CASES = {
    "get": ("get", V3),
    "put": ("put", V3),
    "v2 get": ("get", V2),
    "v2 get with quorum": ("get_quorum", V2),
    "v2 put": ("put", V2),
}


def play(stage: Stage) -> Rounds:
    rounds = stage.pick(full=9, quick=2, tiny=1)
    calls = stage.pick(full=400, quick=100, tiny=20)
    peers = stage.those(*V3, *V2)
    with servers_for(peers) as there, ExitStack() as stack:
        crew: dict[str, Worker] = {}
        for peer in peers:
            crew[peer.name] = stack.enter_context(worker(peer, [there[peer.store]]))
            for what in ("put", "get"):
                crew[peer.name].ask("repeat", what=what, count=20, name="bench")

        def turn(what: str) -> Any:
            return lambda peer, _: measured(peer, what)

        def measured(peer: Peer, what: str) -> dict[str, Any]:
            gave = crew[peer.name].ask("repeat", what=what, count=calls, name="bench")
            return {
                "p50_us": percentile(gave["us"], 0.5),
                "p99_us": percentile(gave["us"], 0.99),
                "cpu_us": gave["cpu_us"],
            }

        return {
            case: in_turns(rounds, stage.those(*who), turn(what))
            for case, (what, who) in CASES.items()
        }


FIGURE = Figure(
    "latency",
    "One get, one put",
    __doc__,
    (
        Column("p50, x floor", "p50_us", 2, over="floor"),
        Column("CPU, x floor", "cpu_us", 2, over="floor"),
        Column("p50", "p50_us", unit="µs"),
        Column("p99", "p99_us", unit="µs"),
        Column("client CPU", "cpu_us", unit="µs"),
    ),
    play,
    drawn=("p50, x floor", "CPU, x floor"),
)
