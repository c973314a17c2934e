"""The floor: raw keep-alive sockets to etcd, and a lock over them with nothing around.

Rules of this file
1. No library of ours, no requests, no http.client: what this costs, etcd and the kernel cost.
2. It makes the same requests as ours when nothing goes wrong, and does nothing about what does.
"""

from __future__ import annotations

import base64
import json
import secrets
import socket
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def text(encoded: str) -> str:
    return base64.b64decode(encoded).decode()


def end_of(prefix: str) -> str:
    return prefix[:-1] + chr(ord(prefix[-1]) + 1)


class Raw:
    """One connection."""

    def __init__(self, endpoint: str) -> None:
        url = urlsplit(endpoint)
        self._host = f"{url.hostname}:{url.port}".encode()
        self._sock = socket.create_connection((url.hostname, url.port))
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = b""

    def call(self, path: bytes, body: dict[str, Any]) -> dict[str, Any]:
        return self.send(b"POST", path, json.dumps(body).encode())

    def send(self, method: bytes, path: bytes, body: bytes = b"", kind: bytes = b"") -> Any:
        self._send(method, path, body, kind)
        head = self._until(b"\r\n\r\n").lower()
        if b"content-length:" not in head:
            return json.loads(b"".join(self._chunks()))
        length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
        return json.loads(self._exactly(length))

    def _send(self, method: bytes, path: bytes, body: bytes, kind: bytes = b"") -> None:
        head = b"%s %s HTTP/1.1\r\nHost: %s\r\n%sContent-Length: %d\r\n\r\n"
        kind = b"Content-Type: %s\r\n" % kind if kind else b""
        self._sock.sendall(head % (method, path, self._host, kind, len(body)) + body)

    def watch(self, key: str, end: str = "", start: int = 0) -> None:
        """Open a watch and read until it is confirmed; the connection is then its own."""
        create: dict[str, Any] = {"key": b64(key)}
        create |= {"range_end": b64(end)} if end else {}
        create |= {"start_revision": start} if start else {}
        self._send(b"POST", b"/v3/watch", json.dumps({"create_request": create}).encode())
        self._until(b"\r\n\r\n")
        assert next(self.messages())["result"]["created"]

    def messages(self) -> Iterator[dict[str, Any]]:
        """Give each message of a stream."""
        line = b""
        for chunk in self._chunks():
            line += chunk
            if line.endswith(b"\n"):
                yield from map(json.loads, line.splitlines())
                line = b""

    def wait_for_delete(self) -> None:
        for message in self.messages():
            if any(e.get("type") == "DELETE" for e in message["result"].get("events", ())):
                return

    def _chunks(self) -> Iterator[bytes]:
        while length := int(self._until(b"\r\n"), 16):
            yield self._exactly(length + 2)[:-2]
        self._until(b"\r\n")

    def _until(self, mark: bytes) -> bytes:
        while mark not in self._buffer:
            self._read()
        head, self._buffer = self._buffer.split(mark, 1)
        return head

    def _exactly(self, length: int) -> bytes:
        while len(self._buffer) < length:
            self._read()
        answer, self._buffer = self._buffer[:length], self._buffer[length:]
        return answer

    def _read(self) -> None:
        data = self._sock.recv(1 << 16)
        if not data:
            raise ConnectionError("the server closed the connection")
        self._buffer += data

    def close(self) -> None:
        self._sock.close()


