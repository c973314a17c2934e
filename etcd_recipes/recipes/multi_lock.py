"""Multi-lock: several locks at once, all of them or none.

The algorithm
1. Sort the names. Whoever wants several of them stands in their lines in this one order, whatever order was
   given: so no two can wait for each other for ever.
2. Stand in the first line, and hold; then in the next, while holding. What is held already is looked after
   as any hold is: if it is lost meanwhile, the wait ends at once.
3. When the last one is held, all are checked once more, and the handle is made. Its limits count from here.
4. On any failure, cancel or timeout, give back what is held, the last one first. What cannot be confirmed
   within a blink is handed to the session, which goes on removing it.
5. When one is lost later, all is lost: the others are given back at once, in the background.

They are the locks of the same names, in the same lines, with the same keys: whoever takes one of them by
itself, in whatever language, excludes a multi-lock with that name in it.

What it does not guarantee
    What a lock does not. And the order protects those who take several locks by one multi-lock each: a
    thread that holds a lock already and then waits for others may still meet one that does it the other way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType

from etcd_recipes.coordination.contenders import FIRST_ONLY
from etcd_recipes.coordination.door import Door
from etcd_recipes.coordination.handle import Handle, State
from etcd_recipes.coordination.hold import Hold
from etcd_recipes.coordination.line import Line, Turn
from etcd_recipes.coordination.liveness import Liveness
from etcd_recipes.coordination.names import check_name
from etcd_recipes.coordination.sessions import Sessions
from etcd_recipes.core.context import Context, limit
from etcd_recipes.core.errors import Cancelled, ContextError, RecipeError
from etcd_recipes.core.log import event_logger
from etcd_recipes.core.store import Guard

__all__ = ["MultiHold", "MultiLock"]

_BLINK = 0.05
"""Seconds that an acquire which has failed may still take to give back what it held."""


class MultiHold(Handle):
    """Several locks that are held together: lost when one of them is, ended by `release`.

    `tokens` gives the fencing token of each name, `keys` their keys in etcd, both in the order of the names.
    """

    def __init__(self, holds: Mapping[str, Hold], liveness: Liveness) -> None:
        self._holds = tuple(holds.values())
        self.keys = tuple(hold.key for hold in self._holds)
        self.tokens: Mapping[str, int] = MappingProxyType(
            {name: hold.token for name, hold in holds.items()}
        )
        what = ", ".join(self.keys)
        watchdog = self._holds[0].session.watchdog
        super().__init__(
            what, event_logger("hold").bind(key=what, kind="MultiHold"), liveness, watchdog
        )
        for hold in self._holds:
            hold.on_lost(lambda reason, key=hold.key: self._lose(f"{key}: {reason}"))  # type: ignore[misc]
        self._begin()

    @property
    def guards(self) -> tuple[Guard, ...]:
        """The guards of all of them, for ``client.v3.kv.txn``: see ``Hold.guard``. RecipeError on v2."""
        return tuple(hold.guard for hold in self._holds)

    def release(self, *, timeout: float | None = None, ctx: Context | None = None) -> bool:
        """Give all of them up, the last one first: one fenced request each; idempotent.

        Tells whether etcd confirmed each; as ``Hold.release`` in all else. Raises the error of `ctx` if
        that ends first; the removal goes on then, too.
        """
        if not self._stands():
            self._lose(self._ground())
            return True
        limited = limit(timeout, ctx, default=max(1.0, self._holds[0].session.ttl / 3))
        try:
            self._expire()
            if not self._finish(State.RELEASED, "it was released"):
                return True
            confirmed = _release_all(self._holds, limited)
        except (
            BaseException
        ):  # a signal, which may have struck before the end, or before the removals
            self._finish(State.RELEASED, "it was released")
            _forfeit_all(self._holds)
            raise
        if not confirmed and ctx is not None:
            ctx.check()
        return confirmed

    # -- as a handle -------------------------------------------------------------------------------------------

    def _stands(self) -> bool:
        return all(hold.is_held for hold in self._holds)

    def _ground(self) -> str:
        gone = (hold for hold in self._holds if not hold.is_held)
        return next((f"{hold.key}: {hold.reason}" for hold in gone), "")

    def _time_left(self) -> float:
        return min(hold.remaining() for hold in self._holds)

    def _let_go(self, *, in_etcd: bool) -> None:  # noqa: ARG002 (each knows whether its own key may be)
        for hold in reversed(self._holds):
            hold.forfeit(f"what was held together with it was lost ({self._reason})")


class MultiLock(Door[MultiHold]):
    """Several locks, all or none; made by ``client.multi_lock(names)``, free to be used by many threads.

    `names` are those names, sorted. Not reentrant: a thread that holds one of them waits for itself.
    Keys: those of the locks, ``<name>/<lease id in hex>``. Requests: as many times those of a lock.
    """

    def __init__(
        self,
        sessions: Sessions,
        names: Iterable[str],
        *,
        namespace: str = "",
        ttl: float | None = None,
        timeout: float | None = None,
        max_hold: float | None = None,
        heartbeat: float | None = None,
    ) -> None:
        self.names = _in_order(names)
        what = f"multi-lock {', '.join(map(repr, self.names))}"
        super().__init__(sessions, what, ttl=ttl, timeout=timeout)
        self._lines = {
            name: Line(sessions, namespace + name, FIRST_ONLY, kind="lock") for name in self.names
        }
        self._liveness = Liveness(max_hold, heartbeat)

    def _try_enter(self, value: str, ctx: Context) -> MultiHold | None:
        return self._collect(lambda line, bound: line.try_enter(value, self._ttl, bound), ctx)

    def _enter(self, value: str, ctx: Context) -> MultiHold:
        hold = self._collect(lambda line, bound: line.enter(value, self._ttl, bound), ctx)
        assert hold is not None  # a line that is waited in gives a turn, or raises
        return hold

    def _collect(
        self, go_in: Callable[[Line, Context], Turn | None], ctx: Context
    ) -> MultiHold | None:
        """Steps 2 to 4; None when one of them is taken."""
        holds: dict[str, Hold] = {}
        bound = ctx.child()
        try:
            for name, line in self._lines.items():
                turn = go_in(line, bound)
                if turn is None:
                    _release_all(tuple(holds.values()), Context(_BLINK))
                    return None
                holds[name] = self._hold_of(turn)
                holds[name].on_lost(bound.cancel)
            for hold in holds.values():
                hold.check()
            return MultiHold(holds, self._liveness)
        except BaseException as error:
            ours = isinstance(error, Cancelled) and not ctx.cancelled
            loss = _loss(holds.values()) if ours else None
            _release_all(tuple(holds.values()), Context(_BLINK))
            if loss is not None:
                raise loss from None
            raise

    def _hold_of(self, turn: Turn) -> Hold:
        return Hold(self._sessions.store, turn.session, turn.claim, turn.entry, turn.token)

    def __repr__(self) -> str:
        return f"<MultiLock {', '.join(map(repr, self.names))}>"


def _in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Give the names sorted; TypeError for one str, ValueError for none, or one twice."""
    if isinstance(names, str | bytes):
        raise TypeError(f"names is a sequence of lock names; write [{names!r}]")
    listed = [check_name(name, "lock name") for name in names]
    if not listed:
        raise ValueError("a multi-lock needs one name at least")
    twice = sorted(name for name in set(listed) if listed.count(name) > 1)
    if twice:
        raise ValueError(f"lock name {twice[0]!r} is given twice: it would wait for itself")
    return tuple(sorted(listed))


def _loss(holds: Iterable[Hold]) -> RecipeError | None:
    """Give the error of the first that was lost, or None."""
    try:
        for hold in holds:
            hold.session.check()
            hold.check()
    except RecipeError as error:
        return error
    return None


def _release_all(holds: Sequence[Hold], ctx: Context) -> bool:
    """Release them, the last one first; tell whether etcd confirmed each. A signal leaves none held."""
    try:
        confirmed = [_release(hold, ctx) for hold in reversed(holds)]
    except BaseException:
        _forfeit_all(holds)
        raise
    return all(confirmed)


def _forfeit_all(holds: Sequence[Hold]) -> None:
    for hold in holds:
        hold.forfeit("what was held together with it was released")


def _release(hold: Hold, ctx: Context) -> bool:
    try:
        return hold.release(ctx=ctx)
    except ContextError:
        return False
