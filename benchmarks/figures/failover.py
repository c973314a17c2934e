"""Three members. A client gets a key every 10 ms from one that does not lead, which is then killed (kill -9), or
stopped (SIGSTOP).

Each client has its default settings. It is watched for 20 seconds: a call that is not back by then counts as that long,
and hangs. etcd3gw takes one endpoint only, so it has no failover to measure.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from benchmarks.arithmetic import Rounds
from benchmarks.crew import Failed, Worker, worker
from benchmarks.peers import OURS, Peer
from benchmarks.servers import has_v2
from benchmarks.stage import Column, Figure, Played, Stage
from etcd_recipes import Client
from etcd_recipes.testing import EtcdCluster, EtcdProcess

WHO = (OURS, "etcd-sdk-python", "python-etcd")
CASES = {"killed": EtcdProcess.kill, "stopped": EtcdProcess.pause}
PAUSE = 0.01


def play(stage: Stage) -> Rounds:
    seconds = {
        "killed": stage.pick(full=4.0, quick=1.0, tiny=0.5),
        "stopped": stage.pick(full=20.0, quick=2.0, tiny=1.5),
    }
    rounds = stage.pick(full={"killed": 3, "stopped": 1}, quick={}, tiny={})
    peers = stage.those(*WHO)
    found: dict[str, Played] = {}
    for case in CASES:
        found[case] = {peer.name: [] for peer in peers}
        for _ in range(rounds.get(case, 1)):
            for name, gave in one_round(peers, case, seconds[case]).items():
                found[case][name].append(gave)
    return found


def one_round(peers: list[Peer], case: str, seconds: float) -> dict[str, dict[str, Any]]:
    """All clients at once, with the same members: they do little but wait."""
    found: dict[str, dict[str, Any]] = {}
    with a_cluster() as (victim, endpoints), ExitStack() as stack:
        crew: dict[str, Worker] = {}
        for peer in peers:
            try:
                crew[peer.name] = ready(stack.enter_context(worker(peer)), peer, endpoints)
            except Failed as error:
                found[peer.name] = {"failed": str(error)}
        until = time.monotonic() + 0.5 + seconds
        for member in crew.values():
            member.begin(
                "keep_calling", name="failover", until=until, pause=PAUSE, limit=seconds + 10
            )
        time.sleep(0.5)
        struck = time.monotonic()
        CASES[case](victim)
        for name, member in crew.items():
            found[name] = judged(member.answer(), struck, until)
    return found


def ready(member: Worker, peer: Peer, endpoints: list[str]) -> Worker:
    member.ask("connect", endpoints=endpoints)
    if peer.name == "python-etcd":
        member.ask("put", key="failover", value="x")
    member.ask("use", endpoint=endpoints[0], name="failover")
    return member


@contextmanager
def a_cluster() -> Iterator[tuple[EtcdProcess, list[str]]]:
    """Give a member that does not lead, and all endpoints, its own first."""
    with EtcdCluster(3, enable_v2=has_v2()) as cluster:
        leader = cluster.leader()
        victim = next(member for member in cluster.members if member is not leader)
        others = [member.endpoint for member in cluster.members if member is not victim]
        with Client(others) as client:
            client.v3.kv.put("failover", "x")
        yield victim, [victim.endpoint, *others]


def judged(calls: list[list[Any]], struck: float, until: float) -> dict[str, Any]:
    """Give when the first call that was begun after the strike, or was under way, came back well."""
    after = [call for call in calls if call[1] is None or call[1] > struck]
    good = [end for _, end, error in after if error is None and end is not None]
    return {
        "first_good": min(good) - struck if good else None,
        "errors": sum(error is not None for *_, error in after),
        "longest": max((end or until) - begin for begin, end, _ in after),
        "hangs": sum(end is None and until - begin > 1 for begin, end, _ in after),
        "said": sorted({error for *_, error in after if error is not None})[:3],
    }


FIGURE = Figure(
    "failover",
    "The endpoint in use dies, or stops",
    __doc__,
    (
        Column("first good call after", "first_good", 3, fold="max", unit="s"),
        Column("errors that the caller saw", "errors", fold="max"),
        Column("longest call", "longest", 2, fold="max", unit="s"),
        Column("hangs", "hangs", fold="sum"),
    ),
    play,
)
