"""A channel: one watch stream at one endpoint, with every watch on it confirmed.

The steps
1. One HTTP request carries one create per watch, one JSON object after the other.
2. It counts as answered when every create is confirmed: an endpoint that sends its headers and then stays
   silent is left like one that sends none, and the next one is asked.
3. Results are given as they come, in messages: those that came before the last confirmation first. What came
   before a cancel counts: it is given first, and the cancel is said by the next read.

Rules of this file
* A channel never reconnects: its reader knows from which revision to go on, or that he has to read first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from etcd_recipes.core import runtime
from etcd_recipes.core.context import Context
from etcd_recipes.core.errors import EndpointError
from etcd_recipes.core.v3 import replies, requests
from etcd_recipes.core.v3.gateway import Gateway
from etcd_recipes.core.v3.messages import Messages

__all__ = ["Channel"]


class Channel:
    """See the module's docstring; `revision` is the lowest at which one of its watches was confirmed.

    `cluster` is the id of the cluster that confirmed it.
    `creates` are the create_requests. With `after`, the endpoint that follows that one is asked first.
    Raises ClusterError, ResponseError (EtcdError for etcd's own) or the Context's error.
    """

    def __init__(
        self,
        gateway: Gateway,
        creates: Sequence[dict[str, Any]],
        ctx: Context,
        *,
        what: str,
        after: str | None = None,
    ) -> None:
        self._patience = gateway.header_timeout
        self._creates = len(creates)
        self._early: list[dict[str, Any]] = []
        self.revision = 0
        self.cluster = ""
        self._messages = gateway.stream(
            requests.watch(creates, what=what), ctx, after=after, begin=self._confirm
        )
        self.endpoint = self._messages.endpoint

    def _confirm(self, messages: Messages) -> None:
        """Step 2; EndpointError when this endpoint does not confirm."""
        until = None if self._patience is None else runtime.now() + self._patience
        self._early = []
        revisions: list[int] = []
        while len(revisions) < self._creates:
            for result in self._awaited(messages, until):
                if len(revisions) == self._creates:
                    self._early.append(result)  # a later one's business, even if it is the end
                    continue
                _check(result, messages.endpoint)
                if result.get("created"):
                    with replies.Reading(messages.endpoint):
                        revisions.append(replies.revision_of(result))
                        self.cluster = replies.cluster_of(result)
                else:
                    self._early.append(result)
        self.revision = min(revisions)

    def _awaited(self, messages: Messages, until: float | None) -> list[dict[str, Any]]:
        """Give what comes next, or raise EndpointError when it does not come in time."""
        left = None if until is None else until - runtime.now()
        late = f"the watch was not confirmed within {self._patience or 0:g} s"
        if left is not None and left <= 0:
            raise EndpointError(messages.endpoint, late, silent=True)
        try:
            results = messages.piece(left)
        except EndpointError as error:
            if not error.silent:
                raise
            raise EndpointError(messages.endpoint, late, silent=True) from error
        if results is None:
            raise EndpointError(messages.endpoint, "the watch ended before it was confirmed")
        return results

    def lend(self, ctx: Context) -> None:
        """Let `ctx` limit the channel from now on; only by the thread that reads."""
        self._messages.lend(ctx)

    def ready(self, quiet: float | None) -> bool:
        """Wait until `read` would not have to; False when nothing came for `quiet` seconds or in time."""
        return bool(self._early) or self._messages.ready(quiet)

    def read(self, quiet: float | None = None) -> list[dict[str, Any]]:
        """Give the results that arrive next, at least one; none when the server has ended the stream.

        Raises EndpointError when the connection broke, nothing came for `quiet` seconds or the member has
        lost its leader; Compacted and other EtcdErrors when etcd cancels; and the Context's error.
        """
        while (results := self.piece(quiet)) is not None:
            if results:
                return results
        return []

    def piece(self, quiet: float | None = None) -> list[dict[str, Any]] | None:
        """Give the results that the next bytes complete, maybe none; None when the server has ended it.

        Errors as for `read`; it receives once.
        """
        results, self._early = self._early or self._messages.piece(quiet), []
        return None if results is None else self._uncancelled(results)

    def hear(self, quiet: float) -> list[dict[str, Any]] | None:
        """Give the results that the next bytes complete, maybe none; None when nothing came for `quiet` seconds.

        Errors as for `read`, that it was quiet not being one; EndpointError when the server has ended the stream.
        It receives once.
        """
        if self._early:
            results, self._early = self._early, []
            return self._uncancelled(results)
        heard = self._messages.hear(quiet)
        return heard and self._uncancelled(heard)

    def _uncancelled(self, results: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Give the results before the first that says that its watch was cancelled, or raise what that means."""
        for at, result in enumerate(results):
            if result.get("canceled"):
                self._early = results[at:]  # kept until what came before it has been given
                if at == 0:
                    _check(result, self.endpoint)
                return results[:at]
        return results

    def close(self) -> None:
        """End the channel and its connection."""
        self._messages.close()


def _check(result: dict[str, Any], endpoint: str) -> None:
    """Raise what it means that a watch was cancelled; the stream itself would stay open, and silent."""
    if result.get("canceled"):
        with replies.Reading(endpoint):
            raise replies.cancel_error(result, endpoint)
