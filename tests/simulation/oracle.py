"""What is really in etcd, for those who check: the model's own state, past and present, whichever the store."""

from __future__ import annotations

import json
from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.simulation.model import Cluster

__all__ = ["Fact", "Oracle", "wish_of"]


@dataclass(frozen=True, slots=True)
class Fact:
    """A key as it is, or was: `value` None says that it was deleted at revision `modified`."""

    key: str
    value: str | None
    created: int
    modified: int
    lease: int = 0


class Oracle:
    """Reads the model past its wire."""

    def __init__(self, cluster: Cluster, api: str) -> None:
        self._cluster = cluster
        self._api = api

    @property
    def revision(self) -> int:
        return self._cluster.revision

    def get(self, key: str) -> Fact | None:
        kv = self._cluster.keys().get(key.encode())
        return None if kv is None else Fact(key, kv.value.decode(), kv.create, kv.mod, kv.lease)

    def below(self, prefix: str) -> list[Fact]:
        """Give what is below a prefix, the oldest first."""
        raw, live = prefix.encode(), self._cluster.keys()
        order = self._cluster.mvcc._order
        found = []
        for at in range(bisect_left(order, raw), len(order)):
            if not order[at].startswith(raw):
                break
            kv = live[order[at]]
            found.append(Fact(order[at].decode(), kv.value.decode(), kv.create, kv.mod, kv.lease))
        return sorted(found, key=lambda fact: fact.created)

    def take(self, fact: Fact, *, lease: bool) -> set[str]:
        """Delete a key, or end its lease; give the keys that are gone."""
        cluster = self._cluster
        if lease:
            keys = {key.decode() for key, kv in cluster.keys().items() if kv.lease == fact.lease}
            cluster.revoke(fact.lease)
            return keys
        cluster.lessor.attach(fact.key.encode(), 0)
        cluster.mvcc.delete(fact.key.encode(), b"")
        cluster.mvcc.commit()
        cluster.publish()
        return {fact.key}

    def history(self, prefix: str) -> list[Fact]:
        """Give all that ever happened below a prefix, in order."""
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


def wish_of(fact: Fact) -> dict[str, object]:
    """Give what a contender says of itself, {} if it says nothing."""
    try:
        value = json.loads(fact.value or "")
    except ValueError:
        return {}
    if isinstance(value, dict) and set(value) == {"grant", "value"}:  # sealed, on v2
        return wish_of(Fact(fact.key, value["value"], 0, 0))
    return value if isinstance(value, dict) else {}
