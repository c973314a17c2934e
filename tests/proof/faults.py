"""The fault table: every fault, under every kind of call, with and without good endpoints behind the bad one.

One cell
1. A client of its own asks the endpoint that is about to fail first, and has done so successfully.
2. The fault is there. The call is made; what comes of it, after how long, and how many requests the
   proxies in front of the members saw in the meantime, is the cell.
3. The fault is healed. The very next call succeeds, and what the cell claims is compared with the store:
   what was answered is there, what was refused for certain is not.

No cell may take longer than its deadline and 100 ms. A cell that does is measured once more, for the
machine may have been elsewhere; how often that was needed is said on the page.

    python -m tests.proof.faults            measures and prints the tables
    python -m tests.proof.faults --write    writes them into docs/reference/faults.md
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import count

import click

from etcd_recipes import Client, ClusterError, ContextError, EtcdRecipesError
from etcd_recipes.core.v3 import Op
from etcd_recipes.testing import EtcdProcess, FaultProxy
from tests.proof import page
from tests.proof.isolation import Isolated

HEADER_TIMEOUT = 0.5
TIMEOUT = 2.0
PATIENCE = 5.0
"""The time for an open watch's next event: it asks a silent member for a proof after three seconds."""
SLACK = 0.1

ALONE, BEHIND = "alone", "with two good ones behind"
SETTINGS = (ALONE, BEHIND)

_numbers = count(1)


# -- the place ------------------------------------------------------------------------------------------------


class Place:
    """Three members with a proxy in front of each; `bad` is the one that faults happen to: a follower."""

    def __init__(self, cluster: Isolated, proxies: list[FaultProxy]) -> None:
        self.cluster = cluster
        self.proxies = proxies
        self.choose()

    def choose(self) -> None:
        """Choose a follower: a fault of the leader would be an election as well."""
        leader = self.cluster.leader()
        self.bad = next(i for i, each in enumerate(self.cluster.members) if each is not leader)

    @property
    def member(self) -> EtcdProcess:
        return self.cluster.members[self.bad]

    @property
    def proxy(self) -> FaultProxy:
        return self.proxies[self.bad]

    @property
    def direct(self) -> str:
        """A good member's endpoint, with no proxy in front of it."""
        return self.cluster.members[self.bad - 1].endpoint

    def endpoints(self, fault: Fault, setting: str) -> list[str]:
        """Give the endpoints for a client, the bad one first."""
        bad = self.member.endpoint if fault.direct else self.proxy.endpoint
        good = [each.endpoint for each in self.proxies if each is not self.proxy]
        return [bad, *good] if setting == BEHIND else [bad]

    def requests(self) -> int:
        return sum(sum(proxy.requests.values()) for proxy in self.proxies)

    def heal(self) -> None:
        for proxy in self.proxies:
            proxy.heal()
        self.member.resume()
        if not self.member.alive:
            self.member.start()
        self.cluster.heal()


class Places:
    """Opens the place, and closes it."""

    def __enter__(self) -> Place:
        self._stack = ExitStack()
        with ExitStack() as opening:
            cluster = opening.enter_context(Isolated())
            proxies = [opening.enter_context(FaultProxy(each.endpoint)) for each in cluster.members]
            self._stack = opening.pop_all()
        return Place(cluster, proxies)

    def __exit__(self, *_: object) -> None:
        self._stack.close()


# -- the faults -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fault:
    """What happens to the bad endpoint; `direct` if clients are to ask the member itself, without its proxy."""

    name: str
    happen: Callable[[Place], None]
    direct: bool = False


def reset(proxy: FaultProxy) -> None:
    """Reset what is open; new connections when they carry a request, for it is sent by then for certain."""
    proxy.reset()
    proxy.reset(only=b"HTTP/1.1")


