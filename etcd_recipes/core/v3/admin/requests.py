"""Requests of the v3 auth, cluster and maintenance services, as Actions: pure builders.

Rules of this file
1. Values in, an Action out: no socket, no clock, no thread. ValueError and TypeError for what etcd would
   take in silence, and should not.
2. A body that holds a password says so (`secret`): it is not shown in a log, and no redirect takes it to
   a host that the user has not named.
3. Of the changes only the removal of a member is replayed: its id is never used again, so a late copy
   finds nothing. All the others have an opposite (add and delete, grant and revoke, on and off), and a copy
   that a stopped member applies late would undo what was done since: bring a deleted user back, an old
   password, or a member that counts for the quorum and does not exist.
4. What tells how a member is (its status, its list of the members), and what saves what it has, is asked
   of members without a leader as well: that is when it is needed most.
"""

from __future__ import annotations

import json
import math
from base64 import b64encode
from collections.abc import Iterable
from typing import Any

from etcd_recipes.core.http.action import Action
from etcd_recipes.core.v3.admin.values import Access, Alarm
from etcd_recipes.core.v3.requests import REQUIRE_LEADER
from etcd_recipes.core.v3.values import to_int64

__all__ = ["STALL"]

STALL = 30.0
"""Seconds that a member may take for the next piece of a snapshot, the first one included."""


def _action(
    path: str,
    body: dict[str, Any],
    *,
    what: str,
    replay: bool = False,
    secret: bool = False,
    leader: bool = True,
    header_timeout: float | None = None,
) -> Action:
    return Action(
        f"/v3/{path}",
        json.dumps(body, separators=(",", ":")).encode(),
        replay=replay,
        what=what,
        headers=REQUIRE_LEADER if leader else {},
        secret=secret,
        header_timeout=header_timeout,
    )


# -- auth --------------------------------------------------------------------------------------------------


def auth_status() -> Action:
    """Build the question whether auth is on."""
    return _action("auth/status", {}, replay=True, what="ask whether auth is on")


def auth_enable() -> Action:
    """Build the switch-on; a late copy would undo a switch-off."""
    return _action("auth/enable", {}, what="switch auth on")


def auth_disable() -> Action:
    """Build the switch-off; a late copy would open a cluster that was closed again."""
    return _action("auth/disable", {}, what="switch auth off")


# -- users -------------------------------------------------------------------------------------------------


def user_add(name: str, password: str | None) -> Action:
    """Build a new user; a late copy would bring it back after it was deleted.

    etcd takes a user without a password for one whose password is empty, and lets it in. So nobody gets
    one by leaving it out: without a password there is no log-in by password.
    """
    body: dict[str, Any] = {"name": _name(name, "user")}
    if password is None:
        body["options"] = {"no_password": True}
    else:
        body["password"] = _password(password)
    return _action("auth/user/add", body, secret=password is not None, what=f"add user {name!r}")


def user_get(name: str) -> Action:
    """Build the question for one user."""
    body = {"name": _name(name, "user")}
    return _action("auth/user/get", body, replay=True, what=f"look up user {name!r}")


def user_list() -> Action:
    """Build the question for all users."""
    return _action("auth/user/list", {}, replay=True, what="list the users")


def user_delete(name: str) -> Action:
    """Build the end of a user; a late copy would delete a new one of that name."""
    return _action("auth/user/delete", {"name": _name(name, "user")}, what=f"delete user {name!r}")


def user_change_password(name: str, password: str) -> Action:
    """Build another password; a late copy would undo the next change."""
    body = {"name": _name(name, "user"), "password": _password(password)}
    return _action(
        "auth/user/changepw", body, secret=True, what=f"change the password of user {name!r}"
    )


def user_grant_role(name: str, role: str) -> Action:
    """Build a role for a user; a late copy would undo its revocation."""
    body = {"user": _name(name, "user"), "role": _name(role, "role")}
    return _action("auth/user/grant", body, what=f"grant role {role!r} to user {name!r}")


def user_revoke_role(name: str, role: str) -> Action:
    """Build the end of a user's role; a late copy would undo a new grant."""
    body = {"name": _name(name, "user"), "role": _name(role, "role")}
    return _action("auth/user/revoke", body, what=f"revoke role {role!r} from user {name!r}")


# -- roles -------------------------------------------------------------------------------------------------


def role_add(name: str) -> Action:
    """Build a new role; a late copy would bring it back after it was deleted."""
    return _action("auth/role/add", {"name": _name(name, "role")}, what=f"add role {name!r}")


def role_get(name: str) -> Action:
    """Build the question for one role."""
    body = {"role": _name(name, "role")}
    return _action("auth/role/get", body, replay=True, what=f"look up role {name!r}")


def role_list() -> Action:
    """Build the question for all roles."""
    return _action("auth/role/list", {}, replay=True, what="list the roles")


def role_delete(name: str) -> Action:
    """Build the end of a role; a late copy would delete a new one of that name."""
    return _action("auth/role/delete", {"role": _name(name, "role")}, what=f"delete role {name!r}")


def role_grant(name: str, key: bytes, range_end: bytes, access: Access) -> Action:
    """Build a permission; a late copy would undo its revocation, or another grant for the same keys."""
    if access not in _PERMISSIONS:
        raise ValueError(f"a permission is 'read', 'write' or 'readwrite', not {access!r}")
    if not key:
        raise ValueError('no key has an empty name; all keys are key="" with prefix=True')
    if range_end not in (b"", b"\0") and range_end <= key:
        raise ValueError(f"there is no key from {key!r} up to {range_end!r}")
    perm = {"permType": _PERMISSIONS[access], **_range(key, range_end)}
    body = {"name": _name(name, "role"), "perm": perm}
    return _action("auth/role/grant", body, what=f"grant a permission to role {name!r}")


