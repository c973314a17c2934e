"""What grows with what, measured: the figures of docs/explanation/scale.md.

    python -m tests.growth                  # all of it, some ten minutes
    python -m tests.growth calls holds      # parts: calls holds lines waits registrations views gates

Requests and bytes are counted by a real server, threads and connections by the kernel. CPU is given as a ratio to
what was measured first in the same process. Needs as many open files as it has waiters, twice (``ulimit -n``).
"""

from __future__ import annotations

import re
import resource
import statistics
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from http.client import HTTPException
from itertools import islice
from pathlib import Path
from typing import Any

from etcd_recipes import Client, DoubleBarrier, EtcdRecipesError, Instance, Registration
from etcd_recipes.coordination import line
from etcd_recipes.testing import EtcdProcess
from tests.requests_seen import requests_seen, v2_requests_seen
from tests.tools import Job, child, eventually

PATIENCE = 600.0
SENT = "etcd_network_client_grpc_sent_bytes_total"
WATCHERS = "etcd_debugging_mvcc_watcher_total"
EVENTS = "etcd_debugging_mvcc_events_total"


# -- counting ----------------------------------------------------------------------------------------------


def again(call: Callable[[], Any]) -> Any:
    """Give what `call` gives: a server that is at its limit may drop a look at its counters."""
    for _ in range(20):
        with suppress(OSError, HTTPException):
            return call()
        settle(0.2)
    return call()


def settle(seconds: float = 1.0) -> None:
    """Let pass what is under way; nothing but the figures depends on it."""
    threading.Event().wait(seconds)


