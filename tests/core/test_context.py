"""Context: deadlines, cancel, children."""

from __future__ import annotations

import gc
import math
import subprocess
import sys
import threading

import pytest

from etcd_recipes.core import runtime
from etcd_recipes.core.context import Context, check_timeout, limit
from etcd_recipes.core.errors import Cancelled, ContextError, DeadlineExceeded
from tests.core.calls import FOREVER, SOON, Call, within
from tests.tools import eventually

DAY = 86_400.0


def is_blocked_on(ctx: Context) -> bool:
    return bool(ctx._callbacks)


# -- deadline ----------------------------------------------------------------------------------------


def test_a_context_without_a_timeout_never_ends_by_itself() -> None:
    ctx = Context()
    assert ctx.deadline is None
    assert ctx.remaining() is None
    assert not ctx.done
    assert ctx.error is None
    ctx.check()


def test_a_deadline_is_a_point_on_the_runtimes_clock() -> None:
    before = runtime.now()
    ctx = Context(5.0)
    after = runtime.now()
    assert before + 5.0 <= ctx.deadline <= after + 5.0
    assert 0.0 < ctx.remaining() <= 5.0


def test_when_the_deadline_has_passed_every_question_says_so() -> None:
    ctx = Context(0.0)
    assert ctx.done
    assert not ctx.cancelled
    assert ctx.remaining() == 0.0
    assert isinstance(ctx.error, DeadlineExceeded)
    with pytest.raises(DeadlineExceeded, match="timeout of 0 s"):
        ctx.check()


def test_deadline_exceeded_is_a_timeout_error_and_cancelled_is_not() -> None:
    assert issubclass(DeadlineExceeded, TimeoutError)
    assert issubclass(DeadlineExceeded, ContextError)
    assert not issubclass(Cancelled, TimeoutError)


def test_a_wait_ends_at_the_deadline_and_says_that_the_context_has_ended() -> None:
    with within(SOON, at_least=0.1):
        assert Context(0.1).wait(30.0) is True
    with within(SOON):
        assert Context(0.0).wait() is True


def test_a_wait_that_is_over_before_the_context_says_that_it_goes_on() -> None:
    ctx = Context(30.0)
    with within(SOON, at_least=0.05):
        assert ctx.wait(0.05) is False


def test_wait_for_ends_with_the_event_or_with_the_deadline() -> None:
    event = threading.Event()
    event.set()
    Context(30.0).wait_for(event)
    with within(SOON, at_least=0.05), pytest.raises(DeadlineExceeded):
        Context(0.05).wait_for(threading.Event())


def test_wait_for_wakes_when_another_thread_sets_the_event() -> None:
    ctx, event = Context(), threading.Event()
    call = Call(lambda: ctx.wait_for(event))
    eventually(lambda: is_blocked_on(ctx))
    event.set()
    assert call.result(SOON) is None


@pytest.mark.parametrize("timeout", [-1.0, -0.001, -math.inf, math.nan])
def test_negative_and_nan_timeouts_are_value_errors(timeout: float) -> None:
    for make in (Context, Context().child, limit, lambda t: limit(t, Context())):
        with pytest.raises(ValueError, match="timeout must be a number of seconds"):
            make(timeout)
    with pytest.raises(ValueError, match=r"ttl must be .*; got"):
        check_timeout(timeout, "ttl")


@pytest.mark.parametrize("timeout", [30 * DAY, 1e10, 1e12, math.inf])
@pytest.mark.parametrize("way", ["wait", "wait for so long", "wait for an event"])
def test_a_deadline_far_away_is_as_good_as_none(timeout: float, way: str) -> None:
    ctx = Context(timeout)
    calls = {
        "wait": ctx.wait,
        "wait for so long": lambda: Context.wait(ctx, timeout),
        "wait for an event": lambda: ctx.wait_for(threading.Event()),
    }
    call = Call(calls[way])
    eventually(lambda: is_blocked_on(ctx) or not call.running)
    ctx.cancel()
    if way == "wait for an event":
        assert isinstance(call.error(SOON), Cancelled)
    else:
        assert call.result(SOON) is True


