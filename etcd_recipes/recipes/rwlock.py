"""Read-write lock: many readers at once, or one writer, in the order of arrival.

The algorithm is the line's (`coordination.line`). Readers and writers stand in one line and say in their
values which they are; a reader goes in when no writer is ahead of it, a writer when nobody is. So a writer
that waits stops the readers that come after it, and neither kind can starve the other.

Downgrade
    A writer changes what it says from write to read, in its place: one guarded write. The readers behind
    it go in, up to the next writer. There is no moment in which it holds nothing, and no writer that waits
    can be in its way, as it would be if it went to the end of the line as a reader. There is no upgrade:
    two readers that wanted one would wait for each other for ever.

What it does not guarantee
    As with a lock, a holder that is stopped past its ttl holds nothing any more and cannot know it between
    two instructions. What must not be written by such a one needs the token (`hold.token`).
"""

from __future__ import annotations

from typing import Literal

from etcd_recipes.coordination.contenders import READ, WRITE
from etcd_recipes.coordination.entrance import Entrance
from etcd_recipes.coordination.hold import Hold
from etcd_recipes.coordination.identity import Contender, describe_self
from etcd_recipes.coordination.line import Line, Turn
from etcd_recipes.coordination.liveness import Liveness
from etcd_recipes.coordination.names import check_name
from etcd_recipes.coordination.sessions import Sessions
from etcd_recipes.core.context import Context
from etcd_recipes.core.errors import CompareFailed
from etcd_recipes.core.store import Store

__all__ = ["RWLock", "ReadLock", "WriteHold", "WriteLock"]


class WriteHold(Hold):
    """A write lock that is held: a Hold that can be turned into a read lock."""

    def __init__(self, store: Store, turn: Turn, sessions: Sessions, liveness: Liveness) -> None:
        super().__init__(store, turn.session, turn.claim, turn.entry, turn.token, liveness)
        self._sessions = sessions
        self._kind: Literal["write", "read"] = "write"

    @property
    def kind(self) -> Literal["write", "read"]:
        """What is held: "write", or "read" once it was downgraded."""
        return self._kind

    def downgrade(self, *, timeout: float | None = None, ctx: Context | None = None) -> None:
        """Hold it as a reader from now on: one request, fenced; nothing happens the second time.

        Raises LockLost when it is gone, ClusterError when no endpoint answers and the Context's error:
        it is then still held, perhaps as a reader already, and the call may be repeated.
        """
        self.check()
        if self._kind == "read":
            return
        limited = self._sessions.limit(timeout, ctx)
        # From here on readers may be in, whatever becomes of the answer.
        try:
            self._entry = self._store.replace(self._entry, describe_self(kind="read"), limited)
        except CompareFailed:
            self._lose("its key was removed from etcd by somebody else")
            self.check()
        self._kind = "read"


class ReadLock(Entrance[Hold]):
    """The reading side of a read-write lock; made by ``rw.read()``, used as a Lock is."""

    def _value(self) -> str:
        return describe_self(kind="read")

    def _hold_of(self, turn: Turn) -> Hold:
        store = self._sessions.store
        return Hold(store, turn.session, turn.claim, turn.entry, turn.token, self._liveness)

    def __repr__(self) -> str:
        return f"<ReadLock {self.name!r}>"


class WriteLock(Entrance[WriteHold]):
    """The writing side of a read-write lock; made by ``rw.write()``, used as a Lock is."""

    def _value(self) -> str:
        return describe_self(kind="write")

    def _hold_of(self, turn: Turn) -> WriteHold:
        return WriteHold(self._sessions.store, turn, self._sessions, self._liveness)

    def __repr__(self) -> str:
        return f"<WriteLock {self.name!r}>"


class RWLock:
    """A read-write lock named `name`; made by ``client.rwlock(name)``, free to be used by many threads.

    Not reentrant: a thread that holds it, in whichever way, and waits to write, waits for itself.
    Keys: ``<name>/<lease id in hex>-<number>``, one per contender; the value says who it is, and whether
    it reads or writes. Requests: 1 to acquire when free, 1 to release, 1 to downgrade; a try costs 2, or 1
    when it is taken.
    """

    def __init__(
        self,
        sessions: Sessions,
        name: str,
        *,
        ttl: float | None = None,
        timeout: float | None = None,
        max_hold: float | None = None,
        heartbeat: float | None = None,
    ) -> None:
        self.name = check_name(name, "read-write lock name")
        self._sessions = sessions
        self._line = Line(sessions, name, READ, kind="read lock")
        what = f"read-write lock {name!r}"
        writers = Line(sessions, name, WRITE, kind="write lock")
        limits = Liveness(max_hold, heartbeat)
        self._read = ReadLock(
            sessions, self._line, f"{what} (to read)", ttl=ttl, timeout=timeout, liveness=limits
        )
        self._write = WriteLock(
            sessions, writers, f"{what} (to write)", ttl=ttl, timeout=timeout, liveness=limits
        )

    def read(self) -> ReadLock:
        """Give the reading side; always the same object. No request."""
        return self._read

    def write(self) -> WriteLock:
        """Give the writing side; always the same object. No request."""
        return self._write

    def holders(
        self, *, timeout: float | None = None, ctx: Context | None = None
    ) -> tuple[Contender, ...]:
        """Give the readers, or the writer, that hold it, in the order of arrival: one request.

        Raises ClusterError, ResponseError or the Context's error.
        """
        return self._line.occupants(self._sessions.limit(timeout, ctx))[0]

    def waiters(
        self, *, timeout: float | None = None, ctx: Context | None = None
    ) -> tuple[Contender, ...]:
        """Give who waits, the next one first: one request. Raises as `holders` does."""
        return self._line.occupants(self._sessions.limit(timeout, ctx))[1]

    def evict(
        self, contender: Contender, *, timeout: float | None = None, ctx: Context | None = None
    ) -> bool:
        """Remove this reader or writer, whether it holds or waits: exactly it. As ``Lock.evict`` in all."""
        return self._line.evict(contender, self._sessions.limit(timeout, ctx))

    def __repr__(self) -> str:
        return f"<RWLock {self.name!r}>"
