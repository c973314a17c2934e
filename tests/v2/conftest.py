"""What the tests of the v2 dialect share: servers of both versions with ``--enable-v2``, and clients of them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import count

import pytest

from etcd_recipes import Client
from etcd_recipes.core.v2.api import V2
from etcd_recipes.core.v2.keys import Keys
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
    """One member with the v2 API, of each version; shared: use names of your own."""
    with EtcdProcess(enable_v2=True, binary=binary_of(request.param)) as process:
        yield process


@pytest.fixture
def client(server: EtcdProcess) -> Iterator[Client]:
    with Client(server.endpoint) as client:
        yield client


@pytest.fixture
def v2(client: Client) -> V2:
    return client.v2


@pytest.fixture
def keys(v2: V2) -> Keys:
    return v2.keys


@pytest.fixture
def name() -> str:
    """A key that no other test uses."""
    return f"/v2-{next(_numbers)}"
