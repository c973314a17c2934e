"""The census: who holds and who waits, recognised from the keys and values below a prefix.

How a key is recognised
1. ``<name>/parties/<id>`` with a number of parties in it makes ``<name>`` a double barrier; its other keys
   are those of `coordination.rounds`.
2. ``<name>/<its own lease in hex>`` (v3), or a number that etcd gave, with a grant in the value (v2), is a
   contender; ``-<seat>`` after the lease is one, too. What the contenders of a line say makes it a
   semaphore, a read-write lock or a lock, and a line in which somebody proposes something an election.
   That is the same for Go's ``concurrency`` package and etcdctl; an election of theirs without a
   proposal cannot be told from a lock.
3. ``<name>/read/<number>`` and ``<name>/write/<number>``, empty and with a lease: Go's RWMutex.
4. ``<name>.limit`` (v3), ``<name>/.limit`` (v2): the limit of a semaphore.
5. ``<name>/<number>``, ``<name>/<number>.released`` with an id and a maker: a barrier.
6. ``<name>/<id>`` with a count and a counter: a latch.
7. JSON with an address and an owner, or ``{"Op":..., "Addr":...}``: an instance of the service above it.
8. All else is not ours.

Rules of this file
* Pure: entries in, things out. Nothing that anybody wrote can make it fail.
* Whoever holds is found by the admission rules by which the contenders themselves go.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from etcd_recipes.coordination.contenders import (
    FIRST_ONLY,
    PERMITS,
    READ,
    limit_in,
    permits_of,
    split,
)
from etcd_recipes.coordination.identity import contender, name_in
from etcd_recipes.coordination.rounds import look, parties_in
from etcd_recipes.core.store import Entry
from etcd_recipes.recipes.registry.codec import CODECS

__all__ = ["Census", "Kind", "Party", "Thing", "take"]

Kind = Literal[
    "lock", "rwlock", "election", "semaphore", "barrier", "double-barrier", "latch", "service"
]


@dataclass(frozen=True, slots=True)
class Party:
    """One who holds or waits.

    `who` is a name for people, `role` what it wants or is ("read", "2 permits", "draining", a proposal),
    `since` seconds since 1970 (None: it does not say), `token` the revision at which it took its place.
    `ours` is False for one that Go or etcdctl may have written.
    """

    entry: Entry
    who: str
    role: str = ""
    since: float | None = None
    ours: bool = True

    @property
    def token(self) -> int:
        """What tells it from all others of the same name."""
        return self.entry.created


@dataclass(frozen=True, slots=True)
class Thing:
    """One lock, election, barrier ... with those inside and those who wait, in the order of arrival.

    `used` of `limit`: permits, parties, or counts that have come. `foreign` are keys below a line that are
    no contenders: Go's clients wait for them.
    """

    kind: Kind
    name: str
    state: str
    holders: tuple[Party, ...] = ()
    waiters: tuple[Party, ...] = ()
    used: int | None = None
    limit: int | None = None
    foreign: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Census:
    """All things, by name, and the keys that belong to none."""

    things: tuple[Thing, ...]
    others: tuple[Entry, ...]


def take(entries: Iterable[Entry], *, api: str = "v3") -> Census:
    """Recognise what `entries` are, oldest first in each thing."""
    left = {e.key: e for e in sorted(entries, key=lambda entry: (entry.created, entry.key))}
    is_place = _is_place_v2 if api == "v2" else _is_place_v3
    things = [*_double_barriers(left)]
    things += _lines(left, is_place, api)
    things += _go_rwlocks(left)
    things += _barriers(left)
    things += _latches(left)
    things += _services(left)
    things = [_with_foreign(thing, left) for thing in things]
    return Census(tuple(sorted(things, key=lambda t: (t.name, t.kind))), tuple(left.values()))


def _parent(key: str) -> tuple[str, str]:
    name, _, last = key.rpartition("/")
    return name, last


def _json(text: str) -> dict[str, Any]:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


def _is_maker(data: object) -> bool:
    return isinstance(data, dict) and {"host", "pid", "id"} <= data.keys()


def _party(entry: Entry, role: str = "") -> Party:
    data = _json(entry.value)
    maker = data if _is_maker(data) else data.get("by") if _is_maker(data.get("by")) else {}
    assert isinstance(maker, dict)
    who = name_in(maker) or contender(entry).identity
    return Party(entry, who, role, _time(maker.get("since")), ours=bool(maker))


def _time(since: object) -> float | None:
    """Give a time of day, as long as it is one."""
    if type(since) is int or isinstance(since, float):
        return float(since) if 0 <= since < _END_OF_TIME else None
    return None


_END_OF_TIME = 2**40
"""Seconds since 1970: some thirty thousand years."""


def _is_count(number: object) -> bool:
    return type(number) is int and 0 < number < 2**63


def _take_all(left: dict[str, Entry], keys: Iterable[str]) -> list[Entry]:
    return [left.pop(key) for key in keys]


# -- lines: locks, read-write locks, semaphores, elections -----------------------------------------------

_SEAT = re.compile(r"([0-9a-f]{1,16})(-[0-9a-f]{1,8})?")


def _is_place_v3(last: str, entry: Entry) -> bool:
    found = _SEAT.fullmatch(last)
    return found is not None and entry.lease > 0 and found[1] == f"{entry.lease:x}"


def _is_place_v2(last: str, entry: Entry) -> bool:
    return entry.lease > 0 and re.fullmatch(r"[0-9]{20}", last) is not None


def _lines(left: dict[str, Entry], is_place: Callable[[str, Entry], bool], api: str) -> list[Thing]:
    places = defaultdict(list)
    suffix = "/.limit" if api == "v2" else ".limit"
    for key, entry in left.items():
        name, last = _parent(key)
        if name and is_place(last, entry):
            places[name].append(key)
    for key, entry in left.items():
        if key.endswith(suffix) and len(key) > len(suffix) and limit_in(entry) is not None:
            places[key.removesuffix(suffix)] += []  # a semaphore that nobody uses now
    things = []
    for name, keys in places.items():
        line = _take_all(left, keys)
        things.append(_line(name, line, left.get(name + suffix)))
        if things[-1].kind == "semaphore":
            left.pop(name + suffix, None)
    return things


def _line(name: str, line: list[Entry], beside: Entry | None) -> Thing:
    wishes = [_json(entry.value) for entry in line]
    if any(permits_of(entry) for entry in line) or not line:
        return _semaphore(name, line, beside)
    if any(_is_maker(wish) and wish.get("kind") in ("read", "write") for wish in wishes):
        inside, waiting = split(line, READ)
        return _held("rwlock", name, inside, waiting, _kind_of)
    inside, waiting = split(line, FIRST_ONLY)
    if any(entry.value and not _is_maker(wish) for entry, wish in zip(line, wishes, strict=True)):
        return _held("election", name, inside, waiting, lambda entry: entry.value)
    return _held("lock", name, inside, waiting, lambda _: "")


def _held(
    kind: Kind,
    name: str,
    inside: Sequence[Entry],
    waiting: Sequence[Entry],
    role: Callable[[Entry], str],
) -> Thing:
    holders = tuple(_party(entry, role(entry)) for entry in inside)
    waiters = tuple(_party(entry, role(entry)) for entry in waiting)
    return Thing(kind, name, "led" if kind == "election" else "held", holders, waiters)


def _kind_of(entry: Entry) -> str:
    return "read" if _json(entry.value).get("kind") == "read" else "write"


def _semaphore(name: str, line: list[Entry], beside: Entry | None) -> Thing:
    stored = limit_in(beside)
    made = next((n for n in map(permits_of, line) if n is not None), None)
    limit = made if stored is None else stored.permits
    inside, waiting = split(line, PERMITS, beside)

    def weight(entry: Entry) -> int:
        own = _json(entry.value).get("weight")
        return own if type(own) is int and permits_of(entry) else limit or 1

    def role(entry: Entry) -> str:
        return f"{weight(entry)} permit{'s'[: weight(entry) != 1]}"

    thing = _held("semaphore", name, inside, waiting, role)
    used = sum(map(weight, inside))
    return replace(thing, state=f"{used} of {limit} taken", used=used, limit=limit)


def _with_foreign(thing: Thing, left: dict[str, Entry]) -> Thing:
    """Add the keys below a line that are nobody's place in anything."""
    if thing.kind not in ("lock", "election", "rwlock", "semaphore"):
        return thing
    return replace(thing, foreign=tuple(key for key in left if key.startswith(f"{thing.name}/")))


