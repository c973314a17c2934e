"""Under gevent threads are greenlets of one loop; renewals go on all the same, and calls let others run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import pytest

from etcd_recipes.testing import EtcdProcess
from tests.life.certificates import Authority
from tests.tools import child, in_time

pytestmark = pytest.mark.skipif(
    find_spec("gevent") is None, reason="gevent is not installed, and has no wheel for every Python"
)

BEFORE = """
    import gevent.monkey
    gevent.monkey.patch_all()
    from etcd_recipes import Client, Context, LockLost
"""
AFTER = """
    from etcd_recipes import Client, Context, LockLost
    import gevent.monkey, warnings
    warnings.simplefilter("ignore")  # gevent's own, about ssl
    gevent.monkey.patch_all()
"""
PROGRAM = """
    import json, os, sys, threading, time, gevent

    endpoint, name, files = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    client = Client(endpoint, **files)

    def say(what):
        print(json.dumps(what), flush=True)

    def compute(seconds):
        '''Let nobody else run.'''
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            sum(range(1000))

    def longest_pause(during):
        '''Give for how long no other greenlet could run while these ran.'''
        ticks = []
        def tick():
            while True:
                ticks.append(time.monotonic())
                gevent.sleep(0.005)
        ticker = gevent.spawn(tick)
        gevent.sleep(0.02)
        for job in [gevent.spawn(each) for each in during]:
            job.get(timeout=20)
        gevent.sleep(0.02)
        ticker.kill()
        return max(later - earlier for earlier, later in zip(ticks, ticks[1:]))
"""


@pytest.fixture(scope="module")
def places(
    etcd: EtcdProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, tuple[str, dict[str, str]]]]:
    authority = Authority(tmp_path_factory.mktemp("authority"))
    with EtcdProcess(tls=authority.server()) as server:
        by_name = server.endpoint.replace("127.0.0.1", "localhost")  # which is to be looked up
        yield {"plain": (etcd.endpoint, {}), "tls": (by_name, {"ca": authority.ca})}


Places = dict[str, tuple[str, dict[str, str]]]

cases = pytest.mark.parametrize(
    ("patched", "place"),
    [(BEFORE, "plain"), (AFTER, "plain"), (BEFORE, "tls")],
    ids=["patched before", "patched after", "over tls"],
)


def told(patched: str, program: str, place: tuple[str, dict[str, str]], name: str) -> Any:
    endpoint, files = place
    with child(patched + PROGRAM + program, endpoint, name, json.dumps(files)) as process:
        said = process.read()
        assert process.wait(20.0) == 0
    return said


@cases
def test_a_lock_is_kept_while_the_program_computes(
    patched: str, place: str, places: Places
) -> None:
    said = told(
        patched,
        """
    with client.lock(name, ttl=2) as hold:
        compute(2.2)  # no renewal in between would end it after 1.98 s
        held = [hold.is_held, client.lock(name).holder().token == hold.token]
        hold.sleep(0.5)
    say(held)
    client.close()
    """,
        places[place],
        f"gevent-busy-{patched == BEFORE}",
    )
    assert said == [True, True]


@cases
def test_calls_of_many_greenlets_let_each_other_run(
    patched: str, place: str, places: Places
) -> None:
    """Requests, a wait for a lock, a feed: none of them holds the loop up."""
    said = told(
        patched,
        """
    hold = client.lock(name, ttl=10).acquire()
    other = Client(endpoint, **files)
    order = []

    def put(number):
        for _ in range(20):
            client.v3.kv.put(f"{name}-{number}", "x")

    def wait():
        with other.lock(name, ttl=10) as mine:
            order.append(mine.token > hold.token)

    def release():
        while not client.lock(name).waiters():
            gevent.sleep(0.01)
        gevent.sleep(1.2)
        order.append("released")
        hold.release()

    def follow():
        with client.registry(name).follow("api") as view:
            gevent.spawn_later(1.0, client.registry(name).register, "api", "10.0.0.7:80")
            view.wait_for(1, timeout=10)

    def give_up():
        order.append(other.lock(name + "-x").acquire(timeout=0.8) is None)

    with client.lock(name + "-x"):
        pause = longest_pause([*[lambda n=n: put(n) for n in range(8)], wait, release, follow, give_up])
    say([order, pause])
    other.close()
    client.close()
    """,
        places[place],
        f"gevent-many-{patched == BEFORE}",
    )
    order, pause = said
    assert order == [True, "released", True]
    in_time(pause, 0.7)  # a wait that held the loop up would be one of 0.8 s at least


def test_an_event_set_by_the_renewing_thread_wakes_a_greenlet(places: Places) -> None:
    """The loss of a lock is noticed by a thread of the system, and heard of by greenlets."""
    said = told(
        BEFORE,
        """
    hold = client.lock(name, ttl=2).acquire()
    heard = []
    hold.on_lost(heard.append)
    waiting = [gevent.spawn(hold.lost.wait, 15) for _ in range(20)]
    gevent.sleep(0.1)
    client.v3.lease.revoke(hold.session.id)
    began = time.monotonic()
    lost = [each.get(timeout=15) for each in waiting]
    took = time.monotonic() - began
    gevent.sleep(0.3)
    say([all(lost), took, len(heard)])
    """,
        places["plain"],
        "gevent-lost",
    )
    lost, took, heard = said
    assert (lost, heard) == (True, 1)
    in_time(took, 1.5)  # the next renewal is due after two thirds of a second


def test_a_program_that_ends_leaves_no_lease(places: Places) -> None:
    from etcd_recipes import Client

    endpoint, _ = places["plain"]
    assert told(
        BEFORE, "    client.lock(name, ttl=30).acquire(); say(1)\n", places["plain"], "gevent-end"
    )
    with Client(endpoint) as client:
        assert not client.lock("gevent-end").locked()


@pytest.mark.parametrize("place", ["plain", "tls"])
def test_the_renewing_threads_have_no_loop_of_their_own(place: str, places: Places) -> None:
    """It would have descriptors, and would corrupt the heap when the interpreter ends."""
    said = told(
        BEFORE,
        """
    def descriptors():
        return len(os.listdir("/proc/self/fd"))

    def cycles():
        done = [gevent.spawn(client.session, 2.0 + n / 100) for n in range(8)]
        gevent.joinall(done)
        gevent.sleep(1.0)                  # renewed, so each thread has waited for a socket
        return [each.value.close() for each in done]

    cycles()
    gevent.sleep(0.5)
    before = descriptors()
    closed = cycles()
    gevent.sleep(0.5)
    say([all(closed), descriptors() - before])
    """,
        places[place],
        "gevent-loops",
    )
    closed, grown = said
    assert closed
    assert grown < 8  # a loop has at least one
