"""The one door to clocks, threads and events.

Rules of this file
1. No other module imports ``threading`` or ``time``: whatever waits, waits through here, so that the
   whole client can run under a simulated clock and scheduler (`use`).
2. There is one clock, `now`: it never jumps, and on Linux it goes on counting while the machine is
   suspended. A lease goes on expiring while a laptop sleeps; a clock that stops then would let a
   holder believe in a lock that somebody else has taken.
3. Threads made here are daemons: they never keep a program from ending. What must be tidied up at the
   end says so with `at_exit`.
4. After a fork the child has none of these threads. Whoever owns threads, sockets or locks registers
   with `at_fork` and is told, in the child, before the application's code goes on.
5. Under gevent threads are greenlets of one loop, which stands still while the application computes. What
   must go on (`spawn_native`: the renewal of a lease) gets a thread of the system, a guest there: it waits
   on the system's own locks and sockets, and shares none with the loop. Nobody waits inside a Lock made here.
"""

from __future__ import annotations

import _thread
import atexit
import functools
import os
import random
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, Protocol

__all__ = [
    "Event",
    "ForkAware",
    "Lock",
    "Runtime",
    "Thread",
    "at_exit",
    "at_fork",
    "bearable",
    "is_guest",
    "new_event",
    "new_lock",
    "now",
    "original",
    "rng",
    "spawn",
    "spawn_native",
    "thread_id",
    "use",
    "wall_clock",
]


class Event(Protocol):
    """A flag that threads can wait for; the four verbs of ``threading.Event``."""

    def is_set(self) -> bool:
        """Tell whether the flag is up."""

    def set(self) -> None:
        """Put the flag up and wake everybody who waits."""

    def clear(self) -> None:
        """Take the flag down."""

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the flag is up or `timeout` seconds have passed; tell whether it is up."""


class Lock(Protocol):
    """A mutual exclusion between threads of this process, used with ``with`` only."""

    def __enter__(self) -> bool:
        """Take the lock, waiting for it."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None:
        """Give the lock back."""


class Thread(Protocol):
    """A thread that has been started."""

    def is_alive(self) -> bool:
        """Tell whether the thread is still running."""

    def join(self, timeout: float | None = None) -> None:
        """Wait until the thread has ended or `timeout` seconds have passed."""


class Runtime(Protocol):
    """What a runtime must offer; the native one serves users, a simulated one serves the simulation."""

    rng: random.Random

    def now(self) -> float:
        """Give the monotonic time in seconds, suspend included."""

    def wall_clock(self) -> float:
        """Give the time of day, in seconds since 1970: for people to read, never to decide by."""

    def new_event(self) -> Event:
        """Make an event that is not set."""

    def new_lock(self) -> Lock:
        """Make a lock that nobody has; the thread that has it may take it again."""

    def spawn(self, target: Callable[[], None], name: str) -> Thread:
        """Start a daemon thread that runs `target`."""

    def thread_id(self) -> int:
        """Give a number that no other running thread of this process has."""


class NativeEvent:
    """An event that a signal handler may set, whatever the thread that it interrupts is doing.

    threading.Event takes a lock in both ``set`` and ``wait``: a handler that sets what its own thread is
    about to wait for would wait for itself. This one only does single steps that nothing can interrupt.
    """

    __slots__ = ("_flag", "_sleepers")

    def __init__(self) -> None:
        self._flag = False
        self._sleepers: list[Callable[[], object]] = []  # each wakes one

    def is_set(self) -> bool:
        return self._flag

    def set(self) -> None:
        self._flag = True
        while self._sleepers:
            try:
                self._sleepers.pop()()
            except IndexError:
                break  # another thread was faster

    def clear(self) -> None:
        self._flag = False

    def wait(self, timeout: float | None = None) -> bool:
        if self._flag:
            return True
        # Of the system on the system's threads; under gevent a greenlet's is gevent's, whatever sets it.
        sleeper: Any = _native("allocate_lock")() if is_guest() else threading.Lock()
        sleeper.acquire()
        wake = _waker(sleeper)
        self._sleepers.append(wake)
        # A `set` between the first look and here has not seen this sleeper; one from here on has.
        until = None if timeout is None else time.monotonic() + timeout
        while not self.is_set() and not sleeper.acquire(timeout=_slice(until)):
            if until is not None and time.monotonic() >= until:
                break
        with suppress(ValueError):
            self._sleepers.remove(wake)
        return self.is_set()