# -- cancel ------------------------------------------------------------------------------------------


def test_cancel_wakes_a_wait_in_another_thread_within_100_ms() -> None:
    ctx = Context()
    call = Call(ctx.wait)
    eventually(lambda: is_blocked_on(ctx))
    with within(SOON):
        ctx.cancel()
        assert call.result() is True


def test_cancel_wakes_a_wait_for_in_another_thread_within_100_ms() -> None:
    ctx = Context()
    call = Call(lambda: ctx.wait_for(threading.Event()))
    eventually(lambda: is_blocked_on(ctx))
    with within(SOON):
        ctx.cancel()
        assert isinstance(call.error(), Cancelled)


def test_cancel_wakes_those_who_wait_on_children_and_grandchildren() -> None:
    ctx = Context()
    kin = [ctx.child(), ctx.child(30.0), ctx.child(30.0).child(60.0)]
    calls = [Call(context.wait) for context in kin]
    for context in kin:
        eventually(lambda context=context: is_blocked_on(context))
    with within(SOON):
        ctx.cancel()
        assert [call.result() for call in calls] == [True] * 3


def test_a_cancelled_context_says_so_with_the_first_reason() -> None:
    ctx = Context(30.0)
    ctx.cancel("the worker ends")
    ctx.cancel("something else")
    assert ctx.done
    assert ctx.cancelled
    with pytest.raises(Cancelled, match="the worker ends"):
        ctx.check()
    with within(SOON):
        assert ctx.wait() is True
    assert repr(ctx) == "<Context: cancelled>"


def test_the_cancel_of_a_child_ends_the_child_alone() -> None:
    parent = Context()
    child, sibling = parent.child(), parent.child()
    child.cancel()
    assert (child.done, sibling.done, parent.done) == (True, False, False)


def test_many_threads_may_cancel_at_once_and_each_callback_is_called_once() -> None:
    ctx, heard = Context(), []
    for number in range(100):
        ctx.subscribe(lambda number=number: heard.append(number))
    start = threading.Barrier(8)

    def cancel() -> None:
        start.wait(FOREVER)
        ctx.cancel()

    for call in [Call(cancel) for _ in range(8)]:
        call.result()
    assert sorted(heard) == list(range(100))


CANCELS_FROM_A_SIGNAL_HANDLER = """
import random, signal
from etcd_recipes.core.context import Context

def handler(number, frame):
    ctx.cancel()

signal.signal(signal.SIGALRM, handler)
for _ in range(1000):
    ctx = Context()
    signal.setitimer(signal.ITIMER_REAL, random.uniform(0.00002, 0.0002))
    while not ctx.done:
        {busy}
print("through")
"""


@pytest.mark.parametrize(
    "busy",
    ["ctx.unsubscribe(ctx.subscribe(int))", "ctx.wait(0)", "ctx.wait(0.00001)", "ctx.wait()"],
)
def test_a_signal_handler_may_cancel_whatever_the_thread_is_doing(busy: str) -> None:
    program = CANCELS_FROM_A_SIGNAL_HANDLER.format(busy=busy)
    try:
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, timeout=10, check=False
        )
    except subprocess.TimeoutExpired:
        pytest.fail("the handler and the thread that it interrupted wait for each other")
    assert done.stdout == b"through\n", done.stderr.decode()


# -- children ----------------------------------------------------------------------------------------


def test_a_child_never_outlives_its_parent() -> None:
    parent = Context(1.0)
    assert parent.child(60.0).deadline == parent.deadline
    assert parent.child().deadline == parent.deadline
    assert parent.child(0.1).deadline < parent.deadline
    assert Context().child(60.0).deadline is not None


