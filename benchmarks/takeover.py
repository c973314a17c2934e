"""Takeover: from the death of a leader (or its polite end) to the next one leading, with ttl 5."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from statistics import median
from typing import Any

from etcd_recipes import Client
from etcd_recipes.core.context import Context
from etcd_recipes.testing import EtcdProcess

TTL = 5.0
LEADER = """
import sys, signal
from etcd_recipes import Client
signal.signal(signal.SIGTERM, lambda *_: sys.exit())
with Client(sys.argv[1]) as client:
    with client.election(sys.argv[2], ttl=float(sys.argv[3])).campaign("old") as term:
        print("leading", flush=True)
        term.lost.wait()
"""


def takeover(endpoint: str, name: str, number: signal.Signals) -> float:
    command = [sys.executable, "-c", LEADER, endpoint, name, str(TTL)]
    leader = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    with Client(endpoint) as client:
        assert leader.stdout is not None
        leader.stdout.readline()
        election = client.election(name, ttl=TTL)
        ended: list[float] = []
        with election.background(on_elected=lambda: ended.append(time.monotonic())):
            while len(election.candidates()) < 2:
                Context().wait(0.01)
            leader.send_signal(number)
            killed = time.monotonic()
            while not ended:
                Context().wait(0.005)
        leader.wait()
        leader.stdout.close()
        return ended[0] - killed


def run(*, quick: bool) -> dict[str, Any]:
    rounds = 1 if quick else 5
    result: dict[str, Any] = {"ttl": TTL}
    with EtcdProcess() as server:
        for number, name in ((signal.SIGKILL, "kill_9"), (signal.SIGTERM, "polite")):
            times = [takeover(server.endpoint, f"{name}-{n}", number) for n in range(rounds)]
            result[f"{name}_seconds_median"] = round(median(times), 3)
            result[f"{name}_seconds_max"] = round(max(times), 3)
    return result
