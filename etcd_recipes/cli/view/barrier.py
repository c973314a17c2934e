"""``etcd-recipes barrier``: close a gate, open it, or wait until it is open.

Rules of this file
1. Only click is imported at the top: the command line's ``--help`` reads this file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from etcd_recipes.cli.options import Settings, shared_options, usage_errors
from etcd_recipes.cli.run.options import SECONDS
from etcd_recipes.cli.talk import say

if TYPE_CHECKING:
    from etcd_recipes import Barrier, Context

__all__ = ["command"]

_NOT_IN_TIME = 124


@click.command("barrier", short_help="Close a gate, open it, wait before it.")
@click.argument("name")
@click.argument("action", type=click.Choice(["hold", "release", "wait"]))
@click.option("-w", "--wait", "patience", type=SECONDS, metavar="SECONDS", help="Wait no longer.")
@shared_options
@click.pass_obj
def command(settings: Settings, name: str, action: str, patience: float | None) -> int:
    """Close the barrier NAME (hold), open it (release), or wait until it is open.

    It stays closed when this program has ended, until somebody opens it. To close what is closed, or to
    open what is open, is no error.

    Exit status: 0; 124 if it was not open in time; 125 if etcd could not be asked; 128 + N after signal N.
    """
    if patience is not None and action != "wait":
        raise click.UsageError(f"-w is for `barrier {name} wait`")
    from etcd_recipes import Cancelled, Context, DeadlineExceeded
    from etcd_recipes.cli.signals import cancelled_by_signals

    ctx = Context()
    connection = settings.connection().within(patience)
    with connection.client() as client:
        with usage_errors():
            barrier = client.barrier(name)
        with cancelled_by_signals(ctx) as caught:
            try:
                if action == "wait":
                    # So that an etcd that is away is told; once it has answered, outages are ridden out.
                    if barrier.held(ctx=ctx.child(connection.default_timeout)):
                        barrier.wait(patience, ctx=ctx)
                else:
                    _change(barrier, action, ctx.child(connection.default_timeout))
            except Cancelled:
                return caught.status
            except DeadlineExceeded:
                if action != "wait":
                    raise
                say(f"barrier {name!r} was not open within {patience:g} s")
                return _NOT_IN_TIME
    return 0


def _change(barrier: Barrier, action: str, ctx: Context) -> None:
    changed = barrier.hold(ctx=ctx) if action == "hold" else barrier.release(ctx=ctx)
    if not changed:
        state = "closed" if action == "hold" else "open"
        say(f"barrier {barrier.name!r} was {state} already")