_GO_RWLOCK = re.compile(r"(.+)/(read|write)/[0-9]{16,20}")


def _go_rwlocks(left: dict[str, Entry]) -> list[Thing]:
    found = defaultdict(list)
    for key, entry in left.items():
        match = _GO_RWLOCK.fullmatch(key)
        if match and entry.lease and not entry.value:
            found[match[1]].append((key, match[2]))
    things = []
    for name, keys in found.items():
        kinds = dict(keys)
        line = [  # for the admission rule they say what their keys say
            replace(left.pop(key), value=json.dumps({"kind": kind})) for key, kind in keys
        ]
        inside, waiting = split(line, READ)
        things.append(_held("rwlock", name, inside, waiting, _said(kinds)))
    return things


def _said(kinds: dict[str, str]) -> Callable[[Entry], str]:
    return lambda entry: kinds[entry.key]


# -- barriers ---------------------------------------------------------------------------------------------

_CLOSING = re.compile(r"(.+)/([0-9]{1,18})(\.released)?")
_PARTY = re.compile(r"(.+)/parties/[0-9a-f]{16}")


def _barriers(left: dict[str, Entry]) -> list[Thing]:
    found: dict[str, dict[str, tuple[int, bool]]] = defaultdict(dict)
    for key, entry in left.items():
        data = _json(entry.value)
        match = _CLOSING.fullmatch(key)
        if match and isinstance(data.get("id"), str) and _is_maker(data.get("by")):
            found[match[1]][key] = int(match[2]), match[3] is not None
    things = []
    for name, keys in found.items():
        entries = {keys[entry.key]: entry for entry in _take_all(left, keys)}
        last = max(number for number, _ in entries)
        closed, record = entries.get((last, False)), entries.get((last, True))
        if closed is None or (record is not None and record.value == closed.value):
            things.append(Thing("barrier", name, "open"))
        else:
            things.append(Thing("barrier", name, "closed", (_party(closed),)))
    return things


