"""APScheduler 3: a scheduler in every process, whose jobs run in one of them.

The algorithm
1. The gate campaigns beside the scheduler. While another process leads, the scheduler is paused: started or not
   yet, it may be started before the gate or after it.
2. A term begins by moving every job that is overdue to its next time: what was due meanwhile was the other
   leader's. Then the scheduler is resumed.
3. At each round the scheduler asks the term's clock before it looks for jobs. A process that was stopped for
   longer than its ttl finds its scheduler awake, and `on_lost` not called yet: it must not run anything.
4. The end of the gate pauses the scheduler, then resigns.

Rules of this file
1. A job that is running when the term is lost runs on: it looks at ``gate.term``, or lets ``term.guard`` and
   ``term.token`` decide, as with all work under a lease.
"""

from __future__ import annotations

from datetime import datetime
from types import TracebackType
from typing import Any, Self

from etcd_recipes.core import runtime
from etcd_recipes.core.errors import MissingDependency, RecipeError
from etcd_recipes.recipes.election import Background, Election, Leadership

try:
    from apscheduler.events import EVENT_SCHEDULER_STARTED
    from apscheduler.jobstores.base import JobLookupError
    from apscheduler.schedulers.base import STATE_RUNNING, STATE_STOPPED, BaseScheduler
except ImportError as missing:
    raise MissingDependency(
        "etcd_recipes.contrib.apscheduler needs APScheduler 3: pip install 'apscheduler>=3.10,<4'"
    ) from missing

__all__ = ["LeaderGate"]


class LeaderGate:
    """Lets `scheduler` run jobs while this process leads `election`, and only then; used with ``with``.

    Any scheduler of APScheduler 3. With ``catch_up=True`` overdue jobs are left to APScheduler's
    ``misfire_grace_time`` and ``coalesce``: for a job store that all processes share, where what is overdue was
    run by nobody. Each process needs a gate and an election of its own client. Requests: the campaign's.
    """

    def __init__(self, scheduler: Any, election: Election, *, catch_up: bool = False) -> None:
        if not isinstance(scheduler, BaseScheduler):
            raise TypeError(f"a scheduler of APScheduler 3 is wanted, not {scheduler!r}")
        self._scheduler = scheduler
        self._catch_up = catch_up
        self._campaign: Background = election.background(self._settle, self._settle)
        self._process: Any = None
        self._lock = runtime.new_lock()

    @property
    def term(self) -> Leadership | None:
        """The term, while this process leads."""
        return self._campaign.term

    @property
    def is_leader(self) -> bool:
        """True while this process leads: local, cheap and honest."""
        return self._campaign.is_leader

    def __enter__(self) -> Self:
        """Pause the scheduler and begin to campaign; RecipeError when this gate is in use already."""
        if self._process is not None:
            raise RecipeError("this gate stands before its scheduler already; make another one")
        self._process = self._scheduler._process_jobs
        self._scheduler._process_jobs = self._process_if_leading
        self._scheduler.add_listener(self._settle, EVENT_SCHEDULER_STARTED)
        self._settle()
        self._campaign.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Pause the scheduler, which stays paused, and resign. Raises what had ended the campaign before."""
        try:
            self._campaign.__exit__(kind, error, trace)
        finally:
            self._settle()
            self._scheduler.remove_listener(self._settle)
            del self._scheduler._process_jobs  # the class's own again
            self._process = None

    def _process_if_leading(self) -> Any:
        """Step 3. None: the scheduler sleeps until it is woken, which `resume` does."""
        return self._process() if self.is_leader else None

    def _settle(self, _event: object = None) -> None:
        """Have the scheduler run or pause, as the term is now."""
        # Whoever comes last sees how it is: the term is set before a callback, the state before an event.
        with self._lock:
            if self._scheduler.state == STATE_STOPPED:
                return  # its start comes here again
            if self.is_leader:
                self._skip_overdue()
                self._scheduler.resume()
            elif self._scheduler.state == STATE_RUNNING:
                self._scheduler.pause()

    def _skip_overdue(self) -> None:
        if self._catch_up:
            return
        now = datetime.now(self._scheduler.timezone)
        for job in self._scheduler.get_jobs():
            if job.next_run_time is None or job.next_run_time > now:
                continue
            later = job.trigger.get_next_fire_time(None, now)
            try:
                if later is None:
                    job.remove()  # it had one time only, as APScheduler itself does after the last one
                else:
                    job.modify(next_run_time=later)
            except JobLookupError:
                pass  # removed meanwhile
