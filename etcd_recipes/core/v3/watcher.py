"""The watcher: every event of a key or a range, once, in order, across the death of members.

One `next`
1. There is a channel, or one is opened, on the pinned endpoint or the next one that confirms. The first one
   is opened with the watcher, so that "from now" means from the moment that the call returned; each later
   one asks for the revision after the last delivered.
2. Wait until there is something to read. A wait that times out leaves the channel open for the next one.
3. Read. Events go through the assembly, which puts revisions together and drops what was delivered.
4. A channel that broke, ended, sent nonsense, or whose member has lost its leader is opened again, after a pause that
   grows, for as long as the caller waits.
5. After `QUIET` seconds without a word the member is probed: one linearizable read, which a member that is
   stopped or cut off from its cluster cannot answer. (Its own progress messages prove nothing: an isolated
   member goes on sending them.) If it fails, go on at the endpoint that follows. Watchers of one client
   share the probes.
6. When etcd does not keep the events any more, Compacted says from which revision to read. The next call
   asks for the same events again, and is told the same.

Rules of this file
* No thread of its own: a consumer that is slow leaves the rest with the server, which bounds the memory on
  both sides, and etcd ends what falls behind its history. When it comes back late, the log says so.
* One thread calls `next`; any thread may call `close`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, Self

from etcd_recipes.core import runtime
from etcd_recipes.core.context import Context
from etcd_recipes.core.errors import (
    ClusterError,
    Compacted,
    ContextError,
    EndpointError,
    InvalidResponse,
)
from etcd_recipes.core.log import event_logger
from etcd_recipes.core.retry import PATIENT
from etcd_recipes.core.v3 import replies, requests
from etcd_recipes.core.v3.assembly import Assembly, EventBatch
from etcd_recipes.core.v3.channel import Channel
from etcd_recipes.core.v3.gateway import Gateway
from etcd_recipes.core.v3.values import Event

__all__ = ["Watcher"]

QUIET = 3.0
"""Seconds without a word after which a member has to prove that it still belongs to its cluster."""

SLOW = 10.0
"""Seconds between two calls, with events waiting, after which a consumer is called slow."""

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
        self._gateway = gateway
        self._what = (
            f"watch {'range' if range_end else 'key'} {key.decode('utf-8', 'backslashreplace')!r}"
        )
        self._create = requests.watch_create(
            key, range_end, prev_kv=prev_kv, filters=filters, progress_notify=True, fragment=True
        )
        self._tell_progress = progress_notify
        self._assembly = Assembly(start_revision - 1 if start_revision else None)
        self._pending: deque[EventBatch] = deque()
        self._rest: deque[Event] = deque()
        self._life = life
        self._is_read = False
        self._lock = runtime.new_lock()
        self._is_closed = False
        self._is_interrupted = False
        self._is_slow = False
        self._given_at = runtime.now()
        self._left: str | None = (
            None  # an endpoint that failed: the next channel is opened after it
        )
        self._channel: Channel | None = None
        runtime.at_fork(self)
        self._open(opening).lend(life)
        self._revision = self._assembly.next_revision - 1

    @property
    def revision(self) -> int:
        """The revision up to which everything was given: ``start_revision=revision + 1`` goes on from there."""
        return self._revision

    def next(self, *, timeout: float | None = None, ctx: Context | None = None) -> Event:
        """Wait for the next event; without `timeout` (seconds) or `ctx` for ever.

        POST /v3/watch, again whenever the stream breaks. No error loses anything: the next call goes on
        with the same event. Raises

        * Compacted when etcd does not keep the event any more: read the keys, and watch from the revision
          after the one they were read at (``result.revision + 1``). ``resume_from`` is the lowest revision
          that can still be read;
        * Cancelled when `close` is called, and the Context's error when `timeout` or `ctx` ends;
        * ResponseError, such as PermissionDenied, when etcd refuses to go on.
        """
        while not self._rest:
            self._rest.extend(self._next_batch(timeout, ctx).events)
        return self._rest.popleft()

    def next_batch(self, *, timeout: float | None = None, ctx: Context | None = None) -> EventBatch:
        """Wait for the next batch: all events of one revision, or what `next` has left of them. See `next`.

        With ``progress_notify`` there are batches without events as well.
        """
        if self._rest:
            rest, self._rest = tuple(self._rest), deque()
            return EventBatch(self._revision, rest)
        return self._next_batch(timeout, ctx)

    def batches(self) -> Iterator[EventBatch]:
        """Give every batch, for ever; ends when the watcher is closed."""
        yield from self._until_closed(self.next_batch)

    def close(self) -> None:
        """End the watcher: a `next` that waits raises Cancelled within 100 ms. From any thread, at any time."""
        self._is_closed = True
        self._life.cancel(_CLOSED)
        with self._lock:
            if not self._is_read:
                self._drop()

    def after_fork_in_child(self) -> None:
        """Leave the channel to the parent, whose connection it is; the child opens one of its own."""
        self._lock = runtime.new_lock()
        self._is_read = False
        self._channel = None

    def __iter__(self) -> Iterator[Event]:
        """Give every event, for ever; ends when the watcher is closed."""
        yield from self._until_closed(self.next)

    def _until_closed(self, call: Any) -> Iterator[Any]:
        while True:
            try:
                given = call()
            except ContextError:
                if self._is_closed:
                    return
                raise
            yield given

    def __enter__(self) -> Self:
        """Give the watcher itself."""
        return self

    def __exit__(self, *_exc_info: object) -> None:
        """Close."""
        self.close()

    def __repr__(self) -> str:
        return f"<Watcher {self._what} at revision {self._revision}>"

    # -- one call ------------------------------------------------------------------------------------------

    def _next_batch(self, timeout: float | None, ctx: Context | None) -> EventBatch:
        left = self._life.remaining()
        call = Context(left if timeout is None else timeout, parent=ctx).child(left)
        with self._life.on_cancel(call.cancel):
            self._enter()
            try:
                self._wait(call)
            except ContextError:
                self._life.check()  # says who ended it
                raise
            finally:
                self._leave(call)
        batch = self._pending.popleft()
        self._revision = batch.revision
        self._given_at = runtime.now()
        return batch

    def _enter(self) -> None:
        with self._lock:
            self._life.check()
            if self._is_read:
                raise RuntimeError("a watcher is read by one thread at a time")
            self._is_read = True

    def _leave(self, call: Context) -> None:
        """Keep the channel for the next call, unless it was cut off to end this one."""
        with self._lock:
            self._is_read = False
            if self._channel is not None and not call.cancelled:
                self._channel.lend(self._life)
            if call.cancelled or self._life.cancelled:
                self._drop()

    def _wait(self, call: Context) -> None:
        """Wait until there is a batch."""
        if self._channel is not None:
            self._channel.lend(call)
            self._look_at_consumer(self._channel)
        while not self._pending:
            PATIENT.run(call, lambda: self._fill(call), on_failure=self._note)

    def _fill(self, call: Context) -> None:
        """Steps 1 to 5, until there is a batch; ClusterError when it takes another channel to go on."""
        channel = self._channel or self._open(call)
        try:
            while not self._pending:
                if channel.ready(QUIET):
                    self._take(channel)
                else:
                    call.check()
                    self._gateway.prove(channel.endpoint, call, QUIET)
        except (EndpointError, InvalidResponse) as error:
            self._drop()
            self._left = channel.endpoint
            broken = EndpointError(channel.endpoint, getattr(error, "reason", str(error)))
            raise ClusterError([broken], what=self._what) from error

    # -- steps 1, 3 and 6 ----------------------------------------------------------------------------------

    def _open(self, call: Context) -> Channel:
        """Step 1."""
        create = dict(self._create)
        if self._assembly.next_revision:
            create["start_revision"] = str(self._assembly.next_revision)
        after, self._left = self._left, None
        channel = Channel(self._gateway, [create], call, what=self._what, after=after)
        self._assembly.confirm(channel.revision)
        self._channel = channel
        return channel

    def _take(self, channel: Channel) -> None:
        """Step 3."""
        try:
            results = channel.read()
        except Compacted:
            self._drop()
            raise
        if not results:
            raise EndpointError(channel.endpoint, "the server ended the watch")
        for result in results:  # one by one: what came before a malformed one has been delivered
            with replies.Reading(channel.endpoint):
                batches = self._assembly.take(result)
            self._pending += [batch for batch in batches if batch.events or self._tell_progress]
        self._resumed()

    def _drop(self) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()

    # -- what is said about it -----------------------------------------------------------------------------

    def _note(self, error: BaseException) -> None:
        if not self._is_interrupted:
            self._is_interrupted = True
            event_logger("watch").warning("watch.interrupted", key=self._what, error=str(error))

    def _resumed(self) -> None:
        if self._is_interrupted:
            self._is_interrupted = False
            event_logger("watch").info("watch.resumed", key=self._what)

    def _look_at_consumer(self, channel: Channel) -> None:
        """Say once that the consumer is slow, until it has caught up."""
        away = runtime.now() - self._given_at
        was_slow, self._is_slow = self._is_slow, away > SLOW and channel.ready(0.001)
        if self._is_slow and not was_slow:
            event_logger("watch").warning(
                "watch.slow_consumer",
                key=self._what,
                seconds=round(away, 1),
                revision=self._revision,
            )
