"""``etcd-recipes server``: one etcd on the loopback interface, for development.

The algorithm
1. Start the server, at the port that was asked for or at any, and wait until it serves.
2. With a command: run it with ETCDCTL_ENDPOINTS in its environment, pass signals on to it, and end with its
   exit status. Without one: print the line for the shell, and wait for a signal.
3. Stop the server. Its data is gone, unless it was given a folder.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from etcd_recipes.cli.options import Settings
from etcd_recipes.cli.run import status
from etcd_recipes.cli.talk import is_terminal, say

if TYPE_CHECKING:
    from etcd_recipes import Context
    from etcd_recipes.cli.signals import Caught
    from etcd_recipes.testing import EtcdProcess

__all__ = ["command"]

_LOUD = "this server is for development: no TLS, no users, no care for the data when the machine goes down"


@click.command(
    "server",
    short_help="An etcd for development.",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.option(
    "--data-dir", type=click.Path(file_okay=False), metavar="DIR", help="Keep the data there."
)
@click.option(
    "--port", type=click.IntRange(1, 65535), metavar="PORT", help="[default: any free one]"
)
@click.option("--v2", is_flag=True, help="With the v2 API.")
@click.option("--debug", is_flag=True, help="Show a traceback when something fails.")
@click.argument("argv", nargs=-1, type=click.UNPROCESSED, metavar="[-- CMD...]")
@click.pass_obj
def command(
    settings: Settings,
    data_dir: str | None,
    port: int | None,
    v2: bool,
    debug: bool,
    argv: tuple[str, ...],
) -> int:
    """Run an etcd on 127.0.0.1 until a signal, or for as long as CMD runs.

    Prints `export ETCDCTL_ENDPOINTS=...`, which etcdctl and etcd-recipes read. CMD has it in its environment.
    For development only.

    Exit status: CMD's own, 128 + N if signal N killed it, 126 or 127 if it could not be started; without
    CMD 0 after a signal; 125 if the server could not be started.
    """
    settings.debug = settings.debug or debug
    words = argv[1:] if argv[:1] == ("--",) else argv
    if words and (problem := status.unusable(words[0])) is not None:
        say(problem[1])
        return problem[0]
    from etcd_recipes import Cancelled, Context
    from etcd_recipes.cli.signals import cancelled_by_signals
    from etcd_recipes.testing.process import PortTaken

    ctx = Context()
    server = _server(data_dir, port, v2=v2)
    with cancelled_by_signals(ctx) as caught:
        try:
            server.start(ctx=ctx.child(30.0))
            say(_LOUD)
            return _run(server, words, ctx, caught) if words else _stand(server, ctx)
        except Cancelled:
            return caught.status
        except PortTaken:
            say(f"port {port} is taken; choose another, or leave --port out for a free one")
            return status.FAILED
        finally:
            server.stop()
            server.close()


def _server(data_dir: str | None, port: int | None, *, v2: bool) -> EtcdProcess:
    from etcd_recipes.testing import EtcdProcess

    if data_dir is not None:
        Path(data_dir).mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        return EtcdProcess(enable_v2=v2, port=port, data_dir=data_dir)
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def _stand(server: EtcdProcess, ctx: Context) -> int:
    click.echo(f"export ETCDCTL_ENDPOINTS={server.endpoint}")
    while not ctx.wait(1.0):
        if not server.alive:
            say(f"the server has ended by itself:\n{server.log_tail()}")
            return status.FAILED
    return 0


def _run(server: EtcdProcess, words: tuple[str, ...], ctx: Context, caught: Caught) -> int:
    """Run the command; it is in our process group, so the terminal's Ctrl-C reaches it without us."""
    from etcd_recipes.core import runtime

    environment = {**os.environ, "ETCDCTL_ENDPOINTS": server.endpoint}
    try:
        child = subprocess.Popen(words, env=environment)  # noqa: S603 (the user's own command)
    except OSError as error:
        say(f"{words[0]}: {error.strerror}")
        return status.of_start(error)
    ended = runtime.new_event()

    def reap() -> None:
        child.wait()
        ended.set()

    runtime.spawn(reap, "etcd-recipes-child")
    with ctx.on_cancel(lambda: _pass_on(child, caught)):
        ended.wait()
    code = child.returncode
    return code if code >= 0 else 128 - code


def _pass_on(child: subprocess.Popen[bytes], caught: Caught) -> None:
    # The terminal's Ctrl-C has reached it already, and twice means to hurry.
    if child.poll() is None and not (caught.number == signal.SIGINT and is_terminal(sys.stdin)):
        child.send_signal(caught.number)
