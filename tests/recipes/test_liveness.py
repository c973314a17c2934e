"""A worker that hangs does not hold for ever: `max_hold`, `heartbeat`, and what follows from them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from importlib.util import find_spec

import pytest

from etcd_recipes import Client, Context, Hold, Leadership, LockLost, NotHeld, current_hold
from etcd_recipes.coordination.watchdog import Watchdog
from etcd_recipes.testing import EtcdProcess
from tests.recipes.below import below
from tests.recipes.everything import FIRST, NEXT
from tests.tools import Job, child, eventually, in_time

MakeClient = Callable[..., Client]


def watchdogs() -> int:
    return sum(thread.name == "etcd-recipes-watchdog" for thread in threading.enumerate())


def test_what_lasts_too_long_is_lost_for_its_owner_and_free_for_others(
    client: Client, other: Client, name: str
) -> None:
    beside = client.lock(f"{name}-beside").acquire()
    holds: dict[str, Hold] = {}
    reasons: dict[str, list[str]] = {}
    ended: dict[str, float] = {}
    for kind, first in FIRST.items():
        thing = first(client, f"{name}-{kind}", max_hold=1.0)
        begun = time.monotonic()
        hold = thing.acquire(timeout=5)
        assert hold is not None
        holds[kind], reasons[kind] = hold, []
        hold.on_lost(reasons[kind].append)
        hold.on_lost(lambda _, k=kind, b=begun: ended.setdefault(k, time.monotonic() - b))  # type: ignore[misc]
        assert hold.remaining() <= 1.0
    waiting = {
        kind: Job(lambda k=kind, make=make: make(other, f"{name}-{k}").acquire(timeout=8))
        for kind, make in NEXT.items()
    }
    for kind, hold in holds.items():
        assert hold.lost.wait(5)
        assert eventually(lambda k=kind: ended.get(k)) >= 1.0
        assert (hold.is_held, hold.remaining()) == (False, 0.0)
        for gone in (hold.check, hold.heartbeat, lambda h=hold: h.sleep(5)):
            with pytest.raises(LockLost, match=r"longer than its max_hold of 1 s"):
                gone()
        (reason,) = eventually(lambda k=kind: reasons[k])
        assert "max_hold" in reason
    for kind, job in waiting.items():
        second = job.result()
        assert second.is_held
        assert second.token > holds[kind].token
        assert holds[kind].release()
        assert second.is_held, "a late release took it away"
        assert below(other, f"{name}-{kind}") == [second.key.rpartition("/")[2]]
    assert beside is not None
    assert beside.is_held, "the lease of the session went with it"


def test_no_thread_needs_to_have_run(
    client: Client, other: Client, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Watchdog, "watch", lambda *_: None)
    reasons: list[str] = []
    with pytest.raises(LockLost, match="max_hold"), client.lock(name, max_hold=0.1) as hold:
        hold.on_lost(reasons.append)
        time.sleep(0.11)
        assert not hold.is_held
        assert hold.lost.is_set()
        assert hold.remaining() == 0.0
        with pytest.raises(LockLost, match="max_hold"):
            hold.check()
    assert eventually(lambda: reasons), "the end of the body told nobody"
    (second,) = [other.lock(name).acquire(timeout=5)]
    assert second is not None
    with pytest.raises(ZeroDivisionError), client.lock(f"{name}-2", max_hold=0.02):
        time.sleep(0.03)
        _ = 1 / 0


def test_work_that_is_heard_of_holds_on_and_work_that_hangs_does_not(
    client: Client, other: Client, name: str
) -> None:
    with client.lock(name, heartbeat=5) as hold:
        before = hold._pulse.until
        assert hold.remaining() <= 5
        hold.heartbeat()
        assert hold._pulse.until > before
    hung = client.lock(name, heartbeat=0.3).acquire()
    assert hung is not None
    second = other.lock(name).acquire(timeout=5)
    assert second is not None
    assert not hung.is_held
    with pytest.raises(LockLost, match=r"no heartbeat for 0.3 s"):
        hung.heartbeat()


def test_a_heartbeat_without_a_limit_is_a_check(client: Client, name: str) -> None:
    hold = client.lock(name).acquire()
    assert hold is not None
    hold.heartbeat()
    assert not client._sessions._watchdog._running
    hold.release()
    with pytest.raises(LockLost, match="released"):
        hold.heartbeat()


def test_a_limit_ends_a_hold_while_etcd_is_away_and_the_key_is_not_anothers_before_it_is_gone(
    make_client: MakeClient, name: str, server: EtcdProcess
) -> None:
    client = make_client(server.endpoint, session_ttl=5, header_timeout=3)
    hold = client.lock(name, max_hold=1.9).acquire()
    assert hold is not None
    server.pause()  # at 1.7 s the session's keeper begins a renewal that nobody answers
    paused = time.monotonic()
    eventually(hold.lost._event.is_set, 4)
    in_time(time.monotonic() - paused, 1.9 + 1.0)
    session, place = hold.session, hold._claim.key
    assert session.is_alive
    waiting = Job(lambda: client.lock(name).acquire(timeout=20))
    eventually(lambda: len(session._queue._queues[place]) == 2, what="the waiting of a thread")
    assert session._claims[place] is hold._claim
    server.resume()
    second = waiting.result(15)
    assert second.token > hold.token
    assert second._entry.created > hold._entry.created
    there = client._sessions.store.get(second.key, Context(5))
    assert there is not None, "the removal of the first took the second's key"
    assert there.created == second._entry.created
    assert second.is_held


def test_one_thread_for_all_holds_of_a_client_and_none_without(
    make_client: MakeClient, name: str
) -> None:
    eventually(lambda: watchdogs() == 0)
    client = make_client()
    holds = [client.lock(f"{name}-{n}", max_hold=60).acquire() for n in range(10)]
    assert watchdogs() == 1
    for hold in holds:
        assert hold is not None
        hold.release()
    eventually(lambda: watchdogs() == 0, what="the end of the thread")
    client.lock(name, max_hold=60).acquire()
    assert watchdogs() == 1
    client.close()
    eventually(lambda: watchdogs() == 0, what="the end of the thread with its client")


@pytest.mark.only_v3
def test_a_forked_child_has_limits_of_its_own(etcd: EtcdProcess, name: str, api: str) -> None:
    source = """
        import json, os, signal, sys, threading
        from etcd_recipes import Client
        client = Client(sys.argv[1], api=sys.argv[-1])
        hold = client.lock(sys.argv[2], max_hold=60).acquire()
        taken, forked = threading.Event(), threading.Event()
        def be_in_the_middle_of_something():
            with hold._lock:
                taken.set()
                forked.wait()
        threading.Thread(target=be_in_the_middle_of_something).start()
        taken.wait()
        read, write = os.pipe()
        if os.fork() == 0:
            signal.alarm(20)
            with client.lock(sys.argv[2] + "-child").acquire() as beside:
                mine = client.lock(sys.argv[2] + "-mine", max_hold=0.2).acquire()
                said = [hold.is_held, mine.is_held, mine.lost._event.wait(5), beside.is_held]
                said += [hold.release(), mine.release()]
            os.write(write, json.dumps(said).encode())
            os._exit(0)
        os.close(write)
        forked.set()
        os.wait()
        print(json.dumps([json.loads(os.read(read, 1000)), hold.is_held]), flush=True)
    """
    with child(source, etcd.endpoint, name, api) as parent:
        assert parent.read() == [[False, True, True, True, True, True], True]


@pytest.mark.only_v3
@pytest.mark.skipif(find_spec("gevent") is None, reason="gevent is not installed")
def test_a_busy_loop_does_not_keep_its_lock(
    client: Client, etcd: EtcdProcess, name: str, api: str
) -> None:
    source = """
        import gevent.monkey
        gevent.monkey.patch_all()
        import json, sys, time
        from etcd_recipes import Client
        with Client(sys.argv[1], api=sys.argv[-1]) as client:
            hold = client.lock(sys.argv[2], max_hold=0.3).acquire()
            print(json.dumps("holds"), flush=True)
            told = []
            hold.on_lost(told.append)
            end = time.monotonic() + 20
            while time.monotonic() < end and not told:  # no other greenlet runs
                sum(range(1000))
            print(json.dumps([hold.is_held, told]), flush=True)
            sys.stdin.readline()
    """
    with child(source, etcd.endpoint, name, api) as hung:
        hung.read()
        assert client.lock(name).acquire(timeout=10) is not None
        held, (reason,) = hung.read()
        assert not held
        assert "max_hold" in reason
        hung.say()


def test_a_leader_that_hangs_makes_way_and_campaigns_again(
    client: Client, other: Client, name: str
) -> None:
    tokens: list[int] = []

    def lead(term: Leadership) -> None:
        tokens.append(term.token)
        if len(tokens) > 1:
            raise KeyError("enough")
        term.lost.wait(5)

    job = Job(lambda: client.election(name, heartbeat=0.3).run(lead))
    eventually(lambda: tokens)
    second = other.election(name).campaign(timeout=5)
    assert second.token > tokens[0]
    second.resign()
    with pytest.raises(KeyError):
        job.result()
    assert tokens[1] > second.token


def test_a_decorated_function_reaches_its_hold(client: Client, name: str) -> None:
    @client.exclusive(name, heartbeat=5)
    def work() -> str:
        current_hold().heartbeat()
        return inner() + current_hold().key

    @client.exclusive(f"{name}-inner", max_hold=0.05)
    def inner() -> str:
        with pytest.raises(LockLost, match="max_hold"):
            current_hold().sleep(5)
        raise LookupError

    with pytest.raises(NotHeld, match="decorated"):
        current_hold()
    with pytest.raises(LookupError):
        work()
    with pytest.raises(NotHeld):
        current_hold()
    with pytest.raises(ValueError, match="max_hold"):
        client.exclusive(name, max_hold=-1)


@pytest.mark.only_v3
@pytest.mark.parametrize("limit", ["max_hold", "heartbeat"])
def test_limits_that_make_no_sense_are_refused(client: Client, name: str, limit: str) -> None:
    for kind, make in {**FIRST, "multi": lambda c, n, **o: c.multi_lock([n], **o)}.items():
        with pytest.raises(ValueError, match=f"{limit} must be a positive number"):
            make(client, f"{name}-{kind}", **{limit: 0})
