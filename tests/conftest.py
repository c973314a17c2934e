"""What every test of the project may use.

The fixture ``etcd_cluster`` is the package's own: see `etcd_recipes.testing.plugin`.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from etcd_recipes.testing import EtcdProcess
from tests.processes import servers


@pytest.fixture(scope="session")
def etcd() -> Iterator[EtcdProcess]:
    """The package's own fixture, with the v2 API switched on."""
    with EtcdProcess(enable_v2=True) as server:
        yield server


@pytest.fixture(scope="session", autouse=True)
def no_server_is_left_behind() -> Iterator[None]:
    before = servers()
    yield
    assert servers() - before == set(), "the tests left servers behind"
