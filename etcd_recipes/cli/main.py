"""``etcd-recipes``: the group of all commands, and the one place where errors become sentences.

Rules of this file
1. Whatever this program could not do ends as one sentence on stderr and status 125. A usage error is
   click's own (status 2); Ctrl-C is 130. ``--debug`` shows the traceback as well.
2. A command's module is imported when the command is asked for, and imports what is heavy when it runs:
   ``--help`` stays fast.
3. A command gives its exit status back; only `main` ends the process.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

import click

from etcd_recipes.cli.options import Settings, shared_options
from etcd_recipes.cli.talk import remedy, say, tell

__all__ = ["cli", "main"]

FAILED = 125
INTERRUPTED = 130

_COMMANDS = {
    "lock": ("etcd_recipes.cli.run.lock", "Run a command while holding a lock."),
    "elect": ("etcd_recipes.cli.run.elect", "Run a command while leading."),
    "register": ("etcd_recipes.cli.run.register", "Register a service while a command runs."),
    "discover": ("etcd_recipes.cli.view.discover", "List the instances of a service."),
    "barrier": ("etcd_recipes.cli.view.barrier", "Close a gate, open it, wait before it."),
    "watch": ("etcd_recipes.cli.view.watch", "Print changes below a prefix."),
    "locks": ("etcd_recipes.cli.view.locks", "Who holds what, and who waits."),
    "top": ("etcd_recipes.cli.view.top", "The same as `locks`, live."),
    "break": ("etcd_recipes.cli.view.evict", "Remove a holder's key."),
    "status": ("etcd_recipes.cli.view.status", "The members of etcd, and what is wrong."),
    "doctor": ("etcd_recipes.cli.view.doctor", "What is wrong between here and etcd."),
    "server": ("etcd_recipes.cli.view.server", "An etcd for development."),
    "demo": (
        "etcd_recipes.cli.demo.command",
        "Workers, locks and an election on a real etcd, with crashes.",
    ),
}
"""Each command's module, whose ``command`` it is, and what ``--help`` says of it without importing that."""


class _Commands(click.Group):
    """A group whose commands are imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 (click's signature)
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        command = import_module(_COMMANDS[cmd_name][0]).command
        assert isinstance(command, click.Command)
        return command

    def format_commands(
        self,
        ctx: click.Context,  # noqa: ARG002 (click's signature)
        formatter: click.HelpFormatter,
    ) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, says) for name, (_, says) in _COMMANDS.items()])


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="etcd-recipes", message="%(package)s %(version)s")
@shared_options
def cli() -> None:
    """Locks, leader election, service registry and barriers on etcd.

    The options below may stand before or after the command's name.
    """


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run the command line, and end the process with its exit status."""
    sys.exit(run(args))


def run(args: Sequence[str] | None = None) -> int:
    """Run the command line and give its exit status; never raises an Exception."""
    settings = Settings()
    try:
        status = cli.main(args, prog_name="etcd-recipes", standalone_mode=False, obj=settings)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 (the last resort: no traceback for people)
        if settings.debug:
            tell("".join(traceback.format_exception(error)).rstrip())
        say(_sentence(error))
        return FAILED
    return status if isinstance(status, int) else 0


def _sentence(error: Exception) -> str:
    """Give what to tell people; a defect is called one, so that it is reported and not puzzled over."""
    from etcd_recipes.core.errors import EtcdError, EtcdRecipesError

    if isinstance(error, EtcdError) and (what := remedy(error)):
        return f"{error}: {what}"
    if isinstance(error, EtcdRecipesError):
        return str(error)
    if isinstance(error, OSError):
        why = error.strerror or str(error)
        return f"{error.filename}: {why}" if error.filename else why
    return (
        f"this is a defect, please report it: {type(error).__name__}: {error} "
        "(--debug before the command's name shows where)"
    )
