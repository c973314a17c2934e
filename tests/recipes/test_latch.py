"""The latch's promises, against a real server."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

import pytest

from etcd_recipes import Cancelled, Client, Context, DeadlineExceeded
from etcd_recipes.testing import EtcdProcess, FaultProxy
from tests.recipes.below import below
from tests.tools import Job, child, eventually, in_time

MakeClient = Callable[..., Client]


def test_it_opens_at_zero_and_stays_open(client: Client, other: Client, name: str) -> None:
    latch, theirs = client.latch(name, count=3), other.latch(name, count=3)
    job = Job(lambda: theirs.wait(timeout=20))
    assert [latch.count_down(), theirs.count_down()] == [2, 1]
    assert latch.count == theirs.remaining() == 1
    assert job.running
    began = time.monotonic()
    assert latch.count_down() == 0
    job.result()
    assert job.ended_at is not None
    in_time(job.ended_at - began, 1.0)
    assert latch.count_down() == 0
    assert latch.count == 0
    latch.wait(timeout=1)
    assert len(below(client, name)) == 3


def test_who_has_a_name_counts_once(client: Client, other: Client, name: str) -> None:
    assert client.latch(name, count=3).count_down("worker-1") == 2
    assert other.latch(name, count=3).count_down("worker-1") == 2
    assert other.latch(name, count=3).count_down("worker-2") == 1


COUNTER = """
    import json, sys
    from etcd_recipes import Client
    client = Client(sys.argv[1], api=sys.argv[-1])
    latch = client.latch(sys.argv[2], count=4)
    print(json.dumps(latch.count_down()), flush=True)
    sys.stdin.readline()
"""


def test_what_was_counted_stays_counted_when_its_process_is_killed(
    client: Client, etcd: EtcdProcess, name: str, api: str
) -> None:
    latch = client.latch(name, count=4)
    job = Job(lambda: latch.wait(timeout=30))
    for left in (3, 2):
        with child(COUNTER, etcd.endpoint, name, api) as counter:
            assert counter.read() == left
            counter.signal(signal.SIGKILL)
            counter.wait()
    assert latch.count == 2
    assert job.running
    latch.count_down()
    latch.count_down()
    job.result()


def test_many_threads_count_every_one(client: Client, name: str) -> None:
    latch = client.latch(name, count=40)
    for job in [Job(lambda: [latch.count_down() for _ in range(9)]) for _ in range(4)]:
        job.result()
    assert latch.count == 4


def test_a_wait_ends_by_its_timeout_and_by_a_cancel(client: Client, name: str) -> None:
    latch = client.latch(name, count=1)
    began = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        latch.wait(timeout=0.2)
    in_time(time.monotonic() - began, 0.7, at_least=0.2)
    ctx = Context()
    job = Job(lambda: latch.wait(ctx=ctx))
    ctx.cancel()
    with pytest.raises(Cancelled):
        job.result(1)
    assert below(client, name) == []


def test_a_count_whose_request_was_carried_out_twice_counts_once(
    make_client: MakeClient, etcd: EtcdProcess, name: str, api: str
) -> None:
    with FaultProxy(etcd.endpoint) as proxy:
        client = make_client([proxy.endpoint, etcd.endpoint], header_timeout=0.3)
        client._cluster._ring = client._cluster._ring.pin(proxy.endpoint)
        proxy.hold(only=b"request_put" if api == "v3" else b"PUT /v2")
        latch = client.latch(name, count=3)
        assert latch.count_down() == 2
        assert proxy.hits == 1
        proxy.heal()
        assert latch.count_down() == 1
        assert latch.count == 1


def test_a_wait_goes_on_through_a_restart(
    make_client: MakeClient, name: str, server: EtcdProcess
) -> None:
    latch = make_client(server.endpoint).latch(name, count=2)
    latch.count_down()
    job = Job(lambda: latch.wait(timeout=30))
    server.kill()
    server.start()
    assert job.running
    eventually(lambda: latch.count_down(timeout=5) == 0, 10)
    job.result()


def test_another_count_is_an_error_that_says_so(client: Client, other: Client, name: str) -> None:
    client.latch(name, count=3).count_down()
    for act in (lambda latch: latch.wait(timeout=2), lambda latch: latch.count_down()):
        with pytest.raises(ValueError, match=r"begun with count=3.*count=2"):
            act(other.latch(name, count=2))
    assert client.latch(name, count=3).count == 2


def test_clear_takes_all_its_keys_away(client: Client, name: str) -> None:
    latch = client.latch(name, count=2)
    latch.count_down()
    latch.count_down()
    latch.clear()
    assert below(client, name) == []
    assert latch.count == 2


@pytest.mark.parametrize("bad", ["", "a/", "a\0b"])
def test_bad_names_are_refused_with_a_reason(client: Client, bad: str) -> None:
    with pytest.raises(ValueError, match="latch name"):
        client.latch(bad, count=1)


@pytest.mark.parametrize(("bad", "error"), [(0, ValueError), (-1, ValueError), (1.5, TypeError)])
def test_bad_counts_are_refused(client: Client, name: str, bad: int, error: type) -> None:
    with pytest.raises(error, match="count"):
        client.latch(name, count=bad)


def test_a_bad_name_of_who_counts_is_refused(client: Client, name: str) -> None:
    for bad in ("", "a/b"):
        with pytest.raises(ValueError, match="who counts"):
            client.latch(name, count=1).count_down(bad)
