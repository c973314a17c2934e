"""One process takes a thousand locks, and ten thousand, on one session, keeps them for two renewals, and lets go.

Requests are counted by the server, while nothing else happens: they must not grow with the number of holds.
"""

from __future__ import annotations

import time
from typing import Any

from benchmarks.arithmetic import Rounds
from benchmarks.crew import Failed, in_turns, worker
from benchmarks.figures.pairs import leases
from benchmarks.peers import OURS, Peer
from benchmarks.servers import counted
from benchmarks.stage import Column, Figure, Stage, servers_for


def play(stage: Stage) -> Rounds:
    sizes = stage.pick(full=(1, 1_000, 10_000), quick=(1, 500), tiny=(20,))
    ttl = stage.pick(full=6.0, quick=3.0, tiny=2.0)
    found = {}
    for size in sizes:

        def turn(peer: Peer, _: int, size: int = size) -> dict[str, Any]:
            return kept(peer, size, ttl)

        found[f"{size:,} hold{'s'[: size > 1]}"] = in_turns(1, stage.those(OURS), turn)
    return found


def kept(peer: Peer, size: int, ttl: float) -> dict[str, Any]:
    with servers_for([peer]) as there, worker(peer, [there["v3"]], ttl=ttl) as holder:
        holder.ask("warm_up")
        before = holder.ask("burden", tidy=True)
        took = holder.ask("hold", count=size, limit=120.0)
        after, seen = holder.ask("burden", tidy=True), counted(there["v3"])
        time.sleep(2 * ttl / 3)
        end, requests = holder.ask("burden"), counted(there["v3"]) - seen
        if (held := holder.ask("held")) != size:
            raise Failed(f"only {held} of {size} were still held")
        there_are = leases(there["v3"])
        let_go = holder.ask("let_go", limit=120.0)
    seconds = 2 * ttl / 3
    return {
        "acquire_us": took["seconds"] / size * 1e6,
        "release_us": let_go["seconds"] / size * 1e6,
        "threads": end["threads"],
        "kilobytes": (after["megabytes"] - before["megabytes"]) * 1000 / size,
        "megabytes": after["megabytes"] - before["megabytes"],
        "per_ttl": requests.total() / seconds * ttl,
        "renewals": requests["LeaseKeepAlive"] / seconds,
        "leases": there_are,
        "cpu_share": (end["cpu"] - after["cpu"]) / seconds * 100,
    }


FIGURE = Figure(
    "holds",
    "Many holds in one process",
    __doc__,
    (
        Column("threads", "threads"),
        Column("leases", "leases"),
        Column("requests a ttl", "per_ttl", 1),
        Column("renewals a second", "renewals", 2),
        Column("memory", "megabytes", 1, unit="MB"),
        Column("a hold", "kilobytes", 2, unit="kB"),
        Column("CPU while held", "cpu_share", 1, unit="%"),
        Column("acquire", "acquire_us", unit="µs"),
        Column("release", "release_us", unit="µs"),
    ),
    play,
    ours_alone=True,
)
