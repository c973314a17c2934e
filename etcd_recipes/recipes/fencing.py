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
from contextlib import contextmanager, suppress
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

    The file at `path`, private to its user, is a JSON object from resource to token, replaced as a whole
    (``<path>.new`` is there for a moment). Whoever writes has that very file locked (flock), so no second file
    can be swept away under him. One writes at a time, whatever the resource: where that is too few, give each
    resource a file. Everything raises RecipeError, and nothing is let through, when the file cannot be used
    or holds something else. When somebody removes or replaces it during a write, that write raises
    RecipeError at its end: another one may have been let in. Linux and macOS.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__()
        # Resolved now: a daemon that changes its folder keeps its fence, and a link and its file have one lock.
        self.path = Path(path).resolve()
        self._file = -1  # the descriptor of the file that is locked, for whoever has the turn

    @contextmanager
    def _turn(self, resource: str, ctx: Context) -> Iterator[None]:  # noqa: ARG002 (one lock for all)
        # The threads in their order; then one of each process asks for the file.
        with super()._turn("", ctx), self._locked(ctx):
            yield

    @contextmanager
    def _locked(self, ctx: Context) -> Iterator[None]:
        with self._translated():
            self._file = _FILE_LOCK.run(ctx, lambda: _lock(self.path))
        ours = runtime.generation()
        try:
            yield
            if runtime.generation() == ours:
                self._check_place()
        finally:
            # In a child that was forked meanwhile, the lock is its parent's to end.
            if runtime.generation() == ours:
                _unlock(self._file)

    def _check_place(self) -> None:
        with self._translated():
            if _is_at(self._file, self.path):
                return
        raise RecipeError(
            f"the fence {str(self.path)!r} was removed or replaced while this was written, so others may have "
            "been let in: look at what was written, and keep whoever removes files away from it"
        )

    def _recall(self) -> dict[str, int]:
        with self._translated():
            try:
                text = self.path.read_text("utf-8")
            except FileNotFoundError:
                return {}
            return _parse(text)

    def _remember(self, seen: dict[str, int]) -> None:
        with self._translated():
            fresh = _replace(self.path, json.dumps(seen))
        former, self._file = self._file, fresh
        _unlock(
            former
        )  # who has waited for it finds that it is `path` no more, and waits for the new one

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


def _lock(path: Path) -> int:
    """Open and lock the file that is at `path`, made if there is none; BlockingIOError while another one has it."""
    from fcntl import LOCK_EX, LOCK_NB, flock

    if not path.exists():
        _make(path)
    file = os.open(path, os.O_RDWR)  # some network file systems lock no other
    try:
        flock(file, LOCK_EX | LOCK_NB)
        ours = _is_at(file, path)
    except BaseException:
        os.close(file)
        raise
    if not ours:
        os.close(file)
        raise BlockingIOError("it was replaced before it was locked")
    return file


def _unlock(file: int) -> None:
    from fcntl import LOCK_UN, flock

    # A child that was forked meanwhile has the descriptor too: closing ours would leave it locked.
    flock(file, LOCK_UN)
    os.close(file)


def _is_at(file: int, path: Path) -> bool:
    """Tell whether the open `file` is the one that is at `path` now."""
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


def _make(path: Path) -> None:
    """Have an empty fence at `path`, whole from its first moment; whoever else makes it is as good."""
    fresh = path.with_name(f"{path.name}.{os.urandom(8).hex()}")
    try:
        os.close(_write(fresh, "{}"))
        with suppress(FileExistsError):
            os.link(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)


def _replace(path: Path, text: str) -> int:
    """Write the file anew, and give the new one, locked.

    After a crash, and after a power failure, it is the old one or the new one.
    """
    from fcntl import LOCK_EX, LOCK_NB, flock

    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)  # of one that crashed; a child of his may have it locked
    file = _write(fresh, text)
    try:
        flock(file, LOCK_EX | LOCK_NB)  # before it has the name: nobody comes in between
        fresh.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # the new name, too
        finally:
            os.close(folder)
    except BaseException:
        os.close(file)
        raise
    return file


def _write(path: Path, text: str) -> int:
    """Make a file at `path`, with `text` in it on the disk; give its descriptor."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE)
    try:
        with os.fdopen(file, "w", closefd=False) as writer:
            writer.write(text)
            writer.flush()
            os.fsync(file)
    except BaseException:
        os.close(file)
        raise
    return file
