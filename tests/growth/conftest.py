"""A server for each file of tests, whose counters nobody else moves, and its clients."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from etcd_recipes import Client
from etcd_recipes.testing import EtcdProcess
from tests.tools import QUICK

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def etcd() -> Iterator[EtcdProcess]:
    """The shared server would also count what threads of other tests still ask."""
    with EtcdProcess(enable_v2=True, **QUICK) as server:
        yield server


@pytest.fixture
def name() -> str:
    """A name that no other test uses."""
    return f"growth-{next(_numbers)}"


@pytest.fixture
def client(etcd: EtcdProcess) -> Iterator[Client]:
    with Client(etcd.endpoint) as client:
        yield client
