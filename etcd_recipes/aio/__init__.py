"""The recipes for asyncio: ``async with`` and ``async for``, over the same code.

How it works
    Every blocking call runs on a thread, with a Context of its own that ends when the task is cancelled.
    Leases are renewed by a thread that the event loop cannot hold up. The body of ``async with lock`` is
    cancelled when the lock is lost, and LockLost stands at its end.
"""

from etcd_recipes.aio.barriers import Barrier, DoubleBarrier, Latch
from etcd_recipes.aio.client import Client
from etcd_recipes.aio.election import Background, Election, Leadership, Term
from etcd_recipes.aio.hold import Hold, Loss, MultiHold, WriteHold
from etcd_recipes.aio.kv import KV, PendingTxn, Watcher, Watching
from etcd_recipes.aio.locks import (
    Lock,
    MultiLock,
    ReadLock,
    RWLock,
    Semaphore,
    WriteLock,
    current_hold,
)
from etcd_recipes.aio.mirror import Opening
from etcd_recipes.aio.registry import Discovery, InstanceEvents, Registration, Registry
from etcd_recipes.aio.stream import Stream

__all__ = [
    "KV",
    "Background",
    "Barrier",
    "Client",
    "Discovery",
    "DoubleBarrier",
    "Election",
    "Hold",
    "InstanceEvents",
    "Latch",
    "Leadership",
    "Lock",
    "Loss",
    "MultiHold",
    "MultiLock",
    "Opening",
    "PendingTxn",
    "RWLock",
    "ReadLock",
    "Registration",
    "Registry",
    "Semaphore",
    "Stream",
    "Term",
    "Watcher",
    "Watching",
    "WriteHold",
    "WriteLock",
    "current_hold",
]
