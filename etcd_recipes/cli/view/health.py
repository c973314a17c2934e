"""What is wrong with a cluster, from what its members say of themselves.

Rules of this file
1. Pure: what was heard in, sentences out. A sentence says what is wrong, and what to do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from etcd_recipes.cli.view.output import safe, size
from etcd_recipes.core.v3.admin.values import Alarm, Member, Status

__all__ = ["Heard", "wrongs"]

_QUOTA = 2 * 1024**3
"""Bytes: etcd's default, where it does not say (before 3.6)."""

_LAG = 5000
"""Entries of the log that a member may be behind while it catches up with a burst."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What one endpoint said, and how long that took in seconds; or why it said nothing."""

    endpoint: str
    status: Status | None = None
    seconds: float = 0.0
    error: str = ""


def wrongs(
    heard: Sequence[Heard], members: Sequence[Member], alarms: Sequence[Alarm]
) -> tuple[str, ...]:
    """Give what is wrong, the worst first; nothing if all is well."""
    found = [f"{each.endpoint} does not answer: {each.error}" for each in heard if each.error]
    statuses = [each.status for each in heard if each.status is not None]
    names = {member.id: safe(member.name) or f"{member.id:x}" for member in members}
    for alarm in alarms:
        who = names.get(alarm.member_id, f"{alarm.member_id:x}")
        found.append(f"alarm {alarm.kind} at member {who}: {_REMEDIES.get(alarm.kind, 'see etcd')}")
    for status in statuses:
        found += _own(status)
    found += _together(statuses)
    return (*found, *_absent(members))


_REMEDIES = {
    "NOSPACE": "writes are refused; compact, defragment, and disarm the alarm",
    "CORRUPT": "its data differ from the others'; replace the member",
}


def _own(status: Status) -> list[str]:
    found = []
    if not status.leader:
        found.append(f"{status.endpoint} knows no leader: it is cut off, or there is no majority")
    quota = status.db_size_quota or _QUOTA
    if status.db_size > 0.8 * quota:
        found.append(
            f"{status.endpoint}: the database has {size(status.db_size)} of {size(quota)}; "
            "compact and defragment before writes are refused"
        )
    if status.is_learner:
        found.append(
            f"{status.endpoint} is a learner: it has no vote; promote it when it has caught up"
        )
    return found


def _together(statuses: Sequence[Status]) -> list[str]:
    found = []
    leaders = {status.leader for status in statuses if status.leader}
    if len(leaders) > 1:
        found.append(
            f"the endpoints follow {len(leaders)} different leaders: are they of one cluster?"
        )
    versions = sorted({status.version for status in statuses})
    if len(versions) > 1:
        found.append(
            f"the members run different versions: {', '.join(versions)}; finish the upgrade"
        )
    newest = max((status.raft_index for status in statuses), default=0)
    found += [
        f"{status.endpoint} is {newest - status.raft_applied_index} entries behind: a slow disk or network"
        for status in statuses
        if newest - status.raft_applied_index > _LAG
    ]
    return found


def _absent(members: Sequence[Member]) -> list[str]:
    return [
        f"member {member.id:x} ({', '.join(member.peer_urls)}) was added and has never started"
        for member in members
        if not member.name
    ]
