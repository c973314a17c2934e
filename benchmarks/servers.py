"""The servers that are measured against, with their data in memory; and what a server has counted."""

from __future__ import annotations

import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from etcd_recipes.core.context import Context
from etcd_recipes.testing import EtcdProcess, etcd_version, find_etcd
from etcd_recipes.testing.reaper import Reaper

__all__ = ["counted", "etcd", "has_v2", "why_no_zookeeper", "zookeeper", "zookeeper_version"]

_JARS = Path("/usr/share/java")
_CONFIG = """tickTime=500
minSessionTimeout=1000
maxSessionTimeout=60000
maxClientCnxns=0
dataDir={folder}
clientPort={port}
clientPortAddress=127.0.0.1
admin.enableServer=false
"""


def has_v2() -> bool:
    return etcd_version(find_etcd()) < (3, 6, 0)


@contextmanager
def etcd() -> Iterator[str]:
    """Give the endpoint of a fresh etcd, its v2 API switched on where it has one."""
    with EtcdProcess(enable_v2=has_v2()) as server:
        yield server.endpoint


# -- ZooKeeper, as Debian packs it -------------------------------------------------------------------------------


def why_no_zookeeper() -> str:
    """Give why there is no ZooKeeper to measure here, or nothing."""
    if shutil.which("java") is None:
        return "there is no Java here, for ZooKeeper"
    if not (_JARS / "zookeeper.jar").exists():
        return "there is no ZooKeeper here (Debian: apt-get install zookeeper)"
    return ""


def zookeeper_version() -> str:
    named = sorted(_JARS.glob("zookeeper-[0-9]*.jar"))
    return named[-1].stem.partition("-")[2] if named else "of unknown version"


@contextmanager
def zookeeper() -> Iterator[str]:
    """Give the endpoint of a fresh ZooKeeper."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(
        prefix="bench-zookeeper-", dir=memory if memory.is_dir() else None
    ) as name:
        folder = Path(name)
        port = _free_port()
        (folder / "zoo.cfg").write_text(_CONFIG.format(folder=folder, port=port))
        jars = f"{folder}:{_JARS / 'zookeeper.jar'}"
        main = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
        with (folder / "log").open("w") as log:
            server = subprocess.Popen(
                ["java", "-Xmx512m", "-cp", jars, main, folder / "zoo.cfg"],
                stdout=log,
                stderr=log,
                cwd=folder,
            )
        reaper = Reaper(folder)  # ends it if we are killed
        reaper.name(server.pid)
        try:
            _wait_for(port, server, folder / "log")
            yield f"zookeeper://127.0.0.1:{port}"
        finally:
            server.send_signal(signal.SIGKILL)
            server.wait()
            reaper.dismiss()


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _wait_for(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with socket.create_connection(("127.0.0.1", port), 1) as sock:
                sock.sendall(b"srvr")
                if b"Mode" in sock.recv(1000):
                    return
        except OSError:
            pass
        Context().wait(0.05)
    raise RuntimeError(f"ZooKeeper did not start: {log.read_text()[-500:]}")


# -- what a server has counted -------------------------------------------------------------------------------------

_STARTED = re.compile(r'grpc_server_started_total\{.*grpc_method="(\w+)".*\} (\S+)')
_V2 = re.compile(r'etcd_http_received_total\{method="(\w+)"\} (\S+)')


def counted(endpoint: str) -> Counter[str]:
    """Give how many requests have come in, by their gRPC method, or v2 and the HTTP method."""
    with urllib.request.urlopen(f"{endpoint}/metrics", timeout=5) as answer:
        lines = answer.read().decode()
    counts: Counter[str] = Counter()
    for pattern, before in ((_STARTED, ""), (_V2, "v2 ")):
        for method, number in pattern.findall(lines):
            counts[before + method] += int(float(number))
    return counts
