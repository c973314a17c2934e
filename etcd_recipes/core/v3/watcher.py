"""The watcher: what users hold of a watch. Iterating it gives every event once, in order.

Rules of this file
1. No thread of its own: a consumer that is slow leaves the rest with the server, which bounds the memory on
   both sides, and etcd ends what falls behind its history. When it comes back late, the log says so.
2. One thread calls `next`; any thread, a signal handler too, may call `close`.
3. How the watch is kept alive is the subscription's business; who may read it, and until when, is decided
   here. It belongs to the Context of whoever waits for it at the moment (`lend`), so that it outlives a wait
   that times out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Self

from etcd_recipes.core import runtime
from etcd_recipes.core.context import Context
from etcd_recipes.core.errors import ContextError
from etcd_recipes.core.log import event_logger
from etcd_recipes.core.v3 import requests
from etcd_recipes.core.v3.assembly import EventBatch
from etcd_recipes.core.v3.gateway import Gateway
from etcd_recipes.core.v3.subscription import Subscription
from etcd_recipes.core.v3.values import Event

__all__ = ["Watcher"]

SLOW = 10.0
"""Seconds between two calls, with events waiting, after which a consumer is called slow."""

_LEAST = 0.005
"""Seconds that a wait takes at least: one of no time at all could not even look."""

_CLOSED = "the watcher was closed"


class Watcher:
    """See the module's docstring; made by ``client.v3.watch``. Iterating it calls `next`.

    Raises ClusterError when no endpoint confirms the watch, ResponseError, and the Context's error.
    """

    def __init__(
        self,
        gateway: Gateway,
        key: bytes,
        range_end: bytes,
        *,
        start_revision: int,
        prev_kv: bool,
        filters: Sequence[str],
        progress_notify: bool,
        opening: Context,
        life: Context,
    ) -> None:
        self._what = f"watch {requests.shown(key, range_end)}"
        create = requests.watch_create(
            key, range_end, prev_kv=prev_kv, filters=filters, progress_notify=True, fragment=True
        )
        self._life = life
        self._lock = runtime.new_lock()
        self._reader: int | None = None  # the thread that waits
        self._is_closed = False
        self._is_slow = False
        self._left_at = runtime.now()
        self._rest: deque[Event] = deque()
        self._subscription = Subscription(
            gateway,
            create,
            opening,
            what=self._what,
            after=start_revision - 1 if start_revision else None,
            tell_progress=progress_notify,
        )
        self._subscription.lend(life)
        self._revision = self._taken = self._subscription.started_after
        runtime.at_fork(self)

    @property
    def revision(self) -> int:
        """The revision up to which everything was given: ``start_revision=revision + 1`` goes on from there.

        While `next` has given only some of the events of a revision, it is the revision before that one.
        """
        return self._revision

    def next(self, *, timeout: float | None = None, ctx: Context | None = None) -> Event:
        """Wait for the next event; without `timeout` (seconds) or `ctx` for ever.

        POST /v3/watch, again whenever the stream breaks. No error loses anything: the next call goes on
        with the same event. Raises

        * Compacted when etcd does not keep the event any more, or the cluster was restored from a backup:
          read the keys, and watch from the revision after the one they were read at
          (``result.revision + 1``). ``resume_from`` is the lowest revision that can still be read;
        * Cancelled when `close` is called, and the Context's error when `timeout` or `ctx` ends;
        * ResponseError, such as PermissionDenied, when etcd refuses to go on.
        """
        while not self._rest:
            self._rest.extend(self._next_batch(timeout, ctx).events)
        return self._pop()

    def _pop(self) -> Event:
        event = self._rest.popleft()
        if not self._rest:
            self._revision = self._taken
        return event

    def next_batch(self, *, timeout: float | None = None, ctx: Context | None = None) -> EventBatch:
        """Wait for the next batch: all events of one revision, or what `next` has left of them. See `next`.

        With ``progress_notify`` there are batches without events as well.
        """
        if self._rest:
            rest, self._rest = tuple(self._rest), deque()
            batch = EventBatch(self._taken, rest)
        else:
            batch = self._next_batch(timeout, ctx)
        self._revision = batch.revision
        return batch

    def batches(self) -> Iterator[EventBatch]:
        """Give every batch, for ever; ends when the watcher is closed."""
        while (batch := self._unless_closed(self.next_batch)) is not None:
            yield batch

    def unread(self, events: Sequence[Event], revision: int) -> None:
        """Take back what was given last, to be given again; `revision` is what it was before."""
        self._rest.extendleft(reversed(events))
        self._revision = revision

    @property
    def is_closed(self) -> bool:
        """True once `close` was called."""
        return self._is_closed

    def close(self) -> None:
        """End the watcher: a `next` that waits raises Cancelled within 100 ms. From any thread, at any time."""
        self._is_closed = True
        self._life.cancel(_CLOSED)
        with self._lock:
            if self._reader is None:
                self._subscription.drop()

    def __del__(self) -> None:
        """Close the connection of a watcher that was forgotten."""
        subscription = getattr(self, "_subscription", None)  # none if it was never opened
        if subscription is not None:
            subscription.drop()

    def after_fork_in_child(self) -> None:
        """Leave the channel to the parent, whose connection it is; the child opens one of its own."""
        self._lock = runtime.new_lock()
        self._reader = None
        self._subscription.forget()

    def __iter__(self) -> Iterator[Event]:
        """Give every event, for ever; ends when the watcher is closed."""
        while True:
            while self._rest:  # as `_pop`, but for many events without a call
                event = self._rest.popleft()
                if not self._rest:
                    self._revision = self._taken
                yield event
            if (batch := self._unless_closed(self._next_batch)) is None:
                return
            self._rest.extend(batch.events)

    def _unless_closed(self, call: Callable[[], EventBatch]) -> EventBatch | None:
        try:
            return call()
        except ContextError:
            if self._is_closed:
                return None
            raise

    def __enter__(self) -> Self:
        """Give the watcher itself."""
        return self

    def __exit__(self, *_exc_info: object) -> None:
        """Close."""
        self.close()

    def __repr__(self) -> str:
        return f"<Watcher {self._what} at revision {self._revision}>"

    # -- one call ------------------------------------------------------------------------------------------

    def _next_batch(self, timeout: float | None = None, ctx: Context | None = None) -> EventBatch:
        has_limit = timeout is not None or ctx is not None
        batch = self._limited(timeout, ctx) if has_limit else self._wait(None)
        self._taken = batch.revision
        if not batch.events:
            self._revision = batch.revision
        return batch

    def _limited(self, timeout: float | None, ctx: Context | None) -> EventBatch:
        left = self._life.remaining()
        patience = left if timeout is None else max(timeout, _LEAST)
        call = Context(patience, parent=ctx).child(left)
        try:
            with self._life.on_cancel(call.cancel):
                return self._wait(call)
        except ContextError:
            self._life.check()  # says who ended it
            raise

    def _wait(self, call: Context | None) -> EventBatch:
        """Wait; `call` is the limit of this wait, if it has one of its own.

        The channel belongs to the watcher's life already.
        """
        me = runtime.thread_id()
        try:
            with self._lock:
                self._life.check()
                # This thread's own entry can only be one that an interrupt broke off.
                if self._reader not in (None, me):
                    raise RuntimeError("a watcher is read by one thread at a time")
                self._reader = me
            if call is not None:
                self._subscription.lend(call)
            away = runtime.now() - self._left_at
            if away > SLOW or self._is_slow:
                self._look_at_consumer(away)
            return self._subscription.wait(call or self._life)
        finally:
            self._leave(me, call)

    def _leave(self, me: int, call: Context | None) -> None:
        """Keep the channel for the next call, unless it was cut off to end this one."""
        with self._lock:
            if self._reader != me:
                return
            self._reader = None
            self._left_at = runtime.now()
            if self._life.cancelled or (call is not None and call.cancelled):
                self._subscription.drop()
            elif call is not None:
                self._subscription.lend(self._life)

    def _look_at_consumer(self, away: float) -> None:
        """Say once that the consumer is slow, until it has caught up."""
        was_slow, self._is_slow = self._is_slow, away > SLOW and self._subscription.has_news()
        if self._is_slow and not was_slow:
            event_logger("watch").warning(
                "watch.slow_consumer",
                key=self._what,
                seconds=round(away, 1),
                revision=self._revision,
            )
