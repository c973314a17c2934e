"""`suspend`: a client that etcd does not hear of for a while."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from etcd_recipes import Client, ClusterError, SessionState
from etcd_recipes.core import runtime
from etcd_recipes.core.errors import ContextError
from etcd_recipes.testing import EtcdProcess, FaultProxy, suspend
from tests.tools import Job, eventually, in_time

TTL = 2.0


def test_calls_fail_a_session_is_suspended_and_all_goes_on_afterwards(
    make_client: Callable[..., Client], name: str
) -> None:
    client, other = make_client(session_ttl=TTL), make_client()
    hold = client.lock(f"{name}/l").acquire()
    with client.registry(name).follow("api") as view:
        other.registry(name).register("api", "h:1")
        assert view.wait_for(1, timeout=5)  # told by its watch, so that is open
        with suspend(client):
            with pytest.raises(ClusterError, match="suspended by a test") as caught:
                client.lock(f"{name}/m").acquire(blocking=False)
            assert not caught.value.maybe_applied
            other.registry(name).register("api", "h:2")
            eventually(lambda: hold.session.state is SessionState.SUSPENDED)
            assert hold.is_held
            assert len(view.instances) == 1
        eventually(lambda: hold.session.state is SessionState.ACTIVE)
        assert view.wait_for(2, timeout=5)
    assert hold.is_held
    hold.release()


@pytest.mark.parametrize("api", ["v3"], indirect=True)
def test_a_hold_is_lost_before_others_have_it_when_it_lasts_for_the_ttl(
    make_client: Callable[..., Client], name: str
) -> None:
    client, other = make_client(session_ttl=TTL), make_client()
    hold = client.lock(name).acquire()
    with suspend(client):
        assert other.lock(name).acquire(timeout=10)
        assert not hold.is_held


def test_in_silence_a_call_ends_by_its_limit_or_with_the_suspension(
    make_client: Callable[..., Client], name: str
) -> None:
    client = make_client(header_timeout=None)
    lock = client.lock(name)
    lock.acquire().release()
    with suspend(client, silent=True):
        before = runtime.now()
        with pytest.raises(ContextError):
            client.version(timeout=0.1)
        in_time(runtime.now() - before, 5.0)
        silence = client._cluster.wire
        waiting = Job(lambda: client.version(timeout=30))
        eventually(lambda: silence._over._callbacks, what="the wait")
        with suspend(client):  # one in another
            with pytest.raises(ClusterError):
                client.version()
        assert waiting.running
    with pytest.raises(ClusterError):
        waiting.result(5.0)
    assert client.version().server


@pytest.mark.parametrize("api", ["v3"], indirect=True)
def test_a_stream_that_was_being_opened_does_not_slip_through(
    etcd: EtcdProcess, make_client: Callable[..., Client], name: str
) -> None:
    other = make_client()
    with FaultProxy(etcd.endpoint) as proxy:
        client = make_client(proxy.endpoint, header_timeout=10)

        def watch() -> str:
            with client.v3.watch(name) as watcher:
                return watcher.next(timeout=20).kv.text

        proxy.hold(only=b"/v3/watch")
        text = Job(watch)
        eventually(lambda: proxy.hits)
        with suspend(client):
            proxy.heal()
            eventually(lambda: other.v3.kv.put(name, "unseen") and not text.running)
            with pytest.raises(ClusterError, match="the wire was replaced"):
                text.result()
