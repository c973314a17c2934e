"""Random walks over etcd's requests: what is sent next, as a value that each side puts into its own numbers.

Rules of this file
1. A walk is its seed. Revisions and indexes in a step count from where the side stood at the beginning.
2. Few keys and small values, so that requests meet; wrong requests among the right ones.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from tests.simulation.model import Request
from tests.simulation.sides import FORM, Json, Norm, b64

__all__ = ["Step", "V2Walk", "V3Walk"]


@dataclass(frozen=True, slots=True)
class Step:
    """One request; `build` gives it for a side."""

    kind: str
    build: Callable[[Norm], Request]


class V3Walk:
    """Steps on v3 below `prefix`; leases have ids from `lease` on."""

    def __init__(self, rng: random.Random, prefix: str, lease: int) -> None:
        self._rng = rng
        self._prefix = prefix
        self._lease = lease
        self.written = 0
        """About how many revisions there have been."""

    def step(self) -> Step:
        """Give what is sent next."""
        rng = self._rng
        kinds = {
            "kv/put": (20, self._put),
            "kv/range": (20, self._range),
            "kv/deleterange": (8, self._delete),
            "kv/txn": (30, self._txn),
            "lease/grant": (6, self._grant),
            "lease/revoke": (2, self._lease_body),
            "lease/keepalive": (3, self._lease_body),
            "lease/timetolive": (5, self._time_to_live),
            "kv/compaction": (1, self._compact),
        }
        path = rng.choices(list(kinds), [weight for weight, _ in kinds.values()])[0]
        make = kinds[path][1]()
        return Step(path, lambda norm: _post(path, make(norm)))

    def key(self) -> str:
        """Give a key, now and then none."""
        rng = self._rng
        return "" if rng.random() < 0.01 else b64(f"{self._prefix}/{rng.choice('abcde')}")

    def span(self) -> Json:
        """Give a key, or a range of keys."""
        rng = self._rng
        body = {"key": self.key()}
        if rng.random() < 0.6:
            end = rng.choice(["b", "d", "z", "zz"])
            body["range_end"] = b64(f"{self._prefix}/{end}")
        return body

    def revision(self) -> int:
        """Give a revision that may be there, counted from the beginning."""
        return self._rng.randint(1, self.written + 2)

    def _lease_id(self) -> str:
        return str(self._lease + self._rng.randrange(4))

    def _value(self) -> str:
        return b64(self._rng.choice(["", "x", "y", "longer value", "ü&<"]))

    def _put(self) -> Callable[[Norm], Json]:
        rng = self._rng
        self.written += 1
        body: Json = {"key": self.key()}
        if rng.random() < 0.9:
            body["value"] = self._value()
        if rng.random() < 0.3:
            body["lease"] = self._lease_id() if rng.random() < 0.7 else int(self._lease_id())
        for name, chance in (("prev_kv", 0.3), ("ignore_value", 0.06), ("ignore_lease", 0.06)):
            if rng.random() < chance:
                body[name] = True
        return lambda _: body

    def _range(self) -> Callable[[Norm], Json]:
        rng = self._rng
        body = self.span()
        if rng.random() < 0.3:
            body["limit"] = str(rng.randint(1, 4))
        if rng.random() < 0.4:
            body["sort_target"] = rng.choice(["KEY", "VERSION", "CREATE", "MOD", "VALUE", 2])
        if rng.random() < 0.4:
            body["sort_order"] = rng.choice(["NONE", "ASCEND", "DESCEND", 1])
        for name in ("keys_only", "count_only", "serializable"):
            if rng.random() < 0.15:
                body[name] = True
        revisions = {
            name: self.revision()
            for name, chance in _REVISION_BOUNDS.items()
            if rng.random() < chance
        }
        return lambda norm: body | {n: str(norm.revision + r) for n, r in revisions.items()}

    def _delete(self) -> Callable[[Norm], Json]:
        self.written += 1
        body = self.span()
        if self._rng.random() < 0.5:
            body["prev_kv"] = True
        return lambda _: body

    def _txn(self, depth: int = 0) -> Callable[[Norm], Json]:
        rng = self._rng
        compares = [self._compare() for _ in range(rng.choice([0, 1, 1, 2, 3]))]
        success = [self._op(depth) for _ in range(rng.choice([0, 1, 2, 3]))]
        failure = [self._op(depth) for _ in range(rng.choice([0, 1, 2]))]
        return lambda norm: {
            "compare": [make(norm) for make in compares],
            "success": [make(norm) for make in success],
            "failure": [make(norm) for make in failure],
        }

    def _op(self, depth: int) -> Callable[[Norm], Json]:
        rng = self._rng
        name = rng.choices(list(_OPS), [4, 4, 2, 1 if depth < 2 else 0, 0.1])[0]
        if name == "request_range":
            make = self._range()
        elif name == "request_put":
            make = self._put()
        elif name == "request_delete_range":
            make = self._delete()
        elif name == "request_txn":
            make = self._txn(depth + 1)
        else:
            return lambda _: {}
        return lambda norm: {name: make(norm)}

    def _compare(self) -> Callable[[Norm], Json]:
        rng = self._rng
        body: Json = {"key": self.key(), "result": rng.choice(_RESULTS)}
        if rng.random() < 0.2:
            body |= self.span()
        target = rng.choice(["VERSION", "CREATE", "MOD", "VALUE", "LEASE"])
        body["target"] = target
        if rng.random() < 0.03:
            return lambda _: body
        if target == "VALUE":
            body["value"] = self._value()
        elif target == "VERSION":
            body["version"] = str(rng.randint(0, 3))
        elif target == "LEASE":
            body["lease"] = rng.choice(["0", self._lease_id()])
        else:
            name = f"{target.lower()}_revision"
            revision = self.revision() if rng.random() < 0.6 else None
            return lambda norm: body | {name: "0" if revision is None else norm.revision + revision}
        return lambda _: body

    def _grant(self) -> Callable[[Norm], Json]:
        ttl = self._rng.choice([10000, 20000, 30000, "40000", 9_000_000_001])
        body = {"TTL": ttl, "ID": self._lease_id()}
        return lambda _: body

    def _lease_body(self) -> Callable[[Norm], Json]:
        body = {"ID": self._lease_id()}
        return lambda _: body

    def _time_to_live(self) -> Callable[[Norm], Json]:
        body: Json = {"ID": self._lease_id()}
        if self._rng.random() < 0.7:
            body["keys"] = True
        return lambda _: body

    def _compact(self) -> Callable[[Norm], Json]:
        revision = self.revision()
        return lambda norm: {"revision": str(norm.revision + revision)}

    def watch(self) -> Callable[[Norm], list[Json]]:
        """Give the body of a stream with several watches."""
        makes = [self._create() for _ in range(self._rng.randint(1, 3))]
        return lambda norm: [{"create_request": make(norm)} for make in makes]

    def _create(self) -> Callable[[Norm], Json]:
        rng = self._rng
        body = self.span()
        body["key"] = body["key"] or b64(self._prefix)
        if rng.random() < 0.4:
            body["prev_kv"] = True
        if rng.random() < 0.2:
            body["filters"] = rng.choice([["NOPUT"], ["NODELETE"], [1]])
        if rng.random() < 0.5:
            return lambda _: body
        start = self.revision()
        return lambda norm: body | {"start_revision": str(norm.revision + start)}


_REVISION_BOUNDS = {
    "revision": 0.2,
    "min_mod_revision": 0.1,
    "max_mod_revision": 0.1,
    "min_create_revision": 0.1,
    "max_create_revision": 0.1,
}
_OPS = ("request_range", "request_put", "request_delete_range", "request_txn", "nothing")
_RESULTS = ("EQUAL", "GREATER", "LESS", "NOT_EQUAL", 0, 1)


def _post(path: str, body: Json) -> Request:
    return Request("POST", f"/v3/{path}", json.dumps(body).encode(), {})


class V2Walk:
    """Steps on v2 below the directory `prefix`."""

    def __init__(self, rng: random.Random, prefix: str) -> None:
        self._rng = rng
        self._prefix = prefix
        self.written = 0

    def step(self) -> Step:
        """Give what is sent next."""
        rng = self._rng
        method = rng.choices(["GET", "PUT", "POST", "DELETE"], [8, 14, 3, 5])[0]
        query: dict[str, Any] = {}
        form: dict[str, str] = {}
        if method == "GET":
            query = {n: "true" for n in ("recursive", "quorum") if rng.random() < 0.5}
            query["sorted"] = "true"
        elif method == "DELETE":
            query = {n: "true" for n in ("recursive", "dir") if rng.random() < 0.3}
        else:
            form, query = self._write(method)
        if method in ("PUT", "DELETE") and rng.random() < 0.35:
            query |= self._compared()
        if rng.random() < 0.03:
            query |= rng.choice(_WRONG)
        path, body = self.path(root=method != "GET"), urlencode(form).encode()
        self.written += method != "GET"

        def build(norm: Norm) -> Request:
            filled = {n: v(norm) if callable(v) else v for n, v in query.items()}
            shown = f"/v2/keys{path}" + (f"?{urlencode(filled)}" if filled else "")
            return Request(method, shown, body, {} if method == "GET" else FORM)

        return Step(f"v2 {method}", build)

    def path(self, *, root: bool = False) -> str:
        """Give a path: a file, a directory, something below a file, something hidden; or the `root`."""
        rng = self._rng
        names = [rng.choice(["a", "b", "c", "_h"]) for _ in range(rng.choice([1, 1, 1, 2, 2, 3]))]
        if root and rng.random() < 0.02:
            return "/"
        return "/".join((self._prefix, *names))

    def _write(self, method: str) -> tuple[dict[str, str], dict[str, Any]]:
        rng = self._rng
        form = {"value": rng.choice(["x", "y", "", "a b&ü"])}
        query: dict[str, Any] = {}
        if rng.random() < 0.2:
            form["ttl"] = rng.choice(["10000", "20000", "", "10000", "x"])
        if method == "PUT":
            if rng.random() < 0.35:
                query["prevExist"] = rng.choice(["true", "false"])
            if rng.random() < 0.15:
                form |= {"refresh": "true", "ttl": "30000"}
                if rng.random() < 0.8:
                    form["value"] = ""
            elif rng.random() < 0.12:
                query["dir"] = "true"
                form.pop("value")
        if rng.random() < 0.05:
            query["noValueOnSuccess"] = "true"
        return form, query

    def _compared(self) -> dict[str, Any]:
        rng = self._rng
        query: dict[str, Any] = {}
        if rng.random() < 0.6:
            query["prevValue"] = rng.choice(["x", "y", "z", "x", ""])
        if rng.random() < 0.5:
            index = rng.randint(max(1, self.written - 8), self.written + 2)
            query["prevIndex"] = lambda norm: str(norm.index + index)
        return query

    def watch(self) -> Callable[[Norm], str]:
        """Give the path of a wait, with its query."""
        rng = self._rng
        path = self.path()
        query: dict[str, Any] = {"wait": "true"}
        if rng.random() < 0.6:
            query["recursive"] = "true"
        if rng.random() < 0.3:
            query["stream"] = "true"
        since = rng.randint(max(1, self.written - 10), self.written + 3)
        if rng.random() < 0.5:
            return lambda _: f"{path}?{urlencode(query)}"
        return lambda norm: f"{path}?{urlencode(query | {'waitIndex': norm.index + since})}"


_WRONG: list[dict[str, Any]] = [
    {"prevIndex": "x"},
    {"recursive": "maybe"},
    {"dir": ""},
    {"ttl": "-1"},
    {"prevExist": "2"},
    {"waitIndex": "-1"},
    {"refresh": "q"},
    {"noValueOnSuccess": "x"},
]