def _slice(until: float | None) -> float:
    """Give how long to sleep in one piece.

    A signal that comes in the instant before the main thread falls asleep does not wake it: its handler
    would run when the sleep is over. So the main thread looks up now and then.
    """
    in_main = not is_guest() and threading.get_ident() == threading.main_thread().ident
    longest = 0.05 if in_main else _LONGEST
    return longest if until is None else min(max(until - time.monotonic(), 0.0), longest)


_LONGEST = 2_000_000.0
"""Seconds; longer waits are refused by some systems, and nobody sees their end."""


def bearable(timeout: float | None) -> float | None:
    """Give `timeout`, or the longest wait that every system bears if it is longer; None stays None."""
    return timeout if timeout is None or timeout < _LONGEST else _LONGEST


_BOOTTIME = getattr(time, "CLOCK_BOOTTIME", 0)
_RLock = _thread.RLock


class NativeRuntime:
    """The operating system's clock and threads."""

    def __init__(self) -> None:
        self.rng = random.Random()  # noqa: S311 (jitter and lease ids, not secrets)

    # CLOCK_BOOTTIME counts suspend, CLOCK_MONOTONIC does not; where there is none (macOS, Windows)
    # the monotonic clock is the best there is. No function of our own: it is read many times in a call.
    now = staticmethod(
        functools.partial(time.clock_gettime, _BOOTTIME) if _BOOTTIME else time.monotonic
    )

    def wall_clock(self) -> float:
        return time.time()

    def new_event(self) -> Event:
        return NativeEvent()

    def new_lock(self) -> Lock:
        # Reentrant: a signal handler, or a finalizer, runs in the middle of whatever its thread is doing, and
        # would wait for ever for a lock that this thread has.
        lock: Lock = _RLock() if _GEVENT not in sys.modules else _native("RLock")()
        return lock

    def thread_id(self) -> int:
        return threading.get_ident()

    def spawn(self, target: Callable[[], None], name: str) -> Thread:
        if is_guest():
            return _Guest(target)  # a greenlet here would only run when this thread lets it
        thread = threading.Thread(target=target, name=name, daemon=True)
        thread.start()
        return thread


# -- gevent --------------------------------------------------------------------------------------------


_GEVENT = "gevent.monkey"


def _monkey() -> Any:
    """Give gevent's module for patching if it has made greenlets of threads, else None."""
    monkey = sys.modules.get(_GEVENT)
    return monkey if monkey is not None and monkey.is_module_patched("threading") else None


def _native(name: str) -> Any:
    """Give a function of `_thread`: the system's, whatever was patched."""
    monkey = _monkey()
    return getattr(_thread, name) if monkey is None else monkey.get_original("_thread", name)


def is_guest() -> bool:
    """Tell whether this is a thread of the system's beside gevent's loop; never True without gevent."""
    if _GEVENT not in sys.modules or _monkey() is None:
        return False
    main: int = sys.modules["gevent.hub"].MAIN_THREAD_IDENT
    return bool(_native("get_ident")() != main)


def original(module: str, name: str) -> Any:
    """Give a name of a standard module: what is in use there, but the system's own to a guest."""
    if is_guest():
        return sys.modules["gevent.monkey"].get_original(module, name)
    return getattr(sys.modules[module], name)


