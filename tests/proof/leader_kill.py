"""The leader is killed -9 under eight writers: how long none of a writer's writes is acknowledged.

One round
1. Eight writers, each with a client of its own, write unique elements all the time.
2. The leader is killed. A look at the survivors tells when they have elected another one.
3. When every writer has been served again, the killed member comes back; the next round begins.

At the end all elements are read back and compared as sets: what was acknowledged must be there, what was
refused must not, and what is there was acknowledged or of unknown outcome.

    python -m tests.proof.leader_kill                       five rounds, the header timeouts of the page
    python -m tests.proof.leader_kill --write               and into the page
    python -m tests.proof.leader_kill --rounds 1 0.5        one round, 0.5 s
"""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median
from typing import Any

import click

from etcd_recipes import Client, ClusterError, Context, ContextError
from etcd_recipes.testing import EtcdCluster, EtcdProcess, etcd_version, find_etcd
from tests.proof import page
from tests.tools import eventually

WRITERS = 8
BETWEEN = 0.005
"""Seconds between two writes of one writer: the servers share the processors with the writers."""
AFTER_A_REFUSAL = 0.02


@dataclass(frozen=True)
class Attempt:
    """One request to one endpoint."""

    endpoint: str
    sent: float
    ended: float
    outcome: str


@dataclass
class Writer:
    """Writes unique elements, one after the other, and keeps account of them."""

    name: str
    client: Client
    acknowledged: dict[str, float] = field(default_factory=dict)
    unknown: dict[str, float] = field(default_factory=dict)
    refused: dict[str, float] = field(default_factory=dict)
    attempts: list[Attempt] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._listen()

    def run(self, ctx: Context) -> None:
        number = 0
        while not ctx.wait(BETWEEN):
            number += 1
            element = f"{self.name}/{number}"
            try:
                self.client.v3.kv.put(element, "x")
            except (ClusterError, ContextError) as error:
                (self.unknown if error.maybe_applied else self.refused)[element] = time.monotonic()
                ctx.wait(AFTER_A_REFUSAL)
            else:
                self.acknowledged[element] = time.monotonic()

    def served_since(self, instant: float) -> int:
        return sum(at > instant for at in list(self.acknowledged.values()))

    def gap(self, since: float) -> float:
        """Give the longest time between two acknowledged writes, the later of which came after `since`."""
        times = list(self.acknowledged.values())
        return max(b - a for a, b in pairwise(times) if b > since)

    def _listen(self) -> None:
        wire = self.client._cluster._wire
        exchange = wire.exchange

        def listening(endpoint: str, *args: Any, **options: Any) -> Any:
            sent, outcome = time.monotonic(), "?"
            try:
                reply = exchange(endpoint, *args, **options)
                outcome = f"{reply.status} {reply.body[:90]!r}" if reply.status != 200 else "ok"
                return reply
            except Exception as error:
                outcome = str(error)
                raise
            finally:
                self.attempts.append(Attempt(endpoint, sent, time.monotonic(), outcome))

        wire.exchange = listening  # type: ignore[method-assign]


LONG_ELECTION = 1.9
"""Seconds, of etcd's own. Each survivor draws its patience between one and two seconds; when both draw the
longest, or the same and split the vote, no client can be served in two. Such a round is reported, and void."""
VOID_AT_MOST = 2


@dataclass(frozen=True)
class Round:
    """What one kill cost; seconds since the kill."""

    elected: float
    gaps: tuple[float, ...]
    stories: tuple[str, ...]

    @property
    def is_void(self) -> bool:
        return self.elected > LONG_ELECTION

    def story_of(self, gap: float) -> str:
        """Tell what the writer with this gap waited for."""
        return self.stories[self.gaps.index(gap)]


@dataclass(frozen=True)
class Account:
    """What became of all elements."""

    acknowledged: int
    unknown: int
    unknown_and_there: int
    refused: int
    lost: frozenset[str]
    invented: frozenset[str]


@dataclass(frozen=True)
class Run:
    """All rounds with one header timeout."""

    header_timeout: float
    rounds: tuple[Round, ...]
    account: Account


def run(rounds: int, header_timeout: float | None = None) -> Run:
    """Kill the leader so many times, and tell what it cost the writers; None is the client's default."""
    options = {} if header_timeout is None else {"header_timeout": header_timeout}
    with EtcdCluster(3) as cluster:
        with writing(cluster, options) as writers:
            done: list[Round] = []
            while sum(not each.is_void for each in done) < rounds:
                assert sum(each.is_void for each in done) <= VOID_AT_MOST, "etcd elects too slowly"
                done.append(one_round(cluster, writers))
        return Run(header_timeout or 1.0, tuple(done), account(cluster, writers))


@contextmanager
def writing(cluster: EtcdCluster, options: dict[str, Any]) -> Iterator[list[Writer]]:
    """Let eight writers write."""
    ctx = Context()
    with ExitStack() as stack:
        clients = [
            stack.enter_context(Client(cluster.endpoints, **options)) for _ in range(WRITERS)
        ]
        writers = [Writer(f"w{i}", client) for i, client in enumerate(clients)]
        threads = [threading.Thread(target=writer.run, args=(ctx,)) for writer in writers]
        for thread in threads:
            stack.callback(thread.join)
        stack.callback(ctx.cancel)
        for thread in threads:
            thread.start()
        yield writers


