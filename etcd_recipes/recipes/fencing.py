"""Fencing: the side of the resource, which refuses whoever was overtaken.

The algorithm
1. A holder sends its token (`hold.token`, `term.token`) with everything that it writes.
2. The resource remembers the highest token it has seen. A lower one is refused: somebody else has held since.
3. The look and the write are one step: nobody writes between the two (`writing`).
4. What is remembered is remembered before the write begins, so that a crash in between forgets nothing.

Rules of this file
1. What is remembered never becomes less. When it cannot be read, the write is refused.
2. Everybody who writes goes through the fence, and a fence knows the tokens of one name in etcd only.

What it does not guarantee
    A fence refuses an old holder once a newer one has come to the resource, and no sooner: until then it
    cannot know of it. It is for what one holds at a time (locks, write locks, terms): those who hold a
    semaphore together have tokens without an order among them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from etcd_recipes.coordination.queue import LocalQueue
from etcd_recipes.core import runtime
from etcd_recipes.core.context import Context
from etcd_recipes.core.errors import DeadlineExceeded, RecipeError, StaleToken
from etcd_recipes.core.retry import Policy

__all__ = ["FENCING_HEADER", "Fence", "FileFence", "require_one_row"]

FENCING_HEADER = "Fencing-Token"
"""The HTTP header in which a client sends its token: a decimal number."""

_FILE_LOCK = Policy(
    "file lock", first=0.005, longest=0.05, again=lambda error: isinstance(error, BlockingIOError)
)
"""A file that another process has locked: for as long as the caller waits. (flock itself cannot be cancelled.)"""

_PRIVATE = 0o600
"""The mode of files: their user's alone."""


class Fence:
    """The highest token seen, per resource, in this process's memory; free to be used by many threads.

    For a resource that lives in one process. Several processes, or one that is restarted, need a
    `FileFence` or a column in the database.
    """

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}
        self._inside: dict[str, int] = {}  # the thread that is writing
        self._queue = LocalQueue()
        runtime.at_fork(self)

    def check(
        self,
        token: int,
        resource: str = "",
        *,
        timeout: float | None = None,
        ctx: Context | None = None,
    ) -> None:
        """Remember `token`, or raise StaleToken when a higher one was seen for `resource`; waits for writers.

        What is written after it may come later than a newer holder's: see `writing`. Raises as that does.
        No request.
        """
        with self.writing(token, resource, timeout=timeout, ctx=ctx):
            pass

    @contextmanager
    def writing(
        self,
        token: int,
        resource: str = "",
        *,
        timeout: float | None = None,
        ctx: Context | None = None,
    ) -> Iterator[None]:
        """Run the body as the only writer of `resource`; StaleToken, without it, when a higher token was seen.

        The same token may come again and again. One writer waits for the other: DeadlineExceeded after
        `timeout` seconds (None: for ever), or the error of `ctx`. TypeError for a token that is no int,
        ValueError for one below 1, RecipeError when this thread is writing it already. No request.
        """
        _check_token(token)
        _check_resource(resource)
        with self._turn(resource, Context(timeout, parent=ctx)):
            seen = self._recall()
            if token < (highest := seen.get(resource, 0)):
                raise _stale(token, highest, resource)
            if token > highest:
                seen[resource] = token
                self._remember(seen)
            yield

    def highest(self, resource: str = "") -> int:
        """Give the highest token seen for `resource`, 0 when there was none."""
        return self._recall().get(_check_resource(resource), 0)

    def _recall(self) -> dict[str, int]:
        return self._seen

    def _remember(self, seen: dict[str, int]) -> None:
        self._seen = seen

    @contextmanager
    def _turn(self, resource: str, ctx: Context) -> Iterator[None]:
        thread = runtime.thread_id()
        if self._inside.get(resource) == thread:
            raise RecipeError(f"this thread is writing through {self!r} already: end that first")
        with self._queue.turn(resource, ctx):
            self._inside[resource] = thread
            try:
                yield
            finally:
                self._inside.pop(resource, None)

    def after_fork_in_child(self) -> None:
        """Forget the parent's threads; what the parent has seen, the child has seen."""
        self._queue = LocalQueue()
        self._inside = {}

    def __repr__(self) -> str:
        return f"<Fence of {len(self._seen)} resources>"


