"""The real recipes over memory: what a unit test of business code may rely on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial

import pytest

from etcd_recipes import Client, LockLost, NotAcquired, RecipeError, current_hold
from etcd_recipes.testing import NoEtcd, expire, suspend
from tests.tools import Job, eventually


@pytest.fixture
def client() -> Iterator[NoEtcd]:
    with NoEtcd() as client:
        yield client


@pytest.fixture
def rival(client: NoEtcd) -> Iterator[NoEtcd]:
    with client.another() as rival:
        yield rival


def test_it_is_a_client_whose_locks_are_free_and_whose_tokens_grow(client: NoEtcd) -> None:
    assert isinstance(client, Client)
    tokens = []
    for _ in range(3):
        with client.lock("jobs/nightly", timeout=1) as hold:
            assert hold.is_held
            tokens.append(hold.token)
    assert tokens == sorted(set(tokens))
    assert client.lock("jobs/nightly").acquire(blocking=False)


def test_a_lock_that_somebody_else_has_is_taken_until_he_gives_it_up(
    client: NoEtcd, rival: NoEtcd
) -> None:
    theirs = rival.lock("x").acquire()
    assert client.lock("x").acquire(blocking=False) is None
    with pytest.raises(NotAcquired), client.lock("x", timeout=0.01):
        pass
    waiting = Job(lambda: client.lock("x").acquire(timeout=5))
    eventually(lambda: rival.lock("x").waiters())
    theirs.release()
    assert waiting.result().token > theirs.token


def test_closing_a_client_gives_up_what_it_holds(client: NoEtcd) -> None:
    with client.another() as rival:
        rival.lock("x").acquire()
        rival.barrier("b", ttl=5).hold()
    assert client.lock("x").acquire(blocking=False)
    client.barrier("b").wait(timeout=1)


def test_read_write_locks_semaphores_and_multi_locks(client: NoEtcd, rival: NoEtcd) -> None:
    with client.rwlock("rw").read(), rival.rwlock("rw").read():
        assert client.rwlock("rw").write().acquire(blocking=False) is None
    with client.semaphore("s", permits=2), rival.semaphore("s", permits=2):
        assert client.semaphore("s", permits=2).acquire(blocking=False) is None
    with client.multi_lock(["a", "b"]) as both:
        assert set(both.tokens) == {"a", "b"}
        assert rival.lock("b").acquire(blocking=False) is None


def test_the_decorator(client: NoEtcd, rival: NoEtcd) -> None:
    @client.exclusive("job", on_busy="skip")
    def job() -> int:
        hold = current_hold()
        assert hold is not None
        return hold.token

    assert job()
    with rival.lock("job"):
        assert job() is None


def test_elections_in_the_background_and_in_a_loop(client: NoEtcd, rival: NoEtcd) -> None:
    with client.election("e", value="me").background() as background:
        eventually(lambda: background.is_leader)
        leader = rival.election("e").leader()
        assert leader is not None
        assert leader.value == "me"
    terms = []

    def lead(term: object) -> None:
        terms.append(term)
        expire(term) if len(terms) == 1 else campaign.close()

    campaign = client.another()
    with pytest.raises(RecipeError):  # its client was closed
        campaign.election("e").run(lead)
    assert [term.is_held for term in terms] == [False, False]
    assert terms[0].token < terms[1].token


def test_a_registry_is_listed_and_followed(client: NoEtcd, rival: NoEtcd) -> None:
    with rival.registry().follow("api") as view:
        assert view.instances == ()
        with client.registry().register("api", "10.0.0.7:80") as registration:
            assert view.wait_for(1, timeout=5)
            registration.update(weight=3)
            eventually(lambda: [each.weight for each in view.instances] == [3])
            assert [each.address for each in rival.registry().instances("api")] == ["10.0.0.7:80"]
            # Its key goes, and comes back by itself.
            expire(registration)
            eventually(lambda: registration.is_published)
        eventually(lambda: view.instances == ())


def test_barriers_and_latches(client: NoEtcd, rival: NoEtcd) -> None:
    client.barrier("b").hold()
    waiting = Job(lambda: rival.barrier("b").wait(timeout=5))
    client.barrier("b").release()
    waiting.result()
    doubles = [each.double_barrier("d", parties=2) for each in (client, rival)]
    for steps in ([each.enter for each in doubles], [each.leave for each in doubles]):
        for party in [Job(partial(step, timeout=5, party="a process")) for step in steps]:
            party.result()
    latch = client.latch("l", count=1)
    latch.count_down()
    rival.latch("l", count=1).wait(timeout=1)


def test_a_hold_that_is_lost_says_so_in_the_body_and_at_its_end(client: NoEtcd) -> None:
    with pytest.raises(LockLost, match="a test has expired it"):
        with client.lock("x") as hold:
            expire(hold)
            assert hold.lost.is_set()
    assert client.lock("x").acquire(blocking=False)


def test_what_needs_an_etcd_says_what_to_use_instead(client: NoEtcd) -> None:
    for use in (
        lambda: client.v3,
        lambda: client.v2,
        lambda: client.endpoints,
        lambda: client.set_endpoints("a"),
        client.sync,
        client.auto_sync,
        client.version,
    ):
        with pytest.raises(RecipeError, match="fixture etcd_client"):
            use()
    with pytest.raises(AttributeError, match="lokc"):
        client.lokc  # noqa: B018
    with pytest.raises(TypeError, match="NoEtcd"), suspend(client):
        pass
    assert repr(client) == "<NoEtcd>"


def test_two_of_them_are_two_worlds_and_a_namespace_is_a_prefix(client: NoEtcd) -> None:
    with NoEtcd(namespace="ours/") as other, client.lock("x"):
        with other.lock("x") as hold:
            assert hold.key.startswith("ours/x/")
            with other.another().lock("y") as also:
                assert also.key.startswith("ours/y/")


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # of a program with threads
def test_a_forked_child_does_not_wait_for_its_parent(client: NoEtcd) -> None:
    with client.lock("x"):
        pid = os.fork()
        if not pid:
            os._exit(0 if client.lock("x").acquire(timeout=5) else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
