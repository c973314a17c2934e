"""What one watch has delivered, and what it asks for next: messages in, batches out.

The rules
1. A batch is all events of one revision. Fragments of a message are put together: the events of the last
   revision in a fragment wait for the next one, so that no more than one revision is ever held back.
2. Revisions at or below the last delivered are dropped: the servers themselves repeat some after a
   partition, go back in time, or deliver old events to a watch on a future revision.
3. A new stream asks for the revision after the last delivered. What a fragment left half-done is asked
   for again.
4. A progress message says that everything up to its revision was sent. Older servers send it a moment too
   early, so it counts when the *next* message has not proved it wrong. It spares a watch on keys that
   nobody writes from asking for history that was compacted away meanwhile.

Rules of this file
* Values and decisions: no socket, no clock, no thread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from etcd_recipes.core.v3 import replies
from etcd_recipes.core.v3.values import Event

__all__ = ["Assembly", "EventBatch"]


@dataclass(frozen=True, slots=True)
class EventBatch:
    """All events of one revision that a watch is about: one transaction, or one lease that ended.

    Without events it says that everything up to `revision` was delivered; only a watch that asked for
    ``progress_notify`` hears that.
    """

    revision: int
    events: tuple[Event, ...]


class Assembly:
    """See the module's docstring; `after` is the last revision that is not asked for, None for "from now"."""

    def __init__(self, after: int | None) -> None:
        self._delivered = after
        self._held: list[Event] = []
        self._claimed = 0

    @property
    def next_revision(self) -> int:
        """The revision to ask for; 0 before a watch "from now" is confirmed."""
        return 0 if self._delivered is None else self._delivered + 1

    def confirm(self, revision: int) -> None:
        """Hear at which revision a stream was confirmed; the first one anchors a watch "from now" (rule 3)."""
        self._held.clear()
        self._claimed = 0
        if self._delivered is None:
            self._delivered = revision

    def take(self, result: Mapping[str, Any]) -> list[EventBatch]:
        """Give the batches that a message completes; a malformed one raises what `replies.Reading` takes."""
        events = [replies.event(body) for body in result.get("events", ())]
        if self._held:
            events, self._held = self._held + events, []
        if not events:
            return self._progress(replies.revision_of(result))
        batches = _by_revision(events)
        if result.get("fragment"):
            self._held = list(batches.pop().events)
        return [batch for batch in batches if self._is_new(batch)]

    def _is_new(self, batch: EventBatch) -> bool:
        self._claimed = 0
        if batch.revision < self.next_revision:
            return False
        self._delivered = batch.revision
        return True

    def _progress(self, revision: int) -> list[EventBatch]:
        """Rule 4: believe the claim before this one."""
        believed, self._claimed = self._claimed, revision
        if believed < self.next_revision or revision < believed:
            return []
        self._delivered = believed
        return [EventBatch(believed, ())]


def _by_revision(events: Sequence[Event]) -> list[EventBatch]:
    """Group events by revision, oldest first; a message that catches up with history holds several."""
    revision = events[0].kv.mod_revision
    if len(events) == 1 or len({event.kv.mod_revision for event in events}) == 1:
        return [EventBatch(revision, tuple(events))]
    grouped: dict[int, list[Event]] = {}
    for event in events:
        grouped.setdefault(event.kv.mod_revision, []).append(event)
    return [EventBatch(revision, tuple(grouped[revision])) for revision in sorted(grouped)]
