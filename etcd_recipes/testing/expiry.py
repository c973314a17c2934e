"""Expiry: a lease that ends now instead of some seconds after the last renewal.

What `expire` does is what happens to a process that could not renew for a whole ttl
1. Its deadline passes: the session is lost, and all that rests on it hears of that.
2. The lease ends at the server, and the keys go: on v3 it is revoked, on v2 its keys are deleted.
"""

from __future__ import annotations

from typing import Any

from etcd_recipes.coordination.handle import Handle
from etcd_recipes.coordination.session import Session
from etcd_recipes.core.errors import NotHeld, RecipeError
from etcd_recipes.recipes.multi_lock import MultiHold
from etcd_recipes.recipes.registry import Registration

__all__ = ["expire"]

_REASON = "its lease was not renewed in time (a test has expired it)"


def expire(what: Any) -> None:
    """Let the lease of a hold, a registration or a session end now; when this returns, all know of it.

    The hold is lost (``hold.lost`` is set, the callbacks of ``on_lost`` are started, the body of an ``async
    with`` is being cancelled), others may have what it held, and so is everything else of the same client
    with the same ttl, for it rests on the same lease. A registration begins to heal at once: its key comes
    back under a new lease. The next ``acquire`` of the client opens a new session.

    It takes what the client, the client for asyncio and `NoEtcd` give: holds of locks, permits, terms
    and multi-locks, registrations, sessions. Raises NotHeld when there is nothing to expire, because it was
    released or lost before, and RecipeError when etcd could not be told: the lease then ends by itself. At
    most a second; one request on v3, one per key on v2.
    """
    session = _session_of(what)
    if session is None or not session.is_alive:
        raise NotHeld(f"{what!r} rests on no lease any more that could expire")
    if not session.lose(_REASON):
        raise RecipeError(
            f"etcd could not be told that lease {session.id:x} ends; it does so within {session.ttl:g} s"
        )


def _session_of(what: Any) -> Session | None:
    """Give the session that it stands on, None when it stands on none any more."""
    match what:
        case Session():
            return what
        case Handle() if not what.is_held:
            return None
        case MultiHold():
            return what._holds[0].session
        case Handle():
            return _session_of(getattr(what, "session", None))
        case Registration():
            return None if what._published is None else what._published.session
        case object(__dict__={"_sync": Handle() | Registration() as blocking}):  # of asyncio
            return _session_of(blocking)
    raise TypeError(f"a hold, a registration or a session expires, not {what!r}")
