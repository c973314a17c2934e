"""A registration: one instance, kept in etcd until it is closed, whatever happens in between.

The algorithm
1. Take the session of the ttl and claim the instance's key in it.
2. Create the key under the session's lease. If one stands there: our own earlier incarnation is deleted
   and created anew (a key that only changed its lease could still be deleted by its old owner's late
   request); a new registration also takes over from another owner of the same id, such as a process that
   was restarted. Healing does not: two living owners must not take the key from each other for ever.
3. When the session is lost, or the key goes, start again at 1, with the latest payload, for ever.
4. `update` changes the payload first and etcd second: what heals later publishes the latest.
5. `close` ends all that, and then deletes the key, fenced. Nothing brings it back.
6. With a `check`: while it fails, the key is withdrawn; when it passes again, start at 1.

Rules of this file
* One thread at a time works on the key (`_work`): publishing, healing, checking and closing never overlap.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from etcd_recipes.coordination.claim import Claim
from etcd_recipes.coordination.queue import LocalQueue
from etcd_recipes.coordination.session import Session
from etcd_recipes.coordination.sessions import Sessions
from etcd_recipes.core import retry, runtime
from etcd_recipes.core.context import Context, limit
from etcd_recipes.core.errors import (
    CompareFailed,
    ContextError,
    EtcdRecipesError,
    NotHeld,
    RecipeError,
)
from etcd_recipes.core.log import event_logger
from etcd_recipes.core.store import Entry
from etcd_recipes.recipes.registry.instance import Instance, encode, owner_of

__all__ = ["Registration"]

_CHECKS_PER_TTL = 3


class Registration:
    """An instance that is registered until `close`; made by ``registry.register``, usable with ``with``."""

    def __init__(
        self,
        sessions: Sessions,
        key: str,
        instance: Instance,
        ttl: float | None,
        check: Callable[[], object] | None,
        ctx: Context,
    ) -> None:
        self._sessions = sessions
        self._store = sessions.store
        self._key = key
        self._instance = instance
        self._ttl = ttl
        self._check = check
        self._owner = f"{runtime.rng().getrandbits(64):016x}"
        self._ctx = sessions.ctx.child()  # ends with close, or with the client
        self._turns = LocalQueue()
        self._published: _Published | None = None
        self._healing = False
        self._lock = runtime.new_lock()
        self._log = event_logger("registration").bind(key=key)
        passing = self._passes()
        with self._turn(ctx):
            if passing:
                self._publish(ctx, take_over=True)
        if check is not None:
            runtime.spawn(self._keep_checking, "etcd-recipes-check")

    # -- what users see ----------------------------------------------------------------------------------------

    @property
    def instance(self) -> Instance:
        """The instance, as it was given last."""
        return self._instance

    @property
    def is_published(self) -> bool:
        """True while its key is provably in etcd: local and cheap."""
        published = self._published
        return published is not None and published.session.is_alive

    def update(
        self, *, timeout: float | None = None, ctx: Context | None = None, **changes: Any
    ) -> bool:
        """Change fields of the instance: address, metadata, weight, zone, draining.

        Tells whether etcd confirmed it. If not (False), the registration goes on publishing the latest
        state in the background. NotHeld after `close`; TypeError for a field that there is not.
        """
        self._check_open()
        if not changes.keys() <= {"address", "metadata", "weight", "zone", "draining"}:
            raise TypeError(f"an instance has no field {', '.join(sorted(changes))!r} to update")
        if "metadata" in changes:
            changes["metadata"] = check_metadata(changes["metadata"])
        self._instance = replace(self._instance, **changes)
        limited = self._sessions.limit(timeout, ctx)
        try:
            with self._turn(limited):
                return self._write_latest(limited)
        except EtcdRecipesError as error:
            self._log.warning("registration.update_unconfirmed", error=str(error))
            self._heal()
            if isinstance(error, ContextError) and ctx is not None and ctx.done:
                raise
            return False

    def drain(self, *, timeout: float | None = None, ctx: Context | None = None) -> bool:
        """Say that no new work should come; the instance stays listed, as draining. See `update`."""
        return self.update(draining=True, timeout=timeout, ctx=ctx)

    def close(self, *, timeout: float | None = None, ctx: Context | None = None) -> bool:
        """Take the registration back, for good; idempotent. Tells whether etcd confirmed it.

        If not (False), its session goes on removing the key, and the lease ends it within the ttl.
        """
        if self._ctx.cancelled:
            return True
        self._ctx.cancel("the registration was closed")
        limited = limit(timeout, ctx, default=self._sessions.default_timeout)
        with self._turn(limited):
            return self._withdraw(limited)

    def __enter__(self) -> Self:
        """Give the registration itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._ctx.cancelled else "published" if self.is_published else "healing"
        return f"<Registration {self._key} {self._instance.address} {state}>"

    # -- steps 1 to 5 ------------------------------------------------------------------------------------------

    def _turn(self, ctx: Context) -> Any:
        return self._turns.turn("work", ctx)

    def _check_open(self) -> None:
        if self._ctx.cancelled:
            raise NotHeld(f"the registration of {self._key} is closed; register again")

    def _publish(self, ctx: Context, *, take_over: bool) -> None:
        """Steps 1 and 2; nothing happens after close."""
        if self._ctx.cancelled:
            return
        session = self._sessions.get(self._ttl, ctx)
        claim = session.claim_now(self._key)
        if claim is None:
            raise RecipeError(
                f"{self._key} is registered already in this process; close that one first"
            )

        def create() -> Entry:
            return self._create(session, ctx, take_over=take_over)

        def in_doubt(error: BaseException) -> None:
            session.suspect(self._key)
            self._tell(error)

        try:
            entry = retry.PATIENT.run(ctx, create, on_failure=in_doubt)
        except BaseException:
            session.suspect(self._key)
            session.sweep(claim, None)
            raise
        published = self._published = _Published(session, claim, entry)
        claim.guard(entry, lambda: self._lost("its key was removed from etcd"))
        published.listening = session.on_lost(self._lost)  # at once, if it is lost by now
        self._log.info("registration.published", lease=f"{session.id:x}")

    def _create(self, session: Session, ctx: Context, *, take_over: bool) -> Entry:
        for _ in range(3):
            value = encode(self._instance, self._owner)
            standing = self._store.create(self._key, value, session.grant, ctx)
            if standing.doubt:
                session.suspect(self._key)
            there = standing.mine
            if there is None:
                continue
            if there.lease == session.id:
                return there if there.value == value else self._store.replace(there, value, ctx)
            if not take_over and owner_of(there) != self._owner:
                raise RecipeError(f"{self._key} belongs to another registration of the same id")
            self._log.warning("registration.takes_over", value=there.value)
            self._store.delete(there, ctx)
        raise RecipeError(f"{self._key} is written by somebody else again and again")

    def _write_latest(self, ctx: Context) -> bool:
        """Step 4: bring etcd to the latest payload; False when it is not listed, and healing has to."""
        published = self._published
        if published is None or not published.session.is_alive:
            self._heal()
            return False
        value = encode(self._instance, self._owner)
        if published.entry.value != value:
            try:
                published.entry = self._store.replace(published.entry, value, ctx)
            except CompareFailed:
                self._lost("its key was removed from etcd")
                return False
        return True

    def _withdraw(self, ctx: Context) -> bool:
        """Take the key out of etcd; tells whether that was confirmed."""
        published = self._take()
        if published is None:
            return True
        session = published.session
        session.forget(published.listening)
        published.claim.entry = None
        if not session.is_alive:
            session.release(published.claim)
            return True
        try:
            self._store.delete(published.entry, ctx)
        except EtcdRecipesError as error:
            self._log.warning("registration.close_unconfirmed", error=str(error))
            session.sweep(published.claim, published.entry)
            return False
        session.release(published.claim)
        self._log.info("registration.withdrawn")
        return True

    # -- healing -----------------------------------------------------------------------------------------------

    def _lost(self, reason: str) -> None:
        """Hear of a lost session or key; on the session's thread, so only start the healing."""
        published = self._take()
        if published is None:
            return
        published.session.forget(published.listening)
        published.session.release(published.claim)
        self._log.warning("registration.lost", reason=reason)
        self._heal()

    def _take(self) -> _Published | None:
        """Take what is published away from all other threads: only one of them may give the claim back."""
        with self._lock:
            published, self._published = self._published, None
        return published

    def _heal(self) -> None:
        """Step 3, on a thread of its own, one at a time."""
        with self._lock:
            if self._healing or self._ctx.cancelled:
                return
            self._healing = True
        runtime.spawn(self._keep_healing, "etcd-recipes-heal")

    def _keep_healing(self) -> None:
        try:
            retry.HEALING.run(self._ctx, self._heal_once, on_failure=self._tell)
        except ContextError:
            pass  # closed
        finally:
            self._healing = False
        if not self.is_published and self._check is None:
            self._heal()  # lost again while the thread was on its way out

    def _heal_once(self) -> None:
        if not self._passes():
            return  # the check's own thread publishes when it passes again
        limited = self._ctx.child(self._sessions.default_timeout)
        with self._turn(limited):
            if self.is_published:
                self._write_latest(limited)
            else:
                self._withdraw(limited)  # a claim on a session that has ended
                self._publish(limited, take_over=False)

    def _tell(self, error: BaseException) -> None:
        self._log.warning("registration.trouble", error=str(error))

    # -- step 6 ------------------------------------------------------------------------------------------------

    def _passes(self) -> bool:
        if self._check is None:
            return True
        try:
            return bool(self._check())
        except Exception as error:  # noqa: BLE001 (the user's code: raising means not passing)
            self._log.warning("registration.check_failed", error=str(error))
            return False

    def _keep_checking(self) -> None:
        period = (self._ttl or self._sessions.default_ttl) / _CHECKS_PER_TTL
        while not self._ctx.wait(period):
            passing = self._passes()
            if passing and not self.is_published:
                self._heal()
            elif not passing and self.is_published:
                limited = self._ctx.child(self._sessions.default_timeout)
                try:
                    with self._turn(limited):
                        self._withdraw(limited)
                except EtcdRecipesError as error:
                    self._tell(error)


class _Published:
    """Where the instance stands in etcd."""

    __slots__ = ("claim", "entry", "listening", "session")

    def __init__(self, session: Session, claim: Claim, entry: Entry) -> None:
        self.session = session
        self.claim = claim
        self.entry = entry
        self.listening = -1


def check_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    """Give `metadata` as a dict of its own; TypeError when it is not from str to str."""
    result: dict[Any, Any] = dict(metadata)
    if not all(isinstance(k, str) and isinstance(v, str) for k, v in result.items()):
        raise TypeError("metadata maps str to str")
    return result
