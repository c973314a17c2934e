"""The session: one lease for everything that a client holds, and the one who keeps it alive.

States
    ACTIVE      the last renewal succeeded
    SUSPENDED   renewals fail, but the lease's local deadline has not passed: still ours, start nothing new
    LOST        the deadline has passed, or etcd says that the lease is gone, or we were forked: final
    CLOSED      closed by its owner: final

The local deadline
    The deadline counts from the moment at which the last successful renewal was *sent*, with the ttl that
    the server granted. etcd starts the ttl later than that, so this side gives up first, whatever the
    delay of the reply was. A hundredth of the ttl is taken off for clocks that run at different speeds.

The keeper (a thread of its own; renewals do not wait for the application)
1. Every ttl/3, counted from the sending, renew, trying again until the deadline. Failing makes the session
   SUSPENDED, the deadline or "no such lease" makes it LOST.
2. While keys rest on the lease, ask in the same tick which are still attached. One that is missing is
   read once more, with quorum; if it is gone (an operator's ``del``, a Go peer that unlocks by name), its
   owner is told. No watch and no thread per hold.
3. A key that is attached although its owner has left was made by a copy of a request that arrived late.
   It is withdrawn. Only keys with such a copy in doubt are looked at: what an application attaches to
   the lease itself stays. After LATEST a copy is not in doubt any more, or a long life among bad
   networks would be one of ever more doubts.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from contextlib import AbstractContextManager
from enum import Enum
from functools import partial
from itertools import count

from etcd_recipes.coordination.claim import Claim
from etcd_recipes.coordination.queue import LocalQueue
from etcd_recipes.coordination.watchdog import Watchdog
from etcd_recipes.core import retry, runtime
from etcd_recipes.core.context import Context, limit
from etcd_recipes.core.errors import (
    Cancelled,
    ContextError,
    EtcdRecipesError,
    LeaseNotFound,
    SessionLost,
)
from etcd_recipes.core.log import event_logger
from etcd_recipes.core.store import Entry, Grant, Renewal, Store

__all__ = ["Session", "SessionState"]

DRIFT = 0.01
"""The part of a ttl that is given up to clocks of different speed."""

LATEST = 3600.0
"""Seconds after which no copy of a request is expected. A network gives up sending after some 15 minutes, and
etcd gives up a proposal after some 7 seconds; what is left is a member that was stopped for as long."""

_BREATH = 1 / 12
"""The part of a ttl between an answer and the next renewal, at least: also if each grants next to nothing."""

_FAREWELL = 1.0  # seconds for revoking at interpreter exit, or after a loss


class SessionState(Enum):
    """See the module's docstring."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    LOST = "lost"
    CLOSED = "closed"