def account(cluster: EtcdCluster, writers: list[Writer]) -> Account:
    """Read everything back, and compare."""
    with Client(cluster.endpoints) as reader:
        kvs = reader.v3.kv.range("w", prefix=True, keys_only=True).kvs
    there = {kv.key.decode() for kv in kvs}
    acknowledged = {element for writer in writers for element in writer.acknowledged}
    unknown = {element for writer in writers for element in writer.unknown}
    refused = {element for writer in writers for element in writer.refused}
    return Account(
        len(acknowledged),
        len(unknown),
        len(unknown & there),
        len(refused),
        lost=frozenset(acknowledged - there),
        invented=frozenset(there - acknowledged - unknown),
    )


def one_round(cluster: EtcdCluster, writers: list[Writer]) -> Round:
    now = time.monotonic()
    eventually(lambda: all(writer.served_since(now) > 50 for writer in writers), 30)
    leader = cluster.leader()
    killed = time.monotonic()
    leader.kill()
    elected = wait_for_another(cluster, leader) - killed
    eventually(lambda: all(writer.served_since(killed + 0.2) > 20 for writer in writers), 30)
    gaps = tuple(writer.gap(killed) for writer in writers)
    stories = tuple(story(writer, killed) for writer in writers)
    leader.start()
    leader.wait_ready()
    return Round(elected, gaps, stories)


def wait_for_another(cluster: EtcdCluster, old: EtcdProcess) -> float:
    survivors = [member for member in cluster.members if member is not old]

    def elected() -> bool:
        views = [view for member in survivors if (view := member.status())]
        return any(view.member == view.leader for view in views)

    eventually(elected, 30)
    return time.monotonic()


def story(writer: Writer, killed: float) -> str:
    """Tell what each of a writer's attempts waited for, from the kill until it was served again."""
    lines = []
    for attempt in writer.attempts:
        if attempt.ended < killed - 0.01:
            continue
        sent, ended = attempt.sent - killed, attempt.ended - killed
        lines.append(
            f"{sent:7.3f} .. {ended:7.3f}  {attempt.endpoint[-5:]}  {attempt.outcome[:110]}"
        )
        if attempt.outcome == "ok" and sent > 0.2:
            break
    return "\n".join(lines if len(lines) < 60 else [*lines[:25], f"... {len(lines)}", *lines[-25:]])


def say(done: Run) -> Iterator[str]:
    gaps = sorted(gap for each in done.rounds for gap in each.gaps)
    a = done.account
    yield (
        f"header_timeout {done.header_timeout:g} s: {len(gaps)} gaps, median {median(gaps):.2f} s, "
        f"longest {gaps[-1]:.2f} s; elected after "
        + ", ".join(f"{each.elected:.2f}" for each in done.rounds)
    )
    for each in done.rounds:
        void = " (void)" if each.is_void else ""
        yield f"  {each.elected:.2f}{void}: " + " ".join(f"{gap:.2f}" for gap in sorted(each.gaps))
    yield (
        f"  {a.acknowledged} acknowledged, {len(a.lost)} lost, {len(a.invented)} invented; "
        f"{a.unknown} of unknown outcome ({a.unknown_and_there} are there), {a.refused} refused"
    )


MODULE = "tests.proof.leader_kill"


def table(runs: list[Run], version: str) -> str:
    """Write the page's table, in Markdown."""
    head = (
        "| `header_timeout` | kills | etcd elected after | longest gap: median, worst "
        "| more than the election | acknowledged | unknown | lost |"
    )
    lines = [
        f"Measured with etcd {version}, heartbeat 100 ms, election timeout 1000 ms, {WRITERS} writers.",
        "",
        head,
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for done in runs:
        gaps = [gap for each in done.rounds for gap in each.gaps]
        added = max(max(each.gaps) - each.elected for each in done.rounds)
        elected = [each.elected for each in done.rounds]
        a = done.account
        lines.append(
            f"| {done.header_timeout:g} s | {len(elected)} | {min(elected):.2f} to {max(elected):.2f} s "
            f"| {median(gaps):.2f}, {max(gaps):.2f} s | {max(0.0, added) * 1000:.0f} ms at most "
            f"| {a.acknowledged} | {a.unknown} | {len(a.lost)} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Kill the leader under eight writers.")
    parser.add_argument("--write", action="store_true", help="write it into the documentation")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("header_timeouts", type=float, nargs="*", default=[1.0, 0.5, 0.3])
    options = parser.parse_args()
    runs = []
    for header_timeout in options.header_timeouts:
        runs.append(run(options.rounds, header_timeout))
        worst = max(runs[-1].rounds, key=lambda each: max(each.gaps))
        click.echo("\n".join(say(runs[-1])))
        click.echo(worst.story_of(max(worst.gaps)))
    version = ".".join(map(str, etcd_version(find_etcd())))
    if options.write:
        page.write(MODULE, table(runs, version))
    else:
        click.echo(table(runs, version))


if __name__ == "__main__":
    main()
