"""How many requests a real server has answered, by kind: its own counters."""

from __future__ import annotations

import re
import urllib.request
from collections import Counter

_LINE = re.compile(r'grpc_server_handled_total\{.*grpc_method="(\w+)".*\} (\S+)')


def requests_seen(endpoint: str) -> Counter[str]:
    with urllib.request.urlopen(f"{endpoint}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    counts: Counter[str] = Counter()
    for method, number in _LINE.findall(text):
        counts[method] += int(float(number))
    return counts
