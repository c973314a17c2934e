"""The Store over v3: each verb is one transaction, and each may be sent twice.

Why each may be sent twice
    create, join      a second copy finds the key and changes nothing (compare create_revision == 0)
    replace, swap     a second copy finds a later change, maybe its own (compare mod_revision == modified)
    delete            a second copy finds another incarnation (compare create_revision == created)
    withdraw          as delete: it names the incarnation that it has read. (A copy that named the lease alone,
                      and arrived late, would take the key of a hold that the same session has made since.)
    grant             the lease id is ours, drawn at random: "exists already" is success

A copy that arrives *late*, after its key was deleted again, is the one thing this cannot undo: it makes a
key that nobody knows of, under a lease that lives. `Standing.doubt` says when that may happen, and the
session sweeps for it.

A look at a line is a range, and not a transaction, which could read all it wants in one request: a transaction that
only reads takes a member of etcd before 3.4.23 or 3.5.7 down when its sender goes away in the middle (a deadline, a
kill). A busy member answers late, and a long line has many who look.

Keys: a contender stands at ``<line>/<lease id in lower-case hex, not padded>``, as in Go's concurrency
package, etcdctl and the v3lock service: one line with all of them. A seat adds ``-<number in hex>``.
For Go whatever is below ``<line>/`` is in the way, so a key beside the line is ``<line>.<what>``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Sequence
from dataclasses import replace as replace_fields

from etcd_recipes.core import runtime
from etcd_recipes.core.context import Context
from etcd_recipes.core.errors import (
    Compacted,
    CompareFailed,
    FutureRevision,
    LeaseExists,
    LeaseNotFound,
)
from etcd_recipes.core.http.action import Action
from etcd_recipes.core.store import (
    Entry,
    Feed,
    Grant,
    Renewal,
    Snapshot,
    Standing,
    id_below,
    nearest,
)
from etcd_recipes.core.v3 import line_requests, replies, requests
from etcd_recipes.core.v3.feed import V3Feed, entry_of
from etcd_recipes.core.v3.gateway import Answer, Gateway
from etcd_recipes.core.v3.txn import Compare, Op
from etcd_recipes.core.v3.values import RangeResult, prefix_range, to_bytes

__all__ = ["V3Store"]


_ATTEMPTS_PER_TTL = 6
_LEASE_ID = re.compile(r"[0-9a-f]{1,16}(-[0-9a-f]{1,8})?")


class V3Store:
    """The Store protocol over etcd's v3 gateway."""

    transactions = True

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    # -- one key ---------------------------------------------------------------------------------------------

    def get(self, key: str, ctx: Context) -> Entry | None:
        """One linearizable range."""
        return _first(self._range(Op.get(key), ctx))

    def list(self, prefix: str, ctx: Context) -> Snapshot:
        """One linearizable range, sorted here: a sort by creation makes the server copy the whole range."""
        found = self._range(Op.get(prefix, prefix=True), ctx)
        entries = sorted((entry_of(kv) for kv in found.kvs), key=lambda entry: entry.created)
        return Snapshot(tuple(entries), found.revision)

    def create(self, key: str, value: str, grant: Grant | None, ctx: Context) -> Standing:
        """One transaction: put if absent, otherwise read what is there."""
        lease = grant.id if grant else 0
        result = self._txn(
            [Compare.create_revision(key) == 0],
            [Op.put(key, value, lease=lease)],
            [Op.get(key)],
            f"create key {key!r}",
            ctx,
        )
        if result.succeeded:
            entry: Entry | None = Entry(key, value, result.revision, result.revision, lease)
        else:
            entry = result.first(0)
        return Standing(entry, (), result.revision, result.doubt)

    def replace(self, entry: Entry, value: str, ctx: Context) -> Entry:
        """One transaction; another one when the value had been changed by somebody else, or by ourselves.

        It compares the revision of the last change: a copy of an earlier replace that arrives late must
        not write over a later one. The lease is written again, so a new lease never slips under an old key.
        """
        while True:
            result = self._txn(
                [Compare.mod_revision(entry.key) == entry.modified],
                [Op.put(entry.key, value, lease=entry.lease)],
                [Op.get(entry.key)],
                f"replace key {entry.key!r}",
                ctx,
            )
            if result.succeeded:
                return replace_fields(entry, value=value, modified=result.revision)
            there = result.first(0)
            if there is None or there.created != entry.created:
                raise CompareFailed(
                    f"key {entry.key!r} created at revision {entry.created} is not there any more",
                    code=9,
                )
            entry = replace_fields(entry, modified=there.modified)
            if (there.value, there.lease) == (value, entry.lease):
                return replace_fields(entry, value=value)  # done, by a copy whose answer was lost

    def swap(self, entry: Entry, value: str, ctx: Context) -> None:
        """One transaction."""
        result = self._txn(
            [Compare.mod_revision(entry.key) == entry.modified],
            [Op.put(entry.key, value)],
            [],
            f"change key {entry.key!r}",
            ctx,
        )
        if not result.succeeded:
            raise CompareFailed(
                f"key {entry.key!r} was changed after revision {entry.modified}", code=9
            )

    def delete(self, entry: Entry, ctx: Context) -> bool:
        """One transaction."""
        return self._asked(line_requests.delete(entry.key, entry.created), ctx).succeeded

    def withdraw(self, key: str, grant: Grant, ctx: Context) -> bool:
        """A read, and a transaction that deletes what was read, and no later incarnation."""
        there = self.get(key, ctx)
        return there is not None and there.lease == grant.id and self.delete(there, ctx)

    # -- a line ----------------------------------------------------------------------------------------------

    def place(self, line: str, grant: Grant, seat: int | None = None) -> str:
        """``<line>/<lease id>``, or ``<line>/<lease id>-<seat>``."""
        return f"{line}/{grant.id:x}" + ("" if seat is None else f"-{seat:x}")

    def contender_id(self, line: str, key: str) -> str | None:
        """A lease id in hex, with or without a seat, directly below the line."""
        return id_below(line, key, _LEASE_ID.fullmatch)

    def beside(self, line: str, what: str) -> str:
        """``<line>.<what>``."""
        return f"{line}.{what}"

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
        """One transaction that puts the key and reads who is ahead, at one revision; if it was there, two reads.

        (To read the line in that case, too, would be to read all of it, for nobody knows yet where the place is:
        and etcd answers late, and is asked again, when it has too much to do as it is.)
        """
        key = self.place(line, grant, seat)
        action = line_requests.join(line, key, value, grant.id, limit=ahead or 0, beside=beside)
        result = self._asked(action, ctx)
        if not result.succeeded:
            there = self.get(key, ctx)
            if there is None:
                return Standing(None, (), result.revision, result.doubt)
            standing = self.standing(line, there, ctx, ahead=ahead, beside=beside)
            return replace_fields(standing, doubt=result.doubt)
        mine = Entry(key, value, result.revision, result.revision, grant.id)
        found, also = result.range(0), None if beside is None else result.first(2)
        if not found.kvs:  # as mostly, nobody is there
            return Standing(mine, (), result.revision, result.doubt, also)
        return self._with_ahead(line, mine, found, ahead, result.doubt, ctx, beside, also)

    def join_if_first(self, line: str, value: str, grant: Grant, ctx: Context) -> Standing:
        """One transaction that writes only if nothing at all is below ``<line>/``.

        Something that is no contender (a key of a deeper line) makes it fail too; only then a second
        and third request are needed: join, and withdraw if somebody is ahead.
        """
        key = self.place(line, grant)
        action = line_requests.join_if_first(line, key, value, grant.id)
        result = self._asked(action, ctx)
        if result.succeeded:
            mine = Entry(key, value, result.revision, result.revision, grant.id)
            return Standing(mine, (), result.revision, result.doubt)
        first = result.first(0)
        if first is None or self.contender_id(line, first.key) is None:
            return self._join_or_withdraw(line, value, grant, ctx, doubt=result.doubt)
        if first.key == key:
            return Standing(first, (), result.revision, result.doubt)
        return Standing(None, (first,), result.revision, result.doubt)

    def _join_or_withdraw(
        self, line: str, value: str, grant: Grant, ctx: Context, *, doubt: bool
    ) -> Standing:
        standing = self.join(line, value, grant, ctx, ahead=1)
        if standing.ahead and standing.mine is not None:
            self.delete(standing.mine, ctx)
            standing = replace_fields(standing, mine=None)
        return replace_fields(standing, doubt=doubt or standing.doubt)

    def standing(
        self,
        line: str,
        mine: Entry,
        ctx: Context,
        *,
        ahead: int | None,
        beside: str | None = None,
    ) -> Standing:
        """One range: is my place still mine, and who is ahead. Another one for what is beside, at that revision."""
        up_to_mine = line_requests.newest_first(
            line, 0 if ahead is None else ahead + 1, mine.created
        )
        found, there = self._read_line(up_to_mine, beside, ctx)
        entries = [entry_of(kv) for kv in found.kvs]
        now = next((entry for entry in entries if entry.key == mine.key), None)
        if now is None or now.created != mine.created:
            return Standing(None, (), found.revision)
        return self._with_ahead(line, now, found, ahead, False, ctx, beside, there)

    def look(
        self, line: str, ctx: Context, *, ahead: int | None = None, beside: str | None = None
    ) -> Standing:
        """One range; another one for what is beside."""
        found, there = self._read_line(line_requests.newest_first(line, ahead or 0), beside, ctx)
        before = nearest(self._contenders(line, found), found.revision + 1, None)
        return Standing(None, before, found.revision, beside=there, more=found.more)

    def _read_line(
        self, action: Action, beside: str | None, ctx: Context
    ) -> tuple[RangeResult, Entry | None]:
        """Read the line, and what is beside it as it was at the same revision."""
        while True:
            found = self._ranged(action, ctx)
            if beside is None:
                return found, None
            try:
                there = self._range(Op.get(beside, revision=found.revision), ctx)
            except (Compacted, FutureRevision):
                continue  # so much was written in between; or a member that answers with the past was asked
            return found, _first(there)

    def _range(self, what: Op, ctx: Context) -> RangeResult:
        return self._ranged(requests.range_(what), ctx)

    def _ranged(self, action: Action, ctx: Context) -> RangeResult:
        return self._gateway.call(action, ctx).read(replies.range_result)

    def _contenders(self, line: str, found: RangeResult) -> Sequence[Entry]:
        entries = (entry_of(kv) for kv in found.kvs)
        return [entry for entry in entries if self.contender_id(line, entry.key) is not None]

    def _with_ahead(
        self,
        line: str,
        mine: Entry,
        found: RangeResult,
        ahead: int | None,
        doubt: bool,
        ctx: Context,
        beside: str | None,
        there: Entry | None,
    ) -> Standing:
        """Keep the contenders that were read; look again, without a limit, if deeper keys crowded them out."""
        contenders = self._contenders(line, found)
        every = nearest(contenders, mine.created, None)
        before = every[:ahead]
        crowded = found.more and (ahead is None or len(before) < ahead)
        if crowded and len(contenders) < len(found.kvs):
            standing = self.standing(line, mine, ctx, ahead=None, beside=beside)
            before = standing.ahead[:ahead]
            more = len(before) < len(standing.ahead)
            return replace_fields(standing, ahead=before, doubt=doubt, more=more)
        more = found.more or len(before) < len(every)
        return Standing(mine, before, found.revision, doubt, there, more)

    # -- changes and leases ------------------------------------------------------------------------------------

    def watch(
        self,
        ctx: Context,
        *,
        keys: Collection[str] = (),
        own: str | None = None,
        prefix: str | None = None,
        after: int | None = None,
        quiet: float | None = None,
    ) -> Feed:
        """One stream, with one create per key."""
        start = 0 if after is None else after + 1
        raw = [(to_bytes(key), b"") for key in (*keys, own) if key is not None]
        if prefix is not None:
            raw.append(prefix_range(to_bytes(prefix)))
        creates = [
            requests.watch_create(key, end, start_revision=start, fragment=True) for key, end in raw
        ]
        what = f"watch {' and '.join(repr(k.decode('utf-8', 'replace')) for k, _ in raw)}"
        return V3Feed(self._gateway, creates, ctx, what=what, after=after, quiet=quiet)

    def open_grant(self, ttl: float, ctx: Context) -> Grant:
        """One request, with an id of our own: a lost reply leaves no lease behind that nobody knows."""
        id_ = runtime.rng().randrange(1, 2**63)
        try:
            answer = self._gateway.call(requests.lease_grant(math.ceil(ttl), id_), ctx)
        except LeaseExists:  # our own first copy: 2**63 ids are not met by chance
            answer = self._gateway.call(requests.time_to_live(id_, keys=False), ctx)
            return V3Grant(self._gateway, id_, answer.read(replies.lease_status).granted_ttl)
        return V3Grant(self._gateway, id_, answer.read(lambda body: int(body.get("TTL", 0))))

    def _txn(
        self,
        compare: Sequence[Compare],
        success: Sequence[Op],
        failure: Sequence[Op],
        what: str,
        ctx: Context,
    ) -> _Outcome:
        action = requests.txn(compare, success, failure, replay=True, what=what)
        return self._asked(action, ctx)

    def _asked(self, action: Action, ctx: Context) -> _Outcome:
        return _Outcome(self._gateway.call(action, ctx))


