from .admin.values import (
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
from .assembly import EventBatch
from .kv import PendingTxn
from .txn import Compare, Comparison, Op, Txn
from .values import (
    DeleteResult,
    Event,
    KeyValue,
    LeaseGrant,
    LeaseStatus,
    PutResult,
    RangeResult,
    TxnResult,
)
from .watcher import Watcher

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
