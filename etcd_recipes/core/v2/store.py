"""The Store over v2: keys in order for places, a ttl per key, compare-and-swap for every change.

How a verb may be repeated here, where a transaction cannot say it
    join              a place that may have been taken without an answer is looked for before another is
    create            what stands there says whose it is (`sealed`)
    replace, delete   read the incarnation, change it by its index; when the answer is lost, look
    swap              changes one index: a second copy finds another one

What arrives late (a copy of a join that a stopped server carries out when it is resumed) is attached to
nothing, so nobody refreshes it, and it ends within its ttl.

Keys: a contender stands at ``<line>/<20 digits>``: etcd counts, and the lowest came first. Directories
stay when they are empty. A key beside the line is ``<line>/.<what>``: the listing has it at one index with
the line, and so has the one poll of the directory. (At ``<line>.<what>``, as on v3, it would take a request
more, and a poll of all that is below the parent of the line. Nobody but us stands in lines on v2, and we
know that it is no contender.)
"""

from __future__ import annotations

import math
import re
import weakref
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace as replace_fields

from etcd_recipes.core import runtime
from etcd_recipes.core.context import Context
from etcd_recipes.core.errors import ClusterError, CompareFailed, KeyExists, KeyNotFound
from etcd_recipes.core.http.action import Action
from etcd_recipes.core.store import Entry, Feed, Grant, Snapshot, Standing, id_below, nearest
from etcd_recipes.core.v2 import replies, requests
from etcd_recipes.core.v2.feed import V2Feed
from etcd_recipes.core.v2.grant import V2Grant, read
from etcd_recipes.core.v2.sealed import entry_of, seal
from etcd_recipes.core.v2.service import Service
from etcd_recipes.core.v2.values import Node, Response

__all__ = ["V2Store"]

_IN_ORDER = re.compile(r"[0-9]{1,20}")

_MOST_QUIET = 1000
"""Paths whose last feed stayed quiet that are remembered: more than an application follows."""


