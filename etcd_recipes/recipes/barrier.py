"""Barrier: a gate that somebody closes, before which all others wait until it is opened.

The algorithm
1. Closings are numbered. Hold: read, and create ``<name>/<n>``, n one above all that were there.
2. Release: create ``<name>/<n>.released``, then delete what it makes superfluous. The last such record
   stays, so that a copy of a hold which a stopped server carries out late finds itself released. (A
   barrier that is one key, as Go's, kazoo's and Curator's are, is closed by such a copy for ever.)
3. It is closed while the highest number is held and not released. Wait: until it is not.

With a ttl the key of the holder rests on its lease: the gate opens when the holder's process dies. Without
one it stays closed until somebody opens it, whoever that is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from etcd_recipes.coordination.identity import describe_self
from etcd_recipes.coordination.names import check_name
from etcd_recipes.coordination.session import Session
from etcd_recipes.coordination.sessions import Sessions, check_ttl
from etcd_recipes.coordination.until import read, until
from etcd_recipes.core import retry, runtime
from etcd_recipes.core.context import Context
from etcd_recipes.core.errors import LeaseNotFound
from etcd_recipes.core.store import Entry

__all__ = ["Barrier"]

_KEY = re.compile(r"([0-9]{1,18})(\.released)?")


@dataclass(frozen=True, slots=True)
class _State:
    """The last number used, its entry if it is held and not released, and the records of the past."""

    last: int
    closed: Entry | None
    past: tuple[Entry, ...]


class Barrier:
    """A barrier named `name`; made by ``client.barrier(name)``, free to be used by many threads.

    Without `ttl` it stays closed when its holder's process ends. With one (seconds), it opens when that
    dies. Keys: ``<name>/<number>`` while closed, ``<name>/<number>.released`` when it is open again.
    Requests: 1 to pass an open barrier, 2 to close it, 3 to open it.
    """

    def __init__(self, sessions: Sessions, name: str, *, ttl: float | None = None) -> None:
        self.name = check_name(name, "barrier name")
        self._ttl = None if ttl is None else check_ttl(ttl)
        self._prefix = f"{name}/"
        self._sessions = sessions
        self._store = sessions.store

    def hold(self, *, timeout: float | None = None, ctx: Context | None = None) -> bool:
        """Close the barrier; False when it was closed already, by whomever.

        Raises ClusterError when no endpoint answers, ResponseError when etcd refuses, or the Context's
        error when that ends first (it may then be closed).
        """
        limited = self._sessions.limit(timeout, ctx)
        state = self._state(self._store.list(self._prefix, limited).entries)
        if state.closed is not None:
            return False
        key = f"{self._prefix}{state.last + 1}"
        mark = f"{runtime.rng().getrandbits(64):016x}"
        value = json.dumps({"id": mark, "by": json.loads(describe_self())})
        there = self._create(key, value, limited)
        return there is not None and there.value == value

    def _create(self, key: str, value: str, ctx: Context) -> Entry | None:
        """Make the key; once more with a new session when the lease had ended before we knew."""
        session = self._session(ctx)
        try:
            return self._create_under(session, key, value, ctx)
        except LeaseNotFound as error:
            if session is None:
                raise
            session.lose(f"etcd says that {error.message}")
        return self._create_under(self._session(ctx), key, value, ctx)

    def _session(self, ctx: Context) -> Session | None:
        return None if self._ttl is None else self._sessions.get(self._ttl, ctx)

    def _create_under(
        self, session: Session | None, key: str, value: str, ctx: Context
    ) -> Entry | None:
        grant = None if session is None else session.grant
        return retry.PATIENT.run(ctx, lambda: self._store.create(key, value, grant, ctx)).mine

    def release(self, *, timeout: float | None = None, ctx: Context | None = None) -> bool:
        """Open the barrier, whoever closed it, and let all pass; False when it was open. Idempotent.

        Raises ClusterError when no endpoint answers, ResponseError when etcd refuses, or the Context's
        error when that ends first (it may then be open).
        """
        limited = self._sessions.limit(timeout, ctx)
        state = self._state(self._store.list(self._prefix, limited).entries)
        held = state.closed
        if held is None:
            return False
        record = f"{held.key}.released"
        retry.PATIENT.run(limited, lambda: self._store.create(record, held.value, None, limited))
        for entry in (held, *state.past):
            self._store.delete(entry, limited)
        return True

    def held(self, *, timeout: float | None = None, ctx: Context | None = None) -> bool:
        """Tell whether the barrier is closed: one request."""
        entries = self._store.list(self._prefix, self._sessions.limit(timeout, ctx)).entries
        return self._state(entries).closed is not None

    def wait(self, timeout: float | None = None, *, ctx: Context | None = None) -> None:
        """Wait until the barrier is open; at once when it is.

        Raises DeadlineExceeded when `timeout` seconds or the deadline of `ctx` pass first, Cancelled when
        `ctx` is cancelled, ResponseError when etcd refuses. An outage of etcd, a watch that ended or a
        compaction never opens it: the wait goes on.
        """
        limited = Context(timeout, parent=ctx)
        if not self._is_open(read(self._store, self._prefix, limited)):
            until(self._store, self._prefix, limited, self._is_open)

    def _is_open(self, entries: Mapping[str, Entry]) -> bool | None:
        return self._state(entries.values()).closed is None or None

    def _state(self, entries: Collection[Entry]) -> _State:
        held: dict[int, Entry] = {}
        released: dict[int, Entry] = {}
        for entry in entries:
            if found := _KEY.fullmatch(entry.key[len(self._prefix) :]):
                (released if found[2] else held)[int(found[1])] = entry
        last = max((*held, *released), default=0)
        closed = held.get(last)
        if closed is not None and last in released and released[last].value == closed.value:
            closed = None
        past = (e for each in (held, released) for n, e in each.items() if n != last)
        return _State(last, closed, tuple(past))

    def __repr__(self) -> str:
        return f"<Barrier {self.name!r}>"
