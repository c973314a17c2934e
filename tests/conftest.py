"""What every test of the project may use.

The fixture ``etcd_cluster`` is the package's own: see `etcd_recipes.testing.plugin`.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator

import hypothesis
import pytest

from etcd_recipes.testing import EtcdProcess
from tests.processes import servers
from tests.tools import long

# Whoever starts the tests may have these ignored (nohup, a shell's background job), and what is ignored
# here is ignored in every child.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# The same examples in every run, others in the long form; and no word about time, which is the machine's.
hypothesis.settings.register_profile(
    "here",
    deadline=None,
    derandomize=long(True, False),
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("here")


@pytest.fixture(scope="session")
def etcd() -> Iterator[EtcdProcess]:
    """The package's own fixture, with the v2 API switched on."""
    with EtcdProcess(enable_v2=True) as server:
        yield server
        assert server.alive, f"the server died under the tests:\n{server.log_tail(40)}"


@pytest.fixture(scope="session", autouse=True)
def no_server_is_left_behind() -> Iterator[None]:
    before = servers()
    yield
    assert servers() - before == set(), "the tests left servers behind"