class V2Store:
    """The Store protocol over etcd's v2 API."""

    transactions = False

    def __init__(self, service: Service) -> None:
        self._service = service
        self._grants: weakref.WeakValueDictionary[int, V2Grant] = weakref.WeakValueDictionary()
        self._quiet_at: dict[
            str, str
        ] = {}  # the endpoint of a path's last feed, if it stayed quiet

    def _call(self, action: Action, ctx: Context) -> Response:
        return replies.response(self._service.call(action, ctx))

    # -- one key ---------------------------------------------------------------------------------------------

    def get(self, key: str, ctx: Context) -> Entry | None:
        """One quorum read."""
        node = read(self._service, key, ctx)
        return None if node is None else entry_of(node, key)

    def list(self, prefix: str, ctx: Context) -> Snapshot:
        """One recursive quorum read of the directory."""
        return self._read_directory(prefix.rstrip("/"), ctx, recursive=True)

    def _read_directory(self, path: str, ctx: Context, *, recursive: bool) -> Snapshot:
        action = requests.get(path or "/", recursive=recursive, sort=True, quorum=True)
        try:
            answer = self._call(action, ctx)
        except KeyNotFound as error:
            return Snapshot((), error.index)
        entries = [entry_of(node, path) for node in _files(answer.node)]
        # Below the root is everything, with a slash at the front or without.
        below = [entry for entry in entries if not path or entry.key.startswith(f"{path}/")]
        return Snapshot(tuple(sorted(below, key=lambda entry: entry.created)), answer.index)

    def create(self, key: str, value: str, grant: Grant | None, ctx: Context) -> Standing:
        """One write that only makes a key; a read when it is there, or when the answer was lost."""
        owner = self._known(grant)
        sealed = seal(0, value) if owner is None else owner.seal(value)
        action = requests.create(key, sealed, ttl=None if owner is None else owner.ttl)
        doubt = False
        asked = runtime.now()
        try:
            answer = self._call(action, ctx)
        except KeyExists:
            there, asked = self.get(key, ctx), -math.inf
        except ClusterError as error:
            there, asked = self.get(key, ctx) if error.maybe_applied else None, -math.inf
            if there is None:
                raise
            doubt = True
        else:
            there = entry_of(answer.node, key)
            doubt = answer.doubt
        if there is not None and owner is not None and there.lease == owner.id:
            there = there if owner.adopt(there, asked, ctx) else None
        return Standing(there, (), 0 if there is None else there.modified, doubt)

    def replace(self, entry: Entry, value: str, ctx: Context) -> Entry:
        """A read and a compare-and-swap by index, again when a refresh came in between."""
        owner = self._grants.get(entry.lease)
        sealed = seal(entry.lease, value, entry.seat)
        while True:
            node = self._same(entry, ctx)
            if node.value == sealed:
                break  # done: by a copy whose answer was lost
            action = requests.set_(
                entry.key,
                sealed,
                prev_index=node.modified_index,
                ttl=None if owner is None else owner.ttl,
            )
            try:
                node = self._call(action, ctx).node
            except (CompareFailed, KeyNotFound):
                continue
            except ClusterError as error:
                if not error.maybe_applied:
                    raise
                continue
            break
        changed = replace_fields(entry, value=value, modified=node.modified_index)
        if owner is not None:
            owner.attach(changed)
        return changed

    def swap(self, entry: Entry, value: str, ctx: Context) -> None:
        """A compare-and-swap by index."""
        action = requests.set_(entry.key, seal(0, value), prev_index=entry.modified)
        try:
            self._call(action, ctx)
        except KeyNotFound as error:
            raise CompareFailed(f"key {entry.key!r} is not there any more", code=101) from error

    def delete(self, entry: Entry, ctx: Context) -> bool:
        """A compare-and-delete by index; a read and another one when a refresh came in between.

        The key is refreshed until it is gone: whoever holds by it must not lose it to a delete that failed.
        """
        owner = self._grants.get(entry.lease)
        index = entry.modified if owner is None else owner.last_index(entry)
        was_there = self._delete(entry, index, ctx)
        if owner is not None:
            owner.detach(entry)
        return was_there

    def _delete(self, entry: Entry, index: int, ctx: Context) -> bool:
        while True:
            try:
                self._call(requests.delete(entry.key, prev_index=index), ctx)
            except KeyNotFound:
                return False
            except CompareFailed:
                pass
            except ClusterError as error:
                if not error.maybe_applied:
                    raise
            else:
                return True
            try:
                index = self._same(entry, ctx).modified_index
            except CompareFailed:
                return False

    def _same(self, entry: Entry, ctx: Context) -> Node:
        """Give this incarnation as it is now; CompareFailed if it is gone."""
        node = read(self._service, entry.key, ctx)
        if node is None or node.created_index != entry.created:
            raise CompareFailed(
                f"key {entry.key!r} created at index {entry.created} is not there any more",
                code=101,
            )
        return node

    def withdraw(self, key: str, grant: Grant, ctx: Context) -> bool:
        """A read, and a delete of what belongs to `grant`: of the key, or of its place in a line."""
        line, place, id_ = key.partition("/@")
        if place:
            _, dash, seat = id_.partition("-")
            mine = self._mine(line, grant, int(seat, 16) if dash else None, ctx)
        else:
            there = self.get(key, ctx)
            mine = [] if there is None or there.lease != grant.id else [there]
        for entry in mine:
            self.delete(entry, ctx)
        return bool(mine)

    # -- a line ----------------------------------------------------------------------------------------------

    def place(self, line: str, grant: Grant, seat: int | None = None) -> str:
        """A name only: the key is etcd's to choose."""
        return f"{line}/@{grant.id:x}" + ("" if seat is None else f"-{seat:x}")

    def contender_id(self, line: str, key: str) -> str | None:
        """A number that etcd gave, directly below the line."""
        return id_below(line, key, _IN_ORDER.fullmatch)

    def beside(self, line: str, what: str) -> str:
        """``<line>/.<what>``."""
        return f"{line}/.{what}"

    def join(
        self,
        line: str,
        value: str,
        grant: Grant,
        ctx: Context,
        *,
        ahead: int | None,
        seat: int | None = None,
        beside: str | None = None,
    ) -> Standing:
        """A write in order, and a listing that tells who is ahead."""
        owner = self._own(grant)
        place = self.place(line, grant, seat)
        asked = -math.inf
        mine = self._place_taken(line, owner, seat, ctx) if place in owner.begun else None
        if mine is None:
            owner.begun.add(place)
            asked = runtime.now()
            action = requests.create_in_order(line, owner.seal(value, seat), ttl=owner.ttl)
            mine = entry_of(self._call(action, ctx).node, line)
        if not owner.adopt(mine, asked, ctx):
            owner.begun.discard(place)
            return self.join(line, value, grant, ctx, ahead=ahead, seat=seat, beside=beside)
        standing = self.standing(line, mine, ctx, ahead=ahead, beside=beside)
        owner.begun.discard(place)
        return standing

    def _place_taken(
        self, line: str, owner: V2Grant, seat: int | None, ctx: Context
    ) -> Entry | None:
        """Give the place that an unanswered join may have taken; of several, the first, and drop the rest."""
        mine = self._mine(line, owner, seat, ctx)
        for late in mine[1:]:
            self.delete(late, ctx)
        return mine[0] if mine else None

    def _mine(self, line: str, grant: Grant, seat: int | None, ctx: Context) -> Sequence[Entry]:
        entries = self._line(line, ctx).entries
        return [entry for entry in entries if (entry.lease, entry.seat) == (grant.id, seat)]

    def join_if_first(self, line: str, value: str, grant: Grant, ctx: Context) -> Standing:
        """A listing; if nobody is there, a join; if somebody was faster, a delete."""
        snapshot = self._line(line, ctx)
        strangers = tuple(entry for entry in snapshot.entries if entry.lease != grant.id)
        if strangers:
            return Standing(None, strangers[:1], snapshot.revision)
        standing = self.join(line, value, grant, ctx, ahead=1)
        if standing.ahead and standing.mine is not None:
            self.delete(standing.mine, ctx)
            return replace_fields(standing, mine=None)
        return standing

    def standing(
        self,
        line: str,
        mine: Entry,
        ctx: Context,
        *,
        ahead: int | None,
        beside: str | None = None,
    ) -> Standing:
        """One listing."""
        standing = self.look(line, ctx, beside=beside)
        for entry in standing.ahead:
            if entry.key == mine.key and entry.created == mine.created:
                every = nearest(standing.ahead, entry.created, None)
                more = ahead is not None and len(every) > ahead
                return replace_fields(standing, mine=entry, ahead=every[:ahead], more=more)
        return Standing(None, (), standing.revision)

    def look(
        self,
        line: str,
        ctx: Context,
        *,
        ahead: int | None = None,  # noqa: ARG002 (a listing has them all)
        beside: str | None = None,
    ) -> Standing:
        """One listing."""
        found = self._read_directory(line, ctx, recursive=False)
        there = [e for e in found.entries if self.contender_id(line, e.key) is not None]
        also = next((entry for entry in found.entries if entry.key == beside), None)
        return Standing(None, tuple(reversed(there)), found.revision, beside=also)

    def _line(self, line: str, ctx: Context) -> Snapshot:
        """Give who stands in the line, in the order of arrival."""
        standing = self.look(line, ctx)
        return Snapshot(standing.ahead[::-1], standing.revision)

    # -- changes and grants --------------------------------------------------------------------------------------

    def watch(
        self,
        ctx: Context,
        *,
        keys: Collection[str] = (),
        own: str | None = None,  # noqa: ARG002 (the grant's refresh looks after it)
        prefix: str | None = None,
        after: int | None = None,
        quiet: float | None = None,
    ) -> Feed:
        """One long poll: of the one key, or of the directory in which the keys are.

        Where the last one of the same path stayed quiet, the following endpoint is asked: nothing else tells of
        a member that is cut off, and a follower asks for nothing but its poll.
        """
        if prefix is not None:
            path, recursive = prefix, True
        elif len(keys) == 1:
            (path,), recursive = keys, False
        else:
            path, recursive = min(keys).rpartition("/")[0], True
        if len(self._quiet_at) > _MOST_QUIET:
            self._quiet_at.clear()
        return V2Feed(
            self._service,
            path,
            ctx,
            recursive=recursive,
            keys=keys,
            after=after,
            quiet=quiet,
            beyond=self._quiet_at.pop(path, None),
            on_quiet=lambda endpoint: self._quiet_at.__setitem__(path, endpoint),
        )

    def open_grant(self, ttl: float, ctx: Context) -> Grant:
        """One request, which says whether etcd answers: on v2 a grant is our own affair."""
        self._read_directory("", ctx, recursive=False)
        grant = V2Grant(self._service, math.ceil(ttl))
        self._grants[grant.id] = grant
        return grant

    def _own(self, grant: Grant) -> V2Grant:
        return self._grants[grant.id]

    def _known(self, grant: Grant | None) -> V2Grant | None:
        return None if grant is None else self._own(grant)


def _files(node: Node) -> Iterator[Node]:
    if not node.dir:
        yield node
    for child in node.nodes:
        yield from _files(child)
