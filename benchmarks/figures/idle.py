"""What a client costs that does nothing, or holds, leads, waits, is registered or follows, and nothing happens.

Requests are counted by the server, over four renewals of the default ttl of 15 s, after all has settled. A watch is one
request when it opens, and none while it is open.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from benchmarks.arithmetic import Rounds
from benchmarks.crew import in_turns, worker
from benchmarks.peers import OURS, Peer
from benchmarks.servers import counted
from benchmarks.stage import Column, Figure, Played, Stage, servers_for

STATES = (
    "nothing",
    "one lock held",
    "one election led",
    "one follower waiting",
    "one registration",
    "one view",
)


def play(stage: Stage) -> Rounds:
    ttl = stage.pick(full=15.0, quick=3.0, tiny=2.0)
    seconds = stage.pick(full=4 * ttl / 3, quick=4.0, tiny=1.0)
    states = stage.pick(full=STATES, quick=STATES, tiny=STATES[:2])

    def one(state: str) -> Played:
        return in_turns(1, stage.those(OURS), lambda peer, _: idle(peer, state, ttl, seconds))

    # They do next to nothing, each with a server of its own: all at once.
    with ThreadPoolExecutor(len(states)) as pool:
        return dict(zip(states, pool.map(one, states), strict=True))


def idle(peer: Peer, state: str, ttl: float, seconds: float) -> dict[str, float]:
    with ExitStack() as stack:
        endpoint = stack.enter_context(servers_for([peer]))["v3"]
        client = stack.enter_context(worker(peer, [endpoint], ttl=ttl))
        client.ask("be", what=state)
        time.sleep(min(1.0, ttl / 6))
        before, burden = counted(endpoint), client.ask("burden")
        time.sleep(seconds)
        requests, after = counted(endpoint) - before, client.ask("burden")
    return {
        "per_minute": requests.total() / seconds * 60,
        "threads": after["threads"],
        "cpu_ms": (after["cpu"] - burden["cpu"]) / seconds * 60_000,
    }


FIGURE = Figure(
    "idle",
    "Doing nothing",
    __doc__,
    (
        Column("requests a minute", "per_minute", 1),
        Column("CPU a minute", "cpu_ms", unit="ms"),
        Column("threads", "threads"),
    ),
    play,
    ours_alone=True,
)
