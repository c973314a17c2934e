"""python-etcd: the v2 API by urllib3."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from urllib.parse import urlsplit

import etcd

logging.disable(logging.CRITICAL)  # its own words on every failed try are not what is measured


class Adapter:
    def __init__(self, endpoints: list[str], ttl: float = 60.0) -> None:
        hosts = tuple((url.hostname, url.port) for url in map(urlsplit, endpoints))
        self._ttl = int(ttl)
        if len(hosts) > 1:
            self._client = etcd.Client(host=hosts, allow_reconnect=True)
        else:
            self._client = etcd.Client(host=hosts[0][0], port=hosts[0][1])

    def get(self, key: str, *, quorum: bool = False) -> object:
        return self._client.read(f"/{key}", quorum=True) if quorum else self._client.read(f"/{key}")

    def put(self, key: str, value: str) -> object:
        return self._client.write(f"/{key}", value)

    def lock(self, name: str) -> Lock:
        return Lock(etcd.Lock(self._client, name), self._ttl)

    def warm_up(self) -> None:
        self.put("warm", "")

    def watch(self, prefix: str) -> Iterator[str]:
        written = self._client.write(f"/{prefix}begin", "")
        events = self._client.eternal_watch(
            f"/{prefix}".rstrip("/"), index=written.modifiedIndex + 1, recursive=True
        )
        return (event.key for event in events)

    def endpoint_in_use(self) -> str:
        return str(self._client.base_uri)

    def close(self) -> None:
        self._client.http.clear()


class Lock:
    def __init__(self, lock: etcd.Lock, ttl: int) -> None:
        self._lock, self._ttl = lock, ttl
        self.release = lock.release

    def acquire(self) -> None:
        if not self._lock.acquire(blocking=True, lock_ttl=self._ttl):
            raise RuntimeError("it gave up")
