"""Members of real clusters of both versions: listed, added, changed, promoted and removed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from etcd_recipes import (
    Client,
    ClusterError,
    EtcdError,
    MemberExists,
    MemberNotFound,
)
from etcd_recipes.core.v3 import Member
from etcd_recipes.core.v3.admin.members import Membership
from etcd_recipes.testing import EtcdCluster, EtcdProcess
from etcd_recipes.testing.ports import free_ports
from tests.core.servers import Server, always, answer, silent
from tests.tools import QUICK, eventually
from tests.versions import SERVERS, binary_of

NOBODY = "http://127.0.0.1:1"
PATIENT = 5.0


@pytest.fixture(params=list(SERVERS))
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def own_server(version: str) -> Iterator[EtcdProcess]:
    """A member that this test may give company."""
    with EtcdProcess(binary=binary_of(version), **QUICK) as server:
        yield server


def test_members_are_listed_added_changed_and_removed(version: str) -> None:
    # For its first five seconds a cluster calls itself unhealthy, and would take no member.
    at_once = ("--strict-reconfig-check=false",)
    with (
        EtcdCluster(3, binary=binary_of(version), extra_args=at_once) as servers,
        Client(servers.leader().endpoint, header_timeout=PATIENT) as client,
    ):
        cluster = client.v3.cluster
        members = cluster.members()
        assert {member.name for member in members} == {"m0", "m1", "m2"}
        assert {url for member in members for url in member.client_urls} == set(servers.endpoints)
        assert not any(member.learner for member in members)
        assert set(cluster.members(linearizable=True)) == set(members)
        added = cluster.add(NOBODY)
        assert added == Member(added.id, "", (NOBODY,), ())
        with pytest.raises(MemberExists):
            cluster.add([NOBODY])
        with pytest.raises(MemberExists):
            cluster.add(members[0].peer_urls)
        for no_url in ("nonsense", ()):
            with pytest.raises(EtcdError, match="URLs are invalid"):
                cluster.add(no_url)
        others = ["http://127.0.0.1:2", "http://127.0.0.1:3"]
        cluster.update(added.id, others)
        assert sorted(by_id(cluster)[added.id].peer_urls) == others
        with pytest.raises(MemberExists):
            cluster.update(added.id, members[0].peer_urls)
        cluster.remove(added.id)
        assert set(by_id(cluster)) == {member.id for member in members}
        for missed in (
            lambda: cluster.remove(added.id),
            lambda: cluster.update(added.id, NOBODY),
            lambda: cluster.promote(added.id),
        ):
            with pytest.raises(MemberNotFound):
                missed()
        with pytest.raises(EtcdError, match="only promote a learner"):
            cluster.promote(members[0].id)


def by_id(cluster: Membership) -> dict[int, Member]:
    return {member.id: member for member in cluster.members()}


def test_a_learner_catches_up_and_gets_a_vote(own_server: EtcdProcess) -> None:
    with Client(own_server.endpoint, header_timeout=PATIENT) as client:
        cluster = client.v3.cluster
        (first,) = cluster.members()
        (port,) = free_ports(1)
        here = f"http://127.0.0.1:{port}"
        learner = cluster.add(here, learner=True)
        assert learner == Member(learner.id, "", (here,), (), learner=True)
        assert by_id(cluster)[learner.id].learner
        with pytest.raises(EtcdError, match="in sync"):
            cluster.promote(learner.id)
        joining = (
            f"--initial-cluster=m0={first.peer_urls[0]},m1={here}",
            "--initial-cluster-state=existing",
            f"--listen-peer-urls={here}",
            f"--initial-advertise-peer-urls={here}",
        )
        with_it = EtcdProcess(name="m1", binary=own_server.binary, extra_args=joining)
        try:
            with_it.start(wait=False)
            eventually(lambda: promoted(cluster, learner.id), 20.0, "the promotion")
            assert not by_id(cluster)[learner.id].learner
        finally:
            with_it.close()


def promoted(cluster: Membership, learner: int) -> bool:
    """Promote, or see that it has not caught up yet."""
    try:
        cluster.promote(learner)
    except EtcdError as error:
        if "in sync" not in error.message:
            raise
        return False
    except ClusterError as error:
        if "unhealthy" not in str(error):  # as it is while the learner has just come
            raise
        return False
    return True


def test_an_unhealthy_cluster_takes_no_member_until_it_is_healthy(version: str) -> None:
    with (
        EtcdCluster(3, binary=binary_of(version)) as servers,
        Client(servers.endpoints, header_timeout=PATIENT) as client,
    ):
        away = next(member for member in servers.members if member is not servers.leader())
        away.stop()
        with pytest.raises(ClusterError, match="unhealthy cluster") as raised:
            client.v3.cluster.add(NOBODY, learner=True)
        assert not raised.value.maybe_applied
        assert len(raised.value.errors) == 3, "the others were asked, for nothing was done"
        away.start()

        def taken() -> Member | None:
            try:
                return client.v3.cluster.add(NOBODY, learner=True)
            except ClusterError as error:
                if "unhealthy cluster" not in str(error):
                    raise
                return None

        assert eventually(taken, 20.0, "the addition").learner


def test_members_are_listed_without_a_quorum(version: str) -> None:
    with EtcdCluster(3, binary=binary_of(version)) as servers:
        last = servers.members[0]
        for member in servers.members[1:]:
            member.kill()
        with Client(last.endpoint, header_timeout=PATIENT) as client:
            eventually(lambda: client.v3.maintenance.status().leader == 0, 10.0, "no leader")
            assert len(client.v3.cluster.members()) == 3
            with pytest.raises(ClusterError, match="no leader") as raised:
                client.v3.cluster.remove(client.v3.cluster.members()[0].id)
            assert not raised.value.maybe_applied


CHANGES = {"remove": (7,), "add": (NOBODY,), "update": (7, NOBODY), "promote": (7,)}


@pytest.mark.parametrize("change", CHANGES)
def test_only_a_removal_is_sent_again_when_its_answer_is_lost(change: str) -> None:
    gone = answer(b'{"error":"etcdserver: member not found","code":5}', status=404)
    with (
        Server(silent) as lost,
        Server(always(gone)) as found,
        Client([lost.endpoint, found.endpoint], header_timeout=0.5) as client,
    ):
        client._cluster.pin(lost.endpoint)
        again = change == "remove"
        with pytest.raises(MemberNotFound if again else ClusterError) as raised:
            getattr(client.v3.cluster, change)(*CHANGES[change])
        assert (len(lost.requests), len(found.requests)) == (1, 1 if again else 0)
        assert again or raised.value.maybe_applied
