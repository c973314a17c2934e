"""``etcd-recipes watch``: every change below a prefix, as it happens, through outages.

Rules of this file
1. Only click is imported at the top: the command line's ``--help`` reads this file.
2. No change is left out in silence: when etcd does not keep the history any more, that is said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import click

from etcd_recipes.cli.options import Settings, shared_options
from etcd_recipes.cli.talk import say
from etcd_recipes.cli.view.output import output_option

if TYPE_CHECKING:
    from etcd_recipes import Client, Context
    from etcd_recipes.cli.view.events import Seen

__all__ = ["command"]


@click.command("watch", short_help="Print changes below a prefix.")
@click.argument("prefix")
@click.option(
    "--rev",
    type=click.IntRange(min=1),
    metavar="N",
    help="Begin with the changes of revision N (v2: index N), not with the next one.",
)
@output_option("plain", "json")
@shared_options
@click.pass_obj
def command(settings: Settings, prefix: str, rev: int | None, output: str) -> int:
    """Print every change of a key that begins with PREFIX ("" for all), one a line, until a signal.

    plain: revision, PUT or DELETE, key and value, with tabs between, all else escaped. json: one object a
    line; what is no text is base64, in key_base64 and value_base64. It goes on where it was when members
    of etcd die and come back.

    Exit status: 128 + N after signal N; 125 if etcd could not be asked.
    """
    from etcd_recipes import Cancelled, Context
    from etcd_recipes.cli.signals import cancelled_by_signals
    from etcd_recipes.cli.view import events

    connection = settings.connection()
    show: Callable[[Seen], str] = events.as_json if output == "json" else events.as_line
    changes = _on_v2 if connection.api == "v2" else _on_v3
    ctx = Context()
    with connection.client() as client, cancelled_by_signals(ctx) as caught:
        try:
            for seen in changes(client, connection.namespace + prefix, rev, ctx):
                click.echo(show(seen))
        except Cancelled:
            pass
        return caught.status


def _on_v3(client: Client, prefix: str, rev: int | None, ctx: Context) -> Iterator[Seen]:
    from etcd_recipes import Compacted
    from etcd_recipes.cli.view.events import Seen

    start = rev or 0
    while True:
        with client.v3.watch(prefix, prefix=True, start_revision=start, ctx=ctx) as watcher:
            try:
                while True:
                    for event in watcher.next_batch(ctx=ctx).events:
                        kv = event.kv
                        value = kv.value if event.type == "PUT" else None
                        yield Seen(
                            kv.mod_revision, event.type, kv.key, value, kv.lease, kv.create_revision
                        )
            except Compacted as error:
                first = error.resume_from
                say(
                    f"etcd does not keep the changes before revision {first} any more: going on there"
                )
                start = first


def _on_v2(client: Client, prefix: str, rev: int | None, ctx: Context) -> Iterator[Seen]:
    from etcd_recipes import EventIndexCleared
    from etcd_recipes.cli.view.events import Seen

    folder = f"/{prefix}"[: f"/{prefix}".rfind("/") + 1].rstrip("/") or "/"
    after = (rev - 1) if rev else 0
    while True:
        watcher = client.v2.keys.watcher(folder, after_index=after, recursive=True)
        try:
            while True:
                response = watcher.next(ctx=ctx)
                node = response.node
                if not node.key.lstrip("/").startswith(prefix.lstrip("/")):
                    continue
                gone = response.action in ("delete", "expire", "compareAndDelete")
                value = None if gone else node.value.encode()
                kind = "DELETE" if gone else "PUT"
                yield Seen(
                    node.modified_index, kind, node.key.encode(), value, 0, node.created_index
                )
        except EventIndexCleared as error:
            after = error.resume_from - 1
            say(f"etcd does not keep the changes before index {after + 1} any more: going on there")
        finally:
            watcher.close()
