"""A server for the tests of the model."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from etcd_recipes.testing import EtcdProcess


@pytest.fixture(scope="session")
def quiet_etcd() -> Iterator[EtcdProcess]:
    """A server of which nobody else knows: a lease left behind that ends would move the revision."""
    with EtcdProcess(enable_v2=True) as server:
        yield server
