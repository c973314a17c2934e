"""Several locks at once: all of them or none, and never in a circle."""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import permutations

import pytest

from etcd_recipes import (
    Cancelled,
    Client,
    Context,
    DeadlineExceeded,
    LockLost,
    NotAcquired,
    RecipeError,
)
from etcd_recipes.core import runtime
from etcd_recipes.core.v3 import Op
from tests.recipes.below import below
from tests.recipes.operator import remove
from tests.recipes.strikes import Interrupted, struck
from tests.tools import Job, eventually

MakeClient = Callable[..., Client]


def names(name: str, letters: str) -> list[str]:
    return [f"{name}-{letter}" for letter in letters]


def test_it_holds_all_of_them_and_is_what_the_locks_of_the_names_are(
    client: Client, other: Client, name: str, api: str
) -> None:
    a, b = names(name, "ab")
    with client.multi_lock([b, a]) as held:
        assert held.is_held
        assert 0 < held.remaining() <= 15
        assert list(held.tokens) == [a, b]
        assert held.tokens[a] <= held.tokens[b]
        for lock_name, key in zip([a, b], held.keys, strict=True):
            assert other.lock(lock_name).acquire(blocking=False) is None
            holder = other.lock(lock_name).holder()
            assert holder is not None
            assert holder.key == key
        assert other.multi_lock([a]).acquire(timeout=0) is None
        held.heartbeat()
        held.sleep(0.01)
        if api == "v3":
            assert client.v3.kv.txn(held.guards, [Op.put(f"{name}-x", "1")]).succeeded
        else:
            with pytest.raises(RecipeError, match="no transactions"):
                _ = held.guards
    assert not held.is_held
    assert held.lost.is_set()
    assert held.release()
    assert below(client, a) == below(client, b) == []
    lock = client.multi_lock([a, b])
    assert lock.acquire()
    assert lock.release()
    with pytest.raises(LockLost, match="released"):
        held.check()


def test_when_one_is_taken_nothing_is_held_and_nobody_is_queued(
    client: Client, other: Client, name: str
) -> None:
    a, b, c = names(name, "abc")
    with other.lock(b) as theirs:
        multi = client.multi_lock([a, b, c], timeout=0.2)
        assert multi.acquire(blocking=False) is None
        assert below(client, a) == []
        assert multi.acquire(timeout=0.2) is None
        with pytest.raises(NotAcquired, match="multi-lock"), multi:
            pytest.fail("the body ran without the locks")
        with pytest.raises(DeadlineExceeded):
            multi.acquire(timeout=5, ctx=Context(0.2))
        ctx = Context()
        job = Job(lambda: multi.acquire(ctx=ctx))
        eventually(lambda: other.lock(a).locked() and len(below(client, b)) == 2)
        ctx.cancel()
        with pytest.raises(Cancelled):
            job.result()
        eventually(lambda: below(client, a) == below(client, c) == [])
        eventually(lambda: below(client, b) == [theirs.key.rpartition("/")[2]])
    assert multi.acquire(timeout=5) is not None


def test_the_limits_count_from_when_all_are_held(client: Client, other: Client, name: str) -> None:
    a, b = names(name, "ab")
    hold = other.lock(b).acquire()
    job = Job(lambda: client.multi_lock([a, b], max_hold=0.3).acquire())
    eventually(lambda: len(below(other, b)) == 2)
    assert hold is not None
    Context(0.35).wait()
    released = runtime.now()
    hold.release()
    held = job.result()
    assert held._pulse.until >= released + 0.3
    reasons: list[str] = []
    held.on_lost(reasons.append)
    eventually(held.lost._event.is_set, 3)
    assert not held.is_held
    assert "max_hold" in eventually(lambda: reasons)[0]
    with pytest.raises(LockLost, match="max_hold"):
        held.heartbeat()
    assert held.release()
    eventually(lambda: below(client, a) == below(client, b) == [])


def test_when_one_is_lost_all_is_lost_and_the_others_are_free(
    client: Client, other: Client, name: str, api: str
) -> None:
    a, b, c = names(name, "abc")
    reasons: list[str] = []
    with pytest.raises(LockLost, match="removed from etcd"):
        with client.multi_lock([a, b, c], ttl=2) as held:
            held.on_lost(reasons.append)
            remove(other, held.keys[1], api)
            assert held.lost._event.wait(5)
            assert held.remaining() == 0.0
            with pytest.raises(LockLost, match=b):
                held.sleep(5)
            eventually(lambda: below(other, a) == below(other, c) == [])
    assert b in eventually(lambda: reasons)[0]
    assert client.session(2).is_alive


def test_one_that_is_lost_while_the_next_is_waited_for_ends_the_wait(
    client: Client, other: Client, name: str, api: str
) -> None:
    a, b = names(name, "ab")
    with other.lock(b):
        job = Job(lambda: client.multi_lock([a, b], ttl=2).acquire(timeout=20))
        eventually(lambda: len(below(other, b)) == 2)
        remove(other, f"{a}/{below(other, a)[0]}", api)
        with pytest.raises(LockLost, match="removed from etcd"):
            job.result(8)
        eventually(lambda: len(below(other, b)) == 1)


def test_opposite_orders_never_wait_for_each_other_for_ever(
    make_client: MakeClient, name: str
) -> None:
    inside = {each: threading.Lock() for each in names(name, "abc")}

    def work(client: Client, order: tuple[str, ...]) -> int:
        for _ in range(3):
            with client.multi_lock(order) as held:
                for each in order:
                    assert inside[each].acquire(blocking=False), "two holders"
                assert set(held.tokens) == set(order)
                for each in order:
                    inside[each].release()
        return 3

    clients = [make_client() for _ in range(2)]
    orders = [*permutations(inside, 3), *permutations(inside, 2)][::2]
    jobs = [Job(lambda c=client, o=order: work(c, o)) for client in clients for order in orders]
    assert sum(job.result(30) for job in jobs) == 3 * len(jobs)


def test_a_namespace_is_put_in_front_of_the_keys_and_not_of_the_names(
    make_client: MakeClient, name: str
) -> None:
    with make_client(namespace=f"{name}-team/").multi_lock(["b", "a"]) as held:
        assert list(held.tokens) == ["a", "b"]
        assert held.keys[0].startswith(f"{name}-team/a/")


@pytest.mark.only_v3
def test_names_that_make_no_sense_are_refused(client: Client) -> None:
    with pytest.raises(TypeError, match=r"write \['ab'\]"):
        client.multi_lock("ab")
    with pytest.raises(ValueError, match="one name at least"):
        client.multi_lock([])
    with pytest.raises(ValueError, match="'a' is given twice"):
        client.multi_lock(["a", "b", "a"])
    with pytest.raises(ValueError, match="ends with"):
        client.multi_lock(["a", "b/"])
    with pytest.raises(TypeError, match="is a str"):
        client.multi_lock(["a", 1])  # type: ignore[list-item]


@pytest.mark.parametrize("verb", ["_finish", "release"])
def test_a_signal_in_a_release_releases_all_of_them(
    client: Client, other: Client, name: str, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    names = [f"{name}-a", f"{name}-b"]
    hold = client.multi_lock(names).acquire()
    assert hold is not None
    struck(monkeypatch, hold if verb == "_finish" else hold._holds[1], verb, Interrupted())
    with pytest.raises(Interrupted):
        hold.release()
    assert not hold.is_held
    assert other.multi_lock(names).acquire(timeout=3) is not None
