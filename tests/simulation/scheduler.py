"""The scheduler: a Runtime whose threads are greenlets, whose time is virtual, and whose luck is a seed.

One step
1. Of the tasks that are ready, one is drawn and runs until it waits: for an event, a lock, a thread, the network.
2. When none is ready, the earliest timer fires, and the clock stands where it says. No timer: deadlock.
3. At any call of the runtime a task may lose its turn, now and then, for a moment drawn from the seed: so two
   threads meet in every order that a system might give them, also between two instructions that look like one.

Processes are groups of tasks. One that is paused runs none of them: what wakes them meanwhile, timers too, is
kept and comes all at once when it goes on. One that is killed has its tasks thrown out on the spot: code that
tidies up on the way out finds that every door of the runtime is shut, and so is the network's.

Rules of this file
* Everything is decided by one `random.Random` and by the order of the heap: the same seed is the same run.
* Nothing here knows etcd.
"""

from __future__ import annotations

import heapq
import random
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from itertools import count
from typing import Any

from greenlet import GreenletExit, getcurrent, greenlet

from etcd_recipes.core import runtime

__all__ = ["Process", "Scheduler", "SimEvent", "Task", "in_charge"]

STEPS = 20_000_000
"""More steps than any run takes: one that goes on and on without time passing ends here."""


class Process:
    """A group of tasks that live, stop and die together; `number` is its pid."""

    def __init__(self, name: str, number: int) -> None:
        self.name = name
        self.number = number
        self.paused = False
        self.dead = False
        self.tasks: list[Task] = []
        self.backlog: list[Task] = []  # what would have run while it was paused
        self.paused_for = 0.0  # in all: how long it has not run
        self.paused_at = 0.0

    def __repr__(self) -> str:
        return self.name


class Task:
    """A thread: a greenlet of a process."""

    __slots__ = ("_joining", "done", "greenlet", "name", "number", "process", "token")

    def __init__(self, process: Process, number: int, name: str) -> None:
        self.process = process
        self.number = number
        self.name = name
        self.token = 0  # changes with every waking: a timer that is late finds that it is
        self.done = False
        self.greenlet: greenlet | None = None
        self._joining: list[Task] = []

    def is_alive(self) -> bool:
        return not self.done

    def stack(self) -> str:
        """Say where it stands, for a report."""
        frame = None if self.greenlet is None else self.greenlet.gr_frame
        return "" if frame is None else "".join(traceback.format_stack(frame)[-12:])

    def __repr__(self) -> str:
        return f"{self.process.name}/{self.name}#{self.number}"


class SimEvent:
    """An event of the simulated runtime; its hash is its number, so that sets of them have one order."""

    __slots__ = ("__weakref__", "_flag", "_number", "_scheduler", "_waiting")

    def __init__(self, scheduler: Scheduler, number: int) -> None:
        self._scheduler = scheduler
        self._number = number
        self._flag = False
        self._waiting: list[Task] = []

    def __hash__(self) -> int:
        return self._number

    def is_set(self) -> bool:
        return self._flag

    def set(self) -> None:
        self._flag = True
        waiting, self._waiting = self._waiting, []
        for task in waiting:
            self._scheduler.wake(task)
        self._scheduler.tick()

    def clear(self) -> None:
        self._flag = False

    def wait(self, timeout: float | None = None) -> bool:
        if not self._flag:
            task = self._scheduler.task()
            self._waiting.append(task)
            self._scheduler.block(timeout)
            if task in self._waiting:
                self._waiting.remove(task)
        else:
            self._scheduler.tick()
        return self._flag


class SimLock:
    """A reentrant lock of the simulated runtime; who waits longest gets it."""

    __slots__ = ("_depth", "_owner", "_scheduler", "_waiting")

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._owner: Task | None = None
        self._depth = 0
        self._waiting: deque[Task] = deque()

    def __enter__(self) -> bool:
        scheduler = self._scheduler
        scheduler.tick()
        me = scheduler.current
        if me is None:
            return True  # the hub looks, and nobody else runs meanwhile
        if self._owner is not None and self._owner is not me:
            self._waiting.append(scheduler.task())
            while self._owner is not me:
                scheduler.block(None)
        else:
            self._owner = me
        self._depth += 1
        return True

    def __exit__(self, *_exc_info: object) -> None:
        if self._scheduler.current is None:
            return
        self._depth -= 1
        if self._depth:
            return
        self._owner = self._waiting.popleft() if self._waiting else None
        if self._owner is not None:
            self._scheduler.wake(self._owner)
        self._scheduler.tick()