class _Outcome:
    """What came of a transaction; of what it has read, so much is looked at as is asked for."""

    __slots__ = ("_answer", "doubt", "revision", "succeeded")

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.doubt = answer.doubt
        self.succeeded, self.revision = answer.read(replies.outcome)

    def range(self, index: int) -> RangeResult:
        """Give the range that stands at `index` in the branch that was taken."""
        return self._answer.read(lambda body: replies.range_in(body, index, self.revision))

    def first(self, index: int) -> Entry | None:
        """Give the first key of that range."""
        return _first(self.range(index))


class V3Grant:
    """A lease."""

    def __init__(self, gateway: Gateway, id_: int, ttl: float) -> None:
        self._gateway = gateway
        self.id = id_
        self.ttl = ttl
        # Twice as fast as the renewals come, so that a dead member costs one of them and not the lease.
        self._patience = min(ttl / _ATTEMPTS_PER_TTL, gateway.header_timeout or math.inf)

    def renew(self, ctx: Context, *, keys: bool = False) -> Renewal:
        """One request; with `keys` a second one, which is also a second witness that the lease lives.

        Some servers answer a renewal of a revoked lease with success.
        """
        answer = self._gateway.call(requests.keep_alive(self.id, patience=self._patience), ctx)
        ttl = answer.read(replies.keep_alive_ttl)
        if ttl <= 0:
            raise self._gone(answer.endpoint)
        return Renewal(ttl, self._keys(ctx) if keys else None)

    def _keys(self, ctx: Context) -> frozenset[str]:
        action = requests.time_to_live(self.id, keys=True, patience=self._patience)
        answer = self._gateway.call(action, ctx)
        status = answer.read(replies.lease_status)
        if status.ttl < 0:
            raise self._gone(answer.endpoint)
        return frozenset(key.decode("utf-8", "surrogateescape") for key in status.keys)

    def close(self, ctx: Context) -> None:
        """One request."""
        try:
            self._gateway.call(requests.lease_revoke(self.id), ctx)
        except LeaseNotFound:
            pass

    def _gone(self, endpoint: str) -> LeaseNotFound:
        return LeaseNotFound(
            f"lease {self.id:x} has expired or was revoked", code=5, endpoint=endpoint
        )


def _first(found: RangeResult) -> Entry | None:
    return entry_of(found.kvs[0]) if found.kvs else None
