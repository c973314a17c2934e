"""A grant on v2: there are no leases, so every key has a ttl of its own, which the grant refreshes.

One renewal
1. Refresh each attached key, comparing its value: a refresh never makes a key that has expired, as a plain
   write would, ahead of those who came after it; and it wakes no watcher.
2. A comparison that fails may be a change of our own that was under way: look, and keep the key if it is
   the same incarnation. Otherwise it is gone.
3. The renewal counts only if every key was refreshed. Its cost grows with the number of keys.

A key that comes while a renewal is under way was not refreshed by it, but what counts from the renewal's
beginning counts for it too. So the key is refreshed once more when it is adopted, unless it was asked for
after the last renewal had begun.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from etcd_recipes.core import runtime
from etcd_recipes.core.context import Context
from etcd_recipes.core.errors import CompareFailed, KeyNotFound, NotAFile
from etcd_recipes.core.store import Entry, Renewal
from etcd_recipes.core.v2 import replies, requests
from etcd_recipes.core.v2.sealed import seal
from etcd_recipes.core.v2.service import Service
from etcd_recipes.core.v2.values import Node

__all__ = ["V2Grant"]


@dataclass(slots=True)
class _Attached:
    created: int
    modified: int
    sealed: str


class V2Grant:
    """The keys that live as long as it is renewed, by name."""

    def __init__(self, service: Service, ttl: int) -> None:
        self._service = service
        self.id = runtime.rng().randrange(1, 2**63)
        self.ttl: float = ttl
        self._attached: dict[str, _Attached] = {}
        self._renewing_since = -math.inf  # when the last renewal began
        self.begun: set[str] = set()
        """The places that may have been taken, but whose reply has not been seen."""

    def seal(self, value: str, seat: int | None = None) -> str:
        """Give what is written for `value` under this grant."""
        return seal(self.id, value, seat)

    def attach(self, entry: Entry) -> None:
        """Keep this incarnation alive from now on."""
        sealed = self.seal(entry.value, entry.seat)
        self._attached[entry.key] = _Attached(entry.created, entry.modified, sealed)

    def adopt(self, entry: Entry, asked: float, ctx: Context) -> bool:
        """Attach a key that was asked for at `asked`, refreshed if need be; False when it is gone.

        One request when a renewal has begun since, and none otherwise.
        """
        self.attach(entry)  # before the look: a renewal that begins after it has the key
        if self._renewing_since < asked:
            return True
        there = self._refresh(entry.key, self._attached[entry.key], ctx)
        if not there:
            self.detach(entry)
        return there

    def detach(self, entry: Entry) -> None:
        """Let this incarnation go: without a refresh it ends within the ttl."""
        attached = self._attached.get(entry.key)
        if attached is not None and attached.created == entry.created:
            self._attached.pop(entry.key, None)

    def last_index(self, entry: Entry) -> int:
        """Give the index at which the incarnation was last changed, as far as we know."""
        attached = self._attached.get(entry.key)
        if attached is None or attached.created != entry.created:
            return entry.modified
        return attached.modified

    def renew(self, ctx: Context, *, keys: bool = False) -> Renewal:  # noqa: ARG002 (known anyway)
        """One request per attached key."""
        self._renewing_since = runtime.now()  # before the list: see `adopt`
        for key, attached in list(self._attached.items()):
            if not self._refresh(key, attached, ctx) and self._attached.get(key) is attached:
                self._attached.pop(key, None)
        return Renewal(self.ttl, frozenset(self._attached))

    def _refresh(self, key: str, attached: _Attached, ctx: Context) -> bool:
        """Steps 1 and 2; tells whether the key is still there."""
        while True:
            sealed = attached.sealed
            action = requests.refresh(key, ttl=self.ttl, prev_value=sealed, prev_exist=True)
            try:
                answer = replies.response(self._service.call(action, ctx))
            except KeyNotFound:
                return False
            except (CompareFailed, NotAFile):
                node = read(self._service, key, ctx)
                if node is None or node.created_index != attached.created:
                    return False
                attached.sealed, attached.modified = node.value, node.modified_index
                if node.value == sealed:
                    continue  # it was another value for a moment: a change that was undone
            else:
                attached.modified = answer.node.modified_index
                return True

    def close(self, ctx: Context) -> None:
        """One request per attached key."""
        for key, attached in list(self._attached.items()):
            self._attached.pop(key, None)
            try:
                self._service.call(requests.delete(key, prev_value=attached.sealed), ctx)
            except (KeyNotFound, CompareFailed, NotAFile):
                pass  # gone, or not ours any more


def read(service: Service, key: str, ctx: Context) -> Node | None:
    """Give the key, read with quorum; None if there is none, or a directory."""
    try:
        node = replies.response(service.call(requests.get(key, quorum=True), ctx)).node
    except KeyNotFound:
        return None
    return None if node.dir else node
