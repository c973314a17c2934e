"""A feed of changes by long polls: the Store's `watch` on v2.

The steps
1. The first poll asks from now on, or from the index after `after`; its head confirms the feed.
2. An event ends a poll; the next poll asks from the index after it, so that nothing falls in between, and of the
   same endpoint.
3. A server keeps a thousand events of the whole store. When the one asked for is gone, a feed from now on
   is over ("read again"), and one that continues a list says HistoryLost ("list again").
4. A poll that stays quiet says nothing of its member, which may be cut off from all others: where it was is told
   to `on_quiet`, so that the next feed is opened somewhere else.
5. A directory that is deleted takes its keys along in one event: for a feed that continues a list that is
   a lost history, for one of single keys each of them is gone.

Rules of this file
* As on v3, a feed never reconnects, and an end without a word is None.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Self

from etcd_recipes.core import runtime
from etcd_recipes.core.context import Context
from etcd_recipes.core.errors import ClusterError, EndpointError, EventIndexCleared, InvalidResponse
from etcd_recipes.core.store import Batch, Change
from etcd_recipes.core.v2 import replies, requests
from etcd_recipes.core.v2.sealed import entry_of
from etcd_recipes.core.v2.service import Poll, Service
from etcd_recipes.core.v2.values import Response
from etcd_recipes.core.v2.watcher import concerns

__all__ = ["V2Feed"]

_GONE = ("delete", "expire", "compareAndDelete")


class V2Feed:
    """Changes of `path` (and below it, if `recursive`); of `keys` only, if there are any.

    With `beyond` the endpoint that follows that one is asked first.
    """

    def __init__(
        self,
        service: Service,
        path: str,
        ctx: Context,
        *,
        recursive: bool,
        keys: Collection[str],
        after: int | None,
        quiet: float | None,
        beyond: str | None = None,
        on_quiet: Callable[[str], object] = lambda _endpoint: None,
    ) -> None:
        self._service = service
        self._path = path
        self._ctx = ctx
        self._recursive = recursive
        self._keys = keys
        self._after = after
        self._quiet = quiet
        self._beyond = beyond
        self._at: str | None = None  # where the first poll was answered
        self._on_quiet = on_quiet
        self._over = False
        self._next_index = 0 if after is None else after + 1
        self._poll: Poll | None = None
        self._poll = self._ask()
        self._at = self._poll.endpoint
        try:
            self.revision = self._poll.index
        except BaseException:
            self.close()
            raise

    def _ask(self) -> Poll:
        """Step 1, and 2."""
        path = self._path.rstrip("/") or "/"
        action = requests.wait(path, wait_index=self._next_index, recursive=self._recursive)
        return self._service.poll(action, self._ctx, after=self._beyond, at=self._at)

    def next(self) -> Batch | None:
        """Give the next change, or None when the feed is over."""
        until = None if self._quiet is None else runtime.now() + self._quiet
        while not self._over:
            try:
                event = self._event(until)
            except EventIndexCleared:
                if self._after is not None:
                    raise
                break
            except (ClusterError, EndpointError):
                break
            if event is None:
                break
            changes = self._changes(event)
            if changes:
                return Batch(event.node.modified_index, changes)
        self._over = True
        return None

    def _event(self, until: float | None) -> Response | None:
        """Wait for one event; None when it stayed quiet."""
        poll = self._poll = self._poll or self._ask()
        if not poll.ready(None if until is None else max(0.0, until - runtime.now())):
            self._ctx.check()
            self._on_quiet(poll.endpoint)
            return None
        try:
            reply = poll.read()
        finally:
            poll.close()
            self._poll = None
        if not reply.body.strip():
            return None  # the server goes away
        event = replies.response(reply)
        if event.node.modified_index < max(1, self._next_index):
            raise InvalidResponse(
                f"{poll.endpoint} answered a watch from index {self._next_index} with an event of "
                f"index {event.node.modified_index}",
                endpoint=poll.endpoint,
            )
        self._next_index = event.node.modified_index + 1
        return event

    def _changes(self, event: Response) -> tuple[Change, ...]:
        node = event.node
        if not concerns(f"/{self._path.strip('/')}", self._recursive, node.key):
            return ()
        if event.action in _GONE and (node.dir or self._is_above(node.key)):
            return self._all_gone(event)
        if node.dir:
            return ()
        entry = entry_of(node, self._path)
        if self._keys and entry.key not in self._keys:
            return ()
        return (Change(entry.key, None if event.action in _GONE else entry),)

    def _is_above(self, key: str) -> bool:
        return not self._recursive and key != f"/{self._path.strip('/')}"

    def _all_gone(self, event: Response) -> tuple[Change, ...]:
        """Step 5."""
        if self._after is None:
            return tuple(Change(key, None) for key in self._keys)
        lost = EventIndexCleared(
            f"directory {event.node.key!r} was deleted with all its keys", code=401
        )
        lost.resume_from = event.node.modified_index
        raise lost

    def close(self) -> None:
        """End the feed and its poll."""
        self._over = True
        poll, self._poll = self._poll, None
        if poll is not None:
            poll.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self.close()
