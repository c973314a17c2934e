"""The place: the etcd on which a run takes place.

Rules of this file
1. Its own three members may be hurt, and are gone afterwards with all they had. An etcd that was given
   belongs to somebody else: nothing is killed there, and every key of the run is removed.
2. Whether there is an etcd at all is found out before anything is started or said.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from etcd_recipes import ClusterError, Context, DeadlineExceeded, EtcdRecipesError, ResponseError
from etcd_recipes.cli.options import Connection
from etcd_recipes.testing import EtcdCluster, find_etcd

__all__ = ["Place", "UnusableEtcd", "check", "is_running", "open_place"]

_PATIENCE = 5.0  # seconds for an etcd that was given to answer
_MEMBERS = 3


class UnusableEtcd(EtcdRecipesError):
    """The etcd that was given cannot be used; the message names it, and says why."""


@dataclass(frozen=True, slots=True)
class Place:
    """An etcd to run on: how to reach it, what it is, and its `cluster` if that may be hurt."""

    connection: Connection
    text: str
    cluster: EtcdCluster | None = None
    pids: tuple[int, ...] = ()
    folders: tuple[Path, ...] = ()

    @property
    def members(self) -> tuple[str, ...]:
        """The names of the members that may be hurt."""
        return tuple(member.name for member in self.cluster.members) if self.cluster else ()

    def left(self) -> tuple[str, ...]:
        """Say what is still there; for after the end."""
        pids = [f"etcd process {pid}" for pid in self.pids if is_running(pid)]
        return (*pids, *(f"folder {folder}" for folder in self.folders if folder.exists()))


def check(connection: Connection, ctx: Context) -> None:
    """Return if there is an etcd: one that was given and answers, or a binary to start.

    Raises UnusableEtcd or EtcdNotFound, and the error of `ctx`.
    """
    if not connection.endpoints:
        find_etcd()
        return
    limited = ctx.child(_PATIENCE)
    try:
        with connection.client() as client:
            client.v3.kv.get("etcd-recipes-demo/", ctx=limited)
    except ClusterError as error:
        raise UnusableEtcd(f"this etcd cannot be used: {_cause(error)}") from error
    except ResponseError as error:
        raise UnusableEtcd(f"this etcd cannot be used: {error}") from error
    except DeadlineExceeded as error:
        ctx.check()
        where = ",".join(connection.endpoints)
        raise UnusableEtcd(f"{where} did not answer within {_PATIENCE:g} s") from error


def _cause(error: ClusterError) -> str:
    doubt = any("HTTP status" in attempt.reason for attempt in error.errors)
    return error.detail("; ") + ("; is that etcd, with its JSON gateway?" if doubt else "")


@contextmanager
def open_place(connection: Connection, ctx: Context) -> Iterator[Place]:
    """Give the etcd that was given, or start three members, which are removed at the end."""
    if connection.endpoints:
        yield Place(connection, f"the etcd at {','.join(connection.endpoints)}")
        return
    cluster = EtcdCluster(_MEMBERS, memory=False)
    try:
        cluster.start(ctx=ctx)
        version = ".".join(str(part) for part in cluster.members[0].version)
        yield Place(
            Connection(cluster.endpoints),
            f"three members of etcd {version}, in temporary folders",
            cluster,
            tuple(member.pid for member in cluster.members if member.pid is not None),
            tuple(member.folder for member in cluster.members),
        )
    finally:
        cluster.close()


def is_running(pid: int) -> bool:
    """Tell whether there is a process of this number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
