"""``etcd-recipes register``: keep an instance of a service registered while a command runs.

Rules of this file
1. Only click is imported at the top: the command line's ``--help`` reads this file.
2. A registration heals by itself, so no loss of it ever ends the command.
3. The end goes from the outside in: first nobody sends new work (drain), then the command is told, and
   the instance is listed until the command has ended.
"""

from __future__ import annotations

import signal
import subprocess
from functools import partial
from typing import TYPE_CHECKING, Any

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
)

if TYPE_CHECKING:
    from etcd_recipes import Registration
    from etcd_recipes.cli.run.runner import Runner

__all__ = ["command"]


def _address(_ctx: click.Context, _param: click.Parameter, value: str) -> str:
    host, _, port = value.rpartition(":")
    if not host or not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise click.BadParameter(f"{value!r} is not HOST:PORT, such as 10.0.0.7:8080")
    return value


def _metadata(
    _ctx: click.Context, _param: click.Parameter, value: tuple[str, ...]
) -> dict[str, str]:
    pairs = [each.partition("=") for each in value]
    if wrong := [
        each for each, (key, sign, _) in zip(value, pairs, strict=True) if not (key and sign)
    ]:
        raise click.BadParameter(f"{wrong[0]!r} is not KEY=VALUE")
    return {key: text for key, _, text in pairs}


@click.command("register", cls=RunnerCommand, short_help="Register a service while a command runs.")
@click.argument("service")
@click.option(
    "--addr", required=True, callback=_address, metavar="HOST:PORT", help="Where its clients go."
)
@click.option("--id", "id_", metavar="TEXT", help="The instance's own name; drawn if not given.")
@click.option(
    "--weight",
    type=click.IntRange(min=0),
    default=1,
    show_default=True,
    metavar="N",
    help="Its share of work.",
)
@click.option("--zone", default="", metavar="TEXT", help="Where it is.")
@click.option(
    "--meta", multiple=True, callback=_metadata, metavar="KEY=VALUE", help="More; may be repeated."
)
@click.option(
    "--registry", default="services", show_default=True, metavar="NAME", help="The keys' prefix."
)
@click.option(
    "--codec",
    type=click.Choice(["json"]),
    default="json",
    show_default=True,
    help="The values' form.",
)
@click.option(
    "--check",
    metavar="SHELL-COMMAND",
    help="Listed only while this ends with status 0; run three times per ttl.",
)
@click.option(
    "--check-timeout",
    type=SECONDS,
    metavar="SECONDS",
    help="How long it may take.  [default: ttl/3]",
)
@click.option(
    "--drain",
    type=SECONDS,
    default=0.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to be listed as draining before a SIGTERM or SIGINT is passed on.",
)
@runner_options
@click.pass_obj
def command(
    settings: Settings,
    service: str,
    addr: str,
    id_: str | None,
    weight: int,
    zone: str,
    meta: dict[str, str],
    registry: str,
    codec: str,  # noqa: ARG001 (there is one so far)
    check: str | None,
    check_timeout: float | None,
    drain: float,
    argv: tuple[str, ...],
    ttl: float,
    grace: float,
    verbose: bool,
) -> int:
    """Keep an instance of SERVICE registered while CMD runs, or until a signal if there is none.

    The key is services/SERVICE/ID. It comes back by itself after any outage, and goes when CMD has ended.
    SIGTERM and SIGINT: the instance is listed as draining, CMD gets the signal after --drain seconds (a
    second signal cuts that short), and the instance is taken from the list when CMD has ended.

    Exit status: CMD's own; 128 + N if signal N killed it; 125 if this program failed; 126 if CMD cannot be
    executed; 127 if it is not found.
    """
    words = argv_of(argv)
    if words and (problem := status.unusable(words[0])) is not None:
        say(problem[1])
        return problem[0]
    from etcd_recipes import Cancelled
    from etcd_recipes.cli.run.runner import Runner

    farewell = _Farewell(drain)
    test = None
    if check is not None:
        test = partial(_passes, check, ttl / 3 if check_timeout is None else check_timeout)
    connection = settings.connection()
    with Runner(words, farewell) as runner, connection.client(session_ttl=ttl) as client:
        try:
            with usage_errors():
                registration = client.registry(registry).register(
                    service,
                    addr,
                    id=id_,
                    metadata=meta,
                    weight=weight,
                    zone=zone,
                    check=test,
                    ctx=runner.ctx.child(connection.default_timeout),
                )
        except Cancelled:
            return runner.caught.status
        farewell.begin(runner, registration)
        if verbose:
            instance = registration.instance
            say(f"registered {instance.service}/{instance.id} at {instance.address}")
        try:
            return _run(runner, grace) if words else _stand(runner, farewell)
        except Cancelled:
            return runner.caught.status
        finally:
            registration.close(timeout=FAREWELL)


def _run(runner: Runner, grace: float) -> int:
    return status.of_wait(runner.run({}, grace=grace).status)


def _stand(runner: Runner, farewell: _Farewell) -> int:
    runner.ctx.wait()
    farewell.drain()
    return 0


def _passes(check: str, timeout: float) -> bool:
    """Run a check; tell whether it passes in time. Nothing of it goes on afterwards."""
    import os

    quiet: Any = subprocess.DEVNULL
    process = subprocess.Popen(  # noqa: S602 (a shell command, as the user wants it)
        check, shell=True, stdin=quiet, stdout=quiet, stderr=quiet, process_group=0
    )
    try:
        return process.wait(timeout) == 0
    except subprocess.TimeoutExpired:
        return False
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


class _Farewell:
    """What happens between a signal that ends the service and the command's hearing of it."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._runner: Runner | None = None
        self._registration: Registration | None = None
        self._draining = False
        self._told = False

    def begin(self, runner: Runner, registration: Registration) -> None:
        """Say whose farewell it is."""
        self._runner, self._registration = runner, registration

    def __call__(self, number: int) -> bool:
        """Take a signal over: the first that ends begins to drain, the second hurries that."""
        if number not in (signal.SIGTERM, signal.SIGINT) or self._told:
            return False
        if not self._draining:
            from etcd_recipes.core import runtime

            self._draining = True
            runtime.spawn(lambda: self._drain_and_tell(number), "etcd-recipes-drain")
        return True

    def _drain_and_tell(self, number: int) -> None:
        assert self._runner is not None
        try:
            self.drain()
        finally:
            self._told = True
            self._runner.forward(number)

    def drain(self) -> None:
        """Have the instance listed as draining for its seconds, or until somebody is in a hurry."""
        assert self._runner is not None
        assert self._registration is not None
        self._registration.drain(timeout=FAREWELL)
        self._runner.hurried.wait(self._seconds)
