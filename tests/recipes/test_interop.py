"""One lock and one election with etcdctl (and so with Go's concurrency package), both ways."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from etcd_recipes import Client
from etcd_recipes.testing import EtcdProcess, find_etcdctl
from tests.tools import Job, eventually

pytestmark = pytest.mark.only_v3

SHOW = "echo $ETCD_LOCK_KEY $ETCD_LOCK_REV"


@contextmanager
def etcdctl(endpoint: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [str(find_etcdctl()), "--endpoints", endpoint, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "ETCDCTL_API": "3"},
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_a_lock_of_etcdctl_keeps_us_out_until_it_ends(
    client: Client, etcd: EtcdProcess, name: str
) -> None:
    with etcdctl(etcd.endpoint, "lock", name) as foreign:
        key = line(foreign)
        assert key.startswith(f"{name}/")
        assert client.lock(name).acquire(blocking=False) is None
        holder = client.lock(name).holder()
        assert holder is not None
        assert (holder.key, holder.value, holder.identity) == (key, "", key.rpartition("/")[2])
        job = Job(lambda: client.lock(name).acquire(timeout=10))
        eventually(client.lock(name).waiters)
        assert job.running
        foreign.send_signal(signal.SIGINT)
        hold = job.result()
        assert hold.token > holder.token
        hold.release()


def test_a_lock_of_ours_keeps_etcdctl_out_until_it_ends(
    client: Client, etcd: EtcdProcess, name: str
) -> None:
    hold = client.lock(name).acquire()
    assert hold is not None
    with etcdctl(etcd.endpoint, "lock", name, "--", "sh", "-c", SHOW) as foreign:
        eventually(client.lock(name).waiters)
        assert foreign.poll() is None
        token = hold.token
        hold.release()
        key, revision = line(foreign).split()
        assert key.startswith(f"{name}/")
        assert int(revision) > token, "one order of tokens for both"
        assert foreign.wait(10) == 0


def test_an_election_is_shared_with_etcdctl(client: Client, etcd: EtcdProcess, name: str) -> None:
    election = client.election(name)
    with etcdctl(etcd.endpoint, "elect", name, "go") as foreign:
        eventually(election.leader)
        leader = election.leader()
        assert leader is not None
        assert leader.value == "go"
        job = Job(lambda: election.campaign("python", timeout=10))
        eventually(lambda: len(election.candidates()) == 2)
        assert job.running
        foreign.send_signal(signal.SIGINT)
        term = job.result()
    with etcdctl(etcd.endpoint, "elect", name, "go again") as foreign:
        eventually(lambda: len(election.candidates()) == 2)
        with etcdctl(etcd.endpoint, "elect", "-l", name) as observer:
            assert line(observer) == term.key
            assert line(observer) == "python"
        term.resign()
        eventually(lambda: [c.value for c in election.candidates()] == ["go again"])


def test_a_session_key_looks_like_gos(client: Client, name: str) -> None:
    with client.lock(name) as hold:
        assert hold.key == f"{name}/{client.session().id:x}"
        kv = client.v3.kv.get(hold.key)
        assert kv is not None
        assert kv.lease == client.session().id


@pytest.mark.parametrize("lock_id", ["abc", "0", "7fffffffffffffff"])
def test_any_lease_in_hex_below_the_name_is_a_contender(
    client: Client, name: str, lock_id: str
) -> None:
    client.v3.kv.put(f"{name}/{lock_id}", "")
    assert client.lock(name).acquire(blocking=False) is None
    client.v3.kv.delete(f"{name}/{lock_id}")
