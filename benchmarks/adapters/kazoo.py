"""kazoo: ZooKeeper. Reads are of the server that is asked, as ZooKeeper's are; a session is what a ttl is elsewhere."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from kazoo.client import KazooClient


class Adapter:
    def __init__(self, endpoints: list[str], ttl: float = 10.0) -> None:
        hosts = ",".join(f"{url.hostname}:{url.port}" for url in map(urlsplit, endpoints))
        self._client = KazooClient(hosts=hosts, timeout=ttl)
        self._client.start()
        self._made: set[str] = set()

    def get(self, key: str) -> object:
        return self._client.get(f"/{key}")

    def put(self, key: str, value: str) -> object:
        if key not in self._made:
            self._client.ensure_path(f"/{key}")
            self._made.add(key)
        return self._client.set(f"/{key}", value.encode())

    def lock(self, name: str) -> Any:
        return self._client.Lock(f"/locks/{name}")

    def warm_up(self) -> None:
        self.put("warm", "")

    def close(self) -> None:
        self._client.stop()
        self._client.close()