class SimThread:
    """What `spawn` gives."""

    def __init__(self, scheduler: Scheduler, task: Task) -> None:
        self._scheduler = scheduler
        self._task = task

    def is_alive(self) -> bool:
        return not self._task.done

    def join(self, timeout: float | None = None) -> None:
        until = None if timeout is None else self._scheduler.time + timeout
        while not self._task.done:
            left = None if until is None else until - self._scheduler.time
            if left is not None and left <= 0:
                return
            me = self._scheduler.task()
            self._task._joining.append(me)
            self._scheduler.block(left)
            if me in self._task._joining:
                self._task._joining.remove(me)


class Scheduler:
    """The runtime of one run; `steal` is how many calls of the runtime, on average, lie between two interruptions.

    `rng` is the library's own source of luck, apart from the one that decides what happens to it.
    """

    def __init__(self, seed: int, *, steal: float = 400.0) -> None:
        self.chance = random.Random(seed)
        self.rng = random.Random(self.chance.getrandbits(64))
        self.time = 1000.0
        self.current: Task | None = None
        self.processes: list[Process] = []
        self.failures: list[str] = []  # what threads died of
        self.steps = 0
        self.halted = False  # by somebody who has seen enough
        self._steal = steal
        self._countdown = self._next_steal()
        self._ready: list[Task] = []
        self._timers: list[tuple[float, int, Any, Any]] = []
        self._numbers = count(1)
        self._hub = getcurrent()
        self.trace: Callable[[str], None] | None = None

    # -- the runtime that the library sees -------------------------------------------------------------------

    def now(self) -> float:
        self._countdown -= 1
        if self._countdown <= 0:
            self._interrupt()
        return self.time

    def wall_clock(self) -> float:
        return 1_800_000_000.0 + self.time

    def new_event(self) -> SimEvent:
        return SimEvent(self, next(self._numbers))

    def new_lock(self) -> SimLock:
        return SimLock(self)

    def spawn(self, target: Callable[[], None], name: str) -> SimThread:
        self.tick()
        process = self.task().process
        return SimThread(self, self.start(process, target, name))

    def thread_id(self) -> int:
        return self.task().number

    # -- tasks ---------------------------------------------------------------------------------------------

    def task(self) -> Task:
        """Give the task that runs; GreenletExit in one that is dead."""
        assert self.current is not None, "only a task may wait"
        if self.current.process.dead:
            raise GreenletExit
        return self.current

    def tick(self) -> None:
        """Let the turn be taken away here."""
        self._countdown -= 1
        if self._countdown <= 0:
            self._interrupt()

    def _interrupt(self) -> None:
        task = self.current
        if task is None:
            return  # the hub looks: it is no thread
        if task.process.dead:
            raise GreenletExit
        self._countdown = self._next_steal()
        self._timers_push(self.time + self._moment(), task, task.token)
        self._hub.switch()
        if task.process.dead:
            raise GreenletExit

    def _next_steal(self) -> int:
        return 1 + int(self.chance.expovariate(1.0) * self._steal)

    def _moment(self) -> float:
        """Draw for how long a task loses its turn: mostly next to nothing, seldom a good part of a second."""
        luck = self.chance.random()
        if luck < 0.6:
            return 0.0
        return self.chance.random() ** 2 * (0.004 if luck < 0.9 else 0.05 if luck < 0.99 else 0.5)

    def start(self, process: Process, target: Callable[[], None], name: str) -> Task:
        """Start a task of `process`."""
        task = Task(process, next(self._numbers), name)

        def run() -> None:
            try:
                target()
            except GreenletExit:
                pass
            except BaseException:
                self.failures.append(f"{task!r} died of\n{traceback.format_exc()}")
            task.done = True
            if not process.dead:
                process.tasks.remove(task)
                joining, task._joining = task._joining, []
                for waiting in joining:
                    self.wake(waiting)

        task.greenlet = greenlet(run, self._hub)
        process.tasks.append(task)
        self.wake(task)
        return task

    def block(self, timeout: float | None) -> None:
        """Let others run until somebody wakes this task, or `timeout` seconds have passed."""
        task = self.current
        assert task is not None
        if task.process.dead:
            raise GreenletExit
        if timeout is not None:
            self._timers_push(self.time + max(timeout, 0.0), task, task.token)
        self._hub.switch()
        if task.process.dead:
            raise GreenletExit

    def wake(self, task: Task) -> None:
        """Have a task run soon; one that is ready already does not run twice."""
        task.token += 1
        process = task.process
        if process.dead:
            return
        where = process.backlog if process.paused else self._ready
        if task not in where:
            where.append(task)

    def sleep(self, seconds: float) -> None:
        """Let `seconds` pass; nothing else wakes the task."""
        until = self.time + seconds
        while self.time < until:
            self.block(until - self.time)

    # -- processes -----------------------------------------------------------------------------------------

    def process(self, name: str) -> Process:
        """Make a process without tasks."""
        made = Process(name, 1000 + len(self.processes))
        self.processes.append(made)
        return made

    def process_of(self, other: Any) -> Process:
        """Give the process of the task that runs, or that of `other` where none does."""
        return other.process if self.current is None else self.current.process

    def pause(self, process: Process) -> None:
        """Stop it between two instructions."""
        process.paused, process.paused_at = True, self.time
        process.backlog = [task for task in self._ready if task.process is process]
        self._ready = [task for task in self._ready if task.process is not process]

    def resume(self, process: Process) -> None:
        """Let it go on, with all that it has slept through."""
        if process.dead or not process.paused:
            return
        process.paused = False
        process.paused_for += self.time - process.paused_at
        self._ready += process.backlog
        process.backlog = []

    def kill(self, process: Process) -> None:
        """End it: only from the hub."""
        assert self.current is None
        process.dead = True
        heard, sys.unraisablehook = (
            sys.unraisablehook,
            lambda _: None,
        )  # finalizers find the doors shut, too
        self._ready = [task for task in self._ready if task.process is not process]
        process.backlog = []
        for task in process.tasks:
            if task.greenlet is None or task.greenlet.dead:
                continue
            self.current, self._countdown = task, 0  # 0: every door is looked at, and found shut
            if task.greenlet:  # it has begun
                task.greenlet.throw(GreenletExit)
            self.current = None
        process.tasks = []
        sys.unraisablehook = heard
        self._countdown = self._next_steal()

    def close(self) -> None:
        """End all processes."""
        for process in self.processes:
            if not process.dead:
                self.kill(process)
        self._timers.clear()

    # -- the hub -------------------------------------------------------------------------------------------

    def at(self, time: float, call: Callable[..., None], *args: Any) -> None:
        """Have `call` called on the hub, at that time."""
        heapq.heappush(self._timers, (time, next(self._numbers), call, args))

    def after(self, seconds: float, call: Callable[..., None], *args: Any) -> None:
        """Have `call` called on the hub in so many seconds."""
        self.at(self.time + seconds, call, *args)

    def _timers_push(self, time: float, task: Task, token: int) -> None:
        heapq.heappush(self._timers, (time, next(self._numbers), task, token))

    def run(self, until: float) -> bool:
        """Run until the clock says `until`; False when everybody waits for ever before that."""
        while not self.halted:
            while self._ready:
                self._run_one()
                self.steps += 1
                if self.steps > STEPS:
                    raise RuntimeError("the run does not come to an end")
            if not self._timers:
                self.time = until
                return False
            if self._timers[0][0] > until:
                self.time = until
                return True
            self._fire()
        return True

    def _run_one(self) -> None:
        ready = self._ready
        last = len(ready) - 1
        if last:
            drawn = int(self.chance.random() * (last + 1))
            ready[drawn], ready[last] = ready[last], ready[drawn]
        task = ready.pop()
        self.current = task
        assert task.greenlet is not None
        task.greenlet.switch()
        self.current = None

    def _fire(self) -> None:
        time, _, what, how = heapq.heappop(self._timers)
        if isinstance(what, Task):
            if what.token == how and not what.process.dead:
                self.time = max(self.time, time)
                self.wake(what)
        else:
            self.time = max(self.time, time)
            what(*how)

    def stuck(self) -> Iterator[str]:
        """Say where every task stands that has not ended."""
        for process in self.processes:
            for task in process.tasks:
                yield f"{task!r} waits at\n{task.stack()}"


# -- in charge -----------------------------------------------------------------------------------------------


def in_charge(scheduler: Scheduler) -> AbstractContextManager[runtime.Runtime]:
    """Give the library's code this scheduler for its runtime, in this thread."""
    return runtime.use(_OneThread(scheduler, runtime._current))


class _OneThread:
    """A runtime for one thread. All others have the one that they had: earlier tests have left theirs behind."""

    def __init__(self, mine: Scheduler, others: runtime.Runtime) -> None:
        self._mine = mine
        self._others = others
        self._thread = threading.get_ident()

    def _own(self) -> runtime.Runtime:
        return self._mine if threading.get_ident() == self._thread else self._others

    @property
    def rng(self) -> random.Random:
        return self._own().rng

    def now(self) -> float:
        return self._own().now()

    def wall_clock(self) -> float:
        return self._own().wall_clock()

    def new_event(self) -> runtime.Event:
        return self._own().new_event()

    def new_lock(self) -> runtime.Lock:
        return self._own().new_lock()

    def spawn(self, target: Callable[[], None], name: str) -> runtime.Thread:
        return self._own().spawn(target, name)

    def thread_id(self) -> int:
        return self._own().thread_id()
