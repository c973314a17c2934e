"""The barrier's promises, against a real server."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

import pytest

from etcd_recipes import Barrier, Cancelled, Client, ClusterError, Context, DeadlineExceeded
from etcd_recipes.testing import EtcdProcess, FaultProxy
from tests.recipes.below import below
from tests.requests_seen import requests_seen
from tests.tools import Job, child, eventually, in_time

MakeClient = Callable[..., Client]


def waiting(barrier: Barrier, server: EtcdProcess, **options: object) -> Job:
    """Wait on a thread, and come back when it does wait."""
    before = requests_seen(server.endpoint)["Range"]
    job = Job(lambda: barrier.wait(**options))  # type: ignore[arg-type]
    v2 = "V2Store" in type(barrier._store).__name__
    if not v2:  # a look, and another one when the watch is open; the counters are v3's alone
        eventually(lambda: requests_seen(server.endpoint)["Range"] >= before + 2)
    assert job.running
    return job


def test_all_wait_while_it_is_held_and_all_pass_when_it_is_released(
    client: Client, other: Client, etcd: EtcdProcess, name: str
) -> None:
    barrier = client.barrier(name)
    barrier.wait(timeout=1)
    assert barrier.hold() is True
    assert barrier.held()
    jobs = [waiting(who.barrier(name), etcd, timeout=20) for who in (client, other, other)]
    began = time.monotonic()
    assert other.barrier(name).release() is True
    for job in jobs:
        job.result()
        assert job.ended_at is not None
        in_time(job.ended_at - began, 1.0)
    assert not barrier.held()


def test_it_can_be_used_again_and_leaves_one_small_record(client: Client, name: str) -> None:
    barrier = client.barrier(name)
    for _ in range(4):
        assert barrier.hold()
        assert not barrier.hold()
        with pytest.raises(DeadlineExceeded):
            barrier.wait(timeout=0.05)
        assert barrier.release()
        assert not barrier.release()
        barrier.wait(timeout=1)
    assert below(client, name) == ["4.released"]


@pytest.mark.only_v3
def test_no_release_waits_for_etcds_100_ms_loop(
    client: Client, other: Client, etcd: EtcdProcess, name: str
) -> None:
    took = []
    for _ in range(12):
        client.barrier(name).hold()
        job = waiting(other.barrier(name), etcd, timeout=10)
        began = time.monotonic()
        client.barrier(name).release()
        job.result()
        assert job.ended_at is not None
        took.append(job.ended_at - began)
    # In that loop a release is told after 50 ms in the middle.
    in_time(sorted(took)[5], 0.03)


def test_a_wait_ends_by_its_timeout_its_cancel_and_its_callers_deadline(
    client: Client, etcd: EtcdProcess, name: str
) -> None:
    barrier = client.barrier(name)
    barrier.hold()
    began = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        barrier.wait(timeout=0.2)
    with pytest.raises(DeadlineExceeded):
        barrier.wait(timeout=5, ctx=Context(0.2))
    in_time(time.monotonic() - began, 1.0, at_least=0.4)
    ctx = Context()
    job = waiting(barrier, etcd, ctx=ctx)
    ctx.cancel()
    with pytest.raises(Cancelled):
        job.result(1)


def test_an_outage_is_not_a_release(
    make_client: MakeClient, name: str, server: EtcdProcess
) -> None:
    client = make_client(server.endpoint)
    client.barrier(name).hold()
    job = waiting(make_client(server.endpoint).barrier(name), server, timeout=30)
    server.kill()
    with pytest.raises(ClusterError):
        client.barrier(name).release(timeout=5)
    assert job.running
    server.start()
    eventually(lambda: client.barrier(name).held(), 10)
    assert job.running
    client.barrier(name).release()
    job.result()


@pytest.mark.only_v3
def test_a_compaction_during_the_wait_does_no_harm(
    client: Client, other: Client, etcd: EtcdProcess, name: str
) -> None:
    client.barrier(name).hold()
    job = waiting(other.barrier(name), etcd, timeout=20)
    revision = client.v3.kv.put(f"{name}-other", "x").revision
    client.v3.kv.compact(revision)
    assert job.running
    client.barrier(name).release()
    job.result()


HOLDER = """
    import json, sys
    from etcd_recipes import Client
    client = Client(sys.argv[1], api=sys.argv[-1])
    ttl = float(sys.argv[3]) or None
    print(json.dumps(client.barrier(sys.argv[2], ttl=ttl).hold()), flush=True)
    sys.stdin.readline()
"""


def test_it_stays_closed_when_its_holder_is_killed(
    client: Client, etcd: EtcdProcess, name: str, api: str
) -> None:
    with child(HOLDER, etcd.endpoint, name, "0", api) as holder:
        assert holder.read() is True
        holder.signal(signal.SIGKILL)
        holder.wait()
    with pytest.raises(DeadlineExceeded):
        client.barrier(name).wait(timeout=0.3)
    assert client.barrier(name).release() is True


def test_with_a_ttl_it_opens_when_its_holder_is_killed_and_stays_closed_while_it_lives(
    client: Client, etcd: EtcdProcess, name: str, api: str
) -> None:
    with child(HOLDER, etcd.endpoint, name, "2", api) as holder:
        assert holder.read() is True
        with pytest.raises(DeadlineExceeded):
            client.barrier(name).wait(timeout=3.0)  # longer than the ttl
        holder.signal(signal.SIGKILL)
        began = time.monotonic()
        client.barrier(name).wait(timeout=10)
        in_time(time.monotonic() - began, 2 + 1.5)
    assert client.barrier(name).hold()
    client.barrier(name).release()


def test_a_late_copy_of_a_hold_does_not_close_it_again(
    make_client: MakeClient, etcd: EtcdProcess, name: str, api: str
) -> None:
    with FaultProxy(etcd.endpoint) as proxy:
        client = make_client([proxy.endpoint, etcd.endpoint], header_timeout=0.3)
        barrier, plain = client.barrier(name), make_client().barrier(name)
        assert plain.hold()
        assert plain.release()
        client._cluster._ring = client._cluster._ring.pin(proxy.endpoint)
        writes = b"request_put" if api == "v3" else b"PUT /v2"
        proxy.hold(only=writes)
        assert barrier.hold() is True
        assert proxy.hits == 1
        assert plain.release() is True
        proxy.heal()  # the server now carries out what it was sent long ago
        eventually(lambda: "2" in below(client, name), 5, "the late copy")
        plain.wait(timeout=1)
        assert not plain.held()
        assert plain.hold()
        assert plain.held()
        plain.release()
        assert below(client, name) == ["3.released"]


def test_what_others_write_below_the_name_is_no_closing(client: Client, name: str) -> None:
    with client.lock(f"{name}/deeper"), client.lock(name):
        client.barrier(name).wait(timeout=1)


@pytest.mark.parametrize("bad", ["", "a/", "a\0b"])
def test_bad_names_are_refused_with_a_reason(client: Client, bad: str) -> None:
    with pytest.raises(ValueError, match="barrier name"):
        client.barrier(bad)


def test_bad_ttls_are_refused(client: Client, name: str) -> None:
    with pytest.raises(ValueError, match="ttl"):
        client.barrier(name, ttl=0)


def test_a_namespace_is_put_in_front_of_the_name(
    make_client: MakeClient, client: Client, name: str
) -> None:
    make_client(namespace=f"{name}-team/").barrier("gate").hold()
    assert client.barrier(f"{name}-team/gate").held()