FAULTS = (
    Fault("refused", lambda place: place.proxy.refuse()),
    Fault("reset", lambda place: reset(place.proxy)),
    Fault("cut in the headers", lambda place: place.proxy.cut("head")),
    Fault("cut in the body", lambda place: place.proxy.cut("body")),
    Fault("stopped (SIGSTOP)", lambda place: place.member.pause()),
    Fault("black hole", lambda place: place.proxy.blackhole()),
    Fault("half-open, no answers", lambda place: place.proxy.blackhole(requests=False)),
    Fault("half-open, no requests", lambda place: place.proxy.blackhole(replies=False)),
    Fault("trickle, 100 bytes/s", lambda place: place.proxy.trickle(100)),
    Fault("garbage for headers", lambda place: place.proxy.garbage("head")),
    Fault("garbage without a line end", lambda place: place.proxy.garbage("head", data=b"\xfe")),
    Fault("garbage for a body", lambda place: place.proxy.garbage("body")),
    Fault("reply lost", lambda place: place.proxy.lose_reply()),
    Fault("silent after the headers", lambda place: place.proxy.stall()),
    Fault("cut off from its cluster", lambda place: place.cluster.isolate(place.member)),
    Fault("killed (SIGKILL)", lambda place: place.member.kill(), direct=True),
)


# -- the calls ------------------------------------------------------------------------------------------------


class Call:
    """One kind of call. `make` makes it; `was_made` looks whether the store shows it; reads leave no trace."""

    name: str
    reads = False
    timeout = TIMEOUT

    def __init__(self, client: Client, direct: Client) -> None:
        self.client = client
        self.direct = direct
        self.key = f"fault/{next(_numbers)}"
        self.prepare()

    def prepare(self) -> None:
        self.client.v3.kv.put(self.key, "before")

    def begin(self) -> None:
        """Do what happens elsewhere once the fault is there."""

    def make(self) -> None:
        raise NotImplementedError

    def was_made(self) -> bool:
        found = self.direct.v3.kv.get(self.key)
        return found is not None and found.value == b"after"

    def end(self) -> None:
        pass


class Get(Call):
    name, reads = "get", True

    def make(self) -> None:
        found = self.client.v3.kv.get(self.key, timeout=self.timeout)
        assert found is not None
        assert found.value == b"before"


class Put(Call):
    name = "put"

    def make(self) -> None:
        self.client.v3.kv.put(self.key, "after", timeout=self.timeout)


class Txn(Call):
    name = "transaction"

    def make(self) -> None:
        done = self.client.v3.kv.txn([], [Op.put(self.key, "after")], timeout=self.timeout)
        assert done.succeeded


class Grant(Call):
    name = "lease grant"

    def prepare(self) -> None:
        self.ttl = 1000 + next(_numbers)  # by which it is found again
        self.client.v3.lease.list()

    def make(self) -> None:
        self.client.v3.lease.grant(self.ttl, timeout=self.timeout)

    def was_made(self) -> bool:
        return self._granted() != []

    def _granted(self) -> list[int]:
        lease = self.direct.v3.lease
        return [each for each in lease.list() if lease.time_to_live(each).granted_ttl == self.ttl]

    def end(self) -> None:
        for lease in self._granted():
            self.direct.v3.lease.revoke(lease)


class Renew(Call):
    name, reads = "lease renewal", True

    def prepare(self) -> None:
        self.lease = self.client.v3.lease.grant(60).id
        self.client.v3.lease.keep_alive_once(self.lease)

    def make(self) -> None:
        assert self.client.v3.lease.keep_alive_once(self.lease, timeout=self.timeout) == 60

    def end(self) -> None:
        self.direct.v3.lease.revoke(self.lease)


class Watch(Call):
    name, reads = "watch, opening", True

    def make(self) -> None:
        with self.client.v3.watch(self.key, timeout=self.timeout) as watcher:
            self.direct.v3.kv.put(self.key, "seen")
            assert watcher.next(timeout=10.0).kv.value == b"seen"


