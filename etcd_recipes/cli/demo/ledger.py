"""The ledger: a resource outside of etcd, which guards itself with fencing tokens.

It stands for whatever a lock protects: a bank, a disk, a machine. It knows nothing of locks and leases.
It knows one rule, and the rule is the point of the demo:

    A write names the lock that it was made under, and that lock's token. A token lower than the highest
    seen for the same lock is refused: its owner was replaced, and does not know it yet.

Rules of this file
1. Each write is one transaction of SQLite, in the order of which `seq` counts. A process that is killed in
   the middle has written nothing.
2. A job has one row in `ledger`: its name is the primary key. What else is written goes to `log`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from etcd_recipes.core import runtime

__all__ = ["Answer", "Ledger", "Outcome", "Row"]

_SCHEMA = """
CREATE TABLE fence  (lock TEXT PRIMARY KEY, highest INTEGER NOT NULL);
CREATE TABLE ledger (job TEXT PRIMARY KEY, who TEXT NOT NULL, token INTEGER NOT NULL, at REAL NOT NULL);
CREATE TABLE log    (seq INTEGER PRIMARY KEY, kind TEXT NOT NULL, who TEXT NOT NULL, job TEXT NOT NULL,
                     token INTEGER NOT NULL, at REAL NOT NULL);
"""

_RAISE_THE_FENCE = """
INSERT INTO fence (lock, highest) VALUES (?, ?)
ON CONFLICT (lock) DO UPDATE SET highest = excluded.highest WHERE excluded.highest >= highest
"""

_LEADERSHIP = "leader"
_PATIENCE = 10.0  # seconds that a write waits for another one


class Outcome(Enum):
    """What became of a write."""

    WRITTEN = "written"
    REFUSED = "refused"
    ALREADY = "already"


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a write: what became of it, and the highest token seen for its lock."""

    outcome: Outcome
    highest: int


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the log. `kind` is term, handout, take, done or refused; `at` is on the runtime's clock."""

    seq: int
    kind: str
    who: str
    job: str
    token: int
    at: float


class Ledger:
    """One connection to the ledger in the file `path`; for one thread at a time."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(
            path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False
        )
        # A killed process loses nothing by this, only a machine without power would.
        self._db.execute("PRAGMA synchronous = OFF")

    @classmethod
    def create(cls, path: Path) -> Ledger:
        """Make an empty ledger."""
        ledger = cls(path)
        ledger._db.execute("PRAGMA journal_mode = WAL")
        ledger._db.executescript(_SCHEMA)
        return ledger

    def begin_term(self, who: str, token: int) -> Answer:
        """Write down that `who` leads, under the token of its term."""
        return self._write("term", who, token, "")

    def hand_out(self, who: str, token: int, job: str) -> Answer:
        """Write down that `who` handed out a job, under the token of its term."""
        return self._write("handout", who, token, job)

    def take(self, who: str, token: int, job: str) -> Answer:
        """Write down that `who` begins a job, under the token of the job's lock; ALREADY if it is done."""
        return self._write("take", who, token, job)

    def finish(self, who: str, token: int, job: str) -> Answer:
        """Write a job's one row, under the token of the job's lock; ALREADY if it has one."""
        return self._write("done", who, token, job)

    def log(self) -> tuple[Row, ...]:
        """Give all that was written or refused, in order."""
        rows = self._db.execute("SELECT seq, kind, who, job, token, at FROM log ORDER BY seq")
        return tuple(Row(*row) for row in rows)

    def rows(self) -> tuple[Row, ...]:
        """Give the jobs' rows, in the order of their names."""
        rows = self._db.execute("SELECT 0, 'done', who, job, token, at FROM ledger ORDER BY job")
        return tuple(Row(*row) for row in rows)

    def close(self) -> None:
        """Close the connection."""
        self._db.close()

    def _write(self, kind: str, who: str, token: int, job: str) -> Answer:
        lock = _LEADERSHIP if kind in ("term", "handout") else f"job {job}"
        with self._transaction():
            if lock != _LEADERSHIP and self._is_done(job):
                return Answer(Outcome.ALREADY, self._highest(lock))
            if not self._db.execute(_RAISE_THE_FENCE, (lock, token)).rowcount:
                self._log("refused", who, job, token)
                return Answer(Outcome.REFUSED, self._highest(lock))
            if kind == "done":
                at = runtime.now()
                self._db.execute("INSERT INTO ledger VALUES (?, ?, ?, ?)", (job, who, token, at))
            self._log(kind, who, job, token)
        return Answer(Outcome.WRITTEN, token)

    def _log(self, kind: str, who: str, job: str, token: int) -> None:
        self._db.execute(
            "INSERT INTO log (kind, who, job, token, at) VALUES (?, ?, ?, ?, ?)",
            (kind, who, job, token, runtime.now()),
        )

    def _is_done(self, job: str) -> bool:
        found = self._db.execute("SELECT 1 FROM ledger WHERE job = ?", (job,))
        return found.fetchone() is not None

    def _highest(self, lock: str) -> int:
        found = self._db.execute("SELECT highest FROM fence WHERE lock = ?", (lock,)).fetchone()
        return 0 if found is None else int(found[0])

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")