class Session:
    """A lease that is renewed in the background, shared by all recipes of a client with the same ttl.

    Get one from ``client.session(ttl)``. It ends with ``close()``, with the client, or by being LOST.
    """

    def __init__(self, store: Store, ttl: float, ctx: Context, watchdog: Watchdog) -> None:
        sent = runtime.now()
        self._store = store
        self.watchdog = watchdog  # of the holds with limits, whatever session they rest on
        self._grant: Grant = store.open_grant(ttl, ctx)
        self._deadline = _deadline(sent, self._grant.ttl)
        # Apart, so that whoever suspends or resumes it cannot undo an end that came in between.
        self._suspended = False
        self._final: SessionState | None = None
        self._reason = ""
        self._lost = runtime.new_event()
        self._parted = False  # etcd was told of the end, or would not hear of it
        self._lock = runtime.new_lock()
        self._ctx = Context()  # ends with the session
        self._queue = LocalQueue()
        self._claims: dict[str, Claim] = {}
        self._sweeps = LocalQueue()  # the turn is the sweeper's, as long as it removes a key
        self._suspects: OrderedDict[str, float] = OrderedDict()  # and since when, in that order
        self._listeners: dict[int, Callable[[str], None]] = {}
        self._numbers = count()
        self._log = event_logger("session").bind(lease=f"{self._grant.id:x}", ttl=self._grant.ttl)
        runtime.at_fork(self)
        runtime.at_exit(self)
        self._keeper = runtime.spawn_native(self._keep, "etcd-recipes-session")
        self._log.debug("session.opened", remaining=round(self.remaining(), 3))

    # -- what users see ----------------------------------------------------------------------------------------

    @property
    def id(self) -> int:
        """The lease's id."""
        return self._grant.id

    @property
    def ttl(self) -> float:
        """The ttl that the server granted, in seconds."""
        return self._grant.ttl

    @property
    def state(self) -> SessionState:
        """Where the session stands; LOST from the moment its deadline passes, even if nobody has looked."""
        if self._final is not None:
            return self._final
        if runtime.now() >= self._deadline:
            return SessionState.LOST
        return SessionState.SUSPENDED if self._suspended else SessionState.ACTIVE

    @property
    def is_alive(self) -> bool:
        """True while the lease is provably ours: local, cheap, and honest after a pause of the process."""
        return self._final is None and runtime.now() < self._deadline

    @property
    def reason(self) -> str:
        """Why the session ended; "" while it lives."""
        if not self._reason and not self.is_alive:
            return "its lease was not renewed in time"
        return self._reason

    @property
    def is_kept(self) -> bool:
        """False when its deadline has passed and its keeper has not even noticed: the process is stuck.

        True while it lives, however etcd is, and when it has ended properly. Local and cheap.
        """
        return self._lost.is_set() or runtime.now() < self._deadline + _FAREWELL

    def remaining(self) -> float:
        """Give the seconds for which the lease is provably ours without another renewal; 0.0 when it is not."""
        return max(0.0, self._deadline - runtime.now()) if self.is_alive else 0.0

    def on_lost(self, callback: Callable[[str], None]) -> int:
        """Have ``callback(reason)`` called when the session ends; at once if it has. Gives a number for `forget`.

        It runs on the session's own thread and must be quick.
        """
        number = next(self._numbers)
        with self._lock:
            if not self._lost.is_set():
                self._listeners[number] = callback
                return number
        self._call(callback, self.reason)
        return number

    def _call(self, listener: Callable[[str], None], reason: str) -> None:
        try:
            listener(reason)
        except Exception:  # noqa: BLE001 (may be the user's: the others must hear of it all the same)
            self._log.exception("session.callback_failed")

    def forget(self, number: int) -> None:
        """Undo `on_lost`."""
        with self._lock:
            self._listeners.pop(number, None)

    def close(self, *, timeout: float | None = None, ctx: Context | None = None) -> bool:
        """Revoke the lease: everything that rests on it is released. Tells whether etcd confirmed it.

        When it is not confirmed, the lease ends by itself, at most ttl seconds after its last renewal.
        """
        if not self._end(SessionState.CLOSED, "the session was closed"):
            return True
        return self._revoke(limit(timeout, ctx, default=_FAREWELL))

    def abandon(self) -> None:
        """Stop renewing and let go of everything at once, without a word to etcd: the lease will expire.

        So nobody else gets what was held before the ttl is over: for work that may still be under way.
        """
        self._parted = True  # nor a word when the program ends
        self._end(SessionState.LOST, "the session was abandoned")

    def __repr__(self) -> str:
        return f"<Session lease={self.id:x} {self.state.value}, {self.remaining():.1f} s left>"

    # -- what recipes use ----------------------------------------------------------------------------------------

    @property
    def grant(self) -> Grant:
        """The lease, as the Store's verbs want it."""
        return self._grant

    def check(self) -> None:
        """Raise SessionLost if the session has ended."""
        if not self.is_alive:
            raise SessionLost(f"the session (lease {self.id:x}) is gone: {self.reason}")

    def bound(self, ctx: Context) -> AbstractContextManager[Context]:
        """Run the body with a child of `ctx` that the end of the session cancels; then raise SessionLost."""
        return _Bound(self, ctx)

    def claim(self, key: str, ctx: Context) -> Claim:
        """Claim `key`, waiting for the threads of this process that came first."""
        self._queue.enter(key, ctx)
        return self._claimed(key)

    def claim_now(self, key: str) -> Claim | None:
        """Claim `key` if no other thread has it."""
        return self._claimed(key) if self._queue.enter_now(key) else None

    def claim_unless_held(self, key: str, ctx: Context) -> Claim | None:
        """Claim `key` if no other thread has it; what is being swept is waited for."""
        with self._sweeps.turn(key, ctx):
            return self.claim_now(key)

    def _claimed(self, key: str) -> Claim:
        claim = self._claims[key] = Claim(key)
        return claim

    def release(self, claim: Claim) -> None:
        """Give a claim back: its key is gone, or will go with the lease. Nothing happens the second time."""
        claim.end()
        if self._claims.get(claim.key) is claim:  # not in a forked child, which has no claims
            del self._claims[claim.key]
            self._queue.leave(claim.key)

    def suspect(self, key: str) -> None:
        """Note that a request which makes `key` may still be carried out; the keeper will look for it."""
        with self._lock:
            self._suspects[key] = runtime.now()
            self._suspects.move_to_end(key)

    @property
    def claims(self) -> int:
        """How many keys are claimed now."""
        return len(self._claims)

    def remove(self, claim: Claim, entry: Entry | None, ctx: Context) -> None:
        """Remove the claimed key, then give the claim back; when this raises, that goes on in the background.

        `entry` is the incarnation to be removed, None when only etcd knows it. One request; none when the
        session has ended, for the key ends with it.
        """
        claim.entry = None  # no more to look after
        try:
            if self.is_alive:
                self._remove(claim.key, entry, ctx)
            self.release(claim)
        except BaseException:  # a signal, too
            self.sweep(claim, entry)
            raise

    def sweep(self, claim: Claim, entry: Entry | None) -> None:
        """Remove the claimed key in the background until that is confirmed, then give the claim back.

        Nothing happens when the claim was given back already, or that is under way.
        """
        if claim.swept or self._claims.get(claim.key) is not claim:
            return

        def sweep() -> None:
            try:
                retry.SWEEPING.run(self._ctx, attempt)
            except EtcdRecipesError:
                pass  # the session ended, and the key ends with its lease
            self.release(claim)
            self._sweeps.leave(claim.key)

        def attempt() -> None:
            self._remove(claim.key, entry, self._ctx.child(max(_FAREWELL, self.ttl / 3)))

        claim.entry = None
        self._log.warning("key.sweeping", key=claim.key)
        self._sweeps.enter(claim.key, Context())  # for a moment: nobody else keeps this turn
        runtime.spawn(sweep, "etcd-recipes-sweeper")
        claim.swept = True

    def _remove(self, key: str, entry: Entry | None, ctx: Context) -> None:
        if entry is not None:
            self._store.delete(entry, ctx)
        else:
            self._store.withdraw(key, self._grant, ctx)

    # -- the keeper ------------------------------------------------------------------------------------------------

    def _keep(self) -> None:
        while not self._ctx.wait(self._until_renewal()):
            try:
                with_deadline = self._ctx.child(self.remaining())
                retry.RENEWAL.run(
                    with_deadline,
                    partial(self._renew, with_deadline),
                    on_failure=self._suspend,
                )
            except LeaseNotFound as error:
                self.lose(f"etcd says that {error.message}")
            except ContextError:
                if not self._ctx.done:
                    self.lose("its lease could not be renewed in time")
            except Exception as error:  # a defect must not leave a session that nobody renews
                self.lose(f"its keeper failed ({type(error).__name__}: {error})")
                raise

    def _until_renewal(self) -> float:
        """Give the seconds until the next renewal: a third of the ttl after the last one was *sent*.

        An answer that took long has used up a part of its own ttl, and what follows it must come sooner.
        """
        left = self.remaining()
        return min(left / 2, max(left - self.ttl * (2 / 3 - DRIFT), self.ttl * _BREATH))

    def _renew(self, ctx: Context) -> None:
        """Steps 1 to 3 of one tick."""
        sent = runtime.now()
        watched = [c for c in list(self._claims.values()) if c.entry is not None]
        suspects = self._in_doubt(sent)
        renewal = self._grant.renew(ctx, keys=bool(watched or suspects))
        ctx.check()  # an answer after the deadline comes too late: LOST is final
        self._deadline = max(self._deadline, _deadline(sent, renewal.ttl))
        if self._suspended:
            self._suspended = False
            self._log.warning("session.resumed", remaining=round(self.remaining(), 3))
        took, left = round(runtime.now() - sent, 4), round(self.remaining(), 3)
        self._log.debug("session.renewed", took=took, remaining=left)
        if renewal.keys is not None:
            self._look_for_gone(watched, renewal, ctx)
            self._look_for_strays(suspects & renewal.keys, ctx)

    def _in_doubt(self, now: float) -> set[str]:
        with self._lock:
            while self._suspects and next(iter(self._suspects.values())) < now - LATEST:
                self._suspects.popitem(last=False)
            return set(self._suspects)

    def _look_for_gone(self, watched: list[Claim], renewal: Renewal, ctx: Context) -> None:
        for claim in watched:
            entry = claim.entry
            if entry is None or entry.key in (renewal.keys or ()):
                continue
            # The list is the leader's memory, which may lag behind a write that was just confirmed.
            now_there = self._store.get(entry.key, ctx)
            if (now_there is None or now_there.created != entry.created) and claim.entry is entry:
                self._log.error("key.gone", key=entry.key)
                claim.gone()

    def _look_for_strays(self, keys: set[str], ctx: Context) -> None:
        for key in sorted(keys):
            claim = self.claim_now(key)  # not if somebody stands there rightly, or is about to
            if claim is not None:
                try:
                    self._store.withdraw(key, self._grant, ctx)
                    self._log.warning("key.stray", key=key)
                finally:
                    self.release(claim)

    def _suspend(self, error: BaseException) -> None:
        if not self._suspended and self._final is None:
            self._suspended = True
            self._log.warning(
                "session.suspended", remaining=round(self.remaining(), 3), error=str(error)
            )

    def lose(self, reason: str) -> bool:
        """End as LOST, and tell everybody, etcd too: tells whether it confirmed. Nothing happens the second time."""
        if not self._end(SessionState.LOST, reason):
            return True
        self._log.error("session.lost", reason=reason)
        # If it lives on at the server, others need not wait for it.
        return self._revoke(Context(_FAREWELL))

    def _revoke(self, ctx: Context) -> bool:
        try:
            self._grant.close(ctx)
        except EtcdRecipesError as error:
            self._parted = True
            self._log.warning("session.not_revoked", error=str(error))
            return False
        self._parted = True
        return True

    def _end(self, state: SessionState, reason: str) -> bool:
        """Enter a final state, once, and tell everybody; gives False if it was final already."""
        with self._lock:
            if self._lost.is_set():
                return False
            self._final, self._reason = state, reason
            self._lost.set()
            listeners, self._listeners = self._listeners, {}
        self._ctx.cancel(reason)
        for listener in listeners.values():
            self._call(listener, reason)
        if state is SessionState.CLOSED:
            self._log.debug("session.closed")
        return True

    # -- the ends of a process -------------------------------------------------------------------------------------

    def after_fork_in_child(self) -> None:
        """A child holds nothing: the lease is the parent's, and so is the thread that renewed it."""
        self._lock = runtime.new_lock()
        self._queue = LocalQueue()
        self._claims = {}
        self._sweeps = LocalQueue()
        self._lost = runtime.new_event()
        self._lost.set()
        self._parted = True
        if self._final is None:
            self._final = SessionState.LOST
            self._reason = "this process is a forked child; its parent holds it"
        self._listeners = {}

    def at_exit(self) -> None:
        """Revoke quickly when the interpreter ends, so that nobody waits for the ttl."""
        if not self._end(SessionState.CLOSED, "the program ends") and self._parted:
            return
        self._revoke(Context(_FAREWELL))  # also when a signal broke into a `close`


class _Bound:
    """See `Session.bound`."""

    __slots__ = ("_ctx", "_inner", "_number", "_session")

    def __init__(self, session: Session, ctx: Context) -> None:
        self._session = session
        self._ctx = ctx

    def __enter__(self) -> Context:
        self._inner = self._ctx.child()
        self._number = self._session.on_lost(self._inner.cancel)
        return self._inner

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        self._session.forget(self._number)
        if isinstance(error, Cancelled) and not self._ctx.cancelled:
            self._session.check()


def _deadline(sent: float, ttl: float) -> float:
    return sent + ttl * (1 - DRIFT)
