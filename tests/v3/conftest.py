"""What the tests of the v3 dialect share: servers of both versions, and clients of them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import count

import pytest

from etcd_recipes import Client
from etcd_recipes.core.v3.api import V3
from etcd_recipes.testing import EtcdProcess
from tests.versions import SERVERS, binary_of

_numbers = count(1)


@pytest.fixture(autouse=True)
def no_thread_is_left_behind() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    left = set(threading.enumerate()) - before
    for thread in left:
        thread.join(2.0)
    assert not [thread for thread in left if thread.is_alive()]


@pytest.fixture(scope="session", params=list(SERVERS))
def server(request: pytest.FixtureRequest) -> Iterator[EtcdProcess]:
    """One member of each version; shared: use keys of your own, and leave auth off."""
    with EtcdProcess(binary=binary_of(request.param)) as process:
        yield process


@pytest.fixture
def client(server: EtcdProcess) -> Iterator[Client]:
    with Client(server.endpoint) as client:
        yield client


@pytest.fixture
def v3(client: Client) -> V3:
    return client.v3


@pytest.fixture
def name() -> str:
    """A key that no other test uses."""
    return f"v3-{next(_numbers)}"
