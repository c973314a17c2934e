"""What becomes of watches when their member is cut off from its cluster, and gets its history back as a snapshot.

One round
1. Three watches of one prefix at one follower: raw, raw and asking for a leader, and one of this library, which
   has the other members behind that one. All of them are given a first event.
2. The follower is cut off; clients still reach it. A key is written, again and again, to the other two.
3. When enough has been written for a snapshot, the follower comes back, with the writers still at it. The raw
   watch goes on where it was.

Only the last round writes as much as that; the others end when the two that notice have noticed.

    python -m tests.reliability.cutoff --rounds 3 --json FILE
"""

from __future__ import annotations

import argparse
import base64
import json
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import click
import requests

from etcd_recipes import Client, Context, EtcdRecipesError
from etcd_recipes.testing import etcd_version, find_etcd
from tests.proof.isolation import Isolated
from tests.reliability.report import CutOff
from tests.tools import eventually

PREFIX = "cut/"
ENOUGH = 8000
"""Writes: more than the 5000 entries that a leader keeps for those that lag behind."""
WRITERS = 8
SNAPSHOTS = ("--snapshot-count=1000",)


@dataclass
class Seen:
    """The revisions that a watch gave, in its order; when each came, and when it ended."""

    revisions: list[int] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    ended: float | None = None

    def see(self, revision: int) -> None:
        self.times.append(time.monotonic())
        self.revisions.append(revision)

    def first_after(self, instant: float) -> float | None:
        return next((at for at in self.times if at > instant), None)

    def repeated(self) -> int:
        return len(self.revisions) - len(set(self.revisions))


def raw(endpoint: str, seen: Seen, headers: dict[str, str]) -> None:
    """Open a watch of the gateway with nothing in between; a thread reads it until its server ends."""
    key, end = (base64.b64encode(each).decode() for each in (b"cut/", b"cut0"))
    reply = requests.post(
        f"{endpoint}/v3/watch",
        json={"create_request": {"key": key, "range_end": end, "progress_notify": True}},
        headers=headers,
        stream=True,
        timeout=(5, None),
    )

    def read() -> None:
        with suppress(requests.RequestException, AttributeError):
            for body in messages(reply):
                for event in body.get("result", {}).get("events", ()):
                    seen.see(int(event["kv"]["mod_revision"]))
        seen.ended = time.monotonic()

    threading.Thread(target=read, daemon=True).start()


def messages(reply: requests.Response) -> Iterator[dict[str, Any]]:
    """Give each message of a stream, until one is an error or the stream ends."""
    rest = b""
    for chunk in reply.iter_content(chunk_size=None):
        *whole, rest = (rest + chunk).split(b"\n")
        yield from map(json.loads, filter(None, whole))
        if rest.startswith(b'{"error"'):  # the last one, which no line end follows
            return


@contextmanager
def ours(endpoints: list[str], seen: Seen, ctx: Context) -> Iterator[None]:
    """Open one of the library's, which asks the first endpoint first."""
    with Client(endpoints) as client:
        client._cluster.pin(endpoints[0])
        watcher = client.v3.watch(PREFIX, prefix=True)

        def read() -> None:
            with suppress(EtcdRecipesError):
                for event in watcher:
                    seen.see(event.kv.mod_revision)

        thread = threading.Thread(target=read, daemon=True)
        thread.start()
        yield
        watcher.close()
        thread.join()


@dataclass
class Written:
    """Writes unique values to members that are well."""

    endpoints: list[str]
    revisions: set[int] = field(default_factory=set)

    @contextmanager
    def by_many(self, ctx: Context) -> Iterator[None]:
        """Have several write all the time."""
        mine = ctx.child()
        threads = [
            threading.Thread(target=self._write, args=(f"w{n}", mine)) for n in range(WRITERS)
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            mine.cancel()
            for thread in threads:
                thread.join()

    def write(self, name: str, ctx: Context) -> None:
        """Write once."""
        with Client(self.endpoints) as client:
            self.revisions.add(client.v3.kv.put(f"{PREFIX}{name}", "x", ctx=ctx).revision)

    def _write(self, name: str, ctx: Context) -> None:
        with Client(self.endpoints) as client:
            while not ctx.done:
                with suppress(EtcdRecipesError):
                    self.revisions.add(client.v3.kv.put(f"{PREFIX}{name}", "x").revision)


@dataclass(frozen=True)
class Round:
    asked: float
    library: float
    silent: float
    written: int
    raw: Seen
    library_seen: Seen
    missing: tuple[int, int]  # raw, library


def one_round(enough: int) -> Round:
    raw_seen, asking, mine = Seen(), Seen(), Seen()
    with (
        Isolated(heartbeat=100, election_timeout=1000, extra_args=SNAPSHOTS) as cluster,
        ExitStack() as stack,
    ):
        victim = next(m for m in cluster.members if m is not cluster.leader())
        others = [m.endpoint for m in cluster.members if m is not victim]
        ctx = Context()
        raw(victim.endpoint, raw_seen, {})
        raw(victim.endpoint, asking, {"Grpc-Metadata-hasleader": "true"})
        stack.enter_context(ours([victim.endpoint, *others], mine, ctx))
        all_of_them = (raw_seen, asking, mine)
        written = Written(others)
        written.write("first", ctx)
        eventually(lambda: all(seen.revisions for seen in all_of_them), 10, "the first event")
        cut = time.monotonic()
        cluster.isolate(victim)
        with written.by_many(ctx):
            eventually(lambda: asking.ended and mine.first_after(cut), 60, "somebody to notice")
            eventually(lambda: len(written.revisions) >= enough, 120, "enough to be written")
            assert raw_seen.ended is None
            healed, missed = time.monotonic(), max(written.revisions)
            cluster.heal()
            eventually(lambda: max(raw_seen.revisions) > missed, 60, "the raw watch to go on")
        written.write("last", ctx)
        last = max(written.revisions)
        eventually(lambda: all(last in s.revisions for s in (raw_seen, mine)), 60, "the last event")
    noticed = mine.first_after(cut)
    assert asking.ended is not None
    assert noticed is not None
    missing = tuple(len(written.revisions - set(seen.revisions)) for seen in (raw_seen, mine))
    return Round(
        asking.ended - cut, noticed - cut, healed - cut, len(written.revisions),
        raw_seen, mine, (missing[0], missing[1]),
    )  # fmt: skip


def measure(rounds: int) -> CutOff:
    done = [one_round(1 if n < rounds - 1 else ENOUGH) for n in range(rounds)]
    last = done[-1]
    return CutOff(
        etcd=".".join(map(str, etcd_version(find_etcd()))),
        asked=tuple(round(each.asked, 2) for each in done),
        library=tuple(round(each.library, 2) for each in done),
        silent=round(last.silent, 1),
        written=last.written,
        raw_repeated=last.raw.repeated(),
        raw_missing=last.missing[0],
        library_repeated=sum(each.library_seen.repeated() for each in done),
        library_missing=sum(each.missing[1] for each in done),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Cut a member off, with watches of it.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    measured = measure(options.rounds)
    if options.json:
        options.json.write_text(json.dumps({"cut_off": asdict(measured)}))
    click.echo(measured)


if __name__ == "__main__":
    main()
