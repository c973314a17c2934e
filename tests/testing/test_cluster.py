from __future__ import annotations

import socket

import pytest

from etcd_recipes.core import runtime
from etcd_recipes.core.context import Context
from etcd_recipes.core.errors import Cancelled, DeadlineExceeded
from etcd_recipes.testing import EtcdCluster, cluster
from etcd_recipes.testing.waiting import wait_until
from tests.processes import children, exists
from tests.testing.gateway import get, put
from tests.tools import in_time


def others(cluster: EtcdCluster, member):
    return [other for other in cluster.members if other is not member]


def test_all_members_serve_one_store(etcd_cluster: EtcdCluster) -> None:
    assert len(etcd_cluster.endpoints) == 3
    put(etcd_cluster.endpoints[0], "k", "v")
    assert [get(endpoint, "k") for endpoint in etcd_cluster.endpoints] == ["v", "v", "v"]
    leader = etcd_cluster.leader()
    assert leader in etcd_cluster.members
    assert leader.status().member == leader.status().leader


def test_when_the_leader_is_killed_another_leads_and_the_old_one_comes_back(
    etcd_cluster: EtcdCluster,
) -> None:
    old = etcd_cluster.leader()
    put(old.endpoint, "k", "v")
    old.kill()
    new = etcd_cluster.leader()
    assert new is not old
    put(new.endpoint, "k", "w")
    old.restart()
    assert get(old.endpoint, "k") == "w"
    assert len({member.status().leader for member in etcd_cluster.members}) == 1


def test_a_paused_leader_is_no_leader_and_follows_when_it_is_resumed(
    etcd_cluster: EtcdCluster,
) -> None:
    old = etcd_cluster.leader()
    old.pause()
    new = etcd_cluster.leader()
    assert new is not old
    old.resume()
    # A write that reaches it before it has heard of the new leader is lost, and answered after 7 s.
    leads = new.status().member
    assert wait_until(lambda: old.status().leader == leads or None, Context(10.0))
    put(old.endpoint, "k", "v")
    assert etcd_cluster.leader() is new


def test_without_a_majority_nobody_leads_and_the_wait_ends_in_time(
    etcd_cluster: EtcdCluster,
) -> None:
    leader = etcd_cluster.leader()
    for other in others(etcd_cluster, leader):
        other.stop()
    before = runtime.now()
    with pytest.raises(DeadlineExceeded, match="not running"):
        etcd_cluster.leader(timeout=0.3)
    in_time(runtime.now() - before, 2.0)
    ctx = Context()
    ctx.cancel()
    with pytest.raises(Cancelled):
        etcd_cluster.leader(ctx=ctx)
    for other in others(etcd_cluster, leader):
        other.start(wait=False)
    etcd_cluster.leader()


def test_nothing_is_left_behind() -> None:
    before = children()
    with EtcdCluster(3) as cluster:
        pids = [member.pid for member in cluster.members]
        folders = [member.folder for member in cluster.members]
        cluster.members[0].kill()
        cluster.members[1].pause()
        assert len(set(pids)) == 3
    assert not any(exists(pid) for pid in pids)
    assert not any(folder.exists() for folder in folders)
    assert children() == before
    assert cluster.members == ()


def test_a_cluster_leaves_taken_ports_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = cluster.free_ports
    with socket.create_server(("127.0.0.1", 0)) as somebody:
        taken = somebody.getsockname()[1]
        choices = iter([[taken, honest(1)[0]]])
        monkeypatch.setattr(cluster, "free_ports", lambda n: next(choices, None) or honest(n))
        with EtcdCluster(1) as alone:
            assert alone.endpoints != (f"http://127.0.0.1:{taken}",)
            assert alone.leader() is alone.members[0]


def test_a_cluster_has_members() -> None:
    with pytest.raises(ValueError, match="at least one member"):
        EtcdCluster(0)
