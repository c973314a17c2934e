"""``etcd-recipes locks``: who holds what and who waits, once.

Rules of this file
1. Only click is imported at the top: the command line's ``--help`` reads this file.
2. One listing, and one request for each lease of those who hold.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from etcd_recipes.cli.options import Settings, shared_options
from etcd_recipes.cli.view.output import output_option, show

if TYPE_CHECKING:
    from etcd_recipes.cli.options import Connection

__all__ = ["command", "look_once"]


@click.command("locks", short_help="Who holds what, and who waits.")
@click.argument("prefix", default="")
@click.option("-a", "--all", "all_", is_flag=True, help="Also the keys that are not ours.")
@output_option("table", "json", "plain")
@shared_options
@click.pass_obj
def command(settings: Settings, prefix: str, all_: bool, output: str) -> int:
    """Show locks, read-write locks, elections, semaphores, barriers and services below PREFIX.

    They are recognised from their keys and values, those of Go's concurrency package and of etcdctl as
    well. AGE is since when each has stood in its line (or, for a service, "-"), TTL what is left of its
    lease, TOKEN the revision at which it took its place: what `break --token` takes.

    Exit status: 0, also when there is nothing; 125 if etcd could not be asked.
    """
    return look_once(settings.connection(), prefix, all_=all_, output=output)


def look_once(connection: Connection, prefix: str, *, all_: bool, output: str) -> int:
    """Print what is there now."""
    from etcd_recipes import Context
    from etcd_recipes.cli.talk import say
    from etcd_recipes.cli.view import report
    from etcd_recipes.cli.view.census import take
    from etcd_recipes.cli.view.reach import below, lifetimes
    from etcd_recipes.core import runtime

    ctx = Context(connection.default_timeout)
    with connection.client() as client:
        snapshot = below(client, connection.api, connection.namespace + prefix, ctx)
        census = take(snapshot.entries, api=connection.api)
        holders = [party.entry for thing in census.things for party in thing.holders]
        left = lifetimes(client, connection.api, holders, ctx)
    now = runtime.wall_clock()
    make = report.plain_rows if output == "plain" else report.rows
    rows = make(census, left, now, all_=all_)
    if not rows and output == "table":
        where = f" below {connection.namespace + prefix!r}" if connection.namespace + prefix else ""
        others = f"; {len(census.others)} keys are not ours (--all)" if census.others else ""
        say(f"nothing is held{where}{others}")
        return 0
    columns = report.PLAIN if output == "plain" else report.COLUMNS
    document = report.document(census, left, now, snapshot.revision, all_=all_)
    show(output, columns, rows, document, lead=report.LEAD)
    return 0