def role_revoke(name: str, key: bytes, range_end: bytes) -> Action:
    """Build the end of a permission; a late copy would undo a new grant."""
    body = {"role": _name(name, "role"), **_range(key, range_end)}
    return _action("auth/role/revoke", body, what=f"revoke a permission from role {name!r}")


_PERMISSIONS = {"read": "READ", "write": "WRITE", "readwrite": "READWRITE"}


def _range(key: bytes, range_end: bytes) -> dict[str, str]:
    body = {"key": b64encode(key).decode("ascii")}
    return body | ({"range_end": b64encode(range_end).decode("ascii")} if range_end else {})


def _name(name: str, what: str) -> str:
    if not isinstance(name, str):
        raise TypeError(f"a {what}'s name is str, not {type(name).__name__}")
    if not name:
        # etcd answers this with the words for a request that lacks a user.
        raise ValueError(f"a {what} has a name")
    return name


def _password(password: str) -> str:
    if not isinstance(password, str):
        raise TypeError(f"a password is str, not {type(password).__name__}")
    if not password:
        # etcd would take it, and let everybody in who leaves the password out.
        raise ValueError("a password is not empty")
    return password


# -- members -----------------------------------------------------------------------------------------------


def member_list(*, linearizable: bool = False) -> Action:
    """Build the question for all members."""
    body = {"linearizable": True} if linearizable else {}
    return _action(
        "cluster/member/list", body, replay=True, leader=linearizable, what="list the members"
    )


def member_add(peer_urls: str | Iterable[str], *, learner: bool) -> Action:
    """Build a new member; a second copy makes a second member, or one that was removed meanwhile."""
    body: dict[str, Any] = {"peerURLs": _urls(peer_urls)}
    body |= {"isLearner": True} if learner else {}
    return _action("cluster/member/add", body, what="add a member")


def member_remove(id_: int) -> Action:
    """Build the removal of a member, which a late copy finds done: ids are not used again."""
    body = {"ID": _id(id_)}
    return _action("cluster/member/remove", body, replay=True, what=f"remove member {id_:x}")


def member_update(id_: int, peer_urls: str | Iterable[str]) -> Action:
    """Build other peer URLs for a member; a late copy would undo the next change."""
    body = {"ID": _id(id_), "peerURLs": _urls(peer_urls)}
    return _action("cluster/member/update", body, what=f"update member {id_:x}")


def member_promote(id_: int) -> Action:
    """Build a vote for a learner; a second copy does no harm, but its answer would be a refusal."""
    return _action("cluster/member/promote", {"ID": _id(id_)}, what=f"promote member {id_:x}")


def _id(id_: int) -> str:
    if isinstance(id_, bool) or not isinstance(id_, int):
        raise TypeError(f"a member's id is int, not {type(id_).__name__}")
    if not 0 < id_ < 2**64:
        raise ValueError(f"{id_} is no member's id")
    return str(id_)


def _urls(given: str | Iterable[str]) -> list[str]:
    urls = [given] if isinstance(given, str) else list(given)
    for url in urls:
        if not isinstance(url, str):
            raise TypeError(f"a peer URL is str, not {type(url).__name__}")
    return urls


# -- maintenance -------------------------------------------------------------------------------------------


def status(*, leader: bool = False) -> Action:
    """Build the question how a member is; with `leader`, one that has none refuses."""
    return _action("maintenance/status", {}, replay=True, leader=leader, what="ask for the status")


def alarms() -> Action:
    """Build the question for all alarms."""
    return _action("maintenance/alarm", {"action": "GET"}, replay=True, what="list the alarms")


def disarm(alarm: Alarm) -> Action:
    """Build the end of one alarm; a late copy would silence the next one.

    It names member and kind: without one of them etcd answers well and does nothing.
    """
    body = {"action": "DEACTIVATE", "memberID": str(alarm.member_id), "alarm": alarm.kind}
    return _action("maintenance/alarm", body, what=f"disarm {alarm.kind}")


def defragment() -> Action:
    """Build a defragmentation, which is answered when it is done; a late copy would stop the member again."""
    return _action(
        "maintenance/defragment", {}, leader=False, header_timeout=math.inf, what="defragment"
    )


def hash_() -> Action:
    """Build the question for the hash of a member's whole database."""
    return _action(
        "maintenance/hash",
        {},
        replay=True,
        leader=False,
        header_timeout=math.inf,
        what="hash the database",
    )


def hash_kv(revision: int) -> Action:
    """Build the question for the hash of a member's keys up to a revision."""
    least = to_int64(revision, "revision", least=0)
    return _action(
        "maintenance/hashkv",
        {"revision": str(least)} if least else {},
        replay=True,
        leader=False,
        header_timeout=math.inf,
        what="hash the keys",
    )


def move_leader(target_id: int) -> Action:
    """Build a transfer of the leadership; a late copy would take it away from the next leader."""
    body = {"targetID": _id(target_id)}
    what = f"move the leadership to member {target_id:x}"
    return _action("maintenance/transfer-leadership", body, what=what)


def snapshot() -> Action:
    """Build the stream of a member's database."""
    return _action(
        "maintenance/snapshot",
        {},
        replay=True,
        leader=False,
        header_timeout=STALL,
        what="take a snapshot",
    )
