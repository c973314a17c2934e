"""``etcd-recipes top``: who holds what and who waits, live.

The algorithm
1. A thread follows the prefix, by one watch: each change makes a new census, and the history of it.
2. Another reads what is left of the leases of those at the top of the page, rarely.
3. The main thread draws, and hears keys and signals. It never asks etcd, so it is never late.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING

import click

from etcd_recipes.cli.options import Settings, shared_options
from etcd_recipes.cli.talk import is_terminal, say
from etcd_recipes.cli.view.output import has_screen, safe

if TYPE_CHECKING:
    from etcd_recipes import Client, Context
    from etcd_recipes.cli.options import Connection
    from etcd_recipes.cli.signals import Caught
    from etcd_recipes.cli.view.page import Look
    from etcd_recipes.cli.view.reach import Lifetime

__all__ = ["command"]

_LEASES_EVERY = 5.0
_LEASES_MOST = 20


@click.command("top", short_help="The same as `locks`, live.")
@click.argument("prefix", default="")
@click.option(
    "--interval",
    type=click.FloatRange(0.1, 3600),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="How often the page is drawn.",
)
@shared_options
@click.pass_obj
def command(settings: Settings, prefix: str, interval: float) -> int:
    """Show who holds what below PREFIX, most waiters first, for as long as you like; q ends it.

    * marks what has just changed; /MIN is grants per minute, LONGEST the longest wait seen. It costs etcd
    one watch; when etcd is away, the page says how old it is.

    Exit status: 0 after q or Ctrl-C, 128 + N after another signal N.
    """
    connection = settings.connection()
    if not has_screen():
        from etcd_recipes.cli.view.locks import look_once

        no_rich = is_terminal(sys.stdout) and find_spec("rich") is None
        say(
            "top needs rich (pip install 'etcd-recipes[ui]'); this is one look"
            if no_rich
            else "there is no terminal to draw on; this is one look"
        )
        return look_once(connection, prefix, all_=False, output="table")
    return _run(connection, prefix, interval)


def _run(connection: Connection, prefix: str, interval: float) -> int:
    from etcd_recipes import Context
    from etcd_recipes.cli.signals import cancelled_by_signals
    from etcd_recipes.cli.view.reach import below

    ctx = Context()
    with connection.client() as client, cancelled_by_signals(ctx) as caught:
        where = connection.namespace + prefix
        # So that an etcd that is away is told, not waited for.
        below(client, connection.api, where, ctx.child(connection.default_timeout))
        view = _View(client, connection.api, where, ctx)
        try:
            _show(view, ctx, interval)
        finally:
            ctx.cancel("the page is closed")
            view.close()
    return _status(caught)


def _status(caught: Caught) -> int:
    import signal

    return caught.status if caught.number not in (0, signal.SIGINT) else 0


def _show(view: _View, ctx: Context, interval: float) -> None:
    from rich.console import Console

    from etcd_recipes.cli.view.keyboard import Terminal
    from etcd_recipes.cli.view.page import draw

    console = Console(highlight=False)
    with Terminal(console, ctx) as terminal:
        while not ctx.done:
            terminal.draw(draw(view.look(), console.width, console.height))
            if terminal.wait(interval):
                return


class _View:
    """What the threads have found, for the one who draws."""

    def __init__(self, client: Client, api: str, where: str, ctx: Context) -> None:
        from etcd_recipes.cli.view.history import History
        from etcd_recipes.core import runtime

        self._client = client
        self._api = api
        self._where = where
        self._ctx = ctx
        self._history = History(runtime.now())
        self._confirmed = runtime.now()
        self._trouble = ""
        self._lifetimes: Mapping[str, Lifetime] = {}
        self._threads = [
            runtime.spawn(self._follow, "etcd-recipes-top"),
            runtime.spawn(self._read_leases, "etcd-recipes-top-leases"),
        ]

    def look(self) -> Look:
        """Give what there is to show now."""
        from etcd_recipes.cli.view.page import Look
        from etcd_recipes.core import runtime

        now = runtime.now()
        below = f"below {safe(self._where)}" if self._where else "all keys"
        where = f"{below} at {self._client.endpoints[0]}"
        return Look(self._history, self._lifetimes, now, self._confirmed, where, self._trouble)

    def close(self) -> None:
        """Wait for the threads, whose Context has ended."""
        for thread in self._threads:
            thread.join(2.0)

    def _follow(self) -> None:
        from etcd_recipes import ContextError
        from etcd_recipes.cli.view.census import take
        from etcd_recipes.cli.view.history import observe
        from etcd_recipes.cli.view.reach import follow_below
        from etcd_recipes.core import runtime

        try:
            for entries, _ in follow_below(
                self._client, self._api, self._where, self._ctx, self._tell
            ):
                now = runtime.now()
                census = take(entries, api=self._api)
                self._history = observe(self._history, census, now, runtime.wall_clock())
                self._confirmed, self._trouble = now, ""
        except ContextError:
            pass  # the end

    def _tell(self, error: BaseException) -> None:
        self._trouble = str(error)

    def _read_leases(self) -> None:
        from etcd_recipes import EtcdRecipesError
        from etcd_recipes.cli.view.history import seen_things
        from etcd_recipes.cli.view.reach import lifetimes

        pause = 0.5  # by then there is a first picture
        while not self._ctx.wait(pause):
            pause = _LEASES_EVERY
            things = [past.thing for past in seen_things(self._history)][:_LEASES_MOST]
            entries = [thing.holders[0].entry for thing in things if thing.holders]
            try:
                limited = self._ctx.child(_LEASES_EVERY)
                self._lifetimes = lifetimes(self._client, self._api, entries, limited)
            except EtcdRecipesError:
                self._lifetimes = {}  # better none than old ones
