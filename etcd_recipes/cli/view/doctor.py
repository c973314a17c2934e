"""``etcd-recipes doctor``: everything that could be wrong between here and etcd, and what to do about it.

Rules of this file
1. Only click is imported at the top: the command line's ``--help`` reads this file.
2. A line is printed when its question is answered: whoever waits sees for what.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from etcd_recipes.cli.options import Settings, shared_options
from etcd_recipes.cli.run.options import SECONDS
from etcd_recipes.cli.talk import folded, say, width_of
from etcd_recipes.cli.view.output import has_screen, one_json, output_option

if TYPE_CHECKING:
    from etcd_recipes.cli.options import Connection
    from etcd_recipes.cli.view.findings import Finding

__all__ = ["command"]

_FEW_FILES = 256

_MARK = 7
"""Columns in which the level stands, on the left."""


@click.command("doctor", short_help="What is wrong between here and etcd.")
@click.option(
    "--prefix",
    default="",
    metavar="PREFIX",
    help="Where to try to write, and to look for foreign keys.",
)
@click.option(
    "--ttl",
    type=SECONDS,
    default=15.0,
    show_default=True,
    metavar="SECONDS",
    help="The ttl you mean to use.",
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
    from etcd_recipes.cli.view.findings import exit_status, verdict

    connection = settings.connection()
    found: list[Finding] = []
    for part in _examine(connection, prefix, ttl):
        # What all members have, such as a version with a bug, is told once.
        new = [finding for finding in dict.fromkeys(part) if finding not in found]
        found += new
        if output != "json":
            for finding in new:
                _print(finding, output)
    status = exit_status(found, strict=strict)
    if output == "json":
        click.echo(one_json(_document(found), indent=2))
    say(verdict(found))
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
    lines = _lines(finding, width_of(sys.stdout))
    if not has_screen():
        click.echo("\n".join(lines))
        return
    from rich.console import Console
    from rich.text import Text

    text = Text("\n".join(lines), no_wrap=True, overflow="ignore")
    text.stylize(styles[finding.level], 0, _MARK)
    text.stylize("bold", _MARK, _MARK + len(finding.what) + 1)
    Console(highlight=False, soft_wrap=True).print(text)


def _lines(finding: Finding, width: int) -> list[str]:
    """Give the finding as lines: no longer than a terminal's `width`, and all but the first set in."""
    lines = [f"{finding.level:<{_MARK}}{finding.what}: {finding.result}"]
    if finding.remedy:
        lines.append(f"{'':{_MARK}}-> {finding.remedy}")
    return [folded(line, width, " " * (_MARK + 3)) for line in lines] if width else lines
