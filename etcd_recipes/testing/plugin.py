"""Pytest fixtures with real servers; registered by an entry point, so installing the package is enough.

Rules of this file
1. This file costs a test suite that uses no server next to nothing: all else is inside the fixtures.
2. No etcd means an error with the sentence that says how to get one, never a skipped test.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from etcd_recipes.testing import EtcdCluster, EtcdProcess


@pytest.fixture(scope="session")
def etcd() -> Iterator[EtcdProcess]:
    """One etcd member with its data in memory, shared by the whole session: use names of your own.

    Do not stop or kill it; a test that needs that makes its own EtcdProcess.
    """
    from etcd_recipes.testing import EtcdProcess

    with EtcdProcess() as server:
        yield server


@pytest.fixture
def etcd_cluster() -> Iterator[EtcdCluster]:
    """Three etcd members for one test, which may kill, stop and pause them."""
    from etcd_recipes.testing import EtcdCluster

    with EtcdCluster(3) as cluster:
        yield cluster
