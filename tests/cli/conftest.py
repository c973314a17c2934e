"""What the tests of commands that talk to a server share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from etcd_recipes import Client
from etcd_recipes.testing import EtcdProcess
from tests.cli.running import fresh_name


@pytest.fixture
def name() -> str:
    return fresh_name()


@pytest.fixture
def client(etcd: EtcdProcess) -> Iterator[Client]:
    with Client(etcd.endpoint) as client:
        yield client