class Meter:
    """The counters of a server."""

    def __init__(self, server: EtcdProcess, api: str = "v3") -> None:
        self._endpoint = server.endpoint
        self._requests = requests_seen if api == "v3" else v2_requests_seen

    def requests(self) -> Counter[str]:
        found: Counter[str] = again(lambda: self._requests(self._endpoint))
        found.pop("Watch", None)  # counted when it ends
        return found

    def value(self, name: str) -> float:
        text = again(self._text)
        found = re.search(rf"^{name}(?:\{{[^}}]*\}})? (\S+)", text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    def _text(self) -> str:
        with urllib.request.urlopen(f"{self._endpoint}/metrics", timeout=10) as answer:
            return str(answer.read().decode())

    @contextmanager
    def counted(self) -> Iterator[Counter[str]]:
        """Give, when the body has ended, what the server was asked in it."""
        before, answer = self.requests(), Counter[str]()
        yield answer
        answer.update(self.requests() - before)

    @contextmanager
    def grown(self, name: str) -> Iterator[list[float]]:
        """Give, when the body has ended, by how much a counter has grown."""
        before, answer = self.value(name), list[float]()
        yield answer
        answer.append(self.value(name) - before)

    def wait_for(self, what: str, number: int) -> None:
        """Wait until so many more of `what` were asked."""
        before = self.requests()[what]
        eventually(lambda: self.requests()[what] - before >= number, 240)


def told(counts: Counter[str], per: float = 1) -> str:
    parts = [f"{n / per:.3g} {what}" for what, n in sorted(counts.items()) if n]
    return " + ".join(parts) or "none"


def sockets() -> int:
    links = Path("/proc/self/fd").iterdir()
    return sum(link.is_symlink() and "socket" in str(link.readlink()) for link in links)


def threads() -> int:
    """Give the threads of the library."""
    return sum(thread.name.startswith("etcd-recipes") for thread in threading.enumerate())


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def row(*cells: object) -> None:
    print("| " + " | ".join(str(cell) for cell in cells) + " |", flush=True)


def next_of(jobs: list[Job]) -> Any:
    """Wait for one of the jobs, take it out, and give its result."""
    job = eventually(lambda: next((job for job in jobs if not job.running), None), 60)
    assert job is not None
    jobs.remove(job)
    return job.result()


def give_up(client: Client, jobs: list[Job]) -> None:
    """End the session of those who wait, and wait until they have heard of it."""
    client.session().close()
    for job in jobs:
        with suppress(EtcdRecipesError):
            job.result(60)


# -- single calls --------------------------------------------------------------------------------------------


def calls(server: EtcdProcess) -> None:
    row("api", "what", "requests")
    for api in ("v3", "v2"):
        with ExitStack() as stack:
            client, other = (
                stack.enter_context(Client(server.endpoint, api=api, session_ttl=600))
                for _ in range(2)
            )
            client.session(), other.session()
            _calls(Meter(server, api), api, client, other)


def _calls(meter: Meter, api: str, client: Client, other: Client) -> None:
    def cost(what: str, call: Callable[[], Any]) -> Any:
        with meter.counted() as answer:
            result = call()
        row(api, what, told(answer))
        return result

    lock, rival = client.lock("lock"), other.lock("lock")
    cost("lock: acquire", lock.acquire)
    cost("lock: try, taken", partial(rival.acquire, blocking=False))
    cost("lock: release", lock.release)
    cost("lock: try, free", partial(lock.acquire, blocking=False))
    job = Job(partial(rival.acquire, timeout=PATIENCE))
    eventually(lock.waiters)
    settle()
    cost("lock: release, and the grant to the next", lambda: [lock.release(), job.result()])
    rival.release()
    for kind, thing in (
        ("rwlock, read", client.rwlock("rw").read()),
        ("semaphore", client.semaphore("semaphore", permits=2)),
    ):
        cost(f"{kind}: acquire", thing.acquire)
        cost(f"{kind}: release", thing.release)
        cost(f"{kind}: try, free", partial(thing.acquire, blocking=False))
        thing.release()
    term = cost("election: campaign, alone", partial(client.election("election").campaign, "me"))
    cost("election: proclaim", partial(term.proclaim, "you"))
    cost("election: resign", term.resign)
    made = cost("registry: register", partial(client.registry().register, "api", "1:80"))
    cost("registry: update", partial(made.update, weight=2))
    cost("registry: close", made.close)
    barrier = client.barrier("barrier")
    cost("barrier: hold", barrier.hold)
    cost("barrier: release", barrier.release)
    cost("barrier: wait, open", barrier.wait)


# -- holds ---------------------------------------------------------------------------------------------------

_HOLDER = """
    import json, os, sys, threading
    from etcd_recipes import Client
    from etcd_recipes.core.log import listen

    endpoint, api, number, ttl = sys.argv[1:]
    renewed = threading.Semaphore(0)
    times = []

    def hear(event, fields):
        if event == "session.renewed":
            times.append(fields["took"])
            renewed.release()

    def size():
        files = [os.path.join("/proc/self/fd", each) for each in os.listdir("/proc/self/fd")]
        socks = [f for f in files if os.path.islink(f) and os.readlink(f).startswith("socket")]
        pages = int(open("/proc/self/statm").read().split()[1])
        return [len(os.listdir("/proc/self/task")), len(socks), pages * os.sysconf("SC_PAGE_SIZE")]

    listen(hear)
    client = Client(endpoint, api=api, session_ttl=float(ttl))
    holds = [client.lock("holds/first").acquire()]
    before = size()
    for n in range(1, int(number)):
        holds.append(client.lock(f"holds/{n}").acquire())
    print(json.dumps([before, size()]), flush=True)
    for line in sys.stdin:
        while renewed.acquire(blocking=False):
            pass
        renewed.acquire()  # one that had begun before
        print(json.dumps(len(times)), flush=True)
        sys.stdin.readline()
        renewed.acquire(), renewed.acquire()
        print(json.dumps([times[-1], all(hold.is_held for hold in holds)]), flush=True)
"""


def holds(server: EtcdProcess) -> None:
    row("api", "holds", "threads", "connections", "KB per hold", "a renewal", "KB", "took, in ttl")
    sizes = [("v3", n, 9) for n in (1, 100, 1000, 10_000)]
    for api, number, ttl in (*sizes, ("v2", 1, 15), ("v2", 100, 15), ("v2", 1000, 90)):
        meter = Meter(server, api)
        with child(_HOLDER, server.endpoint, api, str(number), str(ttl)) as holder:
            before, after = holder.read()
            holder.say()
            holder.read()
            with meter.counted() as answer, meter.grown(SENT) as sent:
                holder.say()
                took, held = holder.read()
            assert held
        grown = (after[2] - before[2]) / 1e3 / max(1, number - 1)
        asked, size = told(answer, 2), f"{sent[0] / 2e3:.1f}"
        row(api, number, *after[:2], f"{grown:.1f}", asked, size, f"{took / ttl:.4f}")


# -- lines ---------------------------------------------------------------------------------------------------

Enter = Callable[[Client, str], Any]

KINDS: dict[str, tuple[int, Enter]] = {
    "lock": (1, lambda c, name: c.lock(name).acquire(timeout=PATIENCE)),
    "semaphore, 10 permits": (
        10,
        lambda c, name: c.semaphore(name, permits=10).acquire(timeout=PATIENCE),
    ),
    "semaphore, 100 permits": (
        100,
        lambda c, name: c.semaphore(name, permits=100).acquire(timeout=PATIENCE),
    ),
    "write lock": (1, lambda c, name: c.rwlock(name).write().acquire(timeout=PATIENCE)),
}


def lines(server: EtcdProcess) -> None:
    """Each waiter is a client: to etcd, a process of its own. The looks that each takes in 10 s are left out."""
    line.QUIET = PATIENCE
    row("what", "waiters", "watches", "a departure: requests", "bytes sent")
    for kind, (permits, enter) in KINDS.items():
        for waiters in (2, 32, 128, 512):
            _line(server, kind, permits, enter, waiters)


def _line(server: EtcdProcess, kind: str, permits: int, enter: Enter, waiters: int) -> None:
    meter, name = Meter(server), f"lines/{kind}/{waiters}"
    with ExitStack() as stack:
        # As patient as a small machine needs it: what is sent twice is no part of the figures.
        clients = [
            stack.enter_context(Client(server.endpoint, session_ttl=600, header_timeout=60))
            for _ in range(waiters + 1)
        ]
        for each in clients:
            each.session()
        inside = [enter(clients[0], name) for _ in range(permits)]
        with meter.grown(WATCHERS) as watches:
            looks = 2 if "semaphore" in kind else 1  # at the line, and at the limit beside it
            looked = Job(partial(meter.wait_for, "Range", looks * waiters))
            settle(0.2)
            jobs = [Job(partial(enter, each, name)) for each in clients[1:]]
            looked.result(300)
            settle()
        departures = min(waiters, 20)
        with meter.counted() as answer, meter.grown(SENT) as sent:
            for _ in range(departures):
                inside.pop(0).release()
                inside.append(next_of(jobs))
            settle(0.3)
        row(
            kind,
            waiters,
            int(watches[0]),
            told(answer, departures),
            f"{sent[0] / departures:.0f}",
        )
        for each in clients[1:]:
            each.session().close()
        give_up(clients[0], jobs)


def waits(server: EtcdProcess) -> None:
    """Many who wait in one process, for different things."""
    row("waiters in a process", "threads beside their own", "connections")
    for number in (2, 32, 128, 512):
        meter = Meter(server)
        with Client(server.endpoint) as client, Client(server.endpoint) as other:
            names = [f"waits/{number}/{n}" for n in range(number)]
            for name in names:
                other.lock(name).acquire()
            before = threads(), sockets()
            looked = Job(partial(meter.wait_for, "Range", number))
            settle(0.2)
            jobs = [Job(partial(client.lock(n).acquire, timeout=PATIENCE)) for n in names]
            looked.result(300)
            settle()
            row(number, threads() - before[0], sockets() - before[1])
            give_up(client, jobs)


# -- the registry --------------------------------------------------------------------------------------------


def registrations(server: EtcdProcess) -> None:
    row("registrations", "requests each", "threads", "connections", "most of both while healing")
    for number in (1, 100, 1000):
        with Client(server.endpoint, session_ttl=60) as client:
            client.session()
            registry = client.registry(f"registrations/{number}")
            with Meter(server).counted() as answer:
                made = [registry.register("api", f"{n}:80") for n in range(number)]
            size = threads(), sockets()
            sizes, over = [size], threading.Event()

            def look(sizes: list[tuple[int, int]] = sizes, over: threading.Event = over) -> None:
                while not over.wait(0.002):
                    sizes.append((threads(), sockets()))

            looker = Job(look)
            client.session().lose("an operator has revoked it")
            for each in made:
                eventually(partial(Registration.is_published.__get__, each), 120)
            over.set()
            looker.result()
            most = ", ".join(str(max(column)) for column in zip(*sizes, strict=True))
            row(number, told(answer, number), *size, most)


def views(server: EtcdProcess) -> None:
    row("instances", "first list, KB", "MB", "CPU of a change", "of a pick", "of a sticky pick")
    base: list[float] = []
    for number in (100, 1000, 10_000):
        with Client(server.endpoint) as client, Client(server.endpoint) as other:
            figures, (listed, held) = _view(server, client, other, number)
        base = base or figures
        ratios = [f"{a / b:.2f}" for a, b in zip(figures, base, strict=True)]
        row(number, f"{listed / 1e3:.0f}", f"{held / 1e6:.1f}", *ratios)


def _view(
    server: EtcdProcess, client: Client, other: Client, number: int
) -> tuple[list[float], tuple[float, int]]:
    def write(n: int, weight: int = 1) -> None:
        value = f'{{"address":"10.0.0.7:{n}","owner":"{n:016x}","weight":{weight}}}'
        client.v3.kv.put(f"views/{number}/api/{n * 2654435761 % 2**32:08x}", value)

    for n in range(number):
        write(n)
    before, changes = resident(), 300
    with Meter(server).grown(SENT) as sent:
        view = other.registry(f"views/{number}").follow("api")
        assert len(view.instances) == number
    held = resident() - before
    with view:
        events, begun = view.events(timeout=60), _cpu_of_views()
        for n in range(changes):
            write(n, weight=n + 2)
        assert len(list(islice(events, changes))) == changes
        change = (_cpu_of_views() - begun) / changes
        view.pick("sticky", key="the first makes the ring")
        picks = [_cpu_of(view.pick), _cpu_of(partial(view.pick, "sticky", key="somebody"))]
    return [change, *picks], (sent[0], held)


def _cpu_of_views() -> float:
    """Give the CPU seconds of the threads that follow."""
    ids = [t.native_id for t in threading.enumerate() if t.name == "etcd-recipes-discovery"]
    stats = (Path(f"/proc/self/task/{id_}/schedstat").read_text() for id_ in ids)
    return sum(int(stat.split()[0]) / 1e9 for stat in stats)


def _cpu_of(call: Callable[[], Instance]) -> float:
    rounds = []
    for _ in range(5):
        begun = time.thread_time()
        for _ in range(200):
            call()
        rounds.append((time.thread_time() - begun) / 200)
    return statistics.median(rounds)


# -- barriers ------------------------------------------------------------------------------------------------


def gates(server: EtcdProcess) -> None:
    row("what", "parties", "requests per party", "events to each")
    for parties in (10, 50, 100):
        with Client(server.endpoint, session_ttl=60) as client:
            client.session()
            _gates(Meter(server), client, parties)


def _gates(meter: Meter, client: Client, parties: int) -> None:
    def cost(what: str, call: Callable[[], object]) -> None:
        with meter.counted() as answer, meter.grown(EVENTS) as events:
            call()
        row(what, parties, told(answer, parties), f"{events[0] / parties:.1f}")

    barrier = client.barrier(f"barrier/{parties}")
    double = client.double_barrier(f"double/{parties}", parties=parties)
    latch = client.latch(f"latch/{parties}", count=parties)

    def all_wait() -> None:
        barrier.hold()
        jobs = [Job(partial(barrier.wait, PATIENCE)) for _ in range(parties)]
        settle(1.5)
        barrier.release()
        for job in jobs:
            job.result(60)

    def all_go() -> None:
        for job in [Job(partial(_through, double)) for _ in range(parties)]:
            job.result(120)

    def all_count() -> None:
        jobs = [Job(partial(latch.wait, PATIENCE)) for _ in range(parties)]
        settle(1.5)
        for _ in range(parties):
            latch.count_down()
        for job in jobs:
            job.result(60)

    cost("barrier: hold, wait, release", all_wait)
    cost("double barrier: enter, leave", all_go)
    cost("latch: wait, and one count down for each", all_count)


def _through(double: DoubleBarrier) -> None:
    double.enter(PATIENCE)
    double.leave(PATIENCE)


PARTS: dict[str, Callable[[EtcdProcess], None]] = {
    part.__name__: part for part in (calls, holds, lines, waits, registrations, views, gates)
}


def main(names: list[str]) -> None:
    for name in names or PARTS:
        print(f"\n## {name}\n")
        with EtcdProcess(enable_v2=True) as server:
            PARTS[name](server)


if __name__ == "__main__":
    main(sys.argv[1:])
