"""Clients with a name of their own on the shared server."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest

from etcd_recipes import Client
from etcd_recipes.testing import EtcdProcess

_numbers = itertools.count(1)


@pytest.fixture
def name() -> str:
    """A name that no other test uses."""
    return f"test-{next(_numbers)}"


@pytest.fixture
def make_client(etcd: EtcdProcess) -> Iterator[Callable[..., Client]]:
    """Make clients of the shared server (or of other endpoints); closed at the end."""
    clients: list[Client] = []

    def make(endpoints: object = None, **options: object) -> Client:
        client = Client(endpoints or etcd.endpoint, **options)  # type: ignore[arg-type]
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
