"""A watch over a prefix while members are killed -9 and come back in turn: every event once, in order.

1. A writer puts unique values, many in one transaction. A transaction whose outcome is unknown is sent
   again with the same guard (the first key does not exist), so that each value is put exactly once.
2. Whenever another share of the values is written, a member is killed: in turn the one that the watcher is
   connected to, while its reader looks away, and the leader. When the watcher has gone on, the member comes
   back.
3. At the end, what the watcher was given is compared with the store: the same values, at the same
   revisions, in the order of revisions, none missing, none twice.

    python -m tests.proof.watch_kills [events] [kills]
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import click

from etcd_recipes import Client, ClusterError, Context, ContextError
from etcd_recipes.core.v3 import Compare, Op
from etcd_recipes.core.v3.watcher import Watcher
from etcd_recipes.testing import EtcdCluster, EtcdProcess
from tests.tools import Job, eventually

PREFIX = "events/"
PATIENCE = 60.0


History = set[tuple[int, bytes, bytes]]
"""Revision, key and value of every event."""


@dataclass(frozen=True)
class Account:
    """What was written, what was seen, and how it went.

    `shifted` counts events that were seen at another revision than the store has them at. After a crash
    under load, members of etcd 3.5.0 to 3.5.2 may count revisions differently for ever (etcd's issue
    13766); a run in which the members disagree says nothing about a client.
    """

    events: int
    kills: tuple[str, ...]
    repeated: int
    seconds: float
    longest_silence: float
    missing: int
    invented: int
    twice: int
    shifted: int
    in_order: bool
    members_agree: bool

    @property
    def flawless(self) -> bool:
        return self.in_order and not (self.missing or self.invented or self.twice or self.shifted)


class Writer:
    """Writes the values; `written` counts those that are there for certain."""

    def __init__(self, client: Client, events: int, batch: int, pause: float) -> None:
        self._client = client
        self._events = events
        self._batch = batch
        self._pause = pause
        self.written = 0
        self.repeated = 0

    def run(self, ctx: Context) -> None:
        for first in range(0, self._events, self._batch):
            self._put(range(first, min(first + self._batch, self._events)), ctx)
            ctx.wait(self._pause)

    def _put(self, numbers: range, ctx: Context) -> None:
        keys = [f"{PREFIX}{number:07}" for number in numbers]
        guard = [Compare.version(keys[0]) == 0]
        puts = [Op.put(key, str(number)) for key, number in zip(keys, numbers, strict=True)]
        while not ctx.done:
            try:
                self._client.v3.kv.txn(guard, puts)
            except (ClusterError, ContextError):
                self.repeated += 1
                ctx.wait(0.02)
            else:
                self.written += len(numbers)
                return


class Reader:
    """Collects what the watcher is given."""

    def __init__(self, watcher: Watcher, events: int) -> None:
        self.watcher = watcher
        self._events = events
        self.seen: list[tuple[int, bytes, bytes]] = []
        self.may_read = threading.Event()
        self.may_read.set()
        self.longest_silence = 0.0

    def run(self) -> None:
        last = time.monotonic()
        while len(self.seen) < self._events:
            self.may_read.wait()
            event = self.watcher.next(timeout=PATIENCE)
            now = time.monotonic()
            self.longest_silence, last = max(self.longest_silence, now - last), now
            self.seen.append((event.kv.mod_revision, event.kv.key, event.kv.value))


def run(
    events: int, kills: int, *, batch: int = 50, pause: float = 0.0, election_timeout: int = 1000
) -> Account:
    """Write so many events under so many kills, a `batch` in one transaction, with a `pause` between them."""
    heartbeat = election_timeout // 10
    start = time.monotonic()
    with (
        EtcdCluster(3, heartbeat=heartbeat, election_timeout=election_timeout) as cluster,
        Client(cluster.endpoints) as writing,
        Client(cluster.endpoints) as watching,
        watching.v3.watch(PREFIX, prefix=True) as watcher,
    ):
        writer, reader, ctx = (
            Writer(writing, events, batch, pause),
            Reader(watcher, events),
            Context(),
        )
        jobs = [Job(lambda: writer.run(ctx)), Job(reader.run)]
        try:
            killed = tuple(kill_in_turn(cluster, writer, reader, events, kills))
            for job in jobs:
                job.result(PATIENCE + events / 100)
        finally:
            reader.may_read.set()
            ctx.cancel()
        histories = [history(member) for member in cluster.members]
    there = histories[0]
    return Account(
        events=len(there),
        kills=killed,
        repeated=writer.repeated,
        seconds=time.monotonic() - start,
        longest_silence=reader.longest_silence,
        missing=len(values(there) - values(reader.seen)),
        invented=len(values(reader.seen) - values(there)),
        twice=len(reader.seen) - len(values(reader.seen)),
        shifted=len(set(reader.seen) - there),
        in_order=reader.seen == sorted(reader.seen),
        members_agree=all(each == there for each in histories),
    )


def history(member: EtcdProcess) -> History:
    """Give what a member has, by its own count of revisions."""
    with Client(member.endpoint, header_timeout=None) as client:
        client.v3.kv.get(PREFIX)  # it has caught up with the others when this is answered
        pages = client.v3.kv.scan(PREFIX, prefix=True, serializable=True)
        return {(kv.mod_revision, kv.key, kv.value) for kv in pages}


def values(events: Iterable[tuple[int, bytes, bytes]]) -> set[tuple[bytes, bytes]]:
    return {(key, value) for _, key, value in events}


def kill_in_turn(
    cluster: EtcdCluster, writer: Writer, reader: Reader, events: int, kills: int
) -> Iterator[str]:
    """Kill a member whenever a further share is written; give what it was."""
    for number in range(kills):
        share = events * (number + 1) // (kills + 1)
        eventually(lambda: writer.written >= share, PATIENCE, f"event {share}")  # noqa: B023
        leader, watched = cluster.leader(), connected_to(reader.watcher, cluster)
        member = watched if number % 2 == 0 else leader
        if member is watched:
            reader.may_read.clear()  # looks away, so that there is certainly something to catch up with
        written, seen = writer.written, len(reader.seen)
        member.kill()
        enough = min(written + 50, events)  # the last ones may be written before the kill
        eventually(lambda: writer.written >= enough, PATIENCE, "the next write")  # noqa: B023
        reader.may_read.set()
        enough = min(seen + 50, events)
        eventually(lambda: len(reader.seen) >= enough, PATIENCE, "the next event")  # noqa: B023
        member.start()
        member.wait_ready()
        both = " and leader" if member is leader is watched else ""
        yield f"{'watched' if number % 2 == 0 else 'leader'}{both}"


def connected_to(watcher: Watcher, cluster: EtcdCluster) -> EtcdProcess:
    channel = eventually(lambda: watcher._subscription._channel, PATIENCE, "a connection")
    return next(each for each in cluster.members if each.endpoint == channel.endpoint)


def say(done: Account) -> str:
    return (
        f"{done.events} events in {done.seconds:.0f} s under {len(done.kills)} kills -9: "
        f"{done.missing} missing, {done.twice} twice, {done.invented} invented, "
        f"{'in' if done.in_order else 'OUT OF'} order; {done.shifted} at another revision"
        f"{'' if done.members_agree else ' (THE MEMBERS DISAGREE)'}; longest silence {done.longest_silence:.1f} s; "
        f"{done.repeated} transactions sent again"
    )


if __name__ == "__main__":
    events, kills = ([int(arg) for arg in sys.argv[1:]] + [100_000, 12])[:2]
    click.echo(say(run(events, kills)))
