"""The v3 dialect: etcd's JSON gateway, as an API of its own and as a Store for the recipes."""

from etcd_recipes.core.v3.admin.values import (
    Alarm,
    AuthStatus,
    Member,
    Permission,
    Role,
    Snapshot,
    Status,
    StoreHash,
    User,
)
from etcd_recipes.core.v3.assembly import EventBatch
from etcd_recipes.core.v3.kv import PendingTxn
from etcd_recipes.core.v3.txn import Compare, Comparison, Op, Txn
from etcd_recipes.core.v3.values import (
    DeleteResult,
    Event,
    KeyValue,
    LeaseGrant,
    LeaseStatus,
    PutResult,
    RangeResult,
    TxnResult,
)
from etcd_recipes.core.v3.watcher import Watcher

__all__ = [
    "Alarm",
    "AuthStatus",
    "Compare",
    "Comparison",
    "DeleteResult",
    "Event",
    "EventBatch",
    "KeyValue",
    "LeaseGrant",
    "LeaseStatus",
    "Member",
    "Op",
    "PendingTxn",
    "Permission",
    "PutResult",
    "RangeResult",
    "Role",
    "Snapshot",
    "Status",
    "StoreHash",
    "Txn",
    "TxnResult",
    "User",
    "Watcher",
]
