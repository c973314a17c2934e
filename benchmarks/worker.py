"""The worker: the process in which one client is measured. The same code times all of them.

    python -m benchmarks.worker ADAPTER

It reads requests from stdin, a line of JSON each, ``{"do": NAME, "limit": SECONDS, ...}``, and answers each with
a line, ``{"gave": ...}`` or ``{"failed": "why"}``. `NAME` is one of `OPERATIONS`, or a method of the adapter.

Rules of this file
* The standard library alone, and any Python since 3.9: it runs in the virtual environment of its peer.
* CPU is that of this process, all its threads included; time is CLOCK_MONOTONIC, which processes share.
* Whatever a client raises, prints or hangs on stays here: every operation ends by its limit, in seconds.
* Contenders are forked before anything is connected, so that each client begins its life in its own process.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

OPERATIONS: dict[str, Callable[..., Any]] = {}
VALUE = "x" * 100
"""What is put: as long as an address with some metadata."""


class TooLong(BaseException):
    """The operation has had its time. No client may take it for an error of its own, and try again."""


def operation(function: Callable[..., Any]) -> Callable[..., Any]:
    OPERATIONS[function.__name__] = function
    return function


class Worker:
    """The adapter's class, and the client while there is one."""

    def __init__(self, adapter: str) -> None:
        self.make = importlib.import_module(f"benchmarks.adapters.{adapter}").Adapter
        self.options: dict[str, Any] = {}
        self.client: Any = None
        self.lock: Any = None
        self.seen: Iterator[str] = iter(())

    def do(self, request: dict[str, Any]) -> Any:
        name, limit = request.pop("do"), request.pop("limit", 60.0)
        with ended_after(limit):
            if name in OPERATIONS:
                return OPERATIONS[name](self, **request)
            return getattr(self.client, name)(**request)


@contextmanager
def ended_after(seconds: float) -> Iterator[None]:
    def end(*_: object) -> None:
        raise TooLong(f"it did not end within {seconds:g} s")

    signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


# -- a client, and one call after another --------------------------------------------------------------------


@operation
def connect(worker: Worker, **options: Any) -> None:
    """Make a client; `options` are the adapter's, `endpoints` among them."""
    worker.options = options
    worker.client = worker.make(**options)


@operation
def disconnect(worker: Worker) -> None:
    if worker.client is not None:
        worker.client.close()
    worker.client = None


@operation
def repeat(worker: Worker, what: str, count: int, name: str) -> dict[str, Any]:
    """Make `count` calls, and give how long each took, and the CPU of one, in microseconds."""
    call = calls_of(worker.client)[what]
    took = []
    gc.collect()
    used, begun = time.process_time(), time.perf_counter()
    for number in range(count):
        start = time.perf_counter()
        call(f"{name}-{number}" if what == "pair" else name)
        took.append(time.perf_counter() - start)
    seconds = time.perf_counter() - begun
    cpu = (time.process_time() - used) / count
    return {
        "us": [round(each * 1e6, 1) for each in took],
        "cpu_us": round(cpu * 1e6, 1),
        "per_second": round(count / seconds, 1),
    }


def calls_of(client: Any) -> dict[str, Callable[[str], object]]:
    def pair(name: str) -> None:
        lock = client.lock(name)
        lock.acquire()
        lock.release()

    return {
        "get": client.get,
        "get_quorum": lambda key: client.get(key, quorum=True),
        "put": lambda key: client.put(key, VALUE),
        "pair": pair,
    }


# -- contenders ------------------------------------------------------------------------------------------------


@operation
def contend(
    worker: Worker, name: str, contenders: int, seconds: float, hold: float, **options: Any
) -> dict[str, Any]:
    """Let forked contenders take one lock in turn for some seconds, each with a client of its own.

    Gives the turns of each, (asked, got, let go), and how long each has waited when time was up.
    """
    if hasattr(worker.make, "prepare"):
        worker.make.prepare(**options)
    told = os.pipe()
    gc.freeze()
    children: dict[int, int] = {}
    try:
        for _ in range(contenders):
            pid, end = forked(
                lambda out: Contender(worker.make(**options), name, hold, out), told[0], seconds
            )
            children[pid] = end
            # One after the other: the race begins later, for all at once.
            if (said := os.read(end, 300)) != b"\n":
                raise RuntimeError(f"a contender did not come to the start: {said.decode()}")
        start = time.monotonic() + 0.1
        os.write(told[1], contenders * f"{start:020.6f}".encode())
        lines = [json.loads(read_all(end) or "null") for end in children.values()]
    finally:
        for pid, end in children.items():
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            os.close(end)
        for end in told:
            os.close(end)
        gc.unfreeze()
    if None in lines:
        raise RuntimeError(f"{lines.count(None)} of {contenders} contenders died")
    return {key: [line[key] for line in lines] for key in ("turns", "waiting", "errors")}


def forked(make: Callable[[int], Contender], told: int, seconds: float) -> tuple[int, int]:
    """Fork a contender; give its process, and the end of the pipe on which it says a line, and later its turns."""
    end, out = os.pipe()
    if pid := os.fork():
        os.close(out)
        return pid, end
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        make(out).run(told, seconds)
    except Exception as error:  # noqa: BLE001
        os.write(out, words(error).encode())
    finally:
        os._exit(1)


def read_all(end: int) -> bytes:
    found = b""
    while data := os.read(end, 1 << 16):
        found += data
    return found


