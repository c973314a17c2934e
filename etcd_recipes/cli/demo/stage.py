"""The stage: one run, from the first server to the last folder.

Rules of this file
1. What is put up is taken down in reverse order, however the run ends: workers, keys, etcd, folder.
   Whatever waits here waits with the Context, so that a signal ends it between two steps, never inside.
2. It decides nothing: the plot says when to strike, the story what is known, the verdict how it went.
3. After the end it looks for what is left, and says so.
"""

from __future__ import annotations

import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from etcd_recipes import Client, Context, ContextError, EtcdRecipesError
from etcd_recipes.cli.demo import place as places
from etcd_recipes.cli.demo.event import Event
from etcd_recipes.cli.demo.evidence import Evidence, Run
from etcd_recipes.cli.demo.inbox import Inbox
from etcd_recipes.cli.demo.ledger import Ledger, Outcome
from etcd_recipes.cli.demo.observer import observing
from etcd_recipes.cli.demo.place import Place, is_running, open_place
from etcd_recipes.cli.demo.plan import Keys, Plan
from etcd_recipes.cli.demo.plot import Act, next_act
from etcd_recipes.cli.demo.story import Picture, apply, begin
from etcd_recipes.cli.demo.troupe import Troupe
from etcd_recipes.cli.demo.worker import Role
from etcd_recipes.cli.options import Connection
from etcd_recipes.core import runtime
from etcd_recipes.testing.waiting import wait_until

__all__ = ["Show", "Stage"]

_BEAT = 0.1  # seconds between two looks at the clock, when nothing happens
_GIVE_UP = 30.0  # seconds, and some ttls, without a word from any worker


class Show(Protocol):
    """Whoever shows a run to people."""

    def tell(self, event: Event, picture: Picture) -> None:
        """Show that this happened; `picture` is the one after it."""

    def refresh(self, picture: Picture, now: float) -> None:
        """Show the time."""


