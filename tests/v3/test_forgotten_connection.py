"""A connection that the network has forgotten: packets of it, and of it alone, are dropped both ways."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from etcd_recipes import Client
from etcd_recipes.testing import EtcdProcess
from tests.tools import Job, long

pytestmark = pytest.mark.skipif(
    not long(False, os.geteuid() == 0 and bool(shutil.which("iptables"))),
    reason="takes 20 s, root and iptables",
)


@contextmanager
def forgotten(one: int, other: int) -> Iterator[None]:
    """Drop what goes between two ports of this machine while the body runs."""
    rules = [
        ["INPUT", "-p", "tcp", "-i", "lo", "--sport", str(a), "--dport", str(b), "-j", "DROP"]
        for a, b in ((one, other), (other, one))
    ]
    try:
        for rule in rules:
            subprocess.run(["iptables", "-A", *rule], check=True)
        yield
    finally:
        for rule in rules:
            subprocess.run(["iptables", "-D", *rule], check=False)


def test_a_watch_goes_on_although_nobody_said_that_its_connection_is_gone(
    etcd: EtcdProcess,
) -> None:
    with Client(etcd.endpoint) as client, client.v3.watch("forgotten/", prefix=True) as watch:
        client.v3.kv.put("forgotten/1", "a")
        assert watch.next(timeout=5.0).kv.text == "a"
        stream = watch._subscription._channel._messages._stream  # type: ignore[union-attr]
        mine = stream._connection.sock.getsockname()[1]
        with forgotten(mine, int(etcd.endpoint.rpartition(":")[2])):
            waiting = Job(lambda: watch.next(timeout=40.0).kv.text)
            client.v3.kv.put("forgotten/1", "b")
            assert waiting.result(timeout=30.0) == "b"
