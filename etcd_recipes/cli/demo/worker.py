"""One worker process: ``python -m etcd_recipes.cli.demo.worker``.

It reads its role, one line of JSON, from stdin, tells what it does on stdout, and goes on until it gets
SIGTERM or stdin ends: the stage is gone then, however it ended. Either way it leaves the election, and
revokes its session, so that nobody has to wait for its lease.

Rules of this file
1. Nothing here dies in silence: an error in any thread is told, and ends the worker with status 1.
2. stdin and stdout are used as file descriptors: a thread that sits in a buffered read would keep the
   interpreter from ending.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from etcd_recipes import Client, Context, ContextError
from etcd_recipes.cli.demo.board import Board, read
from etcd_recipes.cli.demo.event import Event, to_line
from etcd_recipes.cli.demo.follower import follow_prefix
from etcd_recipes.cli.demo.hand import Hand
from etcd_recipes.cli.demo.leader import Leader
from etcd_recipes.cli.demo.ledger import Ledger
from etcd_recipes.cli.demo.plan import Keys, Plan
from etcd_recipes.cli.options import Connection
from etcd_recipes.cli.signals import cancelled_by_signals
from etcd_recipes.core import runtime

__all__ = ["Role"]

_FAREWELL = 5.0  # seconds that a thread may take to leave what it is in


@dataclass(frozen=True, slots=True)
class Role:
    """What a worker must know; the `turn` is its number."""

    name: str
    turn: int
    plan: Plan
    prefix: str
    ledger: str
    connection: Connection

    def to_line(self) -> str:
        """Give the role as one line of JSON."""
        return json.dumps(asdict(self)) + "\n"

    @classmethod
    def from_line(cls, line: str) -> Role:
        """Give the role that a line is."""
        fields = json.loads(line)
        fields["plan"] = Plan(**fields["plan"])
        connection = Connection(**fields["connection"])
        fields["connection"] = replace(connection, endpoints=tuple(connection.endpoints))
        return cls(**fields)


class Worker:
    """One worker, from its registration to its farewell."""

    def __init__(self, role: Role, ctx: Context) -> None:
        self._role = role
        self._ctx = ctx
        self._keys = Keys(role.prefix)
        self._board = Board()
        self._failed = False

    def run(self) -> bool:
        """Work until the Context ends; tell whether all went well."""
        ttl = float(self._role.plan.ttl)
        try:
            with self._role.connection.client(
                namespace=self._role.prefix, session_ttl=ttl
            ) as client:
                self._work(client)
        except ContextError:
            pass  # told to stop
        except Exception as error:  # noqa: BLE001 (rule 1)
            self._fail(error)
        return not self._failed

    def tell(
        self, kind: str, *, job: str = "", token: int = 0, number: int = 0, text: str = ""
    ) -> None:
        """Tell the stage what happened; if nobody listens any more, stop."""
        event = Event(kind, runtime.now(), self._role.name, job, token, number, text)
        try:
            os.write(sys.stdout.fileno(), to_line(event).encode() + b"\n")
        except OSError:
            self._ctx.cancel("nobody listens any more")

    def _work(self, client: Client) -> None:
        role, keys = self._role, self._keys
        registry = client.registry(keys.registry)
        address = f"pid {os.getpid()}"
        with registry.register(keys.service, address, id=role.name, ctx=self._ctx):
            self.tell("ready", number=round(client.session(ctx=self._ctx).ttl))
            threads = [
                self._spawn("follow", lambda: self._follow(client)),
                self._spawn("campaign", lambda: self._campaign(client)),
                self._spawn("hand", lambda: self._take_jobs(client)),
            ]
            self._ctx.wait()
            for thread in threads:
                thread.join(_FAREWELL)

    def _follow(self, client: Client) -> None:
        for update in follow_prefix(client, self._keys.work, self._ctx):
            self._board.show(read(update.entries, self._keys))

    def _campaign(self, client: Client) -> None:
        role = self._role
        leader = Leader(
            role.name,
            client,
            role.plan,
            self._keys,
            self._board,
            Ledger(Path(role.ledger)),
            self.tell,
            self._ctx,
        )
        election = client.election(self._keys.election, value=role.name)
        election.run(leader.lead, ctx=self._ctx)

    def _take_jobs(self, client: Client) -> None:
        role = self._role
        ledger = Ledger(Path(role.ledger))
        Hand(
            role.name, role.turn, client, self._keys, self._board, ledger, self.tell, self._ctx
        ).work()

    def _spawn(self, name: str, target: Callable[[], None]) -> runtime.Thread:
        def run() -> None:
            try:
                target()
            except Exception as error:  # noqa: BLE001 (rule 1)
                if not self._ctx.done:
                    self._fail(error)

        return runtime.spawn(run, f"demo-{name}")

    def _fail(self, error: Exception) -> None:
        self._failed = True
        self.tell("trouble", text=f"{type(error).__name__}: {error}")
        self._ctx.cancel("the worker failed")


def _read_line(fd: int) -> str:
    line = b""
    while not line.endswith(b"\n") and (byte := os.read(fd, 1)):
        line += byte
    return line.decode()


def _wait_for_the_end(fd: int, ctx: Context) -> None:
    while os.read(fd, 4096):
        pass
    ctx.cancel("the stage is gone")


def main() -> int:
    """Play the role that stands on stdin; give the exit status."""
    ctx = Context()
    with cancelled_by_signals(ctx):
        stdin = sys.stdin.fileno()
        line = _read_line(stdin)
        if not line:
            return 0  # the stage went before it could say anything
        runtime.spawn(lambda: _wait_for_the_end(stdin, ctx), "demo-stdin")
        return 0 if Worker(Role.from_line(line), ctx).run() else 1


if __name__ == "__main__":
    sys.exit(main())
