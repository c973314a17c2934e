"""One member of the cluster under torture: a real server process, wherever it has its addresses.

`EtcdProcess` keeps to the loopback interface, and its addresses to itself. Here they are given: a member may
live in a network namespace, and is known to the others by an address that leads through a proxy.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from etcd_recipes import Client, Context, EtcdRecipesError
from etcd_recipes.testing import etcd_version
from etcd_recipes.testing.belongings import Belongings
from etcd_recipes.testing.command import environment
from etcd_recipes.testing.folder import new_folder

__all__ = ["ELECTION", "Addresses", "Member"]

HEARTBEAT = 100
ELECTION = 1000
"""Milliseconds, as etcd has them by itself."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where a member listens for clients and for members, and under which URL the others know it."""

    client: str
    peer: str
    known: str


class Member:
    """One of several members; `before` is put before its command (``ip netns exec ...``)."""

    def __init__(
        self,
        number: int,
        binary: Path,
        cluster: Sequence[Addresses],
        token: str,
        before: Sequence[str] = (),
    ) -> None:
        self.name = f"m{number}"
        self.endpoint = cluster[number].client
        version = etcd_version(binary)
        mine = cluster[number]
        flags = {
            "name": self.name,
            "data-dir": "data",
            "listen-client-urls": mine.client,
            "advertise-client-urls": mine.client,
            "listen-peer-urls": mine.peer,
            "initial-advertise-peer-urls": mine.known,
            "initial-cluster": ",".join(f"m{n}={each.known}" for n, each in enumerate(cluster)),
            "initial-cluster-state": "new",
            "initial-cluster-token": token,
            "heartbeat-interval": HEARTBEAT,
            "election-timeout": ELECTION,
            "logger": "zap",
            "log-level": "warn",
        }
        switches = ["--unsafe-no-fsync"] if version >= (3, 5, 0) else []
        switches += ["--enable-v2"] if version < (3, 6, 0) else []
        self._command = [
            *before,
            str(binary),
            *(f"--{name}={value}" for name, value in flags.items()),
            *switches,
        ]
        self._belongings = Belongings(new_folder(memory=True, members=len(cluster)))
        self._client = Client(self.endpoint, header_timeout=1.0, default_timeout=1.0)

    def start(self) -> None:
        """Start it, on its data; it serves when a majority does."""
        self._belongings.launch(self._command, environment(os.environ))

    def stop(self) -> None:
        """SIGTERM, and SIGKILL if that is not enough: an etcd that is asked to end waits for its watches."""
        self._belongings.terminate(1.5)

    def kill(self) -> None:
        """SIGKILL."""
        self._belongings.kill()

    def pause(self) -> None:
        """SIGSTOP."""
        self._belongings.pause()

    def resume(self) -> None:
        """SIGCONT."""
        self._belongings.resume()

    @property
    def alive(self) -> bool:
        return self._belongings.pid is not None

    @property
    def paused(self) -> bool:
        return self._belongings.paused

    def view(self) -> tuple[int, int, int] | None:
        """Give its id, the id of its leader (0: none) and its term; None when it does not answer."""
        if not self.alive or self.paused:
            return None
        try:
            status = self._client.v3.maintenance.status(self.endpoint)
        except EtcdRecipesError:
            return None
        return status.member_id, status.leader, status.raft_term

    def serves(self) -> bool:
        """Tell whether it answers what needs a leader."""
        if not self.alive or self.paused:
            return False
        try:
            self._client.v3.kv.get("torture", ctx=Context(1.0))
        except EtcdRecipesError:
            return False
        return True

    def log_tail(self) -> str:
        return "\n".join(line[:300] for line in self._belongings.output().splitlines()[-15:])

    def close(self) -> None:
        self._client.close()
        self._belongings.dispose()

    def __repr__(self) -> str:
        return self.name
