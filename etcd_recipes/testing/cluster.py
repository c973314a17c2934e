"""EtcdCluster: several real members, and who leads them.

Rules of this file
1. The members are there for a test to hurt; the cluster starts them, counts them and cleans up.
2. Who leads is what a majority says, the leader among them: a member that was cut off or has just come
   back may believe in a leader of the past.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from functools import partial
from types import TracebackType
from typing import Self

from etcd_recipes.core.context import Context, limit
from etcd_recipes.core.errors import Cancelled, DeadlineExceeded
from etcd_recipes.testing.command import Seat, Tls
from etcd_recipes.testing.ports import free_ports
from etcd_recipes.testing.process import START_TIMEOUT, EtcdProcess, PortTaken
from etcd_recipes.testing.waiting import wait_until

__all__ = ["EtcdCluster"]

LEADER_TIMEOUT = 30.0
_TRIES = 5


class EtcdCluster:
    """`n` etcd members on the loopback interface; a context manager that starts and removes them.

    The options are those of EtcdProcess. ValueError if `n` is not positive.
    """

    def __init__(
        self,
        n: int = 3,
        *,
        memory: bool = True,
        heartbeat: int = 100,
        election_timeout: int = 1000,
        enable_v2: bool = False,
        tls: Tls | None = None,
        extra_args: Sequence[str] = (),
        binary: str | os.PathLike[str] | None = None,
    ) -> None:
        if n < 1:
            raise ValueError(f"a cluster has at least one member, not {n}")
        self._n = n
        self._scheme = "http" if tls is None else "https"
        self._make_member = partial(
            EtcdProcess,
            memory=memory,
            heartbeat=heartbeat,
            election_timeout=election_timeout,
            enable_v2=enable_v2,
            tls=tls,
            extra_args=tuple(extra_args),
            binary=binary,
        )
        self._members: tuple[EtcdProcess, ...] = ()

    def start(self, *, timeout: float | None = None, ctx: Context | None = None) -> None:
        """Start all members and return when all serve; nothing happens if they were started already.

        `timeout` is in seconds (30 if neither it nor `ctx` is given).
        Raises EtcdNotFound, EtcdStartFailed with the last lines of the member that failed, Cancelled.
        """
        if self._members:
            return
        context = limit(timeout, ctx, default=START_TIMEOUT)
        for tries_left in reversed(range(_TRIES)):
            try:
                self._start_all(context)
            except PortTaken:
                if not tries_left:
                    raise
            else:
                return

    def close(self) -> None:
        """Kill all members and remove their folders; as often as you like."""
        for member in self._members:
            member.close()
        self._members = ()

    @property
    def members(self) -> tuple[EtcdProcess, ...]:
        """The members, in a fixed order, alive or not; none before the start and after the close."""
        return self._members

    @property
    def endpoints(self) -> tuple[str, ...]:
        """The client URLs of all members, alive or not."""
        return tuple(member.endpoint for member in self._members)

    def leader(self, timeout: float | None = None, ctx: Context | None = None) -> EtcdProcess:
        """Give the member that leads, waiting until a majority agrees on one.

        `timeout` is in seconds (30 if neither it nor `ctx` is given).
        Raises DeadlineExceeded, saying what each member answered, and Cancelled.
        """
        context = limit(timeout, ctx, default=LEADER_TIMEOUT)
        if (member := wait_until(self._find_leader, context)) is not None:
            return member
        if isinstance(error := context.error, Cancelled):
            raise error
        said = ", ".join(f"{member!r}: {member.status()}" for member in self._members)
        raise DeadlineExceeded(f"the members did not agree on a leader in time; they say: {said}")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<EtcdCluster {list(self._members) or 'not running'}>"

    def _start_all(self, context: Context) -> None:
        try:
            self._members = tuple(self._member(seat) for seat in _seats(self._n, self._scheme))
            for member in self._members:
                member.start(wait=False)
            for member in self._members:
                member.wait_ready(ctx=context)
        except BaseException:
            self.close()
            raise

    def _member(self, seat: Seat) -> EtcdProcess:
        member = self._make_member()
        member._sit(seat)
        return member

    def _find_leader(self) -> EtcdProcess | None:
        answers = [(member, member.status()) for member in self._members]
        views = [(view.leader, view.term) for _, view in answers if view is not None]
        for member, view in answers:
            if view is None or view.member != view.leader:
                continue
            if 2 * views.count((view.leader, view.term)) > self._n:
                return member
        return None


def _seats(n: int, scheme: str) -> list[Seat]:
    ports = free_ports(2 * n)
    names = [f"m{i}" for i in range(n)]
    cluster = tuple(zip(names, ports[n:], strict=True))
    token = secrets.token_hex(8)
    return [
        Seat(name, client_port, peer_port, cluster, token, scheme)
        for (name, peer_port), client_port in zip(cluster, ports[:n], strict=True)
    ]
