"""``etcd-recipes lock``: run a command while holding a lock, a read lock or one of several slots.

Rules of this file
1. Only click is imported at the top, and what forks: the command line's ``--help`` reads this file.
2. The exit status is the command's own, or one of `status`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import click

from etcd_recipes.cli.options import Settings, usage_errors
from etcd_recipes.cli.run import status
from etcd_recipes.cli.run.options import (
    FAREWELL,
    SECONDS,
    RunnerCommand,
    argv_of,
    runner_options,
    say,
    who,
)

if TYPE_CHECKING:
    from etcd_recipes import Client, Contender, Context, Hold
    from etcd_recipes.cli.run.runner import Runner
    from etcd_recipes.coordination.entrance import Entrance

__all__ = ["command"]

_AT_ONCE = 10.0
"""Seconds that a try may take."""


@click.command("lock", cls=RunnerCommand, short_help="Run a command while holding a lock.")
@click.argument("name")
@click.option("-n", "--nonblock", is_flag=True, help="Do not wait: now or not at all.")
@click.option("-w", "--wait", type=SECONDS, metavar="SECONDS", help="Wait so long and no longer.")
@click.option(
    "-E",
    "--conflict-exit-code",
    type=click.IntRange(0, 255),
    default=status.NOT_ACQUIRED,
    show_default=True,
    metavar="CODE",
    help="The exit status when the lock was not to be had.",
)
@click.option("-s", "--shared", is_flag=True, help="Together with others who say so: a read lock.")
@click.option(
    "--slots", type=click.IntRange(min=1), metavar="N", help="N may hold at once: a semaphore."
)
@click.option("--wait-for-etcd", is_flag=True, help="If etcd is away, wait for it as for the lock.")
@runner_options
@click.pass_obj
def command(
    settings: Settings,
    name: str,
    nonblock: bool,
    wait: float | None,
    conflict_exit_code: int,
    shared: bool,
    slots: int | None,
    wait_for_etcd: bool,
    argv: tuple[str, ...],
    ttl: float,
    grace: float,
    verbose: bool,
) -> int:
    """Run CMD while holding the lock NAME, and release it when CMD has ended.

    It is one lock with `etcdctl lock`, Go's Mutex and client.lock(NAME). CMD gets ETCD_LOCK_KEY,
    ETCD_LOCK_REV, ETCD_LOCK_TOKEN (the fencing token, the same number) and ETCD_LOCK_NAME. Signals and
    stdin are CMD's. Without CMD the key is printed, and the lock is held until a signal.

    When the lock is lost, CMD gets SIGTERM, and SIGKILL after the grace. When etcd is away, that begins
    so early that CMD is dead before anybody else can hold the lock.

    Exit status: CMD's own; 128 + N if signal N killed it; 124 (or -E) if the lock was not to be had; 75 if
    it was lost; 125 if this program failed; 126 if CMD cannot be executed; 127 if it is not found.
    """
    words = argv_of(argv)
    if nonblock and (wait is not None or wait_for_etcd):
        raise click.UsageError("-n does not wait, so -w and --wait-for-etcd make no sense with it")
    if shared and slots is not None:
        raise click.UsageError("--shared and --slots are two kinds of lock; choose one")
    if words and (problem := status.unusable(words[0])) is not None:
        say(problem[1])
        return problem[0]
    from etcd_recipes import Cancelled
    from etcd_recipes.cli.run.runner import Runner

    patience = 0.0 if nonblock else wait
    connection = settings.connection().within(patience)
    with Runner(words) as runner, connection.client(session_ttl=ttl) as client:
        with usage_errors():
            door = _door(client, name, shared=shared, slots=slots)
        entry = _Entry(door, runner.ctx, verbose)
        try:
            if not wait_for_etcd:
                client.session(
                    ctx=runner.ctx
                )  # so that an etcd that is away is told, not waited for
            hold = entry.now() if patience == 0 else entry.wait(patience)
            if hold is None:
                if verbose:
                    say(
                        f"{name} was not to be had {f'within {patience:g} s' if patience else 'at once'}"
                    )
                return conflict_exit_code
            try:
                return _run(runner, hold, name, grace, verbose) if words else _stand(runner, hold)
            finally:
                hold.release(timeout=FAREWELL)
        except Cancelled:
            return runner.caught.status


class _Door(NamedTuple):
    """One kind of lock: how to go in, and who is in."""

    name: str
    entrance: Entrance[Hold]
    holders: Callable[[], Sequence[Contender]]


def _door(client: Client, name: str, *, shared: bool, slots: int | None) -> _Door:
    if slots is not None:
        semaphore = client.semaphore(name, permits=slots)
        return _Door(name, semaphore, semaphore.holders)
    if shared:
        rwlock = client.rwlock(name)
        return _Door(name, rwlock.read(), rwlock.holders)
    lock = client.lock(name)
    return _Door(name, lock, lambda: [each for each in [lock.holder()] if each is not None])


class _Entry:
    """The way in through a door."""

    def __init__(self, door: _Door, ctx: Context, verbose: bool) -> None:
        self._door = door
        self._ctx = ctx
        self._verbose = verbose

    def now(self) -> Hold | None:
        """Give the hold if it is to be had at once."""
        return self._door.entrance.acquire(blocking=False, ctx=self._ctx.child(_AT_ONCE))

    def wait(self, patience: float | None) -> Hold | None:
        """Give the hold when its turn comes, None when the time is up.

        A place in the line that was lost (this process was stopped, somebody removed the key) is taken
        anew, at the end.
        """
        from etcd_recipes.core import retry
        from etcd_recipes.core.errors import DeadlineExceeded

        limited = self._ctx.child(patience)
        try:
            return retry.CAMPAIGN.run(limited, lambda: self._wait(limited), on_failure=self._tell)
        except DeadlineExceeded:
            return None

    def _wait(self, ctx: Context) -> Hold | None:
        if self._verbose:
            hold = self.now()
            if hold is not None:
                return hold
            say(f"waiting for {self._door.name}, held by {who(self._door.holders())}")
        return self._door.entrance.acquire(ctx=ctx)

    def _tell(self, error: BaseException) -> None:
        if self._verbose:
            say(f"still waiting for {self._door.name}: {error}")


def _run(runner: Runner, hold: Hold, name: str, grace: float, verbose: bool) -> int:
    token = str(hold.token)
    if verbose:
        say(f"{name} is held, with token {token}")
    env = {
        "ETCD_LOCK_KEY": hold.key,
        "ETCD_LOCK_REV": token,
        "ETCD_LOCK_TOKEN": token,
        "ETCD_LOCK_NAME": name,
    }
    end = runner.run(env, grace=grace, hold=hold)
    if end.lost:
        say(f"the command was ended, for {name} was lost: {end.lost}")
        return status.LOST
    return status.of_wait(end.status)


def _stand(runner: Runner, hold: Hold) -> int:
    click.echo(hold.key)
    lost = runner.stand(hold)
    if lost:
        say(lost)
        return status.LOST
    return 0
