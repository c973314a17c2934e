"""The metrics of real sessions, holds, registrations and views, as Prometheus would scrape them."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from etcd_recipes import Client, ClusterError, LockLost
from etcd_recipes.contrib.prometheus import Collector
from tests.tools import eventually


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry) -> Iterator[Collector]:
    with Collector(registry, name=lambda line: line.rpartition("#")[0] or line) as collector:
        yield collector


def test_holds_waits_and_their_ends_are_counted(
    registry: CollectorRegistry,
    metrics: Collector,
    client: Client,
    other: Client,
    name: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    value = registry.get_sample_value
    lock = {"kind": "lock", "name": name}
    hold = {"kind": "Hold", "name": name}
    with client.lock(f"{name}#1"):
        assert value("etcd_recipes_holds", hold) == 1
        assert other.lock(f"{name}#1").acquire(blocking=False) is None
        assert other.lock(f"{name}#1").acquire(timeout=0.02) is None
    assert value("etcd_recipes_holds", hold) is None
    assert value("etcd_recipes_wait_seconds_count", lock | {"outcome": "admitted"}) == 1
    assert value("etcd_recipes_wait_seconds_count", lock | {"outcome": "busy"}) == 1
    assert value("etcd_recipes_wait_seconds_sum", lock | {"outcome": "DeadlineExceeded"}) >= 0.02
    assert value("etcd_recipes_hold_seconds_count", hold | {"state": "released"}) == 1

    term = client.election(name).campaign()
    leads = {"kind": "Leadership", "name": name}
    assert value("etcd_recipes_holds", leads) == 1
    with client.multi_lock([f"{name}-a", f"{name}-b"]):
        assert value("etcd_recipes_holds", {"kind": "Hold", "name": f"{name}-a"}) == 1
        assert value("etcd_recipes_holds", {"kind": "MultiHold", "name": ""}) is None
    # A child that was forked holds none of it, and counts none of its ends.
    reader, writer = os.pipe()
    if (pid := os.fork()) == 0:
        os.write(writer, repr(value("etcd_recipes_holds", leads)).encode())
        term.release()
        os._exit(0)
    os.waitpid(pid, 0)
    assert os.read(reader, 99) == b"None"
    os.close(reader), os.close(writer)
    term.session.lose("as if it had expired")
    assert value("etcd_recipes_holds", leads) is None
    assert value("etcd_recipes_hold_seconds_count", leads | {"state": "lost"}) == 1
    assert value("etcd_recipes_session_losses_total") == 1
    with pytest.raises(LockLost):
        term.check()
    assert b"etcd_recipes_wait_seconds_bucket" in generate_latest(registry)
    assert "log.listener_failed" not in caplog.text


def test_sessions_are_counted_by_state_with_the_seconds_that_remain(
    registry: CollectorRegistry, metrics: Collector, client: Client
) -> None:
    value = registry.get_sample_value
    assert value("etcd_recipes_sessions", {"state": "active"}) == 0
    session = client.session(2)
    left = {"ttl": f"{session.ttl:g}"}
    assert value("etcd_recipes_sessions", {"state": "active"}) == 1
    assert 0 < value("etcd_recipes_session_remaining_seconds", left) < session.ttl
    eventually(lambda: value("etcd_recipes_renewal_seconds_count") >= 1, what="a renewal")
    session._suspend(OSError("no etcd"))
    assert value("etcd_recipes_sessions", {"state": "suspended"}) == 1
    assert value("etcd_recipes_session_suspensions_total") == 1
    eventually(lambda: value("etcd_recipes_sessions", {"state": "active"}) == 1, what="the next")
    session.close()
    late = {"lease": f"{session.id:x}", "ttl": session.ttl, "took": 0.1, "remaining": 1.0}
    metrics._hear("session.renewed", late)  # by its keeper, which was at it
    assert value("etcd_recipes_sessions", {"state": "active"}) == 0
    assert value("etcd_recipes_session_remaining_seconds", left) is None


def test_registrations_views_and_endpoints_are_there(
    registry: CollectorRegistry, metrics: Collector, client: Client, name: str
) -> None:
    value = registry.get_sample_value
    services = client.registry(name)
    api = {"service": "api"}
    with services.register("api", "a:1"), metrics.watch(services.follow("api")) as view:
        assert value("etcd_recipes_registrations", api) == 1
        assert value("etcd_recipes_view_instances", api) == 1
        assert 0 <= value("etcd_recipes_view_age_seconds", api) <= view.age
        assert value("etcd_recipes_view_suspects", api) == 0
    assert value("etcd_recipes_registrations", api) is None
    assert value("etcd_recipes_view_instances", api) is None
    (endpoint,) = client.endpoints
    answered = {"endpoint": endpoint, "outcome": "answered"}
    assert value("etcd_recipes_attempt_seconds_count", answered) >= 3
    with Client("http://127.0.0.1:1") as nowhere, pytest.raises(ClusterError):
        nowhere.v3.kv.get("k")
    failed = {"endpoint": "http://127.0.0.1:1", "outcome": "failed"}
    assert value("etcd_recipes_attempt_seconds_count", failed) == 1
    metrics.close()
    client.v3.kv.get("k")
    assert value("etcd_recipes_attempt_seconds_count", failed) is None