class Stage:
    """One run of the demo; everything ends with `ctx`, whose error is then raised."""

    def __init__(self, plan: Plan, show: Show, ctx: Context) -> None:
        self._plan = plan
        self._show = show
        self._ctx = ctx
        self._inbox = Inbox()
        self._picture = begin(plan)
        self._heard = runtime.now()
        self._crashable = True

    def run(self, connection: Connection) -> Run:
        """Play it on the etcd that was given, or on one of its own, and give what there is to judge.

        Raises UnusableEtcd, EtcdNotFound, EtcdStartFailed, OSError, and the error of the Context.
        """
        places.check(connection, self._ctx)
        began = runtime.now()
        own = not connection.endpoints
        self._tell("begun", text="its own etcd" if own else "the etcd given")
        with _new_folder() as folder, open_place(connection, self._ctx) as place:
            evidence = self._run_on(place, folder)
        left = (*evidence.left, *place.left())
        if folder.exists():
            left = (*left, f"folder {folder}")
        evidence = replace(evidence, left=left)
        return Run(self._plan, place.text, runtime.now() - began, evidence)

    def _run_on(self, place: Place, folder: Path) -> Evidence:
        keys = Keys(f"etcd-recipes-demo/{secrets.token_hex(4)}/")
        path = folder / "ledger.db"
        with ExitStack() as stack:
            ledger = Ledger.create(path)
            stack.callback(ledger.close)
            client = stack.enter_context(place.connection.client())
            stack.callback(_remove_keys, client, keys)
            self._introduce(place)
            stack.enter_context(observing(client, keys, self._ctx, self._inbox.put))
            watch = stack.enter_context(_Watch.over(place, self._inbox, self._ctx))
            troupe = stack.enter_context(Troupe(self._inbox, folder))
            for turn, name in enumerate(self._plan.names):
                role = Role(name, turn, self._plan, keys.prefix, str(path), place.connection)
                troupe.start(role)
            self._play(place, troupe, ledger, watch)
            self._wait_until_cleared(client, keys)
            self._tell("curtain")
            troupe.stop(last=self._picture.leader)
            self._listen(self._inbox.rest())
            return self._evidence(place, troupe, ledger, self._left_in(client, keys, place))

    # -- the run -----------------------------------------------------------------------------------

    def _introduce(self, place: Place) -> None:
        self._tell("cluster", names=place.members, text=place.text)
        if place.cluster is not None:
            self._tell("rules", who=place.cluster.leader(ctx=self._ctx).name)

    def _play(self, place: Place, troupe: Troupe, ledger: Ledger, watch: _Watch) -> None:
        while True:
            self._listen(self._inbox.take(self._ctx, _BEAT))
            self._show.refresh(self._picture, runtime.now())
            match next_act(self._picture, may_kill_member=place.cluster is not None):
                case Act.END:
                    return
                case Act.KILL_LEADER:
                    self._kill_leader(troupe)
                case Act.TEST_FENCE:
                    self._test_fence(ledger)
                case Act.KILL_MEMBER:
                    self._kill_member(place, watch)
            if self._is_stuck():
                return

    def _kill_leader(self, troupe: Troupe) -> None:
        leader, token, running = self._picture.leader, self._picture.token, self._picture.running
        at = runtime.now()
        troupe.kill(leader)
        self._hear(Event("killed", at, leader, token=token, names=running))

    def _test_fence(self, ledger: Ledger) -> None:
        """Write as the dead leader would, had it only been slow: the ledger must refuse it."""
        killed = self._picture.killed
        assert killed is not None
        answer = ledger.hand_out(killed.who, killed.token, "late")
        text = "" if answer.outcome is Outcome.REFUSED else "accepted"
        self._tell("late", who=killed.who, token=killed.token, number=answer.highest, text=text)

    def _kill_member(self, place: Place, watch: _Watch) -> None:
        assert place.cluster is not None
        member = place.cluster.leader(ctx=self._ctx)
        running = self._picture.running
        at = runtime.now()
        member.kill()
        self._hear(Event("crashed", at, member.name, names=running))
        watch.for_the_next()

    def _is_stuck(self) -> bool:
        limit = _GIVE_UP + 3 * self._plan.ttl
        if runtime.now() - self._heard < limit:
            return False
        self._tell("trouble", text=f"nothing was heard of any worker for {limit:g} s; giving up")
        return True

    # -- events ------------------------------------------------------------------------------------

    def _tell(
        self, kind: str, *, who: str = "", token: int = 0, number: int = 0, text: str = "",
        names: tuple[str, ...] = (),
    ) -> None:  # fmt: skip
        event = Event(kind, runtime.now(), who, "", token, number, text, names)
        self._hear(event)

    def _listen(self, events: list[Event]) -> None:
        for event in events:
            self._heard = runtime.now()
            self._hear(event)

    def _hear(self, event: Event) -> None:
        self._picture = apply(self._picture, event)
        self._show.tell(event, self._picture)

    # -- afterwards --------------------------------------------------------------------------------

    def _evidence(
        self, place: Place, troupe: Troupe, ledger: Ledger, left: tuple[str, ...]
    ) -> Evidence:
        processes = [f"worker process {pid}" for pid in troupe.pids if is_running(pid)]
        return Evidence(
            jobs=self._plan.all_jobs,
            ttl=float(self._picture.ttl or self._plan.ttl),
            rows=ledger.rows(),
            log=ledger.log(),
            killed=self._picture.killed,
            crashed=self._picture.crashed,
            may_crash=place.cluster is not None,
            deserters=troupe.deserters(),
            left=(*left, *processes),
        )

    def _wait_until_cleared(self, client: Client, keys: Keys) -> None:
        """Let the workers remove the last jobs from etcd, once they stand in the ledger."""
        limited = self._ctx.child(2 * self._plan.ttl + 2.0)

        def is_cleared() -> bool | None:
            found = client.v3.kv.range(keys.jobs, prefix=True, count_only=True, ctx=limited)
            return True if found.count == 0 else None

        if len(self._picture.done) >= self._plan.jobs:
            wait_until(is_cleared, limited)

    def _left_in(self, client: Client, keys: Keys, place: Place) -> tuple[str, ...]:
        """Say which keys and leases the workers left; those under a lease may take as long as that."""
        limited = self._ctx.child(2 * self._plan.ttl + 2.0)

        def look() -> tuple[str, ...]:
            found = client.v3.kv.range(keys.prefix, prefix=True, keys_only=True, ctx=limited)
            names = [kv.key.decode() for kv in found.kvs]
            left = [f"key {name}" for name in names if name != keys.counter]
            if place.cluster is not None:  # nobody else has leases there
                left += [f"lease {id_:x}" for id_ in client.v3.lease.list(ctx=limited)]
            return tuple(left)

        last: list[tuple[str, ...]] = [()]

        def is_clean() -> bool | None:
            last[0] = look()
            return True if not last[0] else None

        try:
            wait_until(is_clean, limited)
        except ContextError:
            self._ctx.check()
        return last[0]


class _Watch:
    """Asks the members who leads them, on a thread of its own, when it is told that they lost one."""

    def __init__(self, place: Place, inbox: Inbox, ctx: Context) -> None:
        self._place = place
        self._inbox = inbox
        self._ctx = ctx
        self._threads: list[runtime.Thread] = []

    @classmethod
    @contextmanager
    def over(cls, place: Place, inbox: Inbox, ctx: Context) -> Iterator[_Watch]:
        """Make one, and end it with the body."""
        limited = ctx.child()
        watch = cls(place, inbox, limited)
        try:
            yield watch
        finally:
            limited.cancel()
            for thread in watch._threads:
                thread.join()

    def for_the_next(self) -> None:
        """Tell of the next leader as soon as there is one."""
        self._threads.append(runtime.spawn(self._find, "demo-next-member"))

    def _find(self) -> None:
        assert self._place.cluster is not None
        try:
            member = self._place.cluster.leader(ctx=self._ctx)
        except ContextError:
            return  # the end
        self._inbox.put(Event("rules", runtime.now(), member.name))


@contextmanager
def _new_folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="etcd-recipes-demo-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_keys(client: Client, keys: Keys) -> None:
    """Remove every key of the run; says so when that is not possible."""
    try:
        client.v3.kv.delete(keys.prefix, prefix=True, timeout=5.0)
    except EtcdRecipesError as error:
        raise EtcdRecipesError(
            f"the keys below {keys.prefix} could not be removed: {error}"
        ) from error
