"""``etcd-recipes discover``: the instances of a service, once or at each change.

Rules of this file
1. Only click is imported at the top: the command line's ``--help`` reads this file.
2. With ``--watch`` the first lines are what is there, as if it had just come; then one line per change.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from etcd_recipes.cli.options import Settings, shared_options, usage_errors
from etcd_recipes.cli.talk import say
from etcd_recipes.cli.view.output import one_json, output_option, show
from etcd_recipes.cli.words import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from etcd_recipes import Context, Instance, Registry

__all__ = ["command"]

_NOBODY = 1
_LINES = ("table", "plain", "json")


@click.command("discover", short_help="List the instances of a service.")
@click.argument("service")
@click.option("--watch", is_flag=True, help="Print a line for each change, until a signal.")
@click.option(
    "--prefix", default="services", show_default=True, metavar="NAME", help="The registry's name."
)
@click.option("--codec", type=click.Choice(["json", "grpc"]), default="json", show_default=True)
@click.option("-a", "--all", "all_", is_flag=True, help="Also those that drain.")
@output_option("table", "plain", "json", "env", "hosts", "prometheus-sd")
@shared_options
@click.pass_obj
def command(
    settings: Settings, service: str, watch: bool, prefix: str, codec: str, all_: bool, output: str
) -> int:
    """Print the instances of SERVICE that take work.

    env gives lines for eval, hosts those of a hosts file, prometheus-sd what file_sd_configs reads.

    Exit status: 0; 1 if there is none; 125 if etcd could not be asked; with --watch 128 + N after signal N.
    """
    if watch and output not in _LINES:
        raise click.UsageError(f"--watch prints lines: -o {', '.join(_LINES)}, not {output}")
    connection = settings.connection()
    with connection.client() as client, usage_errors():
        registry = client.registry(prefix, codec="grpc" if codec == "grpc" else "json")
        if watch:
            return _watch(
                registry,
                service,
                connection.default_timeout,
                all_=all_,
                as_json=output == "json",
            )
        found = registry.instances(service, draining=all_)
    _print(output, service, found)
    if not found:
        say(f"there is no instance of {service!r} in registry {prefix!r}")
    return 0 if found else _NOBODY


def _print(output: str, service: str, found: Sequence[Instance]) -> None:
    from etcd_recipes.cli.view import listing

    if output == "env":
        lines = "\n".join(listing.as_env(service, found))
        click.echo(printable(lines) if sys.stdout.isatty() else lines)  # a terminal is no `eval`
    elif output == "hosts":
        for line in listing.as_hosts(service, found):
            click.echo(line)
    elif output == "prometheus-sd":
        click.echo(one_json(listing.as_prometheus(found), indent=2))
    elif found or output == "json":
        document = {"service": service, "instances": [listing.document(each) for each in found]}
        show(output, listing.COLUMNS, listing.rows(found), document, lead=1)


def _watch(registry: Registry, service: str, patience: float, *, all_: bool, as_json: bool) -> int:
    from etcd_recipes import Cancelled, Context
    from etcd_recipes.cli.signals import cancelled_by_signals

    ctx = Context()
    with cancelled_by_signals(ctx) as caught:
        try:
            # So that an etcd that is away is told, not waited for; later outages are ridden out.
            registry.instances(service, ctx=ctx.child(patience))
            _follow(registry, service, ctx, all_=all_, as_json=as_json)
        except Cancelled:
            pass
    return caught.status


def _follow(registry: Registry, service: str, ctx: Context, *, all_: bool, as_json: bool) -> None:
    with registry.follow(service, max_drop=1.0, ctx=ctx) as view:
        events = view.events(ctx=ctx)
        known: dict[str, Instance] = {}

        def tell(id_: str, new: Instance | None) -> None:
            """Tell what has changed for the reader; an event may be of before the list that was read."""
            if new is not None and new.draining and not all_:
                new = None
            old = known.pop(id_, None)
            if new is not None:
                known[id_] = new
            if old != new:
                _tell(old, new, as_json=as_json)

        for instance in (*view.instances, *view.draining):
            tell(instance.id, instance)
        for event in events:
            subject = event.new or event.old
            assert subject is not None
            tell(subject.id, event.new)


def _tell(old: Instance | None, new: Instance | None, *, as_json: bool) -> None:
    from etcd_recipes.cli.view.listing import cells, document

    kind = "added" if old is None else "removed" if new is None else "updated"
    subject = new or old
    assert subject is not None
    if as_json:
        click.echo(one_json({"event": kind, "instance": document(subject)}))
    else:
        click.echo("\t".join((kind, *cells(subject))))
