"""Clients with a name of their own on the shared server; every test runs on both stores.

``only_v3`` marks a test of something that is v3's alone: requests in one transaction, keys shared with Go.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from etcd_recipes import Client
from etcd_recipes.testing import EtcdCluster, EtcdProcess
from tests.tools import QUICK

_numbers = itertools.count(1)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "api" in metafunc.fixturenames:
        only_v3 = metafunc.definition.get_closest_marker("only_v3") is not None
        metafunc.parametrize("api", ["v3"] if only_v3 else ["v3", "v2"])


@pytest.fixture
def name() -> str:
    """A name that no other test uses."""
    return f"test-{next(_numbers)}"


@pytest.fixture
def make_client(etcd: EtcdProcess, api: str) -> Iterator[Callable[..., Client]]:
    """Make clients of the shared server (or of other endpoints); closed at the end."""
    clients: list[Client] = []

    def make(endpoints: object = None, **options: object) -> Client:
        client = Client(endpoints or etcd.endpoint, api=api, **options)  # type: ignore[arg-type]
        clients.append(client)
        return client

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def client(make_client: Callable[..., Client]) -> Client:
    return make_client()


@pytest.fixture
def other(make_client: Callable[..., Client]) -> Client:
    """A second client: to etcd it is another process."""
    return make_client()


@pytest.fixture
def server() -> Iterator[EtcdProcess]:
    """A server of the test's own, to be stopped and killed."""
    with EtcdProcess(enable_v2=True, **QUICK) as process:
        yield process


@pytest.fixture
def cluster() -> Iterator[EtcdCluster]:
    """Three quick members of the test's own."""
    options: dict[str, Any] = {"heartbeat": 50, "election_timeout": 500, "enable_v2": True}
    with EtcdCluster(3, **options) as members:
        yield members
