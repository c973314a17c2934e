"""Every test of sound code plays on both stores of both servers, with one company of actors for the session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from etcd_recipes.testing import EtcdProcess
from tests.properties.company import Company
from tests.properties.stage import Place
from tests.versions import SERVERS, binary_of


@pytest.fixture(scope="session")
def company() -> Iterator[Company]:
    with Company() as actors:
        yield actors


@pytest.fixture(scope="session", params=SERVERS)
def any_etcd(request: pytest.FixtureRequest) -> Iterator[EtcdProcess]:
    """The shared server, and one of the other version."""
    if (binary := binary_of(request.param)) is None:
        yield request.getfixturevalue("etcd")
        return
    with EtcdProcess(enable_v2=True, binary=binary) as server:
        yield server


@pytest.fixture(params=["v3", "v2"])
def place(any_etcd: EtcdProcess, request: pytest.FixtureRequest) -> Place:
    return Place(any_etcd.endpoint, request.param)
