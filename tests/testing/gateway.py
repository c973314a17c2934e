"""The least of an etcd client: the kit is tested without the library's own."""

from __future__ import annotations

import base64
import json
import urllib.request
from typing import Any


def put(endpoint: str, key: str, value: str) -> None:
    call(endpoint, "/v3/kv/put", {"key": _encode(key), "value": _encode(value)})


def get(endpoint: str, key: str) -> str | None:
    answer = call(endpoint, "/v3/kv/range", {"key": _encode(key)})
    found = [base64.b64decode(kv["value"]).decode() for kv in answer.get("kvs", ())]
    return found[0] if found else None


def call(endpoint: str, path: str, body: dict[str, Any], timeout: float = 5.0) -> Any:
    request = urllib.request.Request(endpoint + path, json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=timeout) as response:
        return json.load(response)


def _encode(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
