"""Uncontended acquire and release: pairs per second against the floor, requests per pair, leases left."""

from __future__ import annotations

import re
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from statistics import median
from typing import Any

from benchmarks.raw import RawLock
from etcd_recipes import Client
from etcd_recipes.testing import EtcdProcess


def requests_seen(endpoint: str) -> Counter[str]:
    with urllib.request.urlopen(f"{endpoint}/metrics") as answer:
        text = answer.read().decode()
    found = re.findall(r'grpc_server_handled_total\{.*grpc_method="(\w+)".*\} (\S+)', text)
    counts: Counter[str] = Counter()
    for method, number in found:
        counts[method] += int(float(number))
    return counts


def rate(pair: Callable[[], None], count: int) -> tuple[float, float]:
    """Give pairs per second, and microseconds of this process's own time per pair."""
    begun, used = time.perf_counter(), time.process_time()
    for _ in range(count):
        pair()
    cpu = (time.process_time() - used) / count * 1e6
    return count / (time.perf_counter() - begun), cpu


def run(*, quick: bool) -> dict[str, Any]:
    rounds, count = (3, 100) if quick else (7, 300)
    with EtcdProcess() as server, Client(server.endpoint) as client:
        lock = client.lock("pairs")
        floor = RawLock(server.endpoint, "floor")

        def ours() -> None:
            with lock:
                pass

        def raw() -> None:
            floor.acquire()
            floor.release()

        rate(ours, 20)
        rate(raw, 20)
        before = requests_seen(server.endpoint)
        rate(ours, 50)
        seen = requests_seen(server.endpoint) - before
        results = [(rate(ours, count), rate(raw, count)) for _ in range(rounds)]
        floor.close()
        client.close()
        with Client(server.endpoint) as other:
            leases = len(other.v3.lease.list())
    ratios = [a[0] / b[0] for a, b in results]
    return {
        "pairs_per_second": round(median(a[0] for a, _ in results)),
        "floor_pairs_per_second": round(median(b[0] for _, b in results)),
        "ratio_to_floor": round(median(ratios), 2),
        "client_cpu_us_per_pair": round(median(a[1] for a, _ in results)),
        "requests_per_pair": (seen["Txn"] + seen["Range"] + seen["Put"] + seen["DeleteRange"]) / 50,
        "leases_left": leases,
    }
