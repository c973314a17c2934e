"""Somebody holds a lock, with a ttl; somebody else waits for it. The holder is killed, or gives it back, or just lives.

After a kill the next one comes in when the lease, or the session, has ended: no sooner than that is safe. Who comes in
sooner than one ttl did not renew: look at the third case, in which the holder lives on, holding, for two ttls.
Then nobody may come in.
"""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from benchmarks.arithmetic import Rounds
from benchmarks.crew import Silent, Worker, in_turns, options_of, worker
from benchmarks.peers import OURS, Peer
from benchmarks.stage import Column, Figure, Stage, servers_for

WHO = ("raw", OURS, "etcd-sdk-python", "etcd3gw", "python-etcd", "kazoo")
SOON = 0.3
"""Seconds for the waiter to be in line."""


def play(stage: Stage) -> Rounds:
    ttl = stage.pick(full=4.0, quick=2.0, tiny=2.0)
    rounds = stage.pick(full=2, quick=1, tiny=1)
    cases = stage.pick(full=tuple(CASES), quick=tuple(CASES)[:2], tiny=("given back",))
    # The floor keeps nothing alive: it has no takeover to compare with.
    peers = [peer for peer in stage.those(*WHO) if peer.name != "raw"]
    with servers_for(peers) as there:

        def together(case: str) -> dict[str, list[dict[str, Any]]]:
            """They wait, and use next to no CPU: all peers at once, round by round."""
            found: dict[str, list[dict[str, Any]]] = {peer.name: [] for peer in peers}
            for number in range(rounds):
                name = f"takeover-{case.replace(' ', '-')}-{number}"

                def one(peer: Peer, name: str = name) -> None:
                    turn = in_turns(1, [peer], lambda p, _: taken(p, there, case, name, ttl))
                    found[peer.name] += turn[peer.name]

                with ThreadPoolExecutor(len(peers) or 1) as pool:
                    list(pool.map(one, peers))
            return found

        return {case: together(case) for case in cases}


def taken(peer: Peer, there: Any, case: str, name: str, ttl: float) -> dict[str, Any]:
    where = {"endpoints": [there[peer.store]], "ttl": ttl, **options_of(peer)}
    with worker(peer) as holder, worker(peer) as waiter:
        for each in (holder, waiter):
            each.ask("connect", **where)
        holder.ask("acquire", name=f"{name}-{peer.name}")
        waiter.begin("acquire", name=f"{name}-{peer.name}", limit=2 * ttl + 5)
        time.sleep(SOON)
        return CASES[case](holder, waiter, ttl)


def killed(holder: Worker, waiter: Worker, ttl: float) -> dict[str, Any]:
    begun = time.monotonic()
    os.kill(holder.pid, signal.SIGKILL)
    seconds = waiter.answer() - begun
    return {"seconds": seconds, "ttls": seconds / ttl}


def given_back(holder: Worker, waiter: Worker, ttl: float) -> dict[str, Any]:
    begun = holder.ask("release")
    seconds = waiter.answer() - begun
    return {"seconds": seconds, "ttls": seconds / ttl}


def living(_: Worker, waiter: Worker, ttl: float) -> dict[str, Any]:
    """Two ttls, and the waiter must still be waiting."""
    begun = time.monotonic()
    waiter.patience(2 * ttl)
    try:
        seconds = waiter.answer() - begun
    except Silent:
        return {"intruded": 0}
    return {"intruded": 1, "seconds": seconds, "ttls": seconds / ttl}


CASES = {"holder killed": killed, "given back": given_back, "holder lives": living}

FIGURE = Figure(
    "takeover",
    "Takeover",
    __doc__,
    (
        Column("in ttls", "ttls", 2),
        Column("seconds", "seconds", 3, unit="s"),
        Column("two holders", "intruded", fold="sum"),
    ),
    play,
)
