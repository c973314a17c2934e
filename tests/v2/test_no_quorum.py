"""A member of which two thirds of its cluster are gone: what it answers on v2, and what a client makes of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from etcd_recipes import Client, ClusterError, DeadlineExceeded
from etcd_recipes.testing import EtcdCluster
from tests.core.calls import within
from tests.tools import eventually, long
from tests.versions import SERVERS, binary_of

HEADER_TIMEOUT = 0.3


@pytest.fixture(params=long(["3.5"], list(SERVERS)))
def cluster(request: pytest.FixtureRequest) -> Iterator[EtcdCluster]:
    """Three members that find out quickly who is gone."""
    with EtcdCluster(
        3,
        heartbeat=20,
        election_timeout=200,
        enable_v2=True,
        binary=binary_of(request.param),
    ) as members:
        yield members


def test_what_needs_a_quorum_is_in_doubt_soon_and_the_rest_is_answered(
    cluster: EtcdCluster,
) -> None:
    last, *others = cluster.members
    with (
        Client(last.endpoint, header_timeout=HEADER_TIMEOUT) as client,
        client.v2.keys.watcher("a") as watcher,
    ):
        keys = client.v2.keys
        keys.set("a", "before")
        with pytest.raises(DeadlineExceeded):
            watcher.next(timeout=0.05)
        for member in others:
            member.kill()
        eventually(lambda: (view := last.status()) and not view.leader)
        # It would say "Raft Internal Error" after seven seconds; nobody waits for that.
        with within(2.0), pytest.raises(ClusterError) as raised:
            keys.set("a", "after")
        assert raised.value.maybe_applied
        with within(2.0), pytest.raises(ClusterError):
            keys.get("a", quorum=True)
        assert keys.get("a").node.value == "before"
        with pytest.raises(ClusterError, match="During election"):
            client.v2.members.leader()
        for member in others:
            member.start(wait=False)
        for member in others:
            member.wait_ready()
        keys.set("b", "x")
        keys.set("a", "again")
        seen = watcher.next(timeout=10.0).node.value
        while seen != "again":  # the one in doubt may have been carried out
            assert seen == "after"
            seen = watcher.next(timeout=10.0).node.value
