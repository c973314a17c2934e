"""``etcd-recipes demo``: options in, a run on the stage, the verdict out.

Rules of this file
1. Only click is imported at the top: the command line's ``--help`` reads this file.
2. stdout has what was asked for: the live view or lines, and the summary; or one JSON object, and then
   everything else goes to stderr.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING

import click

from etcd_recipes.cli.options import Settings, shared_options
from etcd_recipes.cli.talk import is_terminal, say

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from etcd_recipes.cli.demo.plan import Plan
    from etcd_recipes.cli.demo.stage import Show

__all__ = ["command"]


@click.command("demo", short_help="Workers, locks and an election on a real etcd, with crashes.")
@click.option(
    "--workers", type=click.IntRange(2, 32), default=4, show_default=True, help="Worker processes."
)
@click.option(
    "--jobs",
    type=click.IntRange(2, 10_000),
    default=40,
    show_default=True,
    help="Jobs to share out.",
)
@click.option(
    "--ttl",
    type=click.IntRange(2, 60),
    default=3,
    show_default=True,
    help="Seconds after which a dead worker is given up.",
)
@click.option("--seed", type=int, help="Draws the lengths of the jobs; drawn itself if not given.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout, lines on stderr.")
@shared_options
@click.pass_obj
def command(
    settings: Settings, workers: int, jobs: int, ttl: int, seed: int | None, as_json: bool
) -> int:
    """Show what etcd-recipes does, on a real etcd, in about twenty seconds.

    Starts three members of etcd and some worker processes. They register themselves, elect a leader, and
    the leader hands out jobs, which all of them take under locks and write into a ledger that refuses
    outdated fencing tokens. Then the leading worker gets kill -9, and a while later the etcd member
    that leads. At the end it checks what must hold, and leaves nothing behind.

    With --endpoints it runs on that etcd instead, below a key prefix of its own, which it removes
    afterwards; no member of it is killed.

    Exit status: 0 if all checks hold, 1 if one fails, 125 if it could not run.
    """
    if jobs < workers:
        raise click.BadParameter(
            f"{jobs} is less than the {workers} workers; there must be a job for each",
            param_hint="'--jobs'",
        )
    if settings.api == "v2":
        raise click.UsageError("the demo is one of the v3 store; leave --api v2 out")
    import secrets

    from etcd_recipes.cli.demo.plan import Plan

    seed = secrets.randbelow(10_000) if seed is None else seed
    return _run(settings, Plan(workers, jobs, ttl, seed), as_json=as_json)


def _run(settings: Settings, plan: Plan, *, as_json: bool) -> int:
    from etcd_recipes import Cancelled, Context
    from etcd_recipes.cli.demo import summary
    from etcd_recipes.cli.demo.stage import Stage
    from etcd_recipes.cli.demo.verdict import judge
    from etcd_recipes.cli.signals import cancelled_by_signals

    connection = settings.connection()
    ctx = Context()
    with cancelled_by_signals(ctx) as caught:
        try:
            with _show(as_json=as_json, may_kill_member=not connection.endpoints) as show:
                run = Stage(plan, show, ctx).run(connection)
        except Cancelled:
            say(f"ended by {caught.name}; nothing is left behind")
            return caught.status
    checks = judge(run.evidence)
    if as_json:
        click.echo(summary.as_json(run, checks))
    else:
        for line in summary.as_lines(run, checks):
            click.echo(line)
    return 1 if summary.failed(checks) else 0


def _show(*, as_json: bool, may_kill_member: bool) -> AbstractContextManager[Show]:
    from contextlib import nullcontext

    from etcd_recipes.cli.demo.lines import Lines

    if as_json or not is_terminal(sys.stdout) or find_spec("rich") is None:
        stream = sys.stderr if as_json else sys.stdout
        return nullcontext(Lines(stream, may_kill_member=may_kill_member))
    from rich.console import Console

    from etcd_recipes.cli.demo.screen import on_screen

    console = Console()
    if console.is_dumb_terminal:
        return nullcontext(Lines(sys.stdout, may_kill_member=may_kill_member))
    return on_screen(console, may_kill_member=may_kill_member)