def test_a_childs_error_names_the_timeout_that_was_up() -> None:
    assert "timeout of 0 s" in str(Context(0.0).child(60.0).error)
    assert "timeout of 0 s" in str(Context(60.0).child(0.0).error)


def test_ten_thousand_children_leave_nothing_registered_in_their_parent() -> None:
    parent = Context()
    for _ in range(10_000):
        child = parent.child(30.0)
        child.wait(0.0)
        child.child()
    assert parent._callbacks == {}
    del child
    gc.collect()
    # By its type: `isinstance` would ask other packages' stand-ins what they stand for, and wake them.
    contexts = [found for found in gc.get_objects() if type(found) is Context]
    assert contexts.count(parent) == 1
    assert not [context for context in contexts if context._parent is parent]


def test_what_waited_is_forgotten_whichever_way_the_wait_ended() -> None:
    parent = Context()
    child = parent.child(0.01)
    with pytest.raises(DeadlineExceeded):
        child.wait_for(threading.Event())
    with pytest.raises(ZeroDivisionError), child.on_cancel(print):
        raise ZeroDivisionError
    assert parent._callbacks == child._callbacks == {}


# -- callbacks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("who", ["itself", "parent", "grandparent"])
def test_a_callback_registered_after_the_cancel_runs_at_once(who: str) -> None:
    grandparent = Context()
    parent = grandparent.child()
    ctx = parent.child()
    {"itself": ctx, "parent": parent, "grandparent": grandparent}[who].cancel()
    heard: list[str] = []
    number = ctx.subscribe(lambda: heard.append("cancelled"))
    assert heard == ["cancelled"]
    ctx.unsubscribe(number)
    with ctx.on_cancel(lambda: heard.append("again")):
        assert heard == ["cancelled", "again"]


def test_an_unsubscribed_callback_is_not_called() -> None:
    parent = Context()
    ctx = parent.child()
    heard: list[str] = []
    gone = ctx.subscribe(lambda: heard.append("gone"))
    ctx.subscribe(lambda: heard.append("stays"))
    ctx.unsubscribe(gone)
    ctx.unsubscribe(gone)
    with ctx.on_cancel(lambda: heard.append("body is over")):
        pass
    parent.cancel()
    assert heard == ["stays"]
    ctx.unsubscribe(gone)


def test_a_callback_is_called_when_it_registers_while_the_cancel_runs() -> None:
    for _ in range(300):
        ctx, start = Context(), threading.Barrier(2)

        def cancel(ctx: Context = ctx, start: threading.Barrier = start) -> None:
            start.wait(FOREVER)
            ctx.cancel()

        heard = threading.Event()
        call = Call(cancel)
        start.wait(FOREVER)
        with ctx.on_cancel(heard.set):
            assert heard.wait(FOREVER)
        call.result()


# -- limit -------------------------------------------------------------------------------------------


def test_of_two_limits_the_earlier_wins() -> None:
    ctx = Context(10.0)
    assert limit(60.0, ctx).deadline == ctx.deadline
    assert limit(1.0, ctx).deadline < ctx.deadline
    assert limit(None, ctx).deadline == ctx.deadline


def test_the_default_is_for_calls_that_were_given_neither_limit() -> None:
    assert limit(default=5.0).remaining() == pytest.approx(5.0, abs=1.0)
    assert limit(60.0, default=5.0).remaining() == pytest.approx(60.0, abs=1.0)
    assert limit(None, Context(), default=5.0).remaining() is None
    assert limit().remaining() is None


def test_a_calls_limit_ends_with_the_callers_context_and_not_the_other_way_round() -> None:
    ctx = Context()
    first, second = limit(None, ctx), limit(5.0, ctx)
    first.cancel()
    assert not ctx.done
    ctx.cancel()
    assert isinstance(second.error, Cancelled)


def test_zero_is_a_limit() -> None:
    assert limit(0.0, default=5.0).done
