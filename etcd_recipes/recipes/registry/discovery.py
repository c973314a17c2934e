"""Discovery: the instances of one service as a live view, which survives etcd.

The algorithm is `coordination.follow`: list, watch, go on. This file keeps what it gives: the last list
that was known to be right, how old it is, and who has been told.

Rules of this file
* The view never becomes empty because etcd is away: it keeps the last known list and says how old it is.
* What readers get is a tuple that never changes; the follower's thread replaces it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self

from etcd_recipes.coordination.follow import Update, follow
from etcd_recipes.coordination.sessions import Sessions
from etcd_recipes.core import runtime
from etcd_recipes.core.context import Context
from etcd_recipes.core.errors import ContextError, DeadlineExceeded, EtcdRecipesError, RecipeError
from etcd_recipes.core.log import event_logger
from etcd_recipes.core.store import Change
from etcd_recipes.recipes.registry.instance import Instance, decode, instance_key
from etcd_recipes.recipes.registry.pick import STRATEGIES, Asking, Strategy

__all__ = ["Discovery", "InstanceEvent"]

_EVENTS_KEPT = 10_000
_EJECTED_FOR = 10.0  # seconds


@dataclass(frozen=True, slots=True)
class InstanceEvent:
    """One change of the list: `old` is None for "added", `new` is None for "removed"."""

    kind: Literal["added", "updated", "removed"]
    old: Instance | None
    new: Instance | None


class Discovery:
    """A live view of one service; made by ``registry.follow(service)``, used with ``with`` or closed.

    Reading it costs no request. It is followed by one thread over one watch.
    """

    def __init__(self, sessions: Sessions, prefix: str, service: str, *, zone: str = "") -> None:
        self.service = service
        self._store = sessions.store
        self._prefix = prefix
        self._zone = zone
        self._ctx = sessions.ctx.child()  # ends with close, or with the client
        self._table: dict[str, Instance] = {}
        self._all: tuple[Instance, ...] = ()
        self._confirmed: float | None = None
        self._trouble: BaseException | None = None
        self._turn = 0
        self._ejected: dict[str, float] = {}
        self._waiters: set[runtime.Event] = set()
        self._readers: list[deque[InstanceEvent]] = []
        self._lock = runtime.new_lock()
        self._log = event_logger("discovery").bind(service=service)
        self._thread = runtime.spawn(self._follow, "etcd-recipes-discovery")

    # -- reading -----------------------------------------------------------------------------------------------

    @property
    def instances(self) -> tuple[Instance, ...]:
        """Those that take work, in the order of their ids, as last known."""
        return tuple(instance for instance in self._all if not instance.draining)

    @property
    def draining(self) -> tuple[Instance, ...]:
        """Those that are registered and want no new work, as last known."""
        return tuple(instance for instance in self._all if instance.draining)

    @property
    def age(self) -> float:
        """The seconds since etcd last confirmed the list; infinite before the first time.

        While nothing changes, etcd is asked again every 10 s, so a healthy view is never much older.
        """
        return float("inf") if self._confirmed is None else runtime.now() - self._confirmed

    @property
    def stale(self) -> bool:
        """True while etcd cannot be followed: the list is the last known one."""
        return self._confirmed is None or self._trouble is not None

    def wait_for(
        self, n: int = 1, timeout: float | None = None, *, ctx: Context | None = None
    ) -> tuple[Instance, ...]:
        """Wait until at least `n` instances take work, and give them; raises the Context's error otherwise."""
        limited = Context(timeout, parent=ctx)
        event = runtime.new_event()
        with self._lock:
            self._waiters.add(event)
        try:
            while len(found := self.instances) < n:
                self._check_open()
                try:
                    limited.wait_for(event)
                except DeadlineExceeded as error:
                    raise DeadlineExceeded(
                        f"{len(found)} of {n} instances of {self.service!r} were there in time"
                    ) from error
                event.clear()
            return found
        finally:
            with self._lock:
                self._waiters.discard(event)

    def events(
        self, *, timeout: float | None = None, ctx: Context | None = None
    ) -> Iterator[InstanceEvent]:
        """Give every change from now on, in order, until the view is closed.

        Raises the Context's error when `timeout` or `ctx` end it. A reader that falls 10,000 changes
        behind loses the oldest; ``instances`` is always right.
        """
        queue: deque[InstanceEvent] = deque(maxlen=_EVENTS_KEPT)
        with self._lock:
            self._readers.append(queue)
        return self._events(queue, Context(timeout, parent=ctx))

    def _events(self, queue: deque[InstanceEvent], limited: Context) -> Iterator[InstanceEvent]:
        event = runtime.new_event()
        with self._lock:
            self._waiters.add(event)
        try:
            while True:
                while queue:
                    yield queue.popleft()
                if self._ctx.cancelled:
                    return
                limited.wait_for(event)
                event.clear()
        finally:
            with self._lock:
                self._waiters.discard(event)
                self._readers.remove(queue)

    # -- choosing ----------------------------------------------------------------------------------------------

    def pick(self, strategy: Strategy = "round_robin", *, key: str = "") -> Instance:
        """Choose an instance that takes work and is not ejected.

        `strategy` is random, round_robin, sticky (by `key`), weighted or zone. When all are ejected, all
        are candidates again. RecipeError when the list is empty; ValueError for an unknown strategy.
        """
        choose = STRATEGIES.get(strategy)
        if choose is None:
            raise ValueError(f"strategy is one of {', '.join(STRATEGIES)}; not {strategy!r}")
        instances = self.instances
        if not instances:
            raise RecipeError(f"no instance of {self.service!r} is known ({self._state()})")
        now = runtime.now()
        healthy = [i for i in instances if self._ejected.get(i.id, 0.0) <= now]
        with self._lock:
            self._turn += 1
            turn = self._turn - 1
        return choose(healthy or instances, Asking(turn, runtime.rng(), key, self._zone))

    def report(self, instance: Instance, *, ok: bool) -> None:
        """Say how it went with an instance: after ``ok=False`` it is not picked for 10 s."""
        if ok:
            self._ejected.pop(instance.id, None)
        else:
            self._ejected[instance.id] = runtime.now() + _EJECTED_FOR

    # -- following ---------------------------------------------------------------------------------------------

    def _follow(self) -> None:
        prefix = instance_key(self._prefix, self.service, "")
        try:
            for update in follow(self._store, prefix, self._ctx, on_trouble=self._tell):
                self._apply(update)
        except ContextError:
            pass  # closed, or the client is
        finally:
            self.close()

    def _apply(self, update: Update) -> None:
        if self._trouble is not None:
            self._log.warning("discovery.resumed", revision=update.revision)
        events = [e for change in update.changes if (e := self._event(change)) is not None]
        with self._lock:
            if events:
                self._all = tuple(self._table[id_] for id_ in sorted(self._table))
            self._trouble = None
            self._confirmed = runtime.now()
            for reader in self._readers:
                reader.extend(events)
        self._wake()

    def _event(self, change: Change) -> InstanceEvent | None:
        """Bring the table to the state after `change`, and give the event for it, if it is one."""
        id_ = change.key[len(instance_key(self._prefix, self.service, "")) :]
        if "/" in id_:
            return None  # a deeper key: an instance of another service
        new = None if change.entry is None else decode(self._prefix, change.entry)
        if new is None and change.entry is not None:
            self._log.warning("discovery.not_an_instance", key=change.key)
        old = self._table.pop(id_, None)
        if new is not None:
            self._table[id_] = new
        if old == new:
            return None
        kind: Literal["added", "updated", "removed"] = (
            "added" if old is None else "removed" if new is None else "updated"
        )
        return InstanceEvent(kind, old, new)

    def _tell(self, error: BaseException) -> None:
        if self._trouble is None:
            self._log.warning("discovery.stale", error=str(error))
        self._trouble = error
        self._wake()

    def wait_until_known(self, ctx: Context) -> None:
        """Wait for the first list; raises what kept it from coming."""
        event = runtime.new_event()
        with self._lock:
            self._waiters.add(event)
        try:
            while self._confirmed is None:
                ctx.wait_for(event)
                event.clear()
        except ContextError:
            if isinstance(self._trouble, EtcdRecipesError) and not ctx.cancelled:
                raise self._trouble from None
            raise
        finally:
            with self._lock:
                self._waiters.discard(event)

    # -- ending ------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Stop following; the last list stays readable. Idempotent."""
        self._ctx.cancel("the view was closed")
        self._wake()

    def _wake(self) -> None:
        with self._lock:
            waiters = list(self._waiters)
        for waiter in waiters:
            waiter.set()

    def _check_open(self) -> None:
        if self._ctx.cancelled:
            raise RecipeError(f"the view of {self.service!r} is closed")

    def __enter__(self) -> Self:
        """Give the view itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()

    def _state(self) -> str:
        return (
            "closed" if self._ctx.cancelled else "stale" if self.stale else f"{self.age:.1f} s old"
        )

    def __repr__(self) -> str:
        return f"<Discovery {self.service!r}: {len(self._all)} instances, {self._state()}>"
