"""etcd3gw: the JSON gateway by requests. Its lock does not wait; it is asked again every 10 ms."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from etcd3gw.client import Etcd3Client

PAUSE = 0.01


class Adapter:
    def __init__(self, endpoints: list[str], ttl: float = 60.0) -> None:
        url = urlsplit(endpoints[0])
        self._client = Etcd3Client(host=url.hostname, port=url.port, api_path="/v3/")
        self._ttl = int(ttl)

    def get(self, key: str) -> object:
        return self._client.get(key)

    def put(self, key: str, value: str) -> object:
        return self._client.put(key, value)

    def lock(self, name: str) -> Lock:
        return Lock(self._client.lock(name, ttl=self._ttl))

    def warm_up(self) -> None:
        self.get("warm")

    def watch(self, prefix: str) -> Iterator[str]:
        events, _ = self._client.watch_prefix(prefix)
        return (event["kv"]["key"].decode() for event in events)

    def close(self) -> None:
        self._client.session.close()


class Lock:
    def __init__(self, lock: Any) -> None:
        self._lock = lock
        self.release = lock.release

    def acquire(self) -> None:
        while not self._lock.acquire():
            time.sleep(PAUSE)
