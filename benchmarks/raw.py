"""The floor: a raw keep-alive socket to the gateway, and a lock over it with nothing around.

Rules of this file
1. No library of ours, no requests, no http.client: what this costs, etcd and the kernel cost.
2. The lock makes the same requests as ours when nothing goes wrong, and does nothing about what does.
"""

from __future__ import annotations

import base64
import json
import secrets
import socket
from typing import Any
from urllib.parse import urlsplit


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


class Raw:
    def __init__(self, endpoint: str) -> None:
        url = urlsplit(endpoint)
        self._host = f"{url.hostname}:{url.port}".encode()
        self._sock = socket.create_connection((url.hostname, url.port))
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = b""

    def _send(self, path: bytes, body: bytes) -> None:
        head = b"POST %s HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n\r\n"
        self._sock.sendall(head % (path, self._host, len(body)) + body)

    def call(self, path: bytes, body: dict[str, Any]) -> dict[str, Any]:
        self._send(path, json.dumps(body).encode())
        head = self._until(b"\r\n\r\n").lower()
        length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
        while len(self._buffer) < length:
            self._buffer += self._sock.recv(65536)
        answer, self._buffer = self._buffer[:length], self._buffer[length:]
        return json.loads(answer)

    def watch(self, key: str, start: int = 0) -> None:
        """Open a watch and read until it is confirmed; the connection is then its own."""
        create = {"key": b64(key)} | ({"start_revision": start} if start else {})
        self._send(b"/v3/watch", json.dumps({"create_request": create}).encode())
        self._until(b'"created":true')

    def wait_for_delete(self) -> None:
        self._until(b'"DELETE"')

    def _until(self, mark: bytes) -> bytes:
        while mark not in self._buffer:
            data = self._sock.recv(65536)
            if not data:
                raise ConnectionError("the server closed the connection")
            self._buffer += data
        head, self._buffer = self._buffer.split(mark, 1)
        return head

    def close(self) -> None:
        self._sock.close()


class RawLock:
    """The line with raw requests: put and look, watch from now, look again, delete."""

    def __init__(self, endpoint: str, name: str) -> None:
        self._endpoint = endpoint
        self._raw = Raw(endpoint)
        lease = secrets.randbits(62) + 1
        self._raw.call(b"/v3/lease/grant", {"ID": lease, "TTL": 60})
        self._lease = lease
        self._prefix, self._end = b64(f"{name}/"), b64(f"{name}0")
        self._name, self._key = name, f"{name}/{lease:x}"

    def acquire(self) -> int:
        key = b64(self._key)
        ahead = {"key": self._prefix, "range_end": self._end, "sort_target": "CREATE"}
        ahead |= {"sort_order": "DESCEND", "limit": 2}
        answer = self._raw.call(
            b"/v3/kv/txn",
            {
                "compare": [{"target": "CREATE", "key": key, "create_revision": 0}],
                "success": [
                    {"request_put": {"key": key, "value": b64("x" * 80), "lease": self._lease}},
                    {"request_range": ahead},
                ],
            },
        )
        self._created = mine = int(answer["header"]["revision"])
        before = answer["responses"][1]["response_range"]["kvs"][1:]
        revision = mine
        while before:
            watch = Raw(self._endpoint)
            watch.watch(base64.b64decode(before[0]["key"]).decode())
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

    def close(self) -> None:
        self._raw.call(b"/v3/lease/revoke", {"ID": self._lease})
        self._raw.close()
