"""Discovery: the instances of one service as a live view, which survives etcd.

The algorithm is `coordination.follow`: list, watch, go on. What the list is, and which departures are
believed, is the roster's to say. This file keeps the time and tells who waits.

Rules of this file
* The view never becomes empty because etcd is away: it keeps the last known list and says how old it is.
* What readers get is a tuple that never changes. It is made when it is asked for, once per change at most: a
  change itself costs no more in a view of ten thousand, and neither does a pick.
* One thread follows. While there are suspects, a second one asks etcd, when their time has come, whether they
  are still gone: those of a second's part together, for the leases of one incident end one after the other.
  Both change the roster under the lock.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self

from etcd_recipes.coordination.follow import Update, follow
from etcd_recipes.coordination.sessions import Sessions
from etcd_recipes.core import retry, runtime
from etcd_recipes.core.context import Context
from etcd_recipes.core.errors import ContextError, DeadlineExceeded, EtcdRecipesError, RecipeError
from etcd_recipes.core.log import event_logger
from etcd_recipes.core.store import Change
from etcd_recipes.recipes.registry.codec import Codec
from etcd_recipes.recipes.registry.ejection import who
from etcd_recipes.recipes.registry.events import InstanceEvents
from etcd_recipes.recipes.registry.guard import Rule
from etcd_recipes.recipes.registry.instance import Instance
from etcd_recipes.recipes.registry.pick import STRATEGIES, Asking, Strategy
from etcd_recipes.recipes.registry.roster import InstanceEvent, Roster

__all__ = ["Discovery"]

_Lists = tuple[tuple[Instance, ...], tuple[Instance, ...]]
"""Those that take work, suspects included, and those that drain."""

_GRAIN = 0.1
"""The part of `confirm` between two questions whether suspects are gone: ten lists, however many there are."""


class Discovery:
    """A live view of one service; made by ``registry.follow(service)``, used with ``with`` or closed.

    Reading it costs no request. It is followed by one thread over one watch. In a forked child it is
    closed, and the last list stays readable.
    """

    def __init__(
        self,
        sessions: Sessions,
        prefix: str,
        service: str,
        codec: Codec,
        rule: Rule,
        *,
        zone: str = "",
        max_ejection: float = 0.5,
    ) -> None:
        self.service = service
        self._store = sessions.store
        self._prefix = prefix  # with the service and a slash at its end
        self._codec = codec
        self._zone = zone
        self._ctx = sessions.ctx.child()  # ends with close, or with the client
        self._roster = Roster(rule, max_ejection)
        self._lists: _Lists | None = ((), ())  # None: to be made anew
        self._pause = rule.confirm * _GRAIN
        self._confirming = False
        self._confirmed: float | None = None
        self._trouble: BaseException | None = None
        self._turn = 0
        self._waiters: set[runtime.Event] = set()
        self._readers: weakref.WeakSet[InstanceEvents] = weakref.WeakSet()
        self._lock = runtime.new_lock()
        self._log = event_logger("discovery").bind(service=service)
        runtime.at_fork(self)
        self._thread = runtime.spawn(self._follow, "etcd-recipes-discovery")

    # -- reading -----------------------------------------------------------------------------------------------

    @property
    def instances(self) -> tuple[Instance, ...]:
        """Those that take work, in the order of their ids, as last known; `suspects` are among them."""
        return self._read_lists()[0]

    def _read_lists(self) -> _Lists:
        lists = self._lists
        if lists is None:
            with self._lock:
                all_ = self._roster.listed()
                working = tuple(instance for instance in all_ if not instance.draining)
                draining = tuple(instance for instance in all_ if instance.draining)
                lists = self._lists = (working, draining)
        return lists

    @property
    def suspects(self) -> tuple[Instance, ...]:
        """Those that vanished together with so many others that it is not believed yet.

        They stay listed, and `pick` gives one only when there is nobody else, until they come back or etcd
        confirms, `confirm` seconds later, that they are gone.
        """
        with self._lock:
            return tuple(self._roster.doubtful)

    @property
    def draining(self) -> tuple[Instance, ...]:
        """Those that are registered and want no new work, as last known."""
        return self._read_lists()[1]

    @property
    def age(self) -> float:
        """The seconds since etcd last confirmed the list; infinite before the first time.

        While nothing changes, etcd is asked again every 10 s, so a healthy view is never much older.
        """
        return float("inf") if self._confirmed is None else runtime.now() - self._confirmed

    @property
    def stale(self) -> bool:
        """True while etcd cannot be followed, or is not any more: the list is the last known one."""
        return self._confirmed is None or self._trouble is not None or self._ctx.cancelled

    @property
    def closed(self) -> bool:
        """True when it follows no more: closed, or its client is, or this process is a forked child."""
        return self._ctx.cancelled

    def wait_for(
        self, n: int = 1, timeout: float | None = None, *, ctx: Context | None = None
    ) -> tuple[Instance, ...]:
        """Wait until at least `n` instances take work, and give them; raises the Context's error otherwise."""
        if not isinstance(n, int):
            raise TypeError(f"n is a whole number, not {n!r}")
        limited = Context(timeout, parent=ctx)
        event = runtime.new_event()
        with self._lock:
            self._waiters.add(event)
        try:
            while len(self._roster) < n or len(found := self.instances) < n:
                self._check_open()
                try:
                    limited.wait_for(event)
                except DeadlineExceeded as error:
                    there = len(self._roster)
                    raise DeadlineExceeded(
                        f"{there} of {n} instances of {self.service!r} were there in time"
                    ) from error
                event.clear()
            return found
        finally:
            with self._lock:
                self._waiters.discard(event)

    def events(self, *, timeout: float | None = None, ctx: Context | None = None) -> InstanceEvents:
        """Give every change from now on, in order, as an iterator that ends when the view is closed.

        It raises the Context's error when `timeout` or `ctx` end it. A reader that falls 10,000 changes
        behind loses the oldest, which its `dropped` and the log say; ``instances`` is always right.
        """
        reader = InstanceEvents(Context(timeout, parent=ctx), lambda: self._ctx.cancelled)
        with self._lock:
            self._readers.add(reader)
        return reader

    # -- choosing ----------------------------------------------------------------------------------------------

    def pick(self, strategy: Strategy = "round_robin", *, key: str = "") -> Instance:
        """Choose an instance that takes work, is no suspect and is not ejected.

        `strategy` is random, round_robin, sticky (by `key`), weighted or zone. When there is none but
        suspects, it is one of these. RecipeError when the list is empty; ValueError for an unknown strategy.
        """
        if strategy not in list(STRATEGIES):  # a list may be asked for what cannot be hashed
            raise ValueError(f"strategy is one of {', '.join(STRATEGIES)}; not {strategy!r}")
        choose = STRATEGIES[strategy]
        with self._lock:
            workers = self._roster.workers
            workers.tick(runtime.now())
            turn, self._turn = self._turn, self._turn + 1
            # All of them are left out only if a share of 1.0 allows that: then they are asked again.
            pool = workers.fit or workers.out or self._roster.doubtful
            if pool:
                return choose(pool, Asking(turn, runtime.rng(), key, self._zone))
        raise RecipeError(f"no instance of {self.service!r} is known ({self._state()})")

    def report(self, instance: Instance, *, ok: bool) -> None:
        """Say how it went with an instance: after ``ok=False`` it is not picked for about 10 s.

        Twice as long each time it fails again after that, up to 5 minutes; ``ok=True`` forgets all that.
        No more than the share `max_ejection` of the instances is left out at a time.
        """
        if not isinstance(instance, Instance):
            raise TypeError(f"what is reported on is an Instance, not {instance!r}")
        with self._lock:
            there, workers = self._roster.get(instance.id), self._roster.workers
            if ok:
                workers.forget(instance)
            elif there is not None and who(there) == who(instance):
                workers.failed(instance, runtime.now(), runtime.rng())

    # -- following ---------------------------------------------------------------------------------------------

    def _follow(self) -> None:
        try:
            for update in follow(self._store, self._prefix, self._ctx, on_trouble=self._tell):
                self._apply(update)
        except ContextError:
            pass  # closed, or the client is
        finally:
            self.close()

    def _apply(self, update: Update) -> None:
        changes = [read for change in update.changes if (read := self._read(change)) is not None]
        now = runtime.now()
        with self._lock:  # and nothing in it that may wait: no log, no thread
            resumed = self._trouble is not None
            if resumed:
                self._roster.postpone(now)
            self._trouble = None
            self._confirmed = now
            slow = self._show(self._roster.apply(changes, now))
            suspects = 0 if self._confirming else len(self._roster.suspects)
            self._confirming = self._confirming or suspects > 0
        if resumed:
            self._log.warning("discovery.resumed", revision=update.revision)
        if suspects:
            self._log.warning("discovery.mass_drop", suspects=suspects)
            runtime.spawn(self._confirm, "etcd-recipes-discovery-confirm")
        self._wake(slow)

    def _read(self, change: Change) -> tuple[str, Instance | None] | None:
        """Give the id and what stands there now; None for a deeper key, an instance of another service."""
        id_ = change.key[len(self._prefix) :]
        if self._codec.ids == "random" and "/" in id_:
            return None
        if change.entry is None:
            return id_, None
        new = self._codec.read(self.service, id_, change.entry.value)
        if new is None:
            readable = change.key.encode("utf-8", "backslashreplace").decode()
            self._log.warning("discovery.not_an_instance", key=readable)
        return id_, new

    def _show(self, events: list[InstanceEvent]) -> list[InstanceEvents]:
        """Give readers the roster as it is, and the caller, who has the lock, those who lose events now."""
        if not events:
            return []
        self._lists = None
        return [reader for reader in list(self._readers) if reader.take(events)]

    def _confirm(self) -> None:
        """See the suspects to their end, on a thread of its own."""
        try:
            while (due := self._next_due()) is not None:
                if not self._ctx.wait(max(self._pause, due - runtime.now())):
                    self._ask_again()
        except ContextError:
            pass  # closed

    def _next_due(self) -> float | None:
        with self._lock:
            due = None if self._ctx.cancelled else self._roster.due
            # Under the same lock: the next suspect finds a thread that looks, or starts one.
            self._confirming = due is not None
            return due

    def _ask_again(self) -> None:
        """Ask etcd whether the suspects are gone: the watch may be one of a member that has stopped."""
        failures: list[BaseException] = []
        snapshot = retry.HEALING.run(
            self._ctx,
            lambda: self._store.list(self._prefix, self._ctx),
            on_failure=failures.append,
        )
        standing = {entry.key[len(self._prefix) :]: entry.value for entry in snapshot.entries}
        there = {i for i, v in standing.items() if self._codec.read(self.service, i, v) is not None}
        with self._lock:
            events = self._roster.settle(runtime.now(), None if failures else there)
            slow = self._show(events)
        if events:
            self._log.warning("discovery.drop_confirmed", removed=len(events))
        self._wake(slow)

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

    def _wake(self, slow: Iterable[InstanceEvents] = ()) -> None:
        for reader in slow:
            self._log.warning("discovery.slow_consumer", dropped=reader.dropped)
        with self._lock:
            wakes: list[Callable[[], None]] = [waiter.set for waiter in self._waiters]
            wakes += [reader.wake for reader in self._readers]
        for wake in wakes:
            wake()

    def after_fork_in_child(self) -> None:
        """A child follows nothing: the thread is the parent's."""
        self._lock = runtime.new_lock()
        self._waiters = set()
        self._ctx = Context()  # of its own: a cancel must not reach into calls of the parent's
        self._ctx.cancel("this process is a forked child; its parent follows")

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
        return f"<Discovery {self.service!r}: {len(self.instances)} instances, {self._state()}>"
