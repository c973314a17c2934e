"""A cluster whose members can be cut off from each other, while clients still reach all of them.

The members know each other by the addresses of proxies. Two things cut one off: its own proxy is a black
hole, and so are, at the others' proxies, all requests that say they are from it.
"""

from __future__ import annotations

import secrets
from typing import Self

from etcd_recipes.testing import EtcdProcess, FaultProxy
from etcd_recipes.testing.command import Seat
from etcd_recipes.testing.ports import free_ports
from tests.tools import eventually


class Isolated:
    """Three members, any of which can be cut off from the others."""

    def __init__(
        self,
        *,
        heartbeat: int = 50,
        election_timeout: int = 500,
        extra_args: tuple[str, ...] = (),
    ) -> None:
        ports = free_ports(6)
        listen, client = ports[:3], ports[3:]
        self.between = [FaultProxy(f"http://127.0.0.1:{port}") for port in listen]
        names = [f"m{i}" for i in range(3)]
        known = [int(proxy.endpoint.rpartition(":")[2]) for proxy in self.between]
        cluster = tuple(zip(names, known, strict=True))
        token = secrets.token_hex(8)
        self.members = []
        for i in range(3):
            member = EtcdProcess(
                heartbeat=heartbeat,
                election_timeout=election_timeout,
                extra_args=(f"--listen-peer-urls=http://127.0.0.1:{listen[i]}", *extra_args),
            )
            member._sit(Seat(names[i], client[i], known[i], cluster, token))
            self.members.append(member)

    def leader(self) -> EtcdProcess:
        return eventually(self._leader, 30, "an election")

    def _leader(self) -> EtcdProcess | None:
        views = [view for member in self.members if (view := member.status())]
        beliefs = [(view.leader, view.term) for view in views]
        agreed = next((belief for belief in beliefs if beliefs.count(belief) > 1), (0, 0))
        by_id = {view.member: each for each in self.members if (view := each.status())}
        return by_id.get(agreed[0])

    def isolate(self, member: EtcdProcess) -> None:
        """Cut a member off; returns when it knows that it has no leader."""
        view = member.status()
        assert view is not None
        its_own = f"X-Server-From: {view.member:x}\r\n".encode()
        for i, each in enumerate(self.members):
            self.between[i].blackhole(only=b"" if each is member else its_own)
        eventually(lambda: (view := member.status()) and view.leader == 0, 15, "its loneliness")

    def heal(self) -> None:
        """Let all members speak to each other, and wait until all serve."""
        for proxy in self.between:
            proxy.heal()
        for member in self.members:
            if member.alive:
                member.wait_ready()

    def __enter__(self) -> Self:
        try:
            for member in self.members:
                member.start(wait=False)
            for member in self.members:
                member.wait_ready()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for member in self.members:
            member.close()
        for proxy in self.between:
            proxy.close()
