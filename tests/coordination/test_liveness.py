"""The limits of a hold and the watchdog that tells of them: by the clock, without a server."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable

import pytest

from etcd_recipes.coordination.liveness import UNLIMITED, Liveness, Pulse
from etcd_recipes.coordination.watchdog import Watchdog
from etcd_recipes.core import runtime
from tests.tools import Job, eventually

Clock = Callable[[float], None]


@pytest.fixture
def set_clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Stop the clock, and put it to a time."""

    def put(now: float) -> None:
        monkeypatch.setattr(runtime, "now", lambda: now)

    put(100.0)
    return put


@pytest.fixture
def watchdogs() -> Callable[[], int]:
    """How many threads watch that did not when the test began."""
    others = set(threading.enumerate())

    def count() -> int:
        new = set(threading.enumerate()) - others
        return sum(thread.name == "etcd-recipes-watchdog" for thread in new)

    return count


@pytest.mark.parametrize("bad", [0, -1, math.nan, math.inf, "5"])
@pytest.mark.parametrize("name", ["max_hold", "heartbeat"])
def test_a_limit_is_a_positive_finite_number(name: str, bad: object) -> None:
    with pytest.raises(ValueError, match=f"{name} must be a positive number of seconds"):
        Liveness(**{name: bad})  # type: ignore[arg-type]


def test_without_limits_nothing_ends(set_clock: Clock) -> None:
    pulse = Pulse(UNLIMITED)
    set_clock(1e12)
    assert not pulse.stopped
    assert pulse.remaining() == math.inf
    assert pulse.beat()
    assert not pulse.limited


def test_heartbeats_put_off_the_one_limit_and_not_the_other(set_clock: Clock) -> None:
    pulse = Pulse(Liveness(max_hold=10, heartbeat=3))
    for now in (102.0, 104.5, 107.0):
        set_clock(now)
        assert pulse.beat()
        assert pulse.remaining() == pytest.approx(min(3.0, 110 - now))
    set_clock(109.9)
    assert not pulse.beat() or pulse.remaining() < 0.2
    set_clock(110.0)
    assert not pulse.beat()


@pytest.mark.parametrize(("limit", "says"), [("max_hold", "longer than"), ("heartbeat", "hang")])
def test_a_limit_that_has_passed_says_which_and_stays_passed(
    set_clock: Clock, limit: str, says: str
) -> None:
    pulse = Pulse(Liveness(**{limit: 2.5}))
    set_clock(102.49)
    assert (pulse.stopped, pulse.reason) == (False, "")
    set_clock(102.5)
    assert pulse.stopped
    assert pulse.remaining() == 0.0
    assert not pulse.beat()
    assert limit in pulse.reason
    assert "2.5 s" in pulse.reason
    assert says in pulse.reason


def test_a_beat_in_the_moment_of_the_end_is_either_heard_or_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The beater has looked at the clock just before the end, and not yet said so; the other looks just after.
    late, looked, seen = threading.Event(), threading.Event(), threading.Event()
    beater = threading.get_ident()
    reads = iter([100.0, 100.95])

    def now() -> float:
        if threading.get_ident() == beater:
            return next(reads)
        looked.set()
        return 101.1

    class Slow:
        limited, max_hold, beaten = True, None, False

        @property
        def heartbeat(self) -> float:
            if threading.get_ident() == beater and self.beaten:
                late.set()
                assert looked.wait(5)
                seen.wait(0.2)  # if it could see the end now, it would have
            self.beaten = True
            return 1.0

    monkeypatch.setattr(runtime, "now", now)
    pulse = Pulse(Slow())  # type: ignore[arg-type]

    def look() -> bool:
        late.wait(5)
        stopped = pulse.stopped
        seen.set()
        return stopped

    looking = Job(look)
    heard = pulse.beat()
    assert heard != looking.result()
    assert heard == (not pulse._reason)


def test_each_pulse_is_ended_once_when_it_stops_whatever_the_order(
    watchdogs: Callable[[], int],
) -> None:
    dog, ended = Watchdog(), []
    long = Pulse(Liveness(max_hold=60))
    dog.watch(long, lambda: ended.append(60))
    eventually(lambda: dog._next < math.inf, what="its sleep")
    for seconds in (0.2, 0.05, 0.1):
        dog.watch(Pulse(Liveness(max_hold=seconds)), lambda s=seconds: ended.append(s))  # type: ignore[misc]
    eventually(lambda: len(ended) == 3, 2)
    assert sorted(ended) == [0.05, 0.1, 0.2]
    assert watchdogs() == 1
    assert dog._watched.keys() == {long}
    dog.forget(long)
    eventually(lambda: watchdogs() == 0)


def test_one_that_fails_does_not_keep_the_others(caplog: pytest.LogCaptureFixture) -> None:
    dog, ended = Watchdog(), threading.Event()
    dog.watch(Pulse(Liveness(max_hold=0.02)), lambda: 1 / 0)  # type: ignore[arg-type, return-value]
    dog.watch(Pulse(Liveness(max_hold=0.04)), ended.set)
    eventually(ended.is_set, 2)
    assert "hold.expiry_failed" in caplog.text


def test_one_thread_watches_many_and_ends_with_the_last(watchdogs: Callable[[], int]) -> None:
    dog = Watchdog()
    pulses = [Pulse(Liveness(max_hold=60)) for _ in range(200)]
    for pulse in pulses:
        dog.watch(pulse, lambda: None)
    assert watchdogs() == 1
    for pulse in pulses:
        dog.forget(pulse)
        dog.forget(pulse)
    eventually(lambda: watchdogs() == 0, what="the end of the thread")
    ended = threading.Event()
    dog.watch(Pulse(Liveness(max_hold=0.02)), ended.set)
    eventually(ended.is_set, 2, "its start")


def test_a_beat_keeps_the_watchdog_from_ending_it() -> None:
    dog, ended = Watchdog(), threading.Event()
    pulse = Pulse(Liveness(heartbeat=0.5))
    dog.watch(pulse, ended.set)
    runtime.new_event().wait(0.2)
    begun = runtime.now()
    if pulse.beat():
        eventually(ended.is_set, 3)
        assert runtime.now() - begun >= 0.5