class Contender:
    """One that takes its turn, again and again, until time is up; then it tells and is gone, wherever it is."""

    def __init__(self, client: Any, name: str, hold: float, out: int) -> None:
        self._client = client
        self._lock = client.lock(name)
        self._hold = hold
        self._out = out
        self._turns: list[tuple[float, float, float]] = []
        self._asked: float | None = None
        self._errors: list[str] = []

    def run(self, told: int, seconds: float) -> None:
        self._client.warm_up()
        os.write(self._out, b"\n")
        start = float(os.read(told, 20))
        threading.Thread(target=self._tell, args=(start + seconds,), daemon=True).start()
        time.sleep(max(0.0, start - time.monotonic()))
        while True:
            self._turn()

    def _turn(self) -> None:
        self._asked = time.monotonic()
        try:
            self._lock.acquire()
            got = time.monotonic()
            if self._hold:
                time.sleep(self._hold)
            turn = (self._asked, got, time.monotonic())
            self._lock.release()
            self._turns.append(turn)
        except Exception as error:  # noqa: BLE001 (a client's own, whatever it is)
            self._errors.append(words(error))

    def _tell(self, end: float) -> None:
        time.sleep(max(0.0, end - time.monotonic()))
        turns = [[round(each, 6) for each in turn] for turn in tuple(self._turns) if turn[1] < end]
        waiting = None if self._asked is None else end - self._asked
        told = {"turns": turns, "waiting": waiting, "errors": self._errors[:100]}
        pending = json.dumps(told).encode()
        while pending:
            pending = pending[os.write(self._out, pending) :]
        os._exit(0)


# -- one lock, held or waited for ---------------------------------------------------------------------------------


@operation
def acquire(worker: Worker, name: str) -> float:
    """Take the lock, waiting for it, and keep it; gives when it was had."""
    worker.lock = worker.client.lock(name)
    worker.lock.acquire()
    return time.monotonic()


@operation
def release(worker: Worker) -> float:
    """Give the lock back; gives when that was begun."""
    begun = time.monotonic()
    worker.lock.release()
    return begun


# -- watching ------------------------------------------------------------------------------------------------------


@operation
def watch(worker: Worker, prefix: str) -> None:
    """Open a watch; when this is answered, the server has confirmed it."""
    worker.seen = worker.client.watch(prefix)


@operation
def count(worker: Worker, last: str, patience: float) -> dict[str, Any]:
    """Read events until that of the key `last`, or for `patience` seconds; gives which keys, and the CPU."""
    keys: list[str] = []
    ended = ""
    first = None
    used = time.process_time()
    try:
        with ended_after(patience):
            for key in worker.seen:
                if first is None:
                    first = time.monotonic()
                keys.append(key)
                if key.endswith(last):
                    break
            else:
                ended = "the watch ended"
    except (Exception, TooLong) as error:  # noqa: BLE001
        ended = words(error)
    cpu = time.process_time() - used
    seconds = time.monotonic() - first if first is not None else 0.0
    return {
        "seen": len(keys),
        "different": len(set(keys)),
        "seconds": seconds,
        "cpu_us": cpu / max(1, len(keys)) * 1e6,
        "per_second": len(keys) / seconds if seconds else None,
        "ended": ended,
    }


# -- calls that may hang --------------------------------------------------------------------------------------------


@operation
def keep_calling(worker: Worker, name: str, until: float, pause: float) -> list[list[Any]]:
    """Get a key again and again until that time: begin, end (None: still at it) and error (or None) of each call."""
    calls: list[list[Any]] = []

    def run() -> None:
        while time.monotonic() < until:
            call: list[Any] = [time.monotonic(), None, None]
            calls.append(call)
            try:
                worker.client.get(name)
            except Exception as error:  # noqa: BLE001
                call[2] = words(error)
            call[1] = time.monotonic()
            time.sleep(pause)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(max(0.0, until - time.monotonic()) + 0.2)
    return calls


@operation
def use(worker: Worker, endpoint: str, name: str) -> None:
    """Have a client that speaks to this endpoint: those that choose by chance are made until it fits."""
    for _ in range(100):
        worker.client.get(name)
        if worker.client.endpoint_in_use().endswith(endpoint.partition("//")[2]):
            return
        worker.client.close()
        worker.client = worker.make(**worker.options)
    raise RuntimeError(f"it never used {endpoint}")


# -- the process itself ---------------------------------------------------------------------------------------------


@operation
def burden(_: Worker, *, tidy: bool = False) -> dict[str, float]:
    """Give threads, megabytes and CPU seconds of this process; `tidy`: after garbage was collected."""
    if tidy:
        gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "threads": threading.active_count(),
        "megabytes": pages * resource.getpagesize() / 1e6,
        "cpu": used.ru_utime + used.ru_stime,
    }


def words(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error)[:200]}".rstrip(": ")


def main() -> None:
    # What a client prints is not an answer: stdout is ours, theirs is stderr.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    try:
        worker = Worker(sys.argv[1])
        print(json.dumps({"gave": "ready"}), file=answers, flush=True)
    except Exception as error:  # noqa: BLE001
        print(json.dumps({"failed": words(error)}), file=answers, flush=True)
        return
    for line in sys.stdin:
        try:
            answer = {"gave": worker.do(json.loads(line))}
        except (Exception, TooLong) as error:  # noqa: BLE001
            answer = {"failed": words(error)}
        # What a client gives of its own kind is not asked for; JSON has no word for it.
        print(json.dumps(answer, default=lambda _: None), file=answers, flush=True)
    os._exit(0)  # no client's threads are waited for


if __name__ == "__main__":
    main()
