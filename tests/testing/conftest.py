"""Whatever the kit does to clients, it does on both stores and in memory."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest

from etcd_recipes import Client
from etcd_recipes.testing import EtcdProcess, NoEtcd

_numbers = itertools.count(1)


@pytest.fixture
def name() -> str:
    """A name that no other test uses."""
    return f"kit-{next(_numbers)}"


@pytest.fixture(params=["v3", "v2"])
def api(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=["v3", "v2", "memory"])
def pair(request: pytest.FixtureRequest, etcd: EtcdProcess) -> Iterator[tuple[Client, Client]]:
    """Two clients that see the same keys, and of which each is another process to etcd."""
    if request.param == "memory":
        with NoEtcd() as client, client.another() as other:
            yield client, other
    else:
        with Client(etcd.endpoint, api=request.param) as client:
            with Client(etcd.endpoint, api=request.param) as other:
                yield client, other


@pytest.fixture
def make_client(etcd: EtcdProcess, api: str) -> Iterator[Callable[..., Client]]:
    clients: list[Client] = []

    def make(endpoint: str | None = None, **options: object) -> Client:
        clients.append(Client(endpoint or etcd.endpoint, api=api, **options))  # type: ignore[arg-type]
        return clients[-1]

    yield make
    for client in clients:
        client.close()
