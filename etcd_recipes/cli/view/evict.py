"""``etcd-recipes break``: remove a holder, a waiter, or everybody, from a line.

The algorithm
1. Look, and show who is to be removed.
2. Ask, on a terminal; otherwise go on only if told so before (``--yes``).
3. Delete each key as the incarnation that was shown: whoever has come since stays. The last of the line
   first, so that nobody becomes the holder for the moment before its own key is deleted.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import click

from etcd_recipes.cli.options import Settings, shared_options
from etcd_recipes.cli.talk import is_terminal, say
from etcd_recipes.cli.view.output import duration, safe

if TYPE_CHECKING:
    from etcd_recipes import Client
    from etcd_recipes.cli.options import Connection
    from etcd_recipes.cli.view.census import Party, Thing
    from etcd_recipes.cli.view.reach import Lifetime

__all__ = ["command", "notice"]

_LINES = ("lock", "rwlock", "semaphore", "election")
_NOT_HELD = 1


@click.command("break", short_help="Remove a holder's key.")
@click.argument("name")
@click.option(
    "--holder", is_flag=True, help="Whoever holds; this is what is done if nothing else is said."
)
@click.option("--all", "all_", is_flag=True, help="Everybody in the line, those who wait as well.")
@click.option(
    "--token", type=int, metavar="N", help="The one with this token, as `locks` shows it."
)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@shared_options
@click.pass_obj
def command(
    settings: Settings, name: str, holder: bool, all_: bool, token: int | None, yes: bool
) -> int:
    """Take the lock, read-write lock, election or semaphore NAME away from its holder.

    The key that was shown is deleted, and no later one. The risk is yours: the one who held goes on with
    its work until it notices, and the next one begins at once.

    Exit status: 0 when all were removed, 1 if there was nobody (any more), 125 if etcd could not be asked;
    130 if you said no.
    """
    if holder + all_ + (token is not None) > 1:
        raise click.UsageError("--holder, --all and --token exclude each other")
    if not name:
        raise click.BadParameter("a name must not be empty", param_hint="'NAME'")
    connection = settings.connection()
    name = connection.namespace + name
    with connection.client() as client:
        thing = _find(client, connection, name)
        if thing is None:
            return _NOT_HELD
        chosen = _choose(thing, all_=all_, token=token)
        if not chosen:
            tokens = ", ".join(str(p.token) for p in (*thing.holders, *thing.waiters))
            say(f"nobody at {safe(name)} has the token {token}; there are {tokens}")
            return _NOT_HELD
        left = _lifetimes(client, connection, chosen)
        for party in chosen:
            say(_sentence(thing, party, left))
        _ask(yes=yes)
        return _remove(client, connection, chosen)


def _find(client: Client, connection: Connection, name: str) -> Thing | None:
    from etcd_recipes import Context
    from etcd_recipes.cli.view.census import take
    from etcd_recipes.cli.view.reach import below

    entries = below(client, connection.api, name, Context(connection.default_timeout)).entries
    found = [t for t in take(entries, api=connection.api).things if t.name == name]
    lines = [t for t in found if t.kind in _LINES and (t.holders or t.waiters)]
    if not lines:
        hint = f"; it is a {found[0].kind}" if found and found[0].kind not in _LINES else ""
        if hint.endswith(" barrier"):
            hint += f": `etcd-recipes barrier {safe(name)} release` opens it"
        say(f"nobody holds {safe(name)}{hint}")
        return None
    return lines[0]


def _choose(thing: Thing, *, all_: bool, token: int | None) -> tuple[Party, ...]:
    """Give those to be removed, the last of the line first."""
    line = (*thing.waiters[::-1], *thing.holders[::-1])
    if token is not None:
        return tuple(party for party in line if party.token == token)
    return line if all_ else thing.holders[::-1]


def _lifetimes(
    client: Client, connection: Connection, parties: Iterable[Party]
) -> Mapping[str, Lifetime]:
    from etcd_recipes import Context
    from etcd_recipes.cli.view.reach import lifetimes

    ctx = Context(connection.default_timeout)
    return lifetimes(client, connection.api, (party.entry for party in parties), ctx)


def _sentence(thing: Thing, party: Party, left: Mapping[str, Lifetime]) -> str:
    from etcd_recipes.core import runtime

    holds = any(party is each for each in thing.holders)
    since = (
        "" if party.since is None else f", there for {duration(runtime.wall_clock() - party.since)}"
    )
    who = f"{safe(party.who)}{f' ({safe(party.role)})' if party.role else ''}"
    does = "holds" if holds else "waits for"
    lifetime = left.get(party.entry.key)
    return (
        f"{who} {does} {thing.kind} {safe(thing.name)}, token {party.token}{since}; "
        f"{notice(party, lifetime.granted if lifetime else 0, holds=holds)}"
    )


def notice(party: Party, granted: int, *, holds: bool) -> str:
    """Say what the one whose key is removed will notice, and when."""
    if not party.ours and not party.role:
        return (
            "it has not said who it is: etcdctl and Go's clients do not notice that their key is gone, "
            "and go on"
        )
    if not holds:
        return "it stops waiting, with LockLost"
    when = f"{granted / 3:.1f} s" if granted else "a third of its ttl"
    return f"its hold is lost within {when}, at its next renewal"


def _ask(*, yes: bool) -> None:
    if yes:
        return
    if not is_terminal(sys.stdin):
        raise click.UsageError("there is no terminal to ask on; say --yes if you mean it")
    if not click.confirm("Remove it?", err=True):
        say("nothing was removed")
        raise click.Abort


def _remove(client: Client, connection: Connection, parties: tuple[Party, ...]) -> int:
    from etcd_recipes import Context
    from etcd_recipes.cli.view.reach import delete

    gone = 0
    for party in parties:
        there = delete(client, party.entry, Context(connection.default_timeout))
        gone += there
        was = "removed" if there else "was gone already, or is a later one: nothing was removed"
        say(f"{safe(party.entry.key)} (token {party.token}) {was}")
    return 0 if gone == len(parties) else _NOT_HELD
