"""Sentences for people, on stderr; and whether there is a terminal.

Rules of this file
1. On a terminal a sentence is folded between words, and its further lines stand two columns in. No word is
   cut in two: it may be an address that somebody copies. In a file a sentence is one line.
2. What somebody wrote into etcd reaches no terminal as a control character.
3. A stream may be closed (``>&-``), or its reader gone: then nobody is told, and that is no error.
"""

from __future__ import annotations

import os
import sys
import textwrap
from typing import TextIO

import click

from etcd_recipes.cli.words import printable

__all__ = ["folded", "is_terminal", "remedy", "say", "tell", "width_of"]


def say(sentence: str) -> None:
    """Say a sentence on stderr, if anybody reads it."""
    text = printable(f"etcd-recipes: {sentence}")
    width = width_of(sys.stderr)
    tell(folded(text, width) if width else text)


def tell(text: str) -> None:
    """Put lines on stderr as they are, if anybody reads them."""
    try:
        click.echo(printable(text), err=True)
    except OSError:
        pass


def remedy(error: Exception) -> str:
    """Give what to do about an error of etcd's, "" if nothing is known."""
    from etcd_recipes.core.errors import ClusterError, PermissionDenied, Unauthenticated

    if isinstance(error, PermissionDenied):
        return "grant the user a role with this prefix"
    if isinstance(error, Unauthenticated):
        return "check --user and its password"
    if isinstance(error, ClusterError):
        return "is etcd running there, and has it a leader (`etcd-recipes status`)?"
    return ""


def is_terminal(stream: TextIO | None) -> bool:
    """Tell whether the stream is there, and a terminal."""
    return stream is not None and not stream.closed and stream.isatty()


def width_of(stream: TextIO | None) -> int:
    """Give the columns of a terminal; 0 if it is none, or does not say."""
    if stream is None or not is_terminal(stream):
        return 0
    try:
        return os.get_terminal_size(stream.fileno()).columns
    except (OSError, ValueError):
        return 0


def folded(text: str, width: int, indent: str = "  ") -> str:
    """Give each line of a text folded between words."""
    fold = textwrap.TextWrapper(
        width,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
        replace_whitespace=False,
    ).wrap
    return "\n".join("\n".join(fold(line)) for line in text.splitlines())
