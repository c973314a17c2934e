"""What is opened and closed again leaves nothing behind: no thread, no descriptor, no object, no lease."""

from __future__ import annotations

import gc
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from etcd_recipes import Client
from etcd_recipes.core.http import framing
from etcd_recipes.testing import EtcdProcess
from tests.tools import eventually, long

SLACK = 4
"""What a moment may find on its way out: threads that were told to end, connections that are kept."""


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def objects() -> Counter[str]:
    """Count what there is of the library's own, without the few heads that are remembered for the next answers."""
    framing._known_head.cache_clear()
    gc.collect()
    kinds = (type(thing) for thing in gc.get_objects())
    return Counter(
        kind.__qualname__ for kind in kinds if str(kind.__module__).startswith("etcd_recipes.")
    )


@contextmanager
def nothing_is_left() -> Iterator[None]:
    """Demand that the body leaves as many threads, descriptors and objects as there were."""
    threads, fds, things = threading.active_count(), descriptors(), objects()
    yield
    eventually(lambda: threading.active_count() <= threads, what="the end of the threads")
    eventually(lambda: descriptors() <= fds + SLACK, what="the closing of the descriptors")
    grown = {name: n - things[name] for name, n in objects().items() if n > things[name] + SLACK}
    assert grown == {}


@pytest.fixture
def client(etcd: EtcdProcess) -> Iterator[Client]:
    with Client(etcd.endpoint) as client:
        client.v3.kv.put("leaks", "x")
        yield client


def test_watchers(client: Client) -> None:
    """Some are read, some are not; some are closed by `with`, some by `close`, in the middle or before."""

    def cycle(number: int) -> None:
        with client.v3.watch("leaks") as watcher:
            if number % 3 == 0:
                client.v3.kv.put("leaks", f"{number}")
                assert watcher.next(timeout=10).kv.text == f"{number}"
            if number % 3 == 1:
                watcher.close()

    for number in range(10):
        cycle(number)
    with nothing_is_left():
        for number in range(long(300, 10_000)):
            cycle(number)


def test_followers(client: Client) -> None:
    """Each has a thread of its own, in the middle of a read when it is closed."""

    def cycle() -> None:
        with client.registry("leaks").follow("api") as view:
            view.wait_for(0, timeout=10)

    cycle()
    with nothing_is_left():
        for _ in range(long(100, 10_000)):
            cycle()


@pytest.mark.parametrize("api", ["v3", "v2"])
def test_clients(etcd: EtcdProcess, api: str) -> None:
    def cycle(number: int) -> None:
        client = Client(etcd.endpoint, api=api)  # type: ignore[arg-type]
        client.v3.kv.get("leaks")
        if number % 2:
            assert client.lock(f"leaks-{api}").acquire(timeout=10)  # and not released
        client.close()

    for number in range(2):
        cycle(number)
    with nothing_is_left():
        for number in range(long(60, 1_000)):
            cycle(number)


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # Python says so, and rightly
def test_clients_that_are_forgotten(etcd: EtcdProcess) -> None:
    """Nobody closes them; without a session, they go with their connections."""

    def cycle() -> None:
        Client(etcd.endpoint).v3.kv.get("leaks")

    cycle()
    with nothing_is_left():
        for _ in range(long(15, 1_000)):
            cycle()
            gc.collect()


def test_sessions(client: Client) -> None:
    """A client remembers one of each ttl, and not those before it."""

    def cycle(number: int) -> None:
        assert client.session(10.0 + number % 5).close()

    for number in range(5):
        cycle(number)
    with nothing_is_left():
        for number in range(long(60, 1_000)):
            cycle(number)


def test_locks_of_many_short_threads(client: Client) -> None:
    """Each thread lives for one lock; a few at a time want the same."""
    held: list[int] = []

    def take(number: int) -> None:
        with client.lock(f"leaks-{number % 3}") as hold:
            held.append(hold.token)

    rounds = long(40, 1_000)
    run_together(take, 6)
    with nothing_is_left():
        for _ in range(rounds):
            run_together(take, 6)
    assert len(held) == len(set(held)) == 6 * (rounds + 1)


def test_locks_that_are_not_to_be_had(client: Client) -> None:
    """A wait that is given up leaves the line, and what it waited with."""
    with client.lock("leaks-taken"), nothing_is_left():
        for number in range(long(40, 1_000)):
            lock = client.lock("leaks-taken")
            assert lock.acquire(blocking=False) is None
            if number % 4 == 0:
                assert lock.acquire(timeout=0.02) is None


def run_together(target: Callable[[int], None], count: int) -> None:
    threads = [threading.Thread(target=target, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
