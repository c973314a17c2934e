"""What is really in etcd, for those who check: the model's own state, past and present, whichever the store."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.simulation.model.v2errors import V2Error

if TYPE_CHECKING:
    from tests.simulation.model import Cluster
    from tests.simulation.model.tree import Node

__all__ = ["Fact", "Oracle", "OracleV2", "OracleV3", "plain", "wish_of"]


@dataclass(frozen=True, slots=True)
class Fact:
    """A key as it is, or was: `value` None says that it was deleted at revision `modified`."""

    key: str
    value: str | None
    created: int
    modified: int
    lease: int = 0


class Oracle(ABC):
    """Reads the model past its wire."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    @property
    @abstractmethod
    def revision(self) -> int:
        """Give the revision of the store, or its index."""

    @abstractmethod
    def get(self, key: str) -> Fact | None:
        """Give a key as it is."""

    @abstractmethod
    def below(self, prefix: str) -> list[Fact]:
        """Give what is below a prefix, the oldest first."""

    @abstractmethod
    def take(self, fact: Fact, *, lease: bool) -> list[Fact]:
        """Delete a key, or end its lease; give what is gone."""

    @abstractmethod
    def history(self, prefix: str) -> list[Fact]:
        """Give all that ever happened below a prefix, in order."""


class OracleV3(Oracle):
    """The v3 store."""

    @property
    def revision(self) -> int:
        return self._cluster.revision

    def get(self, key: str) -> Fact | None:
        kv = self._cluster.keys().get(key.encode())
        return None if kv is None else Fact(key, kv.value.decode(), kv.create, kv.mod, kv.lease)

    def below(self, prefix: str) -> list[Fact]:
        raw, live = prefix.encode(), self._cluster.keys()
        order = self._cluster.mvcc._order
        found = []
        for at in range(bisect_left(order, raw), len(order)):
            if not order[at].startswith(raw):
                break
            kv = live[order[at]]
            found.append(Fact(order[at].decode(), kv.value.decode(), kv.create, kv.mod, kv.lease))
        return sorted(found, key=lambda fact: fact.created)

    def take(self, fact: Fact, *, lease: bool) -> list[Fact]:
        cluster = self._cluster
        if lease:
            gone = [each for each in self.below("") if each.lease == fact.lease]
            cluster.revoke(fact.lease)
            return gone
        cluster.lessor.attach(fact.key.encode(), 0)
        cluster.mvcc.delete(fact.key.encode(), b"")
        cluster.mvcc.commit()
        cluster.publish()
        return [fact]

    def history(self, prefix: str) -> list[Fact]:
        raw = prefix.encode()
        facts = []
        for change in self._cluster.history():
            if change.key.startswith(raw):
                kv, key = change.kv, change.key.decode()
                if kv is None:
                    facts.append(Fact(key, None, 0, change.revision))
                else:
                    facts.append(Fact(key, kv.value.decode(), kv.create, kv.mod, kv.lease))
        return facts


class OracleV2(Oracle):
    """The v2 store: files only; a key's ttl stands for its lease."""

    @property
    def revision(self) -> int:
        return self._cluster.v2.index

    def get(self, key: str) -> Fact | None:
        try:
            node = self._cluster.v2._find(f"/1/{key}")
        except V2Error:
            return None
        return None if node.is_dir else _fact(node)

    def below(self, prefix: str) -> list[Fact]:
        try:
            top = self._cluster.v2._find(f"/1/{prefix}")
        except V2Error:
            return []
        found = [_fact(node) for node in top.below() if not node.is_dir]
        return sorted(found, key=lambda fact: fact.created)

    def take(self, fact: Fact, *, lease: bool) -> list[Fact]:
        store, now = self._cluster.v2, self._cluster.now
        store.delete(f"/1/{fact.key}", is_dir=False, recursive=False, now=now)
        self._cluster.publish_v2()
        return [fact]

    def history(self, prefix: str) -> list[Fact]:
        facts = []
        for event in self._cluster.v2_history():
            node, key = event.node, event.key.removeprefix("/1/")
            if event.refresh or node.get("dir") or not key.startswith(prefix):
                continue
            gone = event.action in ("delete", "expire", "compareAndDelete")
            value = None if gone else str(node.get("value", ""))
            facts.append(Fact(key, value, int(node["createdIndex"]), event.index))
        return facts


def _fact(node: Node) -> Fact:
    mortal = int(node.expire is not None)
    return Fact(node.path[3:], node.value, node.created, node.modified, mortal)


def plain(value: str) -> str:
    """Give what the library has written, without the seal that it has on v2."""
    try:
        sealed = json.loads(value)
    except ValueError:
        return value
    if isinstance(sealed, dict) and set(sealed) == {"grant", "value"}:
        return str(sealed["value"])
    return value


def wish_of(fact: Fact) -> dict[str, object]:
    """Give what a contender says of itself, {} if it says nothing."""
    try:
        value = json.loads(plain(fact.value or ""))
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
