"""Contended handoffs: processes with zero hold time on one lock, against the floor in the same rounds."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import pairwise
from statistics import median
from typing import Any

from etcd_recipes.testing import EtcdProcess


def contend(kind: str, endpoint: str, name: str, processes: int, seconds: float) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.contender", kind, endpoint, name, str(seconds)]
    contenders = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(processes)
    ]
    for contender in contenders:
        contender.stdout.readline()  # type: ignore[union-attr]
    for contender in contenders:
        contender.stdin.write("go\n")  # type: ignore[union-attr]
        contender.stdin.flush()  # type: ignore[union-attr]
    held = [json.loads(contender.communicate()[0]) for contender in contenders]
    spans = sorted((*span, who) for who, list_ in enumerate(held) for span in list_)
    counts = [len(list_) for list_ in held]
    return {
        "handoffs_per_second": sum(a[3] != b[3] for a, b in pairwise(spans)) / seconds,
        "two_holders_at_once": sum(b[1] < a[2] for a, b in pairwise(spans)),
        "fairness_max_to_min": round(max(counts) / max(1, min(counts)), 2),
    }


def run(*, quick: bool) -> dict[str, Any]:
    rounds, seconds = (2, 1.5) if quick else (5, 2.5)
    result: dict[str, Any] = {}
    for processes in (2,) if quick else (2, 8, 32):
        ours, floor = [], []
        for number in range(rounds):
            with EtcdProcess() as server:
                ours.append(contend("ours", server.endpoint, f"o{number}", processes, seconds))
                floor.append(contend("raw", server.endpoint, f"r{number}", processes, seconds))
        rate = median(r["handoffs_per_second"] for r in ours)
        raw = median(r["handoffs_per_second"] for r in floor)
        ratios = [
            a["handoffs_per_second"] / b["handoffs_per_second"]
            for a, b in zip(ours, floor, strict=True)
        ]
        result[f"{processes}_contenders"] = {
            "handoffs_per_second": round(rate),
            "floor_handoffs_per_second": round(raw),
            "ratio_to_floor": round(median(ratios), 2),
            "two_holders_at_once": sum(r["two_holders_at_once"] for r in ours),
            "fairness_max_to_min": max(r["fairness_max_to_min"] for r in ours),
        }
    return result
