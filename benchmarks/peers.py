"""Who is measured: ourselves, the floor, and what else a Python program would use. The one place for versions.

Rules of this file
* Versions are pinned, those of what a peer needs included: a figure is of known code.
* A floor is raw sockets to the same server. The ratios of a peer are to the floor of its store; ZooKeeper
  has none of its own, so its clients are compared with etcd's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["FLOORS", "OURS", "OURS_V2", "PEERS", "Peer", "Store", "floor_of"]

Store = Literal["v3", "v2", "zookeeper"]

OURS, OURS_V2 = "etcd-recipes", "etcd-recipes v2"


@dataclass(frozen=True, slots=True)
class Peer:
    """A client: its name, the adapter that speaks to it, the store it speaks to, and what pip installs for it.

    `waits`: its lock waits its turn by itself; one that does not is asked again every 10 ms.
    """

    name: str
    adapter: str
    store: Store
    pins: tuple[str, ...] = ()
    waits: bool = True
    note: str = ""

    @property
    def is_foreign(self) -> bool:
        """True if it needs a virtual environment of its own."""
        return bool(self.pins)


PEERS = {
    peer.name: peer
    for peer in (
        Peer("raw", "raw", "v3", note="raw sockets, hand-written HTTP: the floor"),
        Peer(OURS, "ours", "v3"),
        Peer(
            "etcd-sdk-python",
            "etcd_sdk_python",
            "v3",
            ("etcd-sdk-python==0.0.7", "grpcio==1.85.1", "protobuf==7.36.2"),
            note="gRPC; a fork of python-etcd3, whose release does not import with today's protobuf",
        ),
        Peer(
            "etcd3gw",
            "etcd3gw",
            "v3",
            ("etcd3gw==2.7.0", "requests==2.34.2", "urllib3==2.8.0"),
            waits=False,
            note="the JSON gateway, by requests; its lock cannot wait, so it is asked every 10 ms",
        ),
        Peer("raw v2", "raw", "v2", note="raw sockets to the v2 API: its floor"),
        Peer(OURS_V2, "ours", "v2"),
        Peer(
            "python-etcd",
            "python_etcd",
            "v2",
            ("python-etcd==0.4.5", "urllib3==2.8.0", "dnspython==2.8.0"),
            note="the v2 API, which etcd 3.6 has not",
        ),
        Peer(
            "kazoo",
            "kazoo",
            "zookeeper",
            ("kazoo==2.11.0",),
            note="ZooKeeper, in the version that the system's packages have",
        ),
    )
}

FLOORS: dict[Store, str] = {"v3": "raw", "v2": "raw v2", "zookeeper": "raw"}


def floor_of(name: str) -> str:
    """Give the floor that this peer is compared with."""
    return FLOORS[PEERS[name].store]
