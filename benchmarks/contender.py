"""One contender process: waits for a line on stdin, contends for some seconds, prints what it held."""

from __future__ import annotations

import json
import sys
import time

from benchmarks.raw import RawLock
from etcd_recipes import Client


def main(kind: str, endpoint: str, name: str, seconds: float) -> None:
    spans: list[tuple[int, float, float]] = []
    if kind == "raw":
        floor = RawLock(endpoint, name)
        ready(seconds)
        while time.monotonic() < ready.end:  # type: ignore[attr-defined]
            token, begun = floor.acquire(), time.monotonic()
            spans.append((token, begun, time.monotonic()))
            floor.release()
        floor.close()
    else:
        with Client(endpoint) as client:
            lock = client.lock(name)
            client.session()
            ready(seconds)
            while time.monotonic() < ready.end:  # type: ignore[attr-defined]
                with lock as hold:
                    spans.append((hold.token, time.monotonic(), time.monotonic()))
    print(json.dumps(spans))


def ready(seconds: float) -> None:
    print("ready", flush=True)
    sys.stdin.readline()
    ready.end = time.monotonic() + seconds  # type: ignore[attr-defined]


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], float(sys.argv[4]))
