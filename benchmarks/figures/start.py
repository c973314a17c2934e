"""A fresh interpreter imports the client, and makes one, without a request; and our command line says its version.

Ratios are to `import requests` in the interpreter of this library. What the interpreter itself takes is in all of them.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.arithmetic import Rounds
from benchmarks.crew import in_turns
from benchmarks.environments import ROOT, python_of
from benchmarks.peers import OURS, PEERS, Peer
from benchmarks.stage import Column, Figure, Stage

PROGRAMS = {
    OURS: "import etcd_recipes; etcd_recipes.Client('http://127.0.0.1:1')",
    "etcd-sdk-python": "import pyetcd; pyetcd.client()",
    "etcd3gw": "import etcd3gw; etcd3gw.Etcd3Client()",
    "python-etcd": "import etcd; etcd.Client()",
    "kazoo": "import kazoo.client; kazoo.client.KazooClient()",
}


def play(stage: Stage) -> Rounds:
    rounds = stage.pick(full=9, quick=2, tiny=1)
    # Peer objects only lend their names to what else is started.
    base, bare = Peer("import requests", "", "v3"), Peer("python", "", "v3")
    peers = [base, bare, *stage.those(*PROGRAMS)]

    def imported(peer: Peer, _: int) -> dict[str, Any]:
        python = python_of(PEERS.get(peer.name, base))
        program = PROGRAMS.get(peer.name, peer.name if peer is base else "pass")
        return started([python, "-c", program])

    def commanded(peer: Peer, _: int) -> dict[str, Any]:
        if peer is base:
            return started([sys.executable, "-c", base.name])
        return started([sys.executable, "-m", "etcd_recipes.cli", "--version"])

    return {
        "import": in_turns(rounds, peers, imported),
        "command line": in_turns(rounds, [base, *stage.those(OURS)], commanded),
    }


def started(command: list[str | Path]) -> dict[str, float]:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    begun = time.monotonic()
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": ""}
    subprocess.run(command, check=True, capture_output=True, cwd=ROOT, env=env, timeout=60)
    seconds = time.monotonic() - begun
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime
    return {"ms": seconds * 1e3, "cpu_ms": cpu * 1e3}


FIGURE = Figure(
    "start",
    "Import and start",
    __doc__,
    (
        Column("time, x import requests", "ms", 2, over="import requests"),
        Column("CPU, x import requests", "cpu_ms", 2, over="import requests"),
        Column("time", "ms", unit="ms"),
        Column("CPU", "cpu_ms", unit="ms"),
    ),
    play,
    drawn=("time, x import requests",),
)