class NextEvent(Call):
    name, reads, timeout = "open watch, next event", True, PATIENCE

    def prepare(self) -> None:
        super().prepare()
        self.watcher = self.client.v3.watch(self.key)
        self.expected = count(1)

    def begin(self) -> None:
        for number in (1, 2):
            self.direct.v3.kv.put(self.key, str(number))

    def make(self) -> None:
        """The first event; after an error the call is made again, and must give the same one."""
        seen = self.watcher.next(timeout=self.timeout)
        assert seen.kv.value == str(next(self.expected)).encode()

    def end(self) -> None:
        self.watcher.close()


CALLS: tuple[type[Call], ...] = (Get, Put, Txn, Grant, Renew, Watch, NextEvent)


# -- a cell ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cell:
    """What came of one call."""

    setting: str
    fault: str
    call: str
    outcome: str
    seconds: float
    requests: int
    again: bool = False

    def __str__(self) -> str:
        return f"{self.outcome}, {self.seconds:.2f} s, {self.requests}"


def measure(
    place: Place,
    faults: Iterable[Fault] = FAULTS,
    calls: Iterable[type[Call]] = CALLS,
    settings: Iterable[str] = SETTINGS,
) -> Iterator[Cell]:
    """Give the cells, one row after the other; AssertionError for a cell that breaks a promise."""
    for setting in settings:
        for fault in faults:
            for cell in row(place, fault, setting, calls):
                yield cell if in_time(cell) else once_more(place, fault, cell)


def once_more(place: Place, fault: Fault, late: Cell) -> Cell:
    """Measure a cell for the second and last time."""
    cell = replace(next(row(place, fault, late.setting, [kind_of(late)])), again=True)
    assert in_time(cell), f"too late, twice: {late!r}, {cell!r}"
    return cell


def in_time(cell: Cell) -> bool:
    return cell.seconds <= limit_of(cell) + SLACK


def limit_of(cell: Cell) -> float:
    """Give how long the call may take: its deadline at most, and nearly always less."""
    if cell.call == NextEvent.name:
        return NextEvent.timeout  # a lone watcher asks for a proof after 3 s of silence
    if cell.fault in DEFINITE:
        return 0.0
    return 1.0 if cell.fault == SILENT_BODY else HEADER_TIMEOUT


def kind_of(cell: Cell) -> type[Call]:
    return next(each for each in CALLS if each.name == cell.call)


def row(place: Place, fault: Fault, setting: str, kinds: Iterable[type[Call]]) -> Iterator[Cell]:
    """Give the cells of one fault, made one after the other while it lasts."""
    place.choose()
    endpoints = place.endpoints(fault, setting)
    with ExitStack() as stack:
        direct = stack.enter_context(Client(place.direct))
        calls = []
        for kind in kinds:
            client = stack.enter_context(Client(endpoints, header_timeout=HEADER_TIMEOUT))
            client._cluster.pin(endpoints[0])
            call = kind(client, direct)
            client._cluster.pin(endpoints[0])
            stack.callback(call.end)
            calls.append(call)
        stack.callback(place.heal)
        fault.happen(place)
        made = [(call, *outcome_of(place, call)) for call in calls]
        place.heal()
        for call, outcome, seconds, requests in made:
            cell = Cell(setting, fault.name, call.name, outcome, seconds, requests)
            check_afterwards(call, cell)
            yield cell


def outcome_of(place: Place, call: Call) -> tuple[str, float, int]:
    call.begin()
    before, start = place.requests(), time.monotonic()
    try:
        call.make()
    except EtcdRecipesError as error:
        outcome = type(error).__name__ + ("?" if in_doubt(call, error) else "")
    else:
        outcome = "answer"
    return outcome, time.monotonic() - start, place.requests() - before


def in_doubt(call: Call, error: EtcdRecipesError) -> bool:
    return not call.reads and isinstance(error, ClusterError | ContextError) and error.maybe_applied


