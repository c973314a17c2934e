"""``etcd-recipes doctor``: everything that could be wrong between here and etcd, and what to do about it.

Rules of this file
1. Only click is imported at the top: the command line's ``--help`` reads this file.
2. A line is printed when its question is answered: whoever waits sees for what.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from etcd_recipes.cli.options import Settings, shared_options
from etcd_recipes.cli.run.options import SECONDS
from etcd_recipes.cli.view.output import has_screen, one_json, output_option, say

if TYPE_CHECKING:
    from etcd_recipes.cli.options import Connection
    from etcd_recipes.cli.view.findings import Finding

__all__ = ["command"]

_FEW_FILES = 256


@click.command("doctor", short_help="What is wrong between here and etcd.")
@click.option("--prefix", default="", help="Where to try to write, and to look for foreign keys.")
@click.option(
    "--ttl", type=SECONDS, default=15.0, show_default=True, help="The ttl you mean to use."
)
@click.option("--strict", is_flag=True, help="Exit status 1 for warnings.")
@output_option("table", "json", "plain")
@shared_options
@click.pass_obj
def command(settings: Settings, prefix: str, ttl: float, strict: bool, output: str) -> int:
    """Ask all there is to ask, from the name's addresses to a lease's round trip; each line says what to do.

    Writes one key below PREFIX, under a lease, and removes both.

    Exit status: 0 if nothing is broken, 1 with --strict if there are warnings, 2 if something is broken.
    """
    from etcd_recipes.cli.view.findings import exit_status

    connection = settings.connection()
    found: list[Finding] = []
    for part in _examine(connection, prefix, ttl):
        found += part
        if output != "json":
            for finding in part:
                _print(finding, output)
    status = exit_status(found, strict=strict)
    if output == "json":
        click.echo(one_json(_document(found), indent=2))
    counts = {level: sum(f.level == level for f in found) for level in ("ok", "WARN", "BROKEN")}
    say(f"{counts['ok']} ok, {counts['WARN']} warnings, {counts['BROKEN']} broken")
    return status


def _examine(connection: Connection, prefix: str, ttl: float) -> Iterator[Sequence[Finding]]:
    from etcd_recipes.cli.view import cluster, endpoint

    with connection.client() as client:
        alive = False
        for each in client.endpoints:
            part = endpoint.examine(each, connection)
            alive = alive or all(finding.level != "BROKEN" for finding in part)
            yield part
        if alive:
            yield cluster.examine(client, connection, prefix, ttl)
    yield _here()


def _here() -> list[Finding]:
    """Look at this process's own limit of open files: each waiting thread has a connection."""
    from etcd_recipes.cli.view.findings import Finding

    try:
        import resource
    except ImportError:  # no such limit on this system
        return []
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if 0 <= limit < _FEW_FILES:
        remedy = "each waiter has a connection of its own: ulimit -n 1024"
        return [Finding("open files", f"limit {limit}", "WARN", remedy)]
    return [Finding("open files", f"limit {limit}")]


def _document(found: Sequence[Finding]) -> dict[str, object]:
    return {
        "findings": [
            {"what": f.what, "level": f.level.lower(), "result": f.result, "remedy": f.remedy}
            for f in found
        ]
    }


def _print(finding: Finding, output: str) -> None:
    if output == "plain":
        click.echo(f"{finding.level}\t{finding.what}\t{finding.result}\t{finding.remedy}")
        return
    styles = {"ok": "green", "WARN": "bold", "BROKEN": "bold red"}
    if has_screen():
        from rich.console import Console
        from rich.padding import Padding
        from rich.text import Text

        console = Console(highlight=False)
        mark = Text(f"{finding.level:<7}", styles[finding.level])
        console.print(mark + Text(f"{finding.what}: ", "bold") + Text(finding.result))
        if finding.remedy:
            console.print(Padding(Text(f"-> {finding.remedy}"), (0, 0, 0, 7)))
        return
    click.echo(f"{finding.level:<7}{finding.what}: {finding.result}")
    if finding.remedy:
        click.echo(f"       -> {finding.remedy}")
