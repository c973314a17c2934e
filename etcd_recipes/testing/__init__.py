"""Real etcd servers for tests, demos and development.

::

    with EtcdProcess() as etcd:          # one member
        Client(etcd.endpoint)

    with EtcdCluster(3) as cluster:      # three of them
        cluster.leader().kill()
        cluster.leader()                 # another one

    with FaultProxy(etcd.endpoint) as proxy:
        proxy.blackhole()                # nothing passes any more; proxy.heal() ends it

There is no fake etcd here: a fake of leases, revisions and watches is where bugs hide.
"""

from etcd_recipes.testing.binary import EtcdNotFound, etcd_version, find_etcd, find_etcdctl
from etcd_recipes.testing.cluster import EtcdCluster
from etcd_recipes.testing.command import Tls
from etcd_recipes.testing.probe import MemberStatus
from etcd_recipes.testing.process import EtcdProcess, EtcdStartFailed
from etcd_recipes.testing.proxy import FaultProxy

__all__ = [
    "EtcdCluster",
    "EtcdNotFound",
    "EtcdProcess",
    "EtcdStartFailed",
    "FaultProxy",
    "MemberStatus",
    "Tls",
    "etcd_version",
    "find_etcd",
    "find_etcdctl",
]
