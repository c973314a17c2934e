"""`expire`: the lease ends, all who stand on it know, and others may have what it held."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from etcd_recipes import Client, LockLost, NotHeld, RecipeError, SessionState, aio
from etcd_recipes.testing import EtcdProcess, FaultProxy, expire
from tests.tools import eventually


def test_a_hold_is_lost_and_free_for_others_when_it_returns(
    pair: tuple[Client, Client], name: str
) -> None:
    client, other = pair
    told: list[str] = []
    hold = client.lock(name).acquire()
    hold.on_lost(told.append)
    expire(hold)
    assert not hold.is_held
    assert hold.lost.is_set()
    with pytest.raises(LockLost, match="a test has expired it"):
        hold.check()
    assert hold.session.state is SessionState.LOST
    theirs = other.lock(name).acquire(blocking=False)
    assert theirs is not None
    assert theirs.token > hold.token
    eventually(lambda: told)
    theirs.release()
    assert client.lock(name).acquire(blocking=False), "the client goes on with a new session"


def test_all_that_rests_on_the_lease_is_lost_and_a_registration_heals(
    pair: tuple[Client, Client], name: str
) -> None:
    client, other = pair
    term = client.election(f"{name}/e").campaign()
    both = client.multi_lock([f"{name}/a", f"{name}/b"]).acquire()
    registration = client.registry(name).register("api", "h:1")
    expire(both)
    assert not both.is_held
    assert not term.is_held
    for thing in (term, both):
        with pytest.raises(NotHeld):
            expire(thing)
    eventually(lambda: registration.is_published)
    expire(registration)
    eventually(lambda: registration.is_published)
    assert [each.address for each in other.registry(name).instances("api")] == ["h:1"]
    expire(client.session())
    eventually(lambda: registration.is_published)


def test_what_rests_on_no_lease_does_not_expire(pair: tuple[Client, Client], name: str) -> None:
    client, _ = pair
    hold = client.lock(name).acquire()
    hold.release()
    registration = client.registry(name).register("api", "h:1")
    registration.close()
    session = client.session()
    for thing in (hold, registration):
        with pytest.raises(NotHeld):
            expire(thing)
    assert session.is_alive
    session.close()
    with pytest.raises(NotHeld):
        expire(session)
    with pytest.raises(TypeError, match="a hold, a registration or a session"):
        expire(client)


def test_the_body_of_an_async_with_is_cancelled(etcd: EtcdProcess, api: str, name: str) -> None:
    async def work() -> None:
        async with aio.Client(etcd.endpoint, api=api) as client:
            async with client.lock(name) as hold:
                await asyncio.to_thread(expire, hold)
                await asyncio.Event().wait()

    with pytest.raises(LockLost):
        asyncio.run(asyncio.wait_for(work(), 10))


def test_when_etcd_cannot_be_told_the_hold_is_lost_and_that_is_said(
    etcd: EtcdProcess, make_client: Callable[..., Client], name: str
) -> None:
    with FaultProxy(etcd.endpoint) as proxy:
        hold = make_client(proxy.endpoint, session_ttl=5).lock(name).acquire()
        proxy.refuse()
        with pytest.raises(RecipeError, match="within 5 s"):
            expire(hold)
        assert not hold.is_held
