"""Awaitable clients of the shared server; after each test no thread of the library may be left."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator

import pytest

from etcd_recipes import Client, aio
from etcd_recipes.testing import EtcdProcess
from tests.tools import eventually

_numbers = itertools.count(1)

TTL = 2.0
"""Seconds: the least that etcd grants."""


@pytest.fixture(params=["v3", "v2"])
def api(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def name() -> str:
    """A name that no other test uses."""
    return f"aio-{next(_numbers)}"


def threads() -> set[threading.Thread]:
    """Give the library's threads."""
    return {t for t in threading.enumerate() if t.name.startswith("etcd-recipes")}


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = threads()  # of fixtures that other files share
    yield
    eventually(lambda: threads() <= before, what="the end of all threads")


@pytest.fixture
def connect(etcd: EtcdProcess) -> Callable[..., aio.Client]:
    """Make awaitable clients of the shared server, with a short ttl."""

    def make(api: str = "v3", **options: object) -> aio.Client:
        return aio.Client(etcd.endpoint, api=api, **{"session_ttl": TTL, **options})  # type: ignore[arg-type]

    return make


@pytest.fixture
def operator(etcd: EtcdProcess) -> Iterator[Client]:
    """A blocking client: to etcd it is another process."""
    with Client(etcd.endpoint, session_ttl=TTL) as client:
        yield client


@pytest.fixture
def other(etcd: EtcdProcess, api: str) -> Iterator[Client]:
    """A blocking client of the store under test."""
    with Client(etcd.endpoint, api=api, session_ttl=TTL) as client:  # type: ignore[arg-type]
        yield client
