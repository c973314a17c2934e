"""What the tests of the core share: a clean end of each of them, and clients of the session's server."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import count

import pytest

from etcd_recipes.core.context import Context
from etcd_recipes.core.http.cluster import Cluster
from etcd_recipes.core.http.wire import Wire
from etcd_recipes.core.v3.api import V3
from etcd_recipes.core.v3.gateway import Gateway
from etcd_recipes.core.v3.store import V3Store
from etcd_recipes.testing import EtcdProcess

_numbers = count(1)


@pytest.fixture(autouse=True)
def no_thread_is_left_behind() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    left = set(threading.enumerate()) - before
    for thread in left:
        thread.join(2.0)
    assert not [thread for thread in left if thread.is_alive()]


@pytest.fixture
def wire() -> Iterator[Wire]:
    wire = Wire()
    yield wire
    wire.close()


@pytest.fixture(scope="session")
def cluster(etcd: EtcdProcess) -> Iterator[Cluster]:
    """The session's server, as the cluster of all tests that do not hurt it."""
    cluster = Cluster(Wire(), (etcd.endpoint,))
    yield cluster
    cluster.close()


@pytest.fixture(scope="session")
def gateway(cluster: Cluster) -> Gateway:
    return Gateway(cluster)


@pytest.fixture(scope="session")
def v3(gateway: Gateway) -> V3:
    return V3(gateway, default_timeout=5.0)


@pytest.fixture(scope="session")
def store(gateway: Gateway) -> V3Store:
    return V3Store(gateway)


@pytest.fixture
def ctx() -> Context:
    """A limit that only guards against hanging."""
    return Context(10.0)


@pytest.fixture
def name() -> str:
    """A name that no other test uses."""
    return f"core-{next(_numbers)}-key"  # nor does one begin with another
