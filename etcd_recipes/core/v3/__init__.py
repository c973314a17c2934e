"""The v3 dialect: etcd's JSON gateway, as an API of its own and as a Store for the recipes."""

from etcd_recipes.core.v3.values import (
    Compare,
    Comparison,
    DeleteResult,
    Event,
    KeyValue,
    LeaseGrant,
    LeaseStatus,
    Op,
    PutResult,
    RangeResult,
    TxnResult,
)

__all__ = [
    "Compare",
    "Comparison",
    "DeleteResult",
    "Event",
    "KeyValue",
    "LeaseGrant",
    "LeaseStatus",
    "Op",
    "PutResult",
    "RangeResult",
    "TxnResult",
]
