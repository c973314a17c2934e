"""A subscription: one watch kept alive over channel after channel, for as long as somebody waits for it.

One `wait`
1. There is a channel, or one is opened, on the pinned endpoint or the next one that confirms. The first one
   is opened with the subscription, so that "from now" means from that moment; each later one asks for the
   revision after the last delivered.
2. Wait until there is something to read. A wait that times out leaves the channel open for the next one.
3. Read a piece. Events go through the assembly, which puts revisions together and drops what was delivered.
4. A channel that broke, ended, sent nonsense, or whose member has lost its leader is opened again, after a
   pause that grows.
5. After `QUIET` seconds without a byte, however many waits they were, the member is probed: one linearizable
   read, which a member that is stopped or cut off from its cluster cannot answer. (Its own progress messages
   prove nothing: an isolated member goes on sending them.) If it fails, go on at the endpoint that follows.
   The subscriptions of one client share the probes.
6. When etcd does not keep the events any more, or the history itself has gone back (another cluster, or one
   that was restored from a backup), Compacted says from which revision to read.

Rules of this file
* One thread at a time; who may call, the watcher decides.
* Whatever breaks into it between two instructions (an interrupt, a fork) is mended by `recover`: the next
  channel starts after the last batch that was put aside, not after the last one that was assembled.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import Any

from etcd_recipes.core import runtime
from etcd_recipes.core.context import Context
from etcd_recipes.core.errors import (
    ClusterError,
    Compacted,
    ContextError,
    EndpointError,
    EtcdError,
    EtcdRecipesError,
    InvalidResponse,
)
from etcd_recipes.core.log import event_logger
from etcd_recipes.core.retry import PATIENT
from etcd_recipes.core.v3 import replies
from etcd_recipes.core.v3.assembly import Assembly, EventBatch
from etcd_recipes.core.v3.channel import Channel
from etcd_recipes.core.v3.gateway import Gateway

__all__ = ["QUIET", "Subscription"]

QUIET = 3.0
"""Seconds without a byte after which a member has to prove that it still belongs to its cluster."""


class Subscription:
    """See the module's docstring; opened when it is made.

    `create` is the create_request, without its revision; `after` the last revision that is not asked for,
    None for "from now". Raises ClusterError when no endpoint confirms the watch, ResponseError, and the
    Context's error.
    """

    def __init__(
        self,
        gateway: Gateway,
        create: dict[str, Any],
        ctx: Context,
        *,
        what: str,
        after: int | None,
        tell_progress: bool,
    ) -> None:
        self._gateway = gateway
        self._create = create
        self._what = what
        self._tell_progress = tell_progress
        self._assembly = Assembly(after)
        self._pending: deque[EventBatch] = deque()
        self._is_interrupted = False
        self._ended: Compacted | None = None
        self._failed: str | None = None  # the endpoint after which the next channel is opened
        self._channel: Channel | None = None
        self._heard_at = self._unproven = 0.0
        self._epoch = gateway.epoch
        self._cluster = self._open(ctx).cluster
        self._kept = self.started_after = self._assembly.next_revision - 1

    # -- the channel that there may be -----------------------------------------------------------------------

    def lend(self, ctx: Context) -> None:
        """Let `ctx` limit the channel from now on."""
        if self._channel is not None:
            self._channel.lend(ctx)

    def has_news(self) -> bool:
        """Tell whether something waits to be read."""
        return bool(self._pending) or (self._channel is not None and self._channel.ready(0.001))

    def drop(self) -> None:
        """Close the channel; the next `wait` opens another."""
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()

    def forget(self) -> None:
        """Leave the channel to the process that this one was forked from."""
        self._channel = None
        self._recover()

    # -- one wait --------------------------------------------------------------------------------------------

    def wait(self, call: Context) -> EventBatch:
        """Wait for the next batch and give it; see the module's docstring. Nothing is lost by any error."""
        try:
            while not self._pending:
                PATIENT.run(call, partial(self._fill, call), on_failure=self._note)
        except EtcdRecipesError:
            raise  # what the library raises by itself leaves everything in order
        except BaseException:
            self.drop()
            self._recover()
            raise
        return self._pending.popleft()

    def _recover(self) -> None:
        self._assembly = Assembly(self._kept)

    def _fill(self, call: Context) -> None:
        """Steps 1 to 5, until there is a batch; ClusterError when it takes another channel to go on."""
        channel, gateway = self._channel or self._open(call), self._gateway
        try:
            while not self._pending:
                if channel.cluster != self._cluster or gateway.epoch != self._epoch or self._ended:
                    raise self._end(channel)
                left = self._heard_at + QUIET - runtime.now()
                results = channel.hear(max(left, 0.001))
                if results is not None:
                    self._take(channel, results)
                else:
                    call.check()
                    if left <= 0:
                        self._probe(channel, call)
        except (EndpointError, InvalidResponse) as error:
            self.drop()
            self._failed = channel.endpoint
            broken = EndpointError(channel.endpoint, getattr(error, "reason", str(error)))
            raise ClusterError([broken], what=self._what) from error
        except EtcdError:  # cancelled: the stream would stay open, and silent
            self.drop()
            raise

    def _open(self, call: Context) -> Channel:
        """Step 1."""
        create = dict(self._create)
        if self._assembly.next_revision:
            create["start_revision"] = str(self._assembly.next_revision)
        after, self._failed = self._failed, None
        channel = Channel(self._gateway, [create], call, what=self._what, after=after)
        self._assembly.confirm(channel.revision)
        self._channel = channel
        self._hear()
        return channel

    def _take(self, channel: Channel, results: list[dict[str, Any]]) -> None:
        """Step 3."""
        self._hear()
        for result in results:  # one by one: what came before a malformed one has been delivered
            for batch in replies.read(self._assembly.take, result, channel.endpoint):
                if batch.events or self._tell_progress:
                    self._pending.append(batch)
                self._kept = batch.revision
        if self._is_interrupted and results:
            self._resumed()

    def _end(self, channel: Channel) -> Compacted:
        """Step 6: give what there is to say when what was delivered belongs to a history that is not this one."""
        if self._ended is None:
            self._ended = Compacted(
                f"the history at {channel.endpoint} is another one: the cluster was restored from a backup, "
                "or replaced; read the keys again, and make a new watch",
                code=11,
                endpoint=channel.endpoint,
            )
            self._ended.resume_from = channel.revision
        return self._ended

    def _probe(self, channel: Channel, call: Context) -> None:
        """Step 5; probes that the ends of short waits cut off count together."""
        began = runtime.now()
        try:
            self._gateway.prove(channel.endpoint, call, QUIET)
        except ContextError:
            self._unproven += runtime.now() - began
            if self._unproven < (self._gateway.header_timeout or QUIET):
                raise
            raise EndpointError(channel.endpoint, "no answer to a probe", silent=True) from None
        self._hear()

    def _hear(self) -> None:
        self._heard_at, self._unproven = runtime.now(), 0.0

    # -- what is said about it -------------------------------------------------------------------------------

    def _note(self, error: BaseException) -> None:
        if not self._is_interrupted:
            self._is_interrupted = True
            event_logger("watch").warning("watch.interrupted", key=self._what, error=str(error))

    def _resumed(self) -> None:
        self._is_interrupted = False
        event_logger("watch").info("watch.resumed", key=self._what)
