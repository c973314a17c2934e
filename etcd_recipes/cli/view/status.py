"""``etcd-recipes status``: the members of the cluster, one by one, and what is wrong.

Rules of this file
1. Only click is imported at the top: the command line's ``--help`` reads this file.
2. Each endpoint is asked for itself and has its own limit: a dead one hides nothing of the others.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from etcd_recipes.cli.options import Settings, shared_options
from etcd_recipes.cli.talk import is_terminal, say
from etcd_recipes.cli.view.output import output_option, safe, show, size
from etcd_recipes.cli.view.table import Row

if TYPE_CHECKING:
    from etcd_recipes import Client
    from etcd_recipes.cli.view.health import Heard
    from etcd_recipes.core.v3.admin.values import Alarm, Member

__all__ = ["command"]

_PATIENCE = 3.0
_COLUMNS = ("ENDPOINT", "MEMBER", "ROLE", "VERSION", "DB", "IN USE", "TERM", "INDEX", "MS")


@click.command("status", short_help="The members of etcd, and what is wrong.")
@output_option("table", "json", "plain")
@shared_options
@click.pass_obj
def command(settings: Settings, output: str) -> int:
    """Ask each endpoint how it is: leader, term, index, database, alarms, version, and how fast it answers.

    Exit status: 0 if nothing is wrong, 1 if something is (stderr says what).
    """
    from etcd_recipes.cli.view.health import wrongs

    connection = settings.connection()
    with connection.client() as client:
        heard = [
            _hear(client, endpoint, min(_PATIENCE, connection.default_timeout))
            for endpoint in client.endpoints
        ]
        members, alarms = _cluster(client) if any(h.status for h in heard) else ((), ())
    wrong = wrongs(heard, members, alarms)
    show(output, _COLUMNS, _rows(heard, members), _document(heard, members, alarms, wrong), lead=1)
    for sentence in wrong:
        say(sentence)
    if not wrong and is_terminal(sys.stdout):  # cron wants silence
        say("nothing is wrong")
    return 1 if wrong else 0


def _hear(client: Client, endpoint: str, patience: float) -> Heard:
    from etcd_recipes import ClusterError, EtcdRecipesError
    from etcd_recipes.cli.view.health import Heard
    from etcd_recipes.core import runtime

    began = runtime.now()
    try:
        status = client.v3.maintenance.status(endpoint, timeout=patience)
    except ClusterError as error:
        return Heard(endpoint, error="; ".join(each.reason for each in error.errors))
    except EtcdRecipesError as error:
        return Heard(endpoint, error=str(error))
    return Heard(endpoint, status, runtime.now() - began)


def _cluster(client: Client) -> tuple[Sequence[Member], Sequence[Alarm]]:
    """Give members and alarms; without a leader there is nobody to say."""
    from etcd_recipes import EtcdRecipesError

    try:
        return (
            client.v3.cluster.members(timeout=_PATIENCE),
            client.v3.maintenance.alarms(timeout=_PATIENCE),
        )
    except EtcdRecipesError as error:
        say(f"members and alarms are not known: {error}")
        return (), ()


def _rows(heard: Sequence[Heard], members: Sequence[Member]) -> list[Row]:
    names = {member.id: member.name for member in members}
    rows = []
    for each in heard:
        s = each.status
        if s is None:
            known = [m.name for m in members if each.endpoint in m.client_urls]
            name = safe(known[0]) if known else ""
            rows.append(Row((each.endpoint, name or "-", "NO ANSWER", *"------"), "red"))
            continue
        role = "leader" if s.is_leader else "learner" if s.is_learner else "follower"
        role = role if s.leader else "NO LEADER"
        name = safe(names.get(s.member_id, "")) or f"{s.member_id:x}"
        style = "green" if s.is_leader else "" if s.leader else "red"
        numbers = (str(s.raft_term), str(s.raft_index), f"{each.seconds * 1000:.0f}")
        sizes = (size(s.db_size), size(s.db_size_in_use))
        rows.append(Row((each.endpoint, name, role, s.version, *sizes, *numbers), style))
    asked = {each.status.member_id for each in heard if each.status}
    rows += [
        Row(
            (",".join(m.client_urls) or "-", safe(m.name) or f"{m.id:x}", "not asked", *"------"),
            "dim",
        )
        for m in members
        if m.id not in asked and not _is_among(m, heard)
    ]
    return rows


def _is_among(member: Member, heard: Sequence[Heard]) -> bool:
    return any(each.endpoint in member.client_urls for each in heard)


def _document(
    heard: Sequence[Heard], members: Sequence[Member], alarms: Sequence[Alarm], wrong: Sequence[str]
) -> dict[str, Any]:
    def status(each: Heard) -> dict[str, Any]:
        s = each.status
        if s is None:
            return {"endpoint": each.endpoint, "ok": False, "error": each.error}
        return {
            "endpoint": each.endpoint,
            "ok": True,
            "seconds": round(each.seconds, 6),
            "member": f"{s.member_id:x}",
            "version": s.version,
            "leader": f"{s.leader:x}" if s.leader else None,
            "is_leader": s.is_leader,
            "is_learner": s.is_learner,
            "raft_term": s.raft_term,
            "raft_index": s.raft_index,
            "raft_applied_index": s.raft_applied_index,
            "revision": s.revision,
            "db_size": s.db_size,
            "db_size_in_use": s.db_size_in_use,
            "errors": list(s.errors),
        }

    return {
        "endpoints": [status(each) for each in heard],
        "members": [
            {
                "id": f"{m.id:x}",
                "name": m.name,
                "peer_urls": list(m.peer_urls),
                "client_urls": list(m.client_urls),
                "learner": m.learner,
            }
            for m in members
        ],
        "alarms": [{"member": f"{a.member_id:x}", "kind": a.kind} for a in alarms],
        "wrong": list(wrong),
    }
