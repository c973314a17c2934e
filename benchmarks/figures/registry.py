"""10,000 instances of one service are there; a program begins to follow them, and then some of them change.

The floor is one raw range and one raw watch whose JSON is decoded into dictionaries. Memory is what the process has
more than before. Changes are written one by one, by a raw socket; the CPU is that of the process that follows.
"""

from __future__ import annotations

import json
from typing import Any

from benchmarks.arithmetic import Rounds
from benchmarks.crew import in_turns, worker
from benchmarks.peers import OURS, PEERS, Peer
from benchmarks.stage import Column, Figure, Stage, servers_for

LAST = "10.255.255.255:65535"


def play(stage: Stage) -> Rounds:
    instances = stage.pick(full=10_000, quick=1_000, tiny=100)
    changes = stage.pick(full=1_000, quick=300, tiny=20)
    peers = stage.those("raw", OURS)
    with servers_for(peers) as there, worker(PEERS[OURS], [there["v3"]]) as somebody:
        _, value = somebody.ask("example")

        def turn(peer: Peer, number: int) -> dict[str, Any]:
            service = f"{peer.name}-{number}"
            return followed(peer, there["v3"], service, value, instances, changes)

        rounds = stage.pick(full=3, quick=1, tiny=1)
        return {f"{instances:,} instances": in_turns(rounds, peers, turn)}


def followed(
    peer: Peer, endpoint: str, service: str, value: str, instances: int, changes: int
) -> dict[str, Any]:
    prefix = f"bench/{service}/"
    with worker(peer, [endpoint]) as follower, worker(PEERS["raw"], [endpoint]) as writer:
        follower.ask("get", key="warm")
        writer.ask("write", prefix=prefix, count=instances, batch=100, value=value)
        before = follower.ask("burden", tidy=True)
        began = follower.ask("follow", service=service, expected=instances)
        after = follower.ask("burden", tidy=True)
        follower.begin("until_seen", address=LAST)
        writer.ask("write", prefix=prefix, count=changes - 1, batch=1, value=changed(value, "2"))
        writer.ask("put", key=f"{prefix}{changes - 1:06}", value=changed(value, "2", LAST))
        follower.answer()
        end = follower.ask("burden")
    return {
        "first_view": began["seconds"],
        "kilobytes": (after["megabytes"] - before["megabytes"]) * 1000 / instances,
        "megabytes": after["megabytes"] - before["megabytes"],
        "cpu_us": (end["cpu"] - after["cpu"]) / changes * 1e6,
        "threads": end["threads"],
    }


def changed(value: str, version: str, address: str = "") -> str:
    """Give the instance with other metadata, as its owner would write it."""
    body = json.loads(value)
    body["metadata"] = {"v": version}
    body["address"] = address or body["address"]
    return json.dumps(body)


FIGURE = Figure(
    "registry",
    "A registry with many instances",
    __doc__,
    (
        Column("first view, x floor", "first_view", 2, over="floor"),
        Column("CPU of a change, x floor", "cpu_us", 2, over="floor"),
        Column("first view", "first_view", 2, unit="s"),
        Column("memory", "megabytes", 1, unit="MB"),
        Column("an instance", "kilobytes", 2, unit="kB"),
        Column("CPU of a change", "cpu_us", unit="µs"),
        Column("threads", "threads"),
    ),
    play,
    ours_alone=True,
)
