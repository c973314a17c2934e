"""An operator's break: exactly the one that was listed, and its owner learns of it."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

import pytest

from etcd_recipes import Client, EtcdRecipesError, LockLost, RecipeError
from etcd_recipes.core.v3 import Op, Txn
from etcd_recipes.testing import EtcdProcess, FaultProxy
from tests.recipes.everything import FIRST, NEXT
from tests.tools import Job, child, eventually, in_time

MakeClient = Callable[..., Client]


def test_an_evicted_holder_learns_of_it_within_a_third_of_its_ttl(
    client: Client, other: Client, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    kinds = {kind: first(client, f"{name}-{kind}", ttl=2) for kind, first in FIRST.items()}
    holds = {kind: thing.acquire(timeout=5) for kind, thing in kinds.items()}
    evicted, lost = {}, {}
    for kind, hold in holds.items():
        second = NEXT[kind](other, f"{name}-{kind}")
        waiting = Job(lambda it=second: it.acquire(timeout=8))
        (holder,) = second.holders()
        assert hold is not None
        assert holder.key == hold.key
        hold.on_lost(lambda _, k=kind: lost.setdefault(k, time.monotonic()))  # type: ignore[misc]
        evicted[kind] = time.monotonic()
        assert second.evict(holder)
        assert waiting.result().token > hold.token
        assert not second.evict(holder), "it was the second's that went"
        (now,) = second.holders()
        assert now.token > holder.token
    eventually(lambda: lost.keys() == holds.keys(), what="the loss of all")
    for kind, hold in holds.items():
        assert hold is not None
        in_time(lost[kind] - evicted[kind], 2 / 3 + 0.5)
        with pytest.raises(LockLost, match="removed from etcd"):
            hold.check()
    assert client.session(2).is_alive
    assert caplog.text.count("line.evicted") == len(kinds)


def test_an_evicted_waiter_raises_and_the_one_behind_it_moves_up(
    make_client: MakeClient, name: str, api: str
) -> None:
    lock = make_client().lock(name)
    hold = lock.acquire()
    waiting = []
    for _ in range(2):
        mine = make_client().lock(name, ttl=30 if api == "v3" else 2)
        waiting.append(Job(lambda it=mine: it.acquire(timeout=20)))
        eventually(lambda: len(lock.waiters()) == len(waiting))
    assert lock.evict(lock.waiters()[0])
    with pytest.raises(LockLost, match="removed"):
        waiting[0].result(3 if api == "v3" else 2 / 3 + 0.5)
    assert hold is not None
    hold.release()
    waiting[1].result().release()


def test_a_later_incarnation_is_nobodys_to_evict_by_an_old_listing(
    client: Client, other: Client, name: str
) -> None:
    lock = client.lock(name)
    with lock:
        stale = lock.holder()
    assert stale is not None
    with lock as hold:  # on v3 under the same key
        assert not other.lock(name).evict(stale)
        assert lock.holder() is not None
        assert hold.is_held


def test_what_is_no_contender_of_the_line_is_refused(client: Client, name: str) -> None:
    with client.lock(name) as hold, client.lock(f"{name}-b"):
        there = client.lock(f"{name}-b").holder()
        assert there is not None
        with pytest.raises(ValueError, match="no contender"):
            client.lock(name).evict(there)
        with pytest.raises(TypeError, match="Contender"):
            client.lock(name).evict(hold)  # type: ignore[arg-type]


def test_an_eviction_that_failed_ends_nothing_in_silence(
    make_client: MakeClient, other: Client, etcd: EtcdProcess, name: str, api: str
) -> None:
    # v2: `delete` gives up the refreshing of a key of this process first; when it then fails, the key expires
    # under a holder that still holds.
    with FaultProxy(etcd.endpoint) as proxy:
        client = make_client(proxy.endpoint, header_timeout=0.3)
        lock = client.lock(name, ttl=2)
        hold, holder = lock.acquire(), lock.holder()
        assert hold is not None
        assert holder is not None
        proxy.reset(only=b"DELETE /v2" if api == "v2" else b"request_delete_range")
        with pytest.raises(EtcdRecipesError):
            lock.evict(holder, timeout=0.3)
        proxy.heal()
        second = other.lock(name).acquire(timeout=2.5)  # longer than the ttl
        assert second is None or not hold.is_held, "two hold"


# -- the guard --------------------------------------------------------------------------------------


def test_a_guarded_write_is_carried_out_for_the_present_holder_and_nobody_else(
    client: Client, other: Client, name: str, api: str
) -> None:
    for kind, first in FIRST.items():
        thing = first(client, f"{name}-{kind}")
        hold = thing.acquire(timeout=5)
        assert hold is not None
        if api == "v2":
            with pytest.raises(RecipeError, match=r"no transactions.*hold\.token"):
                _ = hold.guard
            continue
        kv, key = client.v3.kv, f"config-{name}-{kind}"
        guard = hold.guard
        assert (guard.key, guard.created) == (hold.key, hold._entry.created)
        assert kv.txn([guard], [Op.put(key, "1")]).succeeded
        assert kv.txn(Txn().then(Op.txn([guard], [Op.put(key, "2")]))).succeeded
        (holder,) = thing.holders()
        assert thing.evict(holder)
        second = NEXT[kind](other, f"{name}-{kind}").acquire(timeout=5)
        assert second is not None
        assert hold.is_held, "it has not heard of it yet: this is what the guard is for"
        assert not kv.txn([guard], [Op.put(key, "stale")]).succeeded
        assert not kv.when(guard).then(Op.put(key, "stale")).commit().succeeded
        assert kv.when(second.guard).then(Op.put(key, "3")).commit().succeeded
        second.release()
        assert not kv.when(second.guard).then(Op.put(key, "stale")).commit().succeeded
        hold.release()
        again = thing.acquire(timeout=5)  # under the same key
        assert again is not None
        assert again.key == hold.key
        assert not kv.when(guard).then(Op.put(key, "stale")).commit().succeeded
        found = kv.get(key)
        assert found is not None
        assert found.text == "3"


@pytest.mark.only_v3
def test_the_guarded_write_of_a_holder_that_was_stopped_past_its_ttl_is_refused(
    client: Client, etcd: EtcdProcess, name: str
) -> None:
    source = """
        import json, sys
        from etcd_recipes import Client
        from etcd_recipes.core.v3 import Op
        client = Client(sys.argv[1])
        term = client.election(sys.argv[2], ttl=2).campaign(timeout=5)
        print(json.dumps(term.token), flush=True)
        sys.stdin.readline()
        held = term.is_held
        done = client.v3.kv.txn([term.guard], [Op.put(sys.argv[2] + "-config", "stale")])
        print(json.dumps([held, done.succeeded]), flush=True)
    """
    with child(source, etcd.endpoint, name) as leader:
        leader.read()
        leader.signal(signal.SIGSTOP)
        with client.election(name).campaign(timeout=10) as term:
            config = f"{name}-config"
            assert client.v3.kv.txn([term.guard], [Op.put(config, "new")]).succeeded
            leader.signal(signal.SIGCONT)
            leader.say()
            assert leader.read() == [False, False]
            found = client.v3.kv.get(config)
            assert found is not None
            assert found.text == "new"
