"""A registration: one instance, kept in etcd until it is closed, whatever happens in between.

What is wanted is local: the value that the codec gives for the instance as it was given last, or nothing,
when it was closed, its check fails, or the codec does not list an instance in this state (one that drains,
in gRPC naming). Everything else brings etcd to that.

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
* One thread at a time works on the key (`_turn`): publishing, healing and closing never overlap.
* Who finds that etcd is not as wanted, and has no caller to tell, starts the healing; it ends when it is.
"""

from __future__ import annotations

from collections.abc import Callable
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
    LeaseNotFound,
    NotHeld,
    RecipeError,
    SessionLost,
)
from etcd_recipes.core.log import event_logger
from etcd_recipes.core.store import Entry
from etcd_recipes.recipes.registry.codec import Codec
from etcd_recipes.recipes.registry.health import Health
from etcd_recipes.recipes.registry.instance import Instance, check_instance, check_metadata

__all__ = ["Registration"]

_CLOSED = "the registration was closed"
_REMOVED = "its key was removed from etcd"
_FIELDS = frozenset({"address", "metadata", "weight", "zone", "draining"})


class Registration:
    """An instance that is registered until `close`; made by ``registry.register``, usable with ``with``."""

    def __init__(
        self,
        sessions: Sessions,
        key: str,
        instance: Instance,
        codec: Codec,
        ttl: float | None,
        check: Callable[[], object] | None,
        ctx: Context,
    ) -> None:
        self._sessions = sessions
        self._store = sessions.store
        self._key = key
        self._codec = codec
        self._instance = instance
        self._ttl = ttl
        self._ctx = sessions.ctx.child()  # ends with close, or with the client
        self._turns = LocalQueue()
        self._published: _Published | None = None
        self._was_published = False
        self._loose = False  # a request that makes the key may be carried out yet, and is swept up
        self._healing = False
        self._lock = runtime.new_lock()
        self._log = event_logger("registration").bind(key=key, service=instance.service)
        self._health = Health(check, ttl or sessions.default_ttl, self._log)
        runtime.at_fork(self)
        codec.encode(instance)  # what it cannot write is an error now, and not in the healing
        try:
            self._begin(ctx)
            if check is not None:
                runtime.spawn(self._keep_checking, "etcd-recipes-health")
        except BaseException:
            self._close_behind("it could not be registered")
            raise

    def _begin(self, ctx: Context) -> None:
        left = ctx.remaining()
        self._health.probe(
            ctx, self._health.ttl if left is None else min(self._health.ttl, left / 2)
        )
        try:
            self._bring_about(ctx)
        except (LeaseNotFound, SessionLost):  # the session had ended unnoticed: a new one, once
            self._bring_about(ctx)

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
        state in the background, or when its check passes again. NotHeld after `close`; TypeError for a field that
        there is not, ValueError for one that makes no sense.
        """
        self._check_open()
        if not changes.keys() <= _FIELDS:
            raise TypeError(f"an instance has no field {', '.join(sorted(changes))!r} to update")
        if "metadata" in changes:
            changes["metadata"] = check_metadata(changes["metadata"])
        with self._lock:
            latest = check_instance(replace(self._instance, **changes))
            self._codec.encode(latest)
            self._instance = latest
        if self._healing and not self.is_published:
            return False  # it publishes the latest, when it can
        limited = self._sessions.limit(timeout, ctx)
        try:
            with self._ctx.on_cancel(limited.cancel):  # nobody who closes waits for us
                return self._bring_about(limited) and self._health.passing
        except EtcdRecipesError as error:
            self._log.warning("registration.update_unconfirmed", error=str(error))
            self._heal()
            if isinstance(error, ContextError) and ctx is not None and ctx.done:
                raise
            return False

    def drain(self, *, timeout: float | None = None, ctx: Context | None = None) -> bool:
        """Say that no new work should come; the instance stays listed, as draining. See `update`.

        With a codec that has no word for it (gRPC naming) it is withdrawn instead, until it is updated with
        ``draining=False``.
        """
        return self.update(draining=True, timeout=timeout, ctx=ctx)

    def close(self, *, timeout: float | None = None, ctx: Context | None = None) -> bool:
        """Take the registration back, for good; idempotent. Tells whether etcd confirmed it.

        If not (False, or when it raises), its session goes on removing the key, and the lease ends it within
        the ttl. In a forked child it is closed from the start; the parent's goes on.
        """
        if self._ctx.cancelled:
            return True
        limited = limit(timeout, ctx, default=self._sessions.default_timeout)
        try:
            self._ctx.cancel(_CLOSED)
            with self._turn(limited):
                return self._withdraw(limited)
        except BaseException:  # the caller's limit, or a signal: what was begun is completed
            self._close_behind(_CLOSED)
            raise

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

    # -- what is wanted ----------------------------------------------------------------------------------------

    def _wanted(self) -> str | None:
        """Give the value that has to stand in etcd; None: no key."""
        if self._ctx.cancelled or not self._health.passing:
            return None
        return self._codec.encode(self._instance)

    def _is_settled(self) -> bool:
        """Tell whether etcd is as wanted, as far as is known here."""
        value, published = self._wanted(), self._published
        if published is None or value is None:
            return published is None and value is None
        return published.session.is_alive and published.entry.value == value

    def _bring_about(self, ctx: Context) -> bool:
        """Bring etcd to what is wanted; False when that is not confirmed, and goes on in the background."""
        with self._turn(ctx):
            value, published = self._wanted(), self._published
            if value is None:
                return self._withdraw(ctx)
            if published is None or not published.session.is_alive:
                self._withdraw(ctx)  # a claim on a session that has ended
                self._publish(value, ctx)
                return True
            return self._replace(published, value, ctx)

    # -- steps 1 to 5 ------------------------------------------------------------------------------------------

    def _turn(self, ctx: Context) -> Any:
        return self._turns.turn("work", ctx)

    def _check_open(self) -> None:
        if self._ctx.cancelled:
            raise NotHeld(f"the registration of {self._key} is closed; register again")

    def _publish(self, value: str, ctx: Context) -> None:
        """Steps 1 and 2."""
        session = self._sessions.get(self._ttl, ctx)
        claim = session.claim_unless_held(self._key, ctx)
        if claim is None:
            raise RecipeError(
                f"{self._key} is registered already in this process; close that one first"
            )

        def create() -> Entry:
            session.check()  # it may have ended while the claim was waited for
            return self._create(value, session, ctx)

        def in_doubt(error: BaseException) -> None:
            session.suspect(self._key)
            self._tell(error)

        try:
            entry = retry.PATIENT.run(ctx, create, on_failure=in_doubt)
        except BaseException as error:
            self._loose = True
            session.suspect(self._key)
            session.sweep(claim, None)
            if isinstance(error, LeaseNotFound):
                session.lose(f"etcd says that {error.message}")
            raise
        self._was_published, self._loose = True, False
        published = self._published = _Published(session, claim, entry)
        claim.guard(entry, lambda: self._lost(published, _REMOVED))
        published.listening = session.on_lost(  # at once, if it is lost by now
            lambda reason: self._lost(published, reason)
        )
        self._log.info("registration.published", lease=f"{session.id:x}")

    def _create(self, value: str, session: Session, ctx: Context) -> Entry:
        for _ in range(3):
            standing = self._store.create(self._key, value, session.grant, ctx)
            if standing.doubt:
                session.suspect(self._key)
            there = standing.mine
            if there is None:
                continue
            if there.lease == session.id:
                return there if there.value == value else self._store.replace(there, value, ctx)
            if self._was_published and not self._is_own(there):
                raise RecipeError(f"{self._key} belongs to another registration of the same id")
            self._log.warning("registration.takes_over", value=there.value)
            self._store.delete(there, ctx)
        raise RecipeError(f"{self._key} is written by somebody else again and again")

    def _is_own(self, entry: Entry) -> bool:
        instance = self._instance
        there = self._codec.read(instance.service, instance.id, entry.value)
        return there is not None and there.owner == instance.owner

    def _replace(self, published: _Published, value: str, ctx: Context) -> bool:
        """Step 4; False when the key has gone, and healing has to."""
        if published.entry.value != value:
            try:
                published.entry = self._store.replace(published.entry, value, ctx)
            except CompareFailed:
                self._lost(published, _REMOVED)
                return False
        return True

    def _withdraw(self, ctx: Context) -> bool:
        """Take the key out of etcd; tells whether that was confirmed."""
        published = self._published
        if published is None or not self._take(published):
            return not self._loose
        session = published.session
        session.forget(published.listening)
        self._loose = not session.is_alive  # the key goes with the lease
        try:
            session.remove(published.claim, published.entry, ctx)
        except EtcdRecipesError as error:  # it goes on in the background, after a signal too
            self._log.warning("registration.close_unconfirmed", error=str(error))
            return False
        if self._loose:
            return False
        self._log.info("registration.withdrawn")
        return True

    def _close_behind(self, reason: str) -> None:
        """Close it on a thread of its own, after whoever works on the key now."""

        def finish() -> None:
            with self._turn(Context()):  # for all of these end with `_ctx`
                self._withdraw(Context(self._sessions.default_timeout))

        self._ctx.cancel(reason)
        runtime.spawn(finish, "etcd-recipes-close")

    # -- healing -----------------------------------------------------------------------------------------------

    def _lost(self, published: _Published, reason: str) -> None:
        """Hear of a lost session or key; on the session's thread, so only start the healing."""
        if not self._take(published):
            return
        self._loose = (
            not published.session.is_alive
        )  # its lease may live on at the server for a while
        published.session.forget(published.listening)
        published.session.release(published.claim)
        self._log.warning("registration.lost", reason=reason)
        self._heal()

    def _take(self, published: _Published | None) -> bool:
        """Take what is published away from all other threads: only one of them may give the claim back."""
        with self._lock:
            is_mine = published is not None and self._published is published
            if is_mine:
                self._published = None
        return is_mine

    def _heal(self) -> None:
        """Step 3, on another thread, one at a time."""
        with self._lock:
            if self._healing or self._ctx.cancelled:
                return
            self._healing = True
        self._sessions.healers.soon(self._try_to_heal)

    def _try_to_heal(self) -> None:
        """Try once, on a thread that others wait for, too."""
        again = False
        try:
            self._heal_once()
        except EtcdRecipesError as error:
            if not self._ctx.cancelled:
                self._tell(error)
                runtime.spawn(self._keep_healing, "etcd-recipes-heal")
                again = True
        finally:
            self._healing = again
        if not again:
            self._heal_if_need_be()

    def _keep_healing(self) -> None:
        try:
            retry.HEALING.run(self._ctx, self._heal_once, on_failure=self._tell)
        except ContextError:
            pass  # closed
        finally:
            self._healing = False
        self._heal_if_need_be()

    def _heal_if_need_be(self) -> None:
        if not self._is_settled():
            self._heal()  # lost, or updated, while the thread was on its way out

    def _heal_once(self) -> None:
        self._bring_about(self._ctx.child(self._sessions.default_timeout))

    def _tell(self, error: BaseException) -> None:
        self._log.warning("registration.trouble", error=str(error))

    # -- step 6 ------------------------------------------------------------------------------------------------

    def _keep_checking(self) -> None:
        try:
            while not self._ctx.wait(self._health.period):
                self._health.probe(self._ctx)
                if not self._is_settled():
                    self._heal()
        except ContextError:
            pass  # closed

    # -- forks -------------------------------------------------------------------------------------------------

    def after_fork_in_child(self) -> None:
        """A child has no registration: the key is the parent's, and so are the threads that keep it."""
        self._lock = runtime.new_lock()
        self._turns = LocalQueue()
        self._published = None
        self._healing = False
        self._ctx = Context()  # of its own: a cancel must not reach into calls of the parent's
        self._ctx.cancel("this process is a forked child; its parent holds it")


class _Published:
    """Where the instance stands in etcd."""

    __slots__ = ("claim", "entry", "listening", "session")

    def __init__(self, session: Session, claim: Claim, entry: Entry) -> None:
        self.session = session
        self.claim = claim
        self.entry = entry
        self.listening = -1
