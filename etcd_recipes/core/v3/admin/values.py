"""What the administrative half of the v3 API gives: frozen values.

Rules of this file
1. Values only: no wire format, no socket, no clock.
2. Ids, sizes, revisions and indexes are ``int``, names and URLs ``str``, keys ``bytes``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

__all__ = [
    "Access",
    "Alarm",
    "AlarmKind",
    "AuthStatus",
    "Member",
    "Permission",
    "Role",
    "Snapshot",
    "Status",
    "StoreHash",
    "User",
]

Access = Literal["read", "write", "readwrite"]
"""What a permission allows."""

AlarmKind = Literal["NOSPACE", "CORRUPT"]
"""NOSPACE: a member's store is at its quota, and writes are refused; CORRUPT: its data differ from the others'."""


@dataclass(frozen=True, slots=True)
class AuthStatus:
    """Whether requests need a user; `auth_revision` counts changes of users and roles, 0 on etcd 3.4."""

    enabled: bool
    auth_revision: int = 0


@dataclass(frozen=True, slots=True)
class User:
    """A user, and the names of the roles granted to it."""

    name: str
    roles: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Permission:
    """The right to one key (`range_end` is empty), or to all from `key` up to `range_end`, which is not in it.

    A `range_end` of one NUL byte means all from `key` on.
    """

    key: bytes
    range_end: bytes
    access: Access


@dataclass(frozen=True, slots=True)
class Role:
    """A role and its permissions."""

    name: str
    permissions: tuple[Permission, ...] = ()


@dataclass(frozen=True, slots=True)
class Member:
    """One member of the cluster; one that has not started yet has no `name` and no `client_urls`.

    A `learner` follows the log and has no vote.
    """

    id: int
    name: str
    peer_urls: tuple[str, ...]
    client_urls: tuple[str, ...]
    learner: bool = False


@dataclass(frozen=True, slots=True)
class Status:
    """How one member, the one at `endpoint`, sees itself and its cluster.

    `db_size` is the size of its database file in bytes, `db_size_in_use` what is left of it after a
    defragmentation. `leader` is the id of the member that it follows, 0 while it knows none. `errors` are
    etcd's own words: alarms, or that there is no leader. `storage_version` and `db_size_quota` (bytes) are
    told by etcd 3.6 and later, "" and 0 before.
    """

    endpoint: str
    member_id: int
    version: str
    db_size: int
    db_size_in_use: int
    leader: int
    raft_index: int
    raft_applied_index: int
    raft_term: int
    is_learner: bool
    errors: tuple[str, ...]
    revision: int
    storage_version: str = ""
    db_size_quota: int = 0

    @property
    def is_leader(self) -> bool:
        """True when the member leads its cluster, as far as it knows."""
        return self.leader != 0 and self.leader == self.member_id


@dataclass(frozen=True, slots=True)
class Alarm:
    """An alarm that is on; `kind` is NOSPACE, CORRUPT, or what a later etcd may add."""

    member_id: int
    kind: str


@dataclass(frozen=True, slots=True)
class StoreHash:
    """A hash of what the member at `endpoint` keeps, at this `revision`.

    Two members' hashes can be compared when both are of one revision and one `compact_revision`.
    """

    endpoint: str
    hash: int
    revision: int
    compact_revision: int = 0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot that has been saved whole.

    `size` is that of the file in bytes, and `sha256` its digest, as ``sha256sum`` prints it. All that was
    written up to `revision` is in it, and perhaps a little more. `version` is that of the etcd that made it.
    """

    path: Path
    size: int
    sha256: str
    revision: int
    version: str
    endpoint: str
