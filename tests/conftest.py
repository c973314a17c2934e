"""What every test of the project may use.

The fixtures with real servers, ``etcd`` and ``etcd_cluster``, are the package's own: see
`etcd_recipes.testing.plugin`.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.processes import servers


@pytest.fixture(scope="session", autouse=True)
def no_server_is_left_behind() -> Iterator[None]:
    before = servers()
    yield
    assert servers() - before == set(), "the tests left servers behind"
