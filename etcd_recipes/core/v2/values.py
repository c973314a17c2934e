"""What the v2 API gives: frozen values.

Rules of this file
1. Values only: no wire format, no socket, no clock.
2. Keys and values are ``str``. etcd does not tell a value that is absent (a directory's, a deleted key's)
   from an empty one, so both are "".
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

__all__ = ["Member", "Node", "Response", "Role", "User", "Version"]


@dataclass(frozen=True, slots=True)
class Node:
    """One key or directory; `nodes` are a directory's children, as far as they were asked for.

    `ttl` is in whole seconds, rounded up, as of the answer, and `expiration` the time of day at the
    server (UTC); both are None for a key that stays. The root directory's key is "/".
    """

    key: str
    value: str = ""
    dir: bool = False
    nodes: tuple[Node, ...] = ()
    created_index: int = 0
    modified_index: int = 0
    ttl: int | None = None
    expiration: datetime | None = None


@dataclass(frozen=True, slots=True)
class Response:
    """What a request about keys, or a watch, answers.

    `action` is what happened: get, set, create, update, delete, compareAndSwap, compareAndDelete or
    expire. `node` is what is there now (None only after ``no_value_on_success``), `prev_node` what was
    there before. `index` is the store's index when the answer began: for a watch that is before the
    event, whose own index is ``node.modified_index``. `doubt` is True when an earlier copy of the
    request, sent to an endpoint that gave no answer, may have been carried out as well, or may yet be;
    `prev_node` is then perhaps the work of that copy.
    """

    action: str
    node: Node
    prev_node: Node | None = None
    index: int = 0
    cluster_id: str = ""
    doubt: bool = False


@dataclass(frozen=True, slots=True)
class Member:
    """One member of the cluster; one that has not started yet has no `name` and no `client_urls`."""

    id: str
    name: str
    peer_urls: tuple[str, ...]
    client_urls: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class User:
    """A user, and the names of the roles granted to it."""

    name: str
    roles: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Role:
    """A role: the keys that it may read and write; ``/a`` is that key alone, ``/a*`` all that begin so."""

    name: str
    read: tuple[str, ...] = ()
    write: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Version:
    """The version of the server that answered, and of the cluster ("not_decided" while it forms)."""

    server: str
    cluster: str
