"""How many requests a real server has answered, by kind: its own counters."""

from __future__ import annotations

import re
import urllib.request
from collections import Counter

_LINE = re.compile(r'grpc_server_handled_total\{.*grpc_method="(\w+)".*\} (\S+)')
_V2_LINE = re.compile(r'etcd_http_received_total\{method="(\w+)"\} (\S+)')
_V2_WATCHES = re.compile(r"etcd_debugging_store_(watch)_requests_total (\d\S*)")


def requests_seen(endpoint: str) -> Counter[str]:
    """Give how many requests the server has answered, by the gRPC method; a watch counts when it ends."""
    return _counted(endpoint, _LINE)


def v2_requests_seen(endpoint: str) -> Counter[str]:
    """Give how many v2 requests have come in: watches begun, and all else by its method (QGET: with quorum)."""
    return _counted(endpoint, _V2_LINE, _V2_WATCHES)


def _counted(endpoint: str, *lines: re.Pattern[str]) -> Counter[str]:
    with urllib.request.urlopen(f"{endpoint}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    counts: Counter[str] = Counter()
    for line in lines:
        for method, number in line.findall(text):
            counts[method] += int(float(number))
    return counts
