"""What `lock`, `elect` and `register` have in common on the command line, and what they say to people.

Rules of this file
1. Options end where the command begins: ``lock NAME sh -c ...`` needs no ``--``, and may have one. They may
   stand before NAME and behind it.
2. Words go to stderr. Without ``--verbose`` there are none, but when something has gone wrong.
"""

from __future__ import annotations

import math
import os
import socket
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from etcd_recipes.cli.options import shared_options
from etcd_recipes.cli.words import printable

if TYPE_CHECKING:
    from etcd_recipes.coordination.identity import Contender

__all__ = [
    "FAREWELL",
    "SECONDS",
    "RunnerCommand",
    "argv_of",
    "runner_options",
    "say",
    "this_process",
    "who",
]

F = TypeVar("F", bound=Callable[..., Any])

FAREWELL = 1.0
"""Seconds that a release may take; what it has not done by then, the end of the lease does."""


class _Seconds(click.FloatRange):
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        seconds = super().convert(value, param, ctx)
        if not math.isfinite(seconds):
            self.fail(f"{value!r} is not a number of seconds.", param, ctx)
        return seconds


SECONDS = _Seconds(min=0)


class RunnerCommand(click.Command):
    """A command line of options, a name, options again, and a command that is none of ours."""

    allow_interspersed_args = False

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Move the options that stand behind the name before it."""
        behind = self._behind_options(ctx, args)
        before = args[: len(args) - len(behind)]
        if len(behind) > 1 and before[-1:] != ["--"]:
            words = self._behind_options(ctx, behind[1:])
            between = behind[1 : len(behind) - len(words)]
            dashes = between[-1:] == ["--"] and ["--"]
            args = [
                *before,
                *(between[:-1] if dashes else between),
                behind[0],
                *(dashes or []),
                *words,
            ]
        return super().parse_args(ctx, args)

    def _behind_options(self, ctx: click.Context, args: list[str]) -> list[str]:
        options: list[click.Parameter] = [p for p in self.params if isinstance(p, click.Option)]
        return click.Command(None, params=options).make_parser(ctx).parse_args(list(args))[1]


def _check_ttl(_ctx: click.Context, _param: click.Parameter, value: float) -> float:
    from etcd_recipes.coordination.sessions import check_ttl

    try:
        return check_ttl(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def runner_options(command: F) -> F:
    """Give a command the command to run, and what all that run one can be told."""
    options = (
        click.argument("argv", nargs=-1, type=click.UNPROCESSED, metavar="[--] [CMD [ARG]...]"),
        click.option(
            "--ttl",
            type=float,
            callback=_check_ttl,
            default=15.0,
            show_default=True,
            metavar="SECONDS",
            help="How long others wait if this machine dies; renewed all the while.",
        ),
        click.option(
            "--grace",
            type=SECONDS,
            default=5.0,
            show_default=True,
            metavar="SECONDS",
            help="How long CMD has between SIGTERM and SIGKILL, when it has to be ended.",
        ),
        click.option("-v", "--verbose", is_flag=True, help="Say on stderr what happens."),
        shared_options,
    )
    for option in reversed(options):
        command = option(command)
    return command


def argv_of(argv: Sequence[str]) -> list[str]:
    """Give the command to run; a usage error if there is a ``--`` and nothing behind it."""
    if argv and argv[0] == "--":
        argv = argv[1:]
        if not argv:
            raise click.UsageError("there is no command behind '--'")
    return list(argv)


def say(sentence: str) -> None:
    """Say a sentence on stderr, if anybody reads it."""
    try:
        click.echo(f"etcd-recipes: {printable(sentence)}", err=True)
    except OSError:
        pass


def this_process() -> str:
    """Give the name of this process for people: its host and its number."""
    return f"{socket.gethostname()}/{os.getpid()}"


def who(contenders: Sequence[Contender]) -> str:
    """Give the contenders' names for people."""
    return ", ".join(f"{each.identity} (token {each.token})" for each in contenders)
