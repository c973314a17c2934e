"""Real etcd servers for tests, demos and development.

::

    with EtcdProcess() as etcd:          # one member
        Client(etcd.endpoint)

    with EtcdCluster(3) as cluster:      # three of them
        cluster.leader().kill()
        cluster.leader()                 # another one

There is no fake etcd here: a fake of leases, revisions and watches is where bugs hide.
"""

from etcd_recipes.testing.binary import EtcdNotFound, etcd_version, find_etcd, find_etcdctl
from etcd_recipes.testing.cluster import EtcdCluster
from etcd_recipes.testing.probe import MemberStatus
from etcd_recipes.testing.process import EtcdProcess, EtcdStartFailed

__all__ = [
    "EtcdCluster",
    "EtcdNotFound",
    "EtcdProcess",
    "EtcdStartFailed",
    "MemberStatus",
    "etcd_version",
    "find_etcd",
    "find_etcdctl",
]