class Adapter:
    """The v3 gateway, or with ``store="v2"`` the v2 API."""

    def __init__(self, endpoints: list[str], store: str = "v3", ttl: float = 60.0) -> None:
        self._endpoint, self._store, self._ttl = endpoints[0], store, ttl
        self._raw = Raw(self._endpoint)
        self._lease = 0

    def get(self, key: str, *, quorum: bool = False) -> object:
        if self._store == "v3":
            return self._raw.call(b"/v3/kv/range", {"key": b64(key)})
        path = f"/v2/keys/{key}{'?quorum=true' if quorum else ''}"
        return self._raw.send(b"GET", path.encode())

    def put(self, key: str, value: str) -> object:
        if self._store == "v3":
            return self._raw.call(b"/v3/kv/put", {"key": b64(key), "value": b64(value)})
        kind = b"application/x-www-form-urlencoded"
        return self._raw.send(b"PUT", f"/v2/keys/{key}".encode(), f"value={value}".encode(), kind)

    def lock(self, name: str) -> RawLock:
        if not self._lease:
            self._lease = secrets.randbits(62) + 1
            self._raw.call(b"/v3/lease/grant", {"ID": self._lease, "TTL": int(self._ttl)})
        return RawLock(self._endpoint, self._raw, self._lease, name)

    def warm_up(self) -> None:
        self.get("warm")

    def watch(self, prefix: str) -> Iterator[str]:
        raw = Raw(self._endpoint)
        raw.watch(prefix, end_of(prefix))

        def keys() -> Iterator[str]:
            for message in raw.messages():
                for event in message["result"].get("events", ()):
                    yield text(event["kv"]["key"])

        return keys()

    # -- what the others are measured by ---------------------------------------------------------------------

    def write(self, prefix: str, count: int, batch: int, value: str) -> float:
        """Put `count` keys below `prefix`, `batch` in a transaction (v2: one at a time); give the seconds."""
        begun = time.monotonic()
        keys = [f"{prefix}{number:06}" for number in range(count)]
        if batch == 1:
            for key in keys:
                self.put(key, value)
            return time.monotonic() - begun
        encoded = b64(value)
        for first in range(0, count, batch):
            puts = [
                {"request_put": {"key": b64(key), "value": encoded}}
                for key in keys[first : first + batch]
            ]
            self._raw.call(b"/v3/kv/txn", {"success": puts})
        return time.monotonic() - begun

    def leases(self) -> int:
        return len(self._raw.call(b"/v3/lease/leases", {}).get("leases", ()))

    def follow(self, service: str, expected: int) -> dict[str, float]:
        """List the instances of a service as JSON, and open the watch from there on."""
        prefix = f"bench/{service}/"
        begun = time.monotonic()
        span = {"key": b64(prefix), "range_end": b64(end_of(prefix))}
        answer = self._raw.call(b"/v3/kv/range", span)
        self._there = {text(kv["key"]): json.loads(text(kv["value"])) for kv in answer["kvs"]}
        self._watching = Raw(self._endpoint)
        self._watching.watch(prefix, end_of(prefix), int(answer["header"]["revision"]) + 1)
        assert len(self._there) == expected
        return {"seconds": time.monotonic() - begun}

    def until_seen(self, address: str) -> None:
        """Take changes in until one has this address."""
        for message in self._watching.messages():
            for event in message["result"].get("events", ()):
                instance = json.loads(text(event["kv"]["value"]))
                self._there[text(event["kv"]["key"])] = instance
                if instance["address"] == address:
                    return

    def close(self) -> None:
        if self._lease:
            self._raw.call(b"/v3/lease/revoke", {"ID": self._lease})
        self._raw.close()


class RawLock:
    """The line with raw requests: look and put, watch from now, look again, delete."""

    def __init__(self, endpoint: str, raw: Raw, lease: int, name: str) -> None:
        self._endpoint, self._raw, self._lease = endpoint, raw, lease
        self._prefix, self._end = b64(f"{name}/"), b64(f"{name}0")
        self._name, self._key = name, f"{name}/{lease:x}"

    def acquire(self) -> int:
        key = b64(self._key)
        ahead = {"key": self._prefix, "range_end": self._end, "sort_target": "CREATE"}
        ahead |= {"sort_order": "DESCEND", "limit": 1}
        answer = self._raw.call(
            b"/v3/kv/txn",
            {
                "compare": [{"target": "CREATE", "key": key, "create_revision": 0}],
                "success": [
                    {"request_range": ahead},
                    {"request_put": {"key": key, "value": b64("x" * 80), "lease": self._lease}},
                ],
            },
        )
        self._created = mine = int(answer["header"]["revision"])
        before = answer["responses"][0]["response_range"].get("kvs", ())
        revision = mine
        while before:
            watch = Raw(self._endpoint)
            watch.watch(text(before[0]["key"]))
            before, revision = self._before(mine)
            if before:
                watch.wait_for_delete()
                before, revision = self._before(mine)
            watch.close()
        return revision

    def _before(self, mine: int) -> tuple[list[dict[str, Any]], int]:
        answer = self._raw.call(
            b"/v3/kv/range",
            {
                "key": self._prefix,
                "range_end": self._end,
                "sort_target": "CREATE",
                "sort_order": "DESCEND",
                "limit": 1,
                "max_create_revision": mine - 1,
            },
        )
        return answer.get("kvs", []), int(answer["header"]["revision"])

    def release(self) -> None:
        key = b64(self._key)
        compare = {"target": "CREATE", "key": key, "create_revision": self._created}
        delete = {"request_delete_range": {"key": key}}
        self._raw.call(b"/v3/kv/txn", {"compare": [compare], "success": [delete]})