def check_afterwards(call: Call, cell: Cell) -> None:
    """Step 3 of a cell."""
    if not call.reads and cell.outcome == "answer":
        assert call.was_made(), f"an answered write is not there: {cell!r}"
    if not call.reads and cell.outcome in ("ClusterError", "DeadlineExceeded", "Cancelled"):
        assert not call.was_made(), f"a write that was refused for certain is there: {cell!r}"
    try:
        call.make()
    except EtcdRecipesError as error:
        raise AssertionError(f"not well after the fault: {cell!r}") from error


# -- what must be so, whatever the page says ------------------------------------------------------------------

SILENT_BODY = "silent after the headers"
DEFINITE = ("refused", "killed (SIGKILL)", "cut off from its cluster")
"""Whoever sees one of these knows that nothing was carried out."""
SPOILT = ("garbage for a body",)
"""A whole answer with nonsense in it is an answer that is wrong, not an endpoint that is silent."""


def check(cell: Cell) -> None:
    """AssertionError if a cell breaks one of the promises that hold for all of them."""
    known = ("answer", "ClusterError", "DeadlineExceeded", "InvalidResponse", "EmptyResponse")
    assert cell.outcome.rstrip("?") in known, cell
    must_be_answered = kind_of(cell).reads or cell.fault in DEFINITE
    if cell.setting == BEHIND and must_be_answered and cell.fault not in SPOILT:
        assert cell.outcome == "answer", cell


# -- the page -------------------------------------------------------------------------------------------------

MODULE = "tests.proof.faults"


def tables(cells: list[Cell], version: str) -> str:
    """Write the tables, in Markdown."""
    again = sum(cell.again for cell in cells)
    latest = max(cell.seconds - kind_of(cell).timeout for cell in cells)
    head = (
        f"Measured with etcd {version}, `header_timeout` {HEADER_TIMEOUT:g} s, and a timeout of "
        f"{TIMEOUT:g} s for each call, {PATIENCE:g} s for the next event. {len(cells)} cells; none ended "
        f"later than {max(0, latest) * 1000:.0f} ms after its deadline; {again or 'none'} had to be "
        "measured twice."
    )
    lines = [head, ""]
    for setting in SETTINGS:
        lines += [f"### The bad endpoint {setting}", ""]
        lines += table([cell for cell in cells if cell.setting == setting])
        lines += [""]
    return "\n".join(lines)


def table(cells: list[Cell]) -> Iterator[str]:
    names = list(dict.fromkeys(cell.call for cell in cells))
    yield "| fault | " + " | ".join(names) + " |"
    yield "| --- |" + " --- |" * len(names)
    for fault in dict.fromkeys(cell.fault for cell in cells):
        found = {cell.call: cell for cell in cells if cell.fault == fault}
        yield f"| {fault} | " + " | ".join(str(found[name]) for name in names) + " |"


def outcomes() -> dict[tuple[str, str, str], str]:
    """Read the outcomes back from the page."""
    found = {}
    setting, names = "", [""]
    for line in page.part(MODULE).splitlines():
        if line.startswith("### The bad endpoint "):
            setting = line.removeprefix("### The bad endpoint ")
        fault, *rest = [part.strip() for part in line.strip("|").split("|")]
        if fault == "fault":
            names = rest
        elif line.startswith("| ") and not fault.startswith("---"):
            for name, cell in zip(names, rest, strict=True):
                found[setting, fault, name] = cell.partition(",")[0]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the fault table.")
    parser.add_argument("--write", action="store_true", help="write it into the documentation")
    parser.add_argument("faults", nargs="*", help="only faults with one of these in their names")
    options = parser.parse_args()
    wanted = [f for f in FAULTS if not options.faults or any(p in f.name for p in options.faults)]
    cells = []
    with Places() as place:
        version = ".".join(map(str, place.member.version))
        for cell in measure(place, wanted):
            cells.append(cell)
            click.echo(f"{cell.setting} | {cell.fault} | {cell.call} | {cell}", err=True)
    if not options.write:
        click.echo(tables(cells, version))
    for cell in cells:
        check(cell)
    if options.write:
        page.write(MODULE, tables(cells, version))


if __name__ == "__main__":
    main()