class FileFence(Fence):
    """The highest token seen, per resource, in a file: for several processes of one machine, and restarts.

    Files, all private to their user: `path`, a JSON object from resource to token, replaced as a whole;
    ``<path>.lock``, which whoever writes has locked (flock); and ``<path>.new`` for a moment. One writes at
    a time, whatever the resource: where that is too few, give each resource a file. Everything raises
    RecipeError, and nothing is let through, when the files cannot be used or hold something else.
    Linux and macOS.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__()
        # Resolved now: a daemon that changes its folder keeps its fence, and a link and its file have one lock.
        self.path = Path(path).resolve()

    @contextmanager
    def _turn(self, resource: str, ctx: Context) -> Iterator[None]:  # noqa: ARG002 (one lock for all)
        # The threads in their order; then one of each process asks for the file.
        with super()._turn("", ctx), self._locked(ctx):
            yield

    @contextmanager
    def _locked(self, ctx: Context) -> Iterator[None]:
        from fcntl import LOCK_EX, LOCK_NB, LOCK_UN, flock

        with self._translated():
            lock = os.open(_beside(self.path, ".lock"), os.O_RDWR | os.O_CREAT, _PRIVATE)
        ours = runtime.generation()
        try:
            with self._translated():
                _FILE_LOCK.run(ctx, lambda: flock(lock, LOCK_EX | LOCK_NB))
            try:
                yield
            finally:
                # A child that was forked meanwhile has the descriptor too: closing ours would leave it locked.
                # In the child itself, the lock is its parent's to end.
                if runtime.generation() == ours:
                    flock(lock, LOCK_UN)
        finally:
            os.close(lock)

    def _recall(self) -> dict[str, int]:
        with self._translated():
            try:
                text = self.path.read_text("utf-8")
            except FileNotFoundError:
                return {}
            return _parse(text)

    def _remember(self, seen: dict[str, int]) -> None:
        with self._translated():
            _replace(self.path, json.dumps(seen))

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except DeadlineExceeded:  # a TimeoutError, and that is an OSError
            raise
        except (OSError, ValueError, RecursionError) as error:
            raise RecipeError(
                f"the fence {str(self.path)!r} cannot be used, so nothing is let through: {error}. Make the "
                "file readable again; remove it only while nobody writes, for an old holder then passes"
            ) from error

    def __repr__(self) -> str:
        return f"<FileFence {str(self.path)!r}>"


class Cursor(Protocol):
    """What is asked of a database cursor (PEP 249)."""

    @property
    def rowcount(self) -> int:
        """How many rows the last statement changed, -1 when it is not known."""


def require_one_row(cursor: Cursor, token: int) -> None:
    """Raise StaleToken unless the statement just executed, with ``fence <= token`` in it, changed one row.

    For ``UPDATE ... SET ..., fence = :token WHERE id = :id AND fence <= :token``: no row means that a higher
    token was there, or that there is no such row. RecipeError when the driver does not say how many, or
    when there were several: roll back then, too. TypeError and ValueError for what is no token. No request.
    """
    _check_token(token)
    if cursor.rowcount == 0:
        raise StaleToken(
            f"token {token} changed no row: somebody with a higher token has written since, or there is no such "
            "row; stop, and acquire again",
            token=token,
        )
    if cursor.rowcount != 1:
        raise RecipeError(
            f"the statement with token {token} changed {cursor.rowcount} rows (-1: the driver does not say), not "
            "one: roll back, and name one row by its key"
        )


def _stale(token: int, highest: int, resource: str) -> StaleToken:
    where = f"resource {resource!r}" if resource else "the resource"
    return StaleToken(
        f"token {token} is stale: {where} has seen {highest}, so somebody else has held since; stop, and "
        "acquire again",
        token=token,
        highest=highest,
        resource=resource,
    )


def _check_token(token: int) -> None:
    if type(token) is not int:
        raise TypeError(f"a token is an int, as hold.token is, not {token!r}")
    if token < 1:
        raise ValueError(f"a token is 1 or more, as hold.token is; got {token}")


def _check_resource(resource: str) -> str:
    if not isinstance(resource, str):
        raise TypeError(f"a resource is named by a str, not {resource!r}")
    return resource


def _parse(text: str) -> dict[str, int]:
    """Give the tokens in a fence's file; ValueError when it is something else."""
    seen = json.loads(text)
    if not isinstance(seen, dict) or not all(type(t) is int and t > 0 for t in seen.values()):
        raise ValueError("it is not a fence's file")
    return seen


def _replace(path: Path, text: str) -> None:
    """Write the file anew: after a crash, and after a power failure, it is the old one or the new one."""
    fresh = _beside(path, ".new")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _PRIVATE), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the new name, too
    finally:
        os.close(folder)


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)