def _double_barriers(left: dict[str, Entry]) -> list[Thing]:
    names = {
        match[1]: parties_in(entry.value)
        for key, entry in reversed(left.items())
        if (match := _PARTY.fullmatch(key)) and parties_in(entry.value) is not None
    }
    things = []
    for name, wanted in names.items():
        view = look(name, {k: e for k, e in left.items() if k.startswith(f"{name}/")})
        marks = [view.round] if view.round else []
        for entry in (*view.parties.values(), *view.marks, *view.strays, *marks):
            left.pop(entry.key, None)
        inside = set(view.members) if view.opened else set()
        holders = tuple(_party(e) for id_, e in view.parties.items() if id_ in inside)
        waiters = tuple(_party(e) for id_, e in view.parties.items() if id_ not in inside)
        count = len(holders) if view.opened else len(waiters)
        state = "inside" if view.opened else f"{count} of {wanted} came"
        things.append(Thing("double-barrier", name, state, holders, waiters, count, wanted))
    return things


def _latches(left: dict[str, Entry]) -> list[Thing]:
    found: dict[str, list[str]] = defaultdict(list)
    counts: dict[str, int] = {}
    for key, entry in left.items():
        data = _json(entry.value)
        name, _ = _parent(key)
        if name and _is_count(data.get("count")) and _is_maker(data.get("by")):
            found[name].append(key)
            counts.setdefault(name, data["count"])
    things = []
    for name, keys in found.items():
        _take_all(left, keys)
        came, count = min(len(keys), counts[name]), counts[name]
        state = "open" if came >= count else f"{count - came} to come"
        things.append(Thing("latch", name, state, used=came, limit=count))
    return things


# -- services ---------------------------------------------------------------------------------------------


def _services(left: dict[str, Entry]) -> list[Thing]:
    found: dict[str, list[Party]] = defaultdict(list)
    for key, entry in list(left.items()):
        codec = _codec_of(_json(entry.value))
        service = None if codec is None else CODECS[codec].service_at(key, entry.value)
        if codec is None or service is None:
            continue
        instance = CODECS[codec].read(*_parent(key), entry.value)
        assert instance is not None  # it has a service
        role = "draining" if instance.draining else instance.zone
        found[service].append(
            Party(left.pop(key), instance.address, role, ours=bool(instance.owner))
        )
    return [_service(name, parties) for name, parties in found.items()]


def _codec_of(data: dict[str, Any]) -> str | None:
    if {"Addr", "Op"} <= data.keys():
        return "grpc"
    return "json" if {"address", "owner"} <= data.keys() else None


def _service(name: str, parties: list[Party]) -> Thing:
    ready = sum(party.role != "draining" for party in parties)
    return Thing("service", name, f"{ready} of {len(parties)} ready", tuple(parties))
