"""Who stands in a line: what a lock key's value says, and how it is read.

A value that is not ours (etcdctl and Go leave it empty, others write what they like) is read as far as it
goes, and never an error. What it says of a name is told to people, in errors, logs and terminals: so the name
is one printable line, and no longer than a name is.
"""

from __future__ import annotations

import json
import os
import socket
from dataclasses import dataclass
from functools import cache

from etcd_recipes.core import runtime
from etcd_recipes.core.store import Entry
from etcd_recipes.core.text import safe

__all__ = ["Contender", "contender", "describe_self", "name_in"]


@dataclass(frozen=True, slots=True)
class Contender:
    """Who holds or waits.

    `key` is its key in etcd. `token` is the revision at which it took its place: it orders the
    contenders of a line (compare it with other Contenders' tokens, not with ``hold.token``, which is the
    revision at which a hold was confirmed). `identity` is a name for people: ``host/pid/id`` of a Python
    contender, otherwise the lease in hex. `value` is the key's value: a proposal in an election, the
    identity as JSON in a lock.
    """

    key: str
    token: int
    identity: str
    value: str


_compact = json.JSONEncoder(separators=(",", ":")).encode


@cache
def _process(pid: int) -> tuple[str, str]:
    """Give what is the same in all that a process says of itself: the begin and the end; a fork has its own."""
    host, id_ = _compact(socket.gethostname()), f"{runtime.rng().getrandbits(32):08x}"
    return f'{{"host":{host},"pid":{pid},"since":', f',"id":"{id_}"'


def describe_self(**wish: str | int) -> str:
    """Give this process as the JSON that a lock key holds: host, pid, since (seconds since 1970), id.

    `wish` is what else it says, for the admission rules to read: a kind, a weight.
    """
    begin, end = _process(os.getpid())
    more = f",{_compact(wish)[1:-1]}" if wish else ""
    return f"{begin}{round(runtime.wall_clock(), 3)!r}{end}{more}}}"


def contender(entry: Entry) -> Contender:
    """Read an entry of a line as a Contender."""
    try:
        said = name_in(json.loads(entry.value))
    except (ValueError, RecursionError):
        said = None
    name = said or _printable(entry.key.rpartition("/")[2])
    return Contender(entry.key, entry.created, name, entry.value)


def name_in(data: object) -> str | None:
    """Give the name for people in what somebody says of himself (decoded JSON); None if he says none."""
    if not isinstance(data, dict):
        return None
    said = [data.get(part) for part in ("host", "pid", "id")]
    if not all(isinstance(part, str | int) for part in said):
        return None
    return _printable("/".join(map(str, said)))


_LONGEST_NAME = 300


def _printable(text: str) -> str:
    """Give `text` as one printable line: escaped where it is none, and cut where it is longer than a name."""
    return safe(text if len(text) <= _LONGEST_NAME else f"{text[:_LONGEST_NAME]}...")
