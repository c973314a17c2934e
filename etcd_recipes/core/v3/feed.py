"""A feed of changes over one watch connection: the Store's `watch` on v3.

The steps
1. One HTTP request carries one create per key (or one for the prefix).
2. The feed is confirmed when every create is; `revision` is the lowest at which one was. A watch without
   a start revision is live from there on: etcd serves it at once, where one with a start revision in the
   past waits for a loop that runs every 100 ms.
3. Each message is one batch: all events of one revision stand in one message.
4. Of each watch, revisions at or below the last delivered are dropped: the servers themselves repeat
   some after a partition. (Of each watch, because two keys that change in one step are told apart.)

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
from etcd_recipes.core.errors import ClusterError, EndpointError
from etcd_recipes.core.store import Batch, Change, Entry
from etcd_recipes.core.v3 import replies, requests
from etcd_recipes.core.v3.gateway import Gateway, Messages
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
        self._what = what
        self._pending: deque[Batch] = deque()
        self._after = after or 0
        self._last: dict[int, int] = {}  # revision delivered, by watch
        self._over = False
        self._messages: Messages = gateway.stream(requests.watch(creates, what=what), ctx)
        try:
            self.revision = self._confirm(len(creates))
        except BaseException:
            self._messages.close()
            raise

    def _confirm(self, wanted: int) -> int:
        """Step 2: read until every create is confirmed."""
        revisions: list[int] = []
        while len(revisions) < wanted:
            for result in self._read():
                if result.get("created") and not result.get("canceled"):
                    with replies.Reading(self._messages.endpoint):
                        revisions.append(replies.revision_of(result))
                else:
                    self._take(result)
            if self._over:
                gone = EndpointError(
                    self._messages.endpoint, "the watch ended before it was confirmed"
                )
                raise ClusterError([gone], what=self._what)
        return min(revisions)

    def next(self) -> Batch | None:
        """Give the next batch, or None when the feed is over."""
        while not self._pending and not self._over:
            for result in self._read():
                self._take(result)
        return self._pending.popleft() if self._pending else None

    def _read(self) -> list[dict[str, Any]]:
        try:
            results = list(self._messages.read(self._quiet))
        except EndpointError:
            results = []
        if not results:
            self._over = True
        return results

    def _take(self, result: dict[str, Any]) -> None:
        """Steps 3 and 4: make a batch of one message."""
        endpoint = self._messages.endpoint
        if result.get("canceled"):
            with replies.Reading(endpoint):
                raise replies.cancel_error(result, endpoint)
        with replies.Reading(endpoint):
            watch = int(result.get("watch_id", 0))
            events = [replies.event(body) for body in result.get("events", ())]
        for batch in batches(events):
            if batch.revision > self._last.get(watch, self._after):
                self._pending.append(batch)
                self._last[watch] = batch.revision

    def close(self) -> None:
        """End the feed and its connection."""
        self._over = True
        self._messages.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self.close()


def batches(events: Sequence[Event]) -> list[Batch]:
    """Group events by revision; a message that catches up with history holds several revisions."""
    grouped: dict[int, list[Change]] = {}
    for event in events:
        entry = entry_of(event.kv)
        change = Change(entry.key, None if event.type == "DELETE" else entry)
        grouped.setdefault(event.kv.mod_revision, []).append(change)
    return [Batch(revision, tuple(changes)) for revision, changes in sorted(grouped.items())]
