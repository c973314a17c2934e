"""Pytest fixtures with real servers; registered by an entry point, so installing the package is enough.

Rules of this file
1. This file costs a test suite that uses none of it next to nothing: all else is imported inside the fixtures.
2. No etcd means a failure with the sentence that says how to get one. A test is skipped only where
   that was asked for: one that is skipped in silence is one that nobody has.
3. Tests share the server, and nothing on it: each has a namespace of its own, which is emptied afterwards. Each
   worker of pytest-xdist is a session, and so has a server of its own.
4. A server ends with the session that started it, whatever that dies of: see `reaper`.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from etcd_recipes import Client
    from etcd_recipes.testing import EtcdCluster, EtcdProcess, ExistingEtcd, FaultProxy


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("etcd", "etcd servers for tests (etcd-recipes)")
    group.addoption("--etcd-exec", metavar="PATH", help="the etcd server to run in tests")
    group.addoption(
        "--etcd-url",
        metavar="URL",
        help="use the etcd that runs here; nothing is started for the fixture 'etcd'",
    )
    group.addoption(
        "--etcd-api",
        choices=["v3", "v2"],
        default="v3",
        help="the store that the clients of the fixtures use (default: v3)",
    )
    group.addoption(
        "--etcd-skip",
        action="store_true",
        help="where there is no etcd to run, skip the tests that need one (default: fail)",
    )


@pytest.fixture(scope="session")
def etcd(request: pytest.FixtureRequest) -> Iterator[EtcdProcess | ExistingEtcd]:
    """One etcd member with its data in memory, shared by the whole session; or the one of ``--etcd-url``.

    Use names of your own (`etcd_namespace`), and do not stop or kill it; a test that needs that makes its
    own EtcdProcess.
    """
    from etcd_recipes.testing import EtcdProcess, ExistingEtcd

    if url := request.config.getoption("--etcd-url"):
        yield ExistingEtcd(url)
        return
    with _there(request):
        server = EtcdProcess(**_options(request))
    with server:
        yield server


@pytest.fixture(scope="session")
def _etcd_janitor(
    etcd: EtcdProcess | ExistingEtcd, request: pytest.FixtureRequest
) -> Iterator[Callable[[str], None]]:
    from etcd_recipes import Client, KeyNotFound

    with Client(etcd.endpoint) as client:

        def clean(namespace: str) -> None:
            if request.config.getoption("--etcd-api") == "v3":
                client.v3.kv.delete(namespace, prefix=True)
            else:
                with suppress(KeyNotFound):
                    client.v2.keys.delete(namespace.rstrip("/"), recursive=True)

        yield clean


@pytest.fixture
def etcd_namespace(_etcd_janitor: Callable[[str], None]) -> Iterator[str]:
    """A prefix for keys that no other test has, with a slash at its end; what is below it is deleted afterwards."""
    namespace = f"etcd-recipes-test-{secrets.token_hex(8)}/"
    yield namespace
    _etcd_janitor(namespace)


@pytest.fixture
def make_etcd_client(
    etcd: EtcdProcess | ExistingEtcd, etcd_namespace: str, request: pytest.FixtureRequest
) -> Iterator[Callable[..., Client]]:
    """Make clients that share the test's namespace, to etcd as different as processes; closed afterwards.

    ``make_etcd_client()`` is a client of `etcd`, ``make_etcd_client(fault_proxy.endpoint)`` one of other
    endpoints. Options are those of Client.
    """
    from etcd_recipes import Client

    defaults = {"api": request.config.getoption("--etcd-api"), "namespace": etcd_namespace}
    clients: list[Client] = []

    def make(endpoints: Any = None, **options: Any) -> Client:
        client = Client(endpoints or etcd.endpoint, **(defaults | options))
        clients.append(client)
        return client

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def etcd_client(make_etcd_client: Callable[..., Client]) -> Client:
    """A client of `etcd` whose recipes have a namespace of the test's own; closed afterwards, and its keys deleted.

    The namespace is put in front of the names of recipes only: ``client.v3.kv`` and ``client.v2.keys`` take keys as
    they stand, so begin those with `etcd_namespace`.
    """
    return make_etcd_client()


@pytest.fixture
def fault_proxy(etcd: EtcdProcess | ExistingEtcd) -> Iterator[FaultProxy]:
    """A FaultProxy in front of `etcd`, for one test: ``make_etcd_client(fault_proxy.endpoint)`` goes through it."""
    from etcd_recipes.testing import FaultProxy

    with FaultProxy(etcd.endpoint.split(",")[0]) as proxy:
        yield proxy


@pytest.fixture
def etcd_cluster(request: pytest.FixtureRequest) -> Iterator[EtcdCluster]:
    """Three etcd members for one test, which may kill, stop and pause them; never those of ``--etcd-url``."""
    from etcd_recipes.testing import EtcdCluster

    cluster = EtcdCluster(3, **_options(request))
    with _there(request):
        cluster.start()
    with cluster:
        yield cluster


def _options(request: pytest.FixtureRequest) -> dict[str, Any]:
    option = request.config.getoption
    return {"binary": option("--etcd-exec"), "enable_v2": option("--etcd-api") == "v2"}


@contextmanager
def _there(request: pytest.FixtureRequest) -> Iterator[None]:
    """Make of a missing etcd what rule 2 says."""
    from etcd_recipes.testing import EtcdNotFound

    try:
        yield
    except EtcdNotFound as error:
        missing = f"{error} (for these tests alone: pytest --etcd-exec PATH, or --etcd-url URL)"
        if request.config.getoption("--etcd-skip"):
            pytest.skip(missing)
        pytest.fail(missing, pytrace=False)
