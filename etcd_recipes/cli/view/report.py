"""A census as rows of a table and as a JSON document.

Rules of this file
1. Pure: a census and what is left of the leases in, rows or a document out.
2. The document's names are API: fields are added, and none is renamed or removed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from etcd_recipes.cli.view.census import Census, Party, Thing
from etcd_recipes.cli.view.output import duration, safe
from etcd_recipes.cli.view.reach import Lifetime
from etcd_recipes.cli.view.table import Row

__all__ = ["COLUMNS", "LEAD", "PLAIN", "document", "plain_rows", "rows"]

COLUMNS = ("KIND", "NAME", "STATE", "WHO", "AGE", "TTL", "TOKEN")
LEAD = 2
"""How many of COLUMNS name the thing that the rest is said of."""

PLAIN = ("kind", "name", "state", "place", "who", "role", "age", "ttl", "token", "key")

_SHOWN = 5
"""Waiters of one thing in a table; `plain` and JSON have all."""


def rows(census: Census, left: Mapping[str, Lifetime], now: float, *, all_: bool) -> list[Row]:
    """Give a table's rows: one for each thing and its first holder, one for each further party."""
    found: list[Row] = []
    for thing in census.things:
        found += _thing_rows(thing, left, now)
    if all_:
        found += [
            Row(("other", safe(e.key), "", "", "-", "-", str(e.created)), "dim")
            for e in census.others
        ]
    return found


def _thing_rows(thing: Thing, left: Mapping[str, Lifetime], now: float) -> list[Row]:
    first, further = thing.holders[:1], thing.holders[1:]
    cells = _cells(thing, first[0], left, now) if first else ("-", "-", "-", "")
    state = first[0].role if first and thing.kind == "rwlock" else thing.state
    result = [
        Row((thing.kind, safe(thing.name), state, *cells), "" if first or thing.waiters else "dim")
    ]
    for party in further:
        role = "" if thing.kind == "service" else party.role
        result.append(Row(("", "", safe(role), *_cells(thing, party, left, now))))
    for number, party in enumerate(thing.waiters[:_SHOWN], 1):
        wish = _wish(thing, party)
        cells = _cells(thing, party, left, now)
        result.append(Row(("", "", f"waits {_nth(number)}{wish}", *cells)))
    if (more := len(thing.waiters) - _SHOWN) > 0:
        result.append(Row(("", "", f"and {more} more", "", "", "", "")))
    if thing.foreign:
        count = f"{len(thing.foreign)} foreign"
        result.append(Row(("", "", count, safe(thing.foreign[0]), "", "", "")))
    return result


def _wish(thing: Thing, party: Party) -> str:
    """Give what a waiter wants, where that is not the same for all."""
    if thing.kind == "rwlock":
        return f", {party.role}"
    return f" for {party.role.partition(' ')[0]}" if thing.kind == "semaphore" else ""


def _cells(
    thing: Thing, party: Party, left: Mapping[str, Lifetime], now: float
) -> tuple[str, str, str, str]:
    who = party.role if thing.kind == "election" and party.role else party.who
    if thing.kind == "service" and party.role == "draining":
        who += " (draining)"
    return safe(who), _age(party, now), ttl(left.get(party.entry.key)), str(party.token)


def _age(party: Party, now: float) -> str:
    return duration(None if party.since is None else now - party.since)


def ttl(lifetime: Lifetime | None) -> str:
    """Give what is left of a lease, and of how much."""
    if lifetime is None:
        return "-"
    return f"{lifetime.left}/{lifetime.granted}" if lifetime.granted else str(lifetime.left)


def _nth(number: int) -> str:
    return f"{number}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(number, 'th') }"


def plain_rows(
    census: Census, left: Mapping[str, Lifetime], now: float, *, all_: bool
) -> list[Row]:
    """Give one row per party, with everything in it (see PLAIN); a thing without any has one, too."""
    found = []
    for thing in census.things:
        places = [("holds", p) for p in thing.holders] + [("waits", p) for p in thing.waiters]
        head = (thing.kind, safe(thing.name), thing.state)
        for place, p in places:
            who, role = safe(p.who), safe(p.role)
            left_of = ttl(left.get(p.entry.key)).partition("/")[0]
            cells = (*head, place, who, role, _seconds(p, now), left_of, str(p.token))
            found.append(Row((*cells, safe(p.entry.key))))
        if not places:
            found.append(Row((*head, "-", "-", "", "-", "-", "-", "-")))
    if all_:
        found += [
            Row(("other", safe(e.key), "-", "-", "-", "", "-", "-", str(e.created), safe(e.key)))
            for e in census.others
        ]
    return found


def _seconds(party: Party, now: float) -> str:
    return "-" if party.since is None else str(max(0, int(now - party.since)))


def document(
    census: Census, left: Mapping[str, Lifetime], now: float, revision: int, *, all_: bool
) -> dict[str, Any]:
    """Give the one object that ``-o json`` prints."""
    things = [
        {
            "kind": thing.kind,
            "name": thing.name,
            "state": thing.state,
            "used": thing.used,
            "limit": thing.limit,
            "holders": [_party(party, left, now) for party in thing.holders],
            "waiters": [_party(party, left, now) for party in thing.waiters],
            "foreign_keys": list(thing.foreign),
        }
        for thing in census.things
    ]
    others = [{"key": entry.key, "created": entry.created} for entry in census.others]
    return {"revision": revision, "things": things} | ({"others": others} if all_ else {})


def _party(party: Party, left: Mapping[str, Lifetime], now: float) -> dict[str, Any]:
    lifetime = left.get(party.entry.key)
    return {
        "key": party.entry.key,
        "who": party.who,
        "role": party.role,
        "token": party.token,
        "since": party.since,
        "age": None if party.since is None else max(0.0, round(now - party.since, 3)),
        "lease": f"{party.entry.lease:x}" if party.entry.lease else None,
        "ttl": None if lifetime is None else lifetime.left,
        "granted_ttl": None if lifetime is None else lifetime.granted or None,
    }
