"""The watcher: every event of a key, once, in order, across the death of members.

One `next`
1. There is a poll (GET ...?wait=true&waitIndex=<next>), or one is opened, on the pinned endpoint or the
   next one that answers. A watcher "from now" anchors itself on the X-Etcd-Index of its first poll: from
   then on it asks for events by their index, so that none is lost when it has to ask again.
2. Wait until there is something to read. A wait that times out leaves the poll open for the next one:
   as long as it is open, no event can fall out of the thousand that a server keeps.
3. Read. An event moves `next` to the index after its own. An empty answer, one that is cut off, one older
   than what was asked for: ask again, with a pause that grows.
4. After ten quiet seconds, ask the following endpoint for the same index, and change over to it: a member
   that was stopped or cut off after it sent its headers would stay quiet for ever. If that endpoint does
   not keep the index any more, but the first one has a leader, nothing is wrong: wait on there.

What is delivered
* Events of the key itself; with `recursive`, of what is below it; and of a directory above it that was
  deleted or expired, which took the key along. Replaying its history etcd sends others too: those of
  keys whose name only begins alike, and of hidden keys ("_..."), which it does not send live. They are
  left out, so that what is delivered does not depend on when the question was asked.

Rules of this file
* One thread calls `next`; any thread may call `close`.
* The first contact fails like any call, for then the mistake is most likely the caller's. After it, the
  watcher goes on until its caller's limit: an outage is not an event.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self

from etcd_recipes.core import runtime
from etcd_recipes.core.context import Context
from etcd_recipes.core.errors import (
    ClusterError,
    ContextError,
    EndpointError,
    EtcdError,
    EventIndexCleared,
    InvalidResponse,
    ResponseError,
)
from etcd_recipes.core.http.action import Action
from etcd_recipes.core.log import event_logger
from etcd_recipes.core.retry import PATIENT
from etcd_recipes.core.v2 import admin, replies, requests
from etcd_recipes.core.v2.service import Poll, Service
from etcd_recipes.core.v2.values import Response

__all__ = ["Watcher", "concerns"]

QUIET = 10.0
"""Seconds after which a quiet poll is moved to the following endpoint."""

_LEADER_PATIENCE = 1.0
_CLOSED = "the watcher was closed"


def concerns(watched: str, recursive: bool, key: str) -> bool:
    """Tell whether an event of `key` is one that a watcher of `watched` is to hear of."""
    if key == watched or watched.startswith(key.rstrip("/") + "/"):
        return True
    prefix = watched.rstrip("/") + "/"
    return recursive and key.startswith(prefix) and "/_" not in key[len(prefix) - 1 :]


class Watcher:
    """See the module's docstring; made by ``client.v2.keys.watcher``. Iterating it calls `next`."""

    def __init__(
        self, service: Service, key: str, *, after_index: int = 0, recursive: bool = False
    ) -> None:
        self._service = service
        self._key = requests.clean_key(key)
        self._recursive = recursive
        self._wait_index = after_index + 1 if after_index else 0
        self._action()  # says now, not at the first wait, that the index is none
        self._contact = False
        self._interrupted = False
        self._poll: Poll | None = None
        self._quiet_until = 0.0
        self._life = Context()
        self._call: Context | None = None
        self._lock = runtime.new_lock()
        runtime.at_fork(self)

    def next(self, *, timeout: float | None = None, ctx: Context | None = None) -> Response:
        """Wait for the next event; `node` is what is there now, `prev_node` what was there before.

        GET /v2/keys/<key>?wait=true&waitIndex=<n>&recursive=<b>. Without `timeout` (seconds) or `ctx` it
        waits for ever. No error loses anything: the next call goes on from the same event. Raises

        * EventIndexCleared when etcd does not keep the event any more: read the key, and make a watcher
          with ``after_index`` of what was read (``Response.index``); ``resume_from`` is the index at
          which etcd said so;
        * Cancelled when `close` is called, and the Context's error when `timeout` or `ctx` ends;
        * ClusterError when no endpoint answers the very first poll; ResponseError, as all calls.
        """
        call = Context(timeout, parent=ctx)
        self._enter(call)
        try:
            if not self._contact:
                self._adopt(self._open(call))
            try:
                return self._event(call)
            except ClusterError as error:
                self._note(error)
            return PATIENT.run(call, lambda: self._event(call), on_failure=self._note)
        finally:
            self._leave(call)

    def close(self) -> None:
        """End the watcher: a `next` that waits raises Cancelled within 100 ms. From any thread, at any time."""
        self._life.cancel(_CLOSED)
        with self._lock:
            call = self._call
            if call is None:
                self._drop()
        if call is not None:
            call.cancel(_CLOSED)

    def after_fork_in_child(self) -> None:
        """Leave the poll to the parent, whose connection it is."""
        self._lock = runtime.new_lock()
        self._poll = None

    def __iter__(self) -> Iterator[Response]:
        """Give every event, for ever; ends when the watcher is closed."""
        while True:
            try:
                event = self.next()
            except ContextError:
                if self._life.cancelled:
                    return
                raise
            yield event

    def __enter__(self) -> Self:
        """Give the watcher itself."""
        return self

    def __exit__(self, *_exc_info: object) -> None:
        """Close."""
        self.close()

    # -- one call ------------------------------------------------------------------------------------------

    def _enter(self, call: Context) -> None:
        """Let `call` limit the poll that there may be."""
        with self._lock:
            self._life.check()
            if self._call is not None:
                raise RuntimeError("a watcher is read by one thread at a time")
            self._call = call
        if self._poll is not None:
            self._poll.lend(call)

    def _leave(self, call: Context) -> None:
        """Keep the poll for the next call, unless it was cut off to end this one."""
        with self._lock:
            self._call = None
            if self._poll is not None and not call.cancelled:
                self._poll.lend(self._life)
            if call.cancelled or self._life.cancelled:
                self._drop()

    def _event(self, call: Context) -> Response:
        """Steps 1 to 4, until there is an event; ClusterError when it takes another poll to go on."""
        while True:
            poll = self._poll or self._adopt(self._open(call))
            if poll.ready(self._quiet_until - runtime.now()):
                event = self._take(poll)
                if event is not None:
                    self._resumed()
                    return event
            else:
                call.check()
                if runtime.now() >= self._quiet_until:
                    self._move(poll, call)

    # -- polls ---------------------------------------------------------------------------------------------

    def _action(self) -> Action:
        return requests.wait(self._key, wait_index=self._wait_index, recursive=self._recursive)

    def _open(self, call: Context, after: str | None = None) -> Poll:
        """Step 1."""
        try:
            poll = self._service.poll(self._action(), call, after=after)
        except EtcdError as error:
            if error.code != replies.WATCHER_CLEARED:
                raise
            raise self._unanswered(EndpointError(error.endpoint, error.message)) from error
        try:
            if self._wait_index == 0:
                self._wait_index = poll.index + 1
        except ResponseError:
            poll.close()
            raise
        self._contact = True
        return poll

    def _adopt(self, poll: Poll) -> Poll:
        self._poll = poll
        self._quiet_until = runtime.now() + QUIET
        return poll

    def _drop(self) -> None:
        poll, self._poll = self._poll, None
        if poll is not None:
            poll.close()

    def _take(self, poll: Poll) -> Response | None:
        """Step 3: read the event, None if it is one that is left out."""
        self._poll = None
        try:
            reply = poll.read()
        except EndpointError as error:
            raise self._unanswered(error) from error
        finally:
            poll.close()
        if not reply.body.strip():
            raise self._unanswered(EndpointError(poll.endpoint, "an empty answer to a watch"))
        event = replies.response(reply)
        index = event.node.modified_index
        if index == 0:
            raise InvalidResponse(
                f"{poll.endpoint} answered a watch with an event that has no index: {reply.shown}",
                endpoint=poll.endpoint,
            )
        if index < self._wait_index:
            raise self._unanswered(EndpointError(poll.endpoint, f"an old event, of index {index}"))
        self._wait_index = index + 1
        return event if concerns(self._key, self._recursive, event.node.key) else None

    def _move(self, poll: Poll, call: Context) -> None:
        """Step 4."""
        try:
            following = self._open(call, after=poll.endpoint)
        except EventIndexCleared:
            if not self._has_leader(poll.endpoint, call):
                self._drop()
                raise
            following = poll
        except ClusterError:
            following = poll
        if following is not poll:
            self._drop()
        self._adopt(following)

    def _has_leader(self, endpoint: str, call: Context) -> bool:
        try:
            patience = call.child(_LEADER_PATIENCE)
            self._service.call(admin.members_leader(), patience, at=endpoint)
        except (ContextError, ClusterError, ResponseError):
            call.check()
            return False
        return True

    # -- what is said about it -----------------------------------------------------------------------------

    def _unanswered(self, error: EndpointError) -> ClusterError:
        return ClusterError([error], what=self._action().what)

    def _note(self, error: BaseException) -> None:
        if not self._interrupted:
            self._interrupted = True
            event_logger("watch").warning("watch.interrupted", key=self._key, error=str(error))

    def _resumed(self) -> None:
        if self._interrupted:
            self._interrupted = False
            event_logger("watch").info("watch.resumed", key=self._key)
