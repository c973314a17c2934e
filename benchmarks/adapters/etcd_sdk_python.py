"""etcd-sdk-python: gRPC. The same code as python-etcd3, kept alive by others."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

import pyetcd


class Adapter:
    def __init__(self, endpoints: list[str], ttl: float = 60.0) -> None:
        urls = [urlsplit(endpoint) for endpoint in endpoints]
        self._client = pyetcd.MultiEndpointEtcd3Client(
            [pyetcd.Endpoint(host=url.hostname, port=url.port, secure=False) for url in urls],
            failover=len(urls) > 1,
        )
        self._ttl = int(ttl)

    def get(self, key: str) -> object:
        return self._client.get(key)

    def put(self, key: str, value: str) -> object:
        return self._client.put(key, value)

    def lock(self, name: str) -> Lock:
        return Lock(pyetcd.Lock(name, ttl=self._ttl, etcd_client=self._client))

    def warm_up(self) -> None:
        self.get("warm")

    def watch(self, prefix: str) -> Iterator[str]:
        events, _ = self._client.watch_prefix(prefix)
        return (event.key.decode() for event in events)

    def endpoint_in_use(self) -> str:
        return str(self._client.endpoint_in_use.netloc)

    def close(self) -> None:
        self._client.close()


class Lock:
    """`acquire` without its own limit of 10 s."""

    def __init__(self, lock: pyetcd.Lock) -> None:
        self._lock = lock
        self.release = lock.release

    def acquire(self) -> None:
        if not self._lock.acquire(timeout=None):
            raise RuntimeError("it gave up")
