from .binary import EtcdNotFound, etcd_version, find_etcd, find_etcdctl
from .cluster import EtcdCluster
from .command import Tls
from .existing import ExistingEtcd
from .expiry import expire
from .no_etcd import NoEtcd
from .probe import MemberStatus
from .process import EtcdProcess, EtcdStartFailed
from .proxy import FaultProxy
from .suspension import suspend

__all__ = [
    "EtcdCluster",
    "EtcdNotFound",
    "EtcdProcess",
    "EtcdStartFailed",
    "ExistingEtcd",
    "FaultProxy",
    "MemberStatus",
    "NoEtcd",
    "Tls",
    "etcd_version",
    "expire",
    "find_etcd",
    "find_etcdctl",
    "suspend",
]
