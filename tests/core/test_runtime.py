"""The one door to clocks, threads and events; and what is told at the ends of a process."""

from __future__ import annotations

import gc
import random
import sys
import threading
import time
import weakref

import pytest

from etcd_recipes.core import runtime
from etcd_recipes.core.runtime import NativeRuntime
from tests.core.calls import SOON, Call, within
from tests.core.programs import run

linux = pytest.mark.skipif(sys.platform != "linux", reason="CLOCK_BOOTTIME is Linux's")


@linux
def test_the_clock_is_the_one_that_counts_suspend() -> None:
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    now = runtime.now()
    after = time.clock_gettime(time.CLOCK_BOOTTIME)
    assert before <= now <= after


def test_the_clock_never_goes_back() -> None:
    readings = [runtime.now() for _ in range(1000)]
    assert readings == sorted(readings)


def test_the_time_of_day_is_for_people() -> None:
    assert runtime.wall_clock() == pytest.approx(time.time(), abs=5.0)


def test_threads_are_daemons_with_a_name_and_a_number_of_their_own() -> None:
    seen: list[object] = []

    def look() -> None:
        thread = threading.current_thread()
        seen.extend([thread.daemon, thread.name, runtime.thread_id()])

    runtime.spawn(look, "a name").join(5.0)
    assert seen[:2] == [True, "a name"]
    assert seen[2] != runtime.thread_id()


def test_an_event_wakes_who_waits_and_a_lock_keeps_others_out() -> None:
    event, lock = runtime.new_event(), runtime.new_lock()
    inside: list[str] = []

    def enter() -> None:
        event.set()
        with lock:
            inside.append("other")

    with lock:
        thread = runtime.spawn(enter, "other")
        with within(SOON):
            assert event.wait(5.0)
        inside.append("first")
    thread.join(5.0)
    assert inside == ["first", "other"]
    event.clear()
    assert not event.is_set()
    assert event.wait(0.0) is False


def test_an_event_wakes_all_who_wait_and_may_be_set_and_cleared_again() -> None:
    event = runtime.new_event()
    for _ in range(20):
        calls = [Call(lambda: event.wait(5.0)) for _ in range(8)]
        event.set()
        assert [call.result() for call in calls] == [True] * 8
        assert event.wait() is True
        event.clear()
        assert event.wait(0.0) is False


def test_events_of_many_threads_are_never_missed() -> None:
    for _ in range(300):
        event = runtime.new_event()
        calls = [Call(event.wait), Call(event.set), Call(event.wait)]
        assert [call.result() for call in calls] == [True, None, True]


def test_an_event_waits_for_as_long_as_it_was_told_in_the_main_thread_too() -> None:
    with within(0.2 + SOON, at_least=0.2):
        assert runtime.new_event().wait(0.2) is False


@pytest.mark.parametrize("seconds", [1e7, 1e12, float("inf")])
def test_an_event_may_be_waited_for_for_longer_than_a_system_bears(seconds: float) -> None:
    event = runtime.new_event()
    call = Call(lambda: event.wait(seconds))
    event.set()
    assert call.result() is True
    assert runtime.bearable(seconds) < seconds
    assert runtime.bearable(None) is None
    assert runtime.bearable(5.0) == 5.0


def test_another_runtime_serves_the_body_and_no_longer() -> None:
    class Stopped(NativeRuntime):
        def now(self) -> float:
            return 42.0

    with pytest.raises(ZeroDivisionError), runtime.use(Stopped()) as other:
        assert runtime.now() == 42.0
        assert runtime.rng() is other.rng
        raise ZeroDivisionError
    assert runtime.now() != 42.0


@pytest.mark.parametrize("register", [runtime.at_fork, runtime.at_exit])
def test_a_hook_holds_no_strong_reference_to_its_owner(register) -> None:
    class Owner:
        def after_fork_in_child(self) -> None:
            raise AssertionError

        at_exit = after_fork_in_child

    owner = Owner()
    register(owner)
    alive = weakref.ref(owner)
    del owner
    gc.collect()
    assert alive() is None
    runtime._run_exit_hooks()


def test_an_owner_is_told_in_the_child_and_not_in_the_parent() -> None:
    told = run("""
        import os
        from etcd_recipes.core import runtime

        class Owner:
            def after_fork_in_child(self):
                os.write(1, b"told in the child\\n" if os.getpid() != parent else b"wrong\\n")

        parent, owner = os.getpid(), Owner()
        runtime.at_fork(owner)
        runtime.at_fork(owner)
        if (child := os.fork()) == 0:
            os._exit(0)
        os.waitpid(child, 0)
        """)
    assert told == "told in the child\n"


def test_parent_and_child_do_not_draw_the_same_ids() -> None:
    drawn = run("""
        import os
        from etcd_recipes.core import runtime

        runtime.rng().seed(1)
        if (child := os.fork()) == 0:
            os.write(1, b"%d\\n" % runtime.rng().getrandbits(60))
            os._exit(0)
        os.waitpid(child, 0)
        os.write(1, b"%d\\n" % runtime.rng().getrandbits(60))
        """).split()
    assert int(drawn[1]) == random.Random(1).getrandbits(60)
    assert drawn[0] != drawn[1]


def test_an_owner_that_lives_is_told_at_the_end_of_the_program() -> None:
    told = run("""
        from etcd_recipes.core import runtime

        class Owner:
            def __init__(self, name):
                self.name = name

            def at_exit(self):
                print(self.name)

        kept, dropped = Owner("kept"), Owner("dropped")
        runtime.at_exit(kept)
        runtime.at_exit(dropped)
        del dropped
        print("end")
        """)
    assert told == "end\nkept\n"


def test_a_thread_that_never_ends_does_not_keep_the_program_from_ending() -> None:
    assert (
        run("""
        from etcd_recipes.core import runtime
        runtime.spawn(runtime.new_event().wait, "for ever")
        print("end")
        """)
        == "end\n"
    )
