"""A feed of changes over one watch channel: the Store's `watch` on v3.

The steps
1. One channel carries one watch per key (or one for the prefix).
2. The feed is confirmed when every watch is; `revision` is the lowest at which one was. A watch without
   a start revision is live from there on: etcd serves it at once, where one with a start revision in the
   past waits for a loop that runs every 100 ms.
3. Of each watch, an assembly puts batches together and drops what was delivered before. (Of each watch,
   because two keys that change in one step are told apart.)

Rules of this file
* A feed never reconnects. Who reads it has to read the state again first, and only he knows what.
* An end without a word (the server went away, the stream was quiet, the member lost its leader) is None,
  not an error: it means "read again".
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, Self

from etcd_recipes.core.context import Context
from etcd_recipes.core.errors import EndpointError
from etcd_recipes.core.store import Batch, Change, Entry
from etcd_recipes.core.v3 import replies
from etcd_recipes.core.v3.assembly import Assembly, EventBatch
from etcd_recipes.core.v3.channel import Channel
from etcd_recipes.core.v3.gateway import Gateway
from etcd_recipes.core.v3.values import Event, KeyValue

__all__ = ["V3Feed", "entry_of"]


def entry_of(kv: KeyValue) -> Entry:
    """Give a key of the v3 API as the Store's Entry."""
    return Entry(
        kv.key.decode("utf-8", "surrogateescape"),
        kv.text,
        kv.create_revision,
        kv.mod_revision,
        kv.lease,
    )


class V3Feed:
    """See the module's docstring; `creates` are the create_requests of one stream."""

    def __init__(
        self,
        gateway: Gateway,
        creates: Sequence[dict[str, Any]],
        ctx: Context,
        *,
        what: str,
        after: int | None,
        quiet: float | None,
    ) -> None:
        self._quiet = quiet
        self._pending: deque[Batch] = deque()
        self._assemblies = [Assembly(after or 0) for _ in creates]
        self._over = False
        self._channel = Channel(gateway, creates, ctx, what=what)
        self.revision = self._channel.revision

    def next(self) -> Batch | None:
        """Give the next batch, or None when the feed is over."""
        while not self._pending and not self._over:
            try:
                results = self._channel.read(self._quiet)
            except EndpointError:
                results = []
            self._over = not results
            with replies.Reading(self._channel.endpoint):
                for result in results:
                    self._take(result)
        return self._pending.popleft() if self._pending else None

    def _take(self, result: dict[str, Any]) -> None:
        """Step 3."""
        number = replies.number(result.get("watch_id", 0))
        if number < 0:
            raise IndexError("an event of no watch")
        assembly = self._assemblies[number]
        self._pending += [_batch(each) for each in assembly.take(result) if each.events]

    def close(self) -> None:
        """End the feed and its connection."""
        self._over = True
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self.close()


def _batch(batch: EventBatch) -> Batch:
    return Batch(batch.revision, tuple(_change(event) for event in batch.events))


def _change(event: Event) -> Change:
    entry = entry_of(event.kv)
    return Change(entry.key, None if event.type == "DELETE" else entry)
