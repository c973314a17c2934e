"""Many holds and many waiters: what they cost the process that has them, and etcd, by its own counters."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from functools import partial

import pytest

from etcd_recipes import Client, Hold
from etcd_recipes.testing import EtcdProcess
from tests.requests_seen import requests_seen, v2_requests_seen
from tests.tools import Job, child, eventually, long

MakeClient = Callable[..., Client]


def seen_by(etcd: EtcdProcess, api: str) -> Counter[str]:
    return requests_seen(etcd.endpoint) if api == "v3" else v2_requests_seen(etcd.endpoint)


# -- 1,000 locks -----------------------------------------------------------------------------------

HOLDS = 1000

_HOLDER = """
    import json, logging, os, queue, sys, time
    from etcd_recipes import Client

    endpoint, name, number, ttl, api = sys.argv[1:]
    renewed = queue.SimpleQueue()

    class Renewals(logging.Handler):
        def emit(self, record):
            if record.getMessage() == "session.renewed":
                renewed.put([time.monotonic(), record.took])

    def size():
        files = [os.path.join("/proc/self/fd", each) for each in os.listdir("/proc/self/fd")]
        sockets = [f for f in files if os.path.islink(f) and os.readlink(f).startswith("socket")]
        return [len(os.listdir("/proc/self/task")), len(sockets)]

    def say(what):
        print(json.dumps(what), flush=True)

    logging.getLogger("etcd_recipes.session").addHandler(Renewals())
    logging.getLogger("etcd_recipes.session").setLevel("DEBUG")
    client = Client(endpoint, api=api, session_ttl=float(ttl))
    opened = time.monotonic()
    holds = [client.lock(name + "/0").acquire()]
    say(size())
    sys.stdin.readline()
    holds += [client.lock(f"{name}/{n}").acquire() for n in range(1, int(number))]
    say(size())
    sys.stdin.readline()
    begun, renewals = time.monotonic(), []
    while not renewals or renewals[-1][0] - renewals[-1][1] < begun:  # until a whole one was since
        renewals.append(renewed.get(timeout=60))
    rate = len(renewals) / (time.monotonic() - opened)
    since = sum(ended > begun for ended, _ in renewals)
    say([size(), rate, since, renewals[-1][1], sum(hold.is_held for hold in holds)])
    sys.stdin.readline()
    client.close()
    say("closed")
"""


def test_a_thousand_locks_cost_no_thread_no_connection_and_no_request_but_the_renewals(
    etcd: EtcdProcess, name: str, api: str, record_property: Callable[[str, object], None]
) -> None:
    # v3 renews one lease, and asks which keys are on it, however many these are. v2 has no leases: each
    # key has a ttl of its own, so that its renewals cost a request for each.
    per_renewal = {"LeaseKeepAlive": 1, "LeaseTimeToLive": 1} if api == "v3" else {"PUT": HOLDS}
    ttl = 9 if api == "v3" else 12
    with child(_HOLDER, etcd.endpoint, name, str(HOLDS), str(ttl), api) as holder:
        of_one = holder.read()
        holder.say()
        of_all = holder.read()
        before = seen_by(etcd, api)
        holder.say()
        later, rate, renewals, took, held = holder.read()
        seen = seen_by(etcd, api) - before
        holder.say()
        assert holder.read() == "closed"
    assert held == HOLDS
    assert later[0] == of_all[0] == of_one[0], "threads"
    # One for the thread that acquires, and one for the keeper if both asked at the same time.
    assert max(later[1], of_all[1], of_one[1]) <= 2, "connections"
    assert rate <= 1 / (ttl / 3)
    record_property(f"seconds of a renewal with {HOLDS} keys on {api}", took)
    assert seen.keys() == per_renewal.keys()
    # The first of them may have begun before the counting did.
    assert all(n <= seen[what] <= n * renewals for what, n in per_renewal.items())


# -- 32 waiters ------------------------------------------------------------------------------------

WAITERS = long(32, 128)
PATIENCE = 100.0

ENTER: dict[str, Callable[[Client, str], Hold]] = {
    "lock": lambda client, name: client.lock(name).acquire(timeout=PATIENCE),
    "rwlock": lambda client, name: client.rwlock(name).write().acquire(timeout=PATIENCE),
    "semaphore": lambda client, name: client.semaphore(name, permits=1).acquire(timeout=PATIENCE),
    "election": lambda client, name: client.election(name).campaign(timeout=PATIENCE),
}

RENEWALS = {"LeaseKeepAlive", "LeaseTimeToLive", "PUT"}
QUIET = 10.0  # a waiter that has heard nothing for so long asks once


def but_renewals(seen: Counter[str]) -> Counter[str]:
    """Leave out the renewals, and the watches of v3, which count when they end."""
    return Counter({what: n for what, n in seen.items() if what not in {*RENEWALS, "Watch"}})


@pytest.mark.parametrize("kind", long(["lock"], list(ENTER)))
def test_32_waiters_cost_renewals_while_they_wait_and_one_of_them_wakes_per_release(
    make_client: MakeClient, etcd: EtcdProcess, name: str, api: str, kind: str
) -> None:
    ttl = 15
    clients = [make_client(session_ttl=ttl) for _ in range(WAITERS + 1)]
    for each in clients:
        each.session()
    hold = ENTER[kind](clients[0], name)
    before = seen_by(etcd, api)
    jobs = [Job(partial(ENTER[kind], each, name)) for each in clients[1:]]

    # v2 can watch one key, or a directory: who watches several keys hears of everything, and asks on.
    not_counted = {"watch"} if (api, kind) == ("v2", "semaphore") else set()

    def since() -> dict[str, int]:
        seen = but_renewals(seen_by(etcd, api) - before)
        return {what: n for what, n in seen.items() if what not in not_counted}

    # Each joins, begins to watch, and looks once more.
    looked = 2 if kind == "semaphore" else 1  # at the line, and at what is beside it
    each_one = {"Txn": 1, "Range": looked} if api == "v3" else {"POST": 1, "QGET": 2, "watch": 1}
    joined = {what: n * WAITERS for what, n in each_one.items() if what not in not_counted}
    eventually(lambda: since() == joined, 60, what=f"{joined}, and not {since()},")

    # While they wait. There is nothing to wait for here: what is shown is that nothing happens.
    window = long(2.5, 12.0)
    before = seen_by(etcd, api)
    threading.Event().wait(window)
    seen = seen_by(etcd, api) - before
    renewals = seen["LeaseKeepAlive"] + seen["PUT"]
    assert window // (ttl / 3) - 1 <= renewals / len(clients) <= window // (ttl / 3) + 1
    assert seen["LeaseTimeToLive"] <= seen["LeaseKeepAlive"] + len(clients)
    looks = {"Range": looked} if api == "v3" else {"QGET": 1, "watch": 1}
    for what in but_renewals(seen).keys() - not_counted:
        n = seen[what]
        assert n <= looks.get(what, 0) * WAITERS * (window // QUIET), f"{what} while all wait"

    # One by one they leave, however many are behind: a release, and one look by the one whose turn it is.
    before = seen_by(etcd, api)
    for _ in range(WAITERS):
        hold.release()
        (woken,) = eventually(lambda: [job for job in jobs if not job.running], 30)
        jobs.remove(woken)
        hold = woken.result()
    handover = Counter({"Txn": 1, "Range": looked} if api == "v3" else {"DELETE": 1, "QGET": 1})
    if kind == "election":  # who has waited asks whether the leadership is handed to another one
        handover["Range" if api == "v3" else "QGET"] += 1
    assert since() == {what: n * WAITERS for what, n in handover.items()}
    hold.release()
