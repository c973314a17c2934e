from __future__ import annotations

import os
import signal

import pytest

from etcd_recipes import Cancelled, Context
from etcd_recipes.cli.signals import cancelled_by_signals
from tests.tools import eventually


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)],
    ids=["int", "term", "hup"],
)
def test_a_signal_cancels_the_context_and_breaks_into_nothing(number: int, status: int) -> None:
    ctx = Context()
    with cancelled_by_signals(ctx) as caught:
        os.kill(os.getpid(), number)
        assert ctx.wait(5.0)  # not an exception: the end of a wait
        with pytest.raises(Cancelled, match=f"{signal.Signals(number).name} was received"):
            ctx.check()
    assert caught.status == status


def test_the_first_signal_counts_and_more_of_them_do_no_harm() -> None:
    ctx = Context()
    with cancelled_by_signals(ctx) as caught:
        os.kill(os.getpid(), signal.SIGTERM)
        eventually(lambda: ctx.done)
        for _ in range(5):
            os.kill(os.getpid(), signal.SIGINT)
    assert caught.name == "SIGTERM"


def test_afterwards_everything_is_as_before() -> None:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    with cancelled_by_signals(Context()) as caught:
        pass
    assert [signal.getsignal(number) for number in numbers] == before
    assert signal.set_wakeup_fd(-1) == -1
    assert caught.number == 0


def test_a_hangup_that_nohup_ignores_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        ctx = Context()
        with cancelled_by_signals(ctx):
            os.kill(os.getpid(), signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        assert not ctx.done
    finally:
        signal.signal(signal.SIGHUP, before)
