"""Clients of the shared server, on the store that the test names or on both."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from etcd_recipes import Client
from etcd_recipes.testing import EtcdProcess

_numbers = itertools.count(1)


@pytest.fixture
def name() -> str:
    """A name that no other test uses."""
    return f"growth-{next(_numbers)}"


@pytest.fixture
def client(etcd: EtcdProcess) -> Iterator[Client]:
    with Client(etcd.endpoint) as client:
        yield client