def _waker(sleeper: Any) -> Callable[[], object]:
    """Give what wakes the one who waits for this lock, from whichever thread it is called.

    A greenlet's lock that a guest releases wakes nobody before gevent 26.8: it is the loop that is to do so.
    """
    if _monkey() is None or is_guest():
        wake: Callable[[], object] = sleeper.release
        return wake
    loop = sys.modules["gevent.hub"].get_hub().loop
    return functools.partial(loop.run_callback_threadsafe, sleeper.release)


class _Guest:
    """A daemon thread of the system in a program whose threads are greenlets."""

    def __init__(self, target: Callable[[], None]) -> None:
        self._target = target
        self._ended = NativeEvent()
        _native("start_new_thread")(self._run, ())

    def _run(self) -> None:
        try:
            self._target()
        finally:
            self._ended.set()

    def is_alive(self) -> bool:
        return not self._ended.is_set()

    def join(self, timeout: float | None = None) -> None:
        self._ended.wait(timeout)


_current: Runtime = NativeRuntime()


def now() -> float:
    """Give the monotonic time in seconds; on Linux it counts suspend."""
    return _current.now()


def wall_clock() -> float:
    """Give the time of day in seconds since 1970, for people to read."""
    return _current.wall_clock()


def new_event() -> Event:
    """Make an event that is not set."""
    return _current.new_event()


def new_lock() -> Lock:
    """Make a lock that nobody has."""
    return _current.new_lock()


def spawn(target: Callable[[], None], name: str) -> Thread:
    """Start a daemon thread that runs `target`."""
    return _current.spawn(target, name)


def spawn_native(target: Callable[[], None], name: str) -> Thread:
    """Start a daemon thread that runs even while the application computes and its greenlets cannot."""
    if isinstance(_current, NativeRuntime) and _monkey() is not None:
        return _Guest(target)
    return _current.spawn(target, name)


def thread_id() -> int:
    """Give a number that no other running thread of this process has."""
    return _current.thread_id()


def rng() -> random.Random:
    """Give the source of jitter and ids; seeded in a simulation, reseeded after a fork."""
    return _current.rng


@contextmanager
def use(runtime: Runtime) -> Iterator[Runtime]:
    """Run the body under another runtime; the simulation's entrance."""
    global _current  # noqa: PLW0603 (one runtime per process, as there is one clock)
    before, _current = _current, runtime
    try:
        yield runtime
    finally:
        _current = before


# -- the ends of a process ---------------------------------------------------------------------------


class ForkAware(Protocol):
    """What `at_fork` accepts."""

    def after_fork_in_child(self) -> None:
        """Forget what belongs to the parent: threads, sockets, locks in an unknown state."""


_fork_aware: weakref.WeakSet[Any] = weakref.WeakSet()
_exit_hooks: weakref.WeakSet[Any] = weakref.WeakSet()


def at_fork(owner: ForkAware) -> None:
    """Have ``owner.after_fork_in_child()`` called in every forked child, as long as `owner` lives."""
    _fork_aware.add(owner)


def at_exit(owner: Any) -> None:
    """Have ``owner.at_exit()`` called when the interpreter ends, as long as `owner` lives.

    It must not take longer than a second.
    """
    _exit_hooks.add(owner)


_generation = 0


def generation() -> int:
    """Give how many forks lie between this process and the one that imported the library first."""
    return _generation


def _after_fork_in_child() -> None:
    global _generation  # noqa: PLW0603 (there is one process)
    _generation += 1
    if isinstance(_current, NativeRuntime):
        _current.rng.seed()  # else parent and child would choose the same lease ids
    for owner in list(_fork_aware):
        owner.after_fork_in_child()


_EXIT_PATIENCE = 1.0
"""Seconds after which no more hooks are begun: with the last one they make two, whatever etcd does."""


def _run_exit_hooks() -> None:
    # One after the other: an interpreter that ends starts no more threads.
    until = now() + _EXIT_PATIENCE
    for owner in list(_exit_hooks):
        if now() < until:
            owner.at_exit()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
atexit.register(_run_exit_hooks)
