"""The queue inside the process."""

from __future__ import annotations

import threading

import pytest

from etcd_recipes import Cancelled, Context, DeadlineExceeded
from etcd_recipes.coordination.queue import LocalQueue
from tests.tools import Job, eventually


def test_threads_go_in_one_at_a_time_and_in_order() -> None:
    queue = LocalQueue()
    order: list[int] = []
    queue.enter("a", Context())

    def work(number: int) -> None:
        with queue.turn("a", Context()):
            order.append(number)

    jobs = []
    for number in range(8):
        jobs.append(Job(lambda n=number: work(n)))
        eventually(lambda n=number: len(queue._queues["a"]) == n + 2)
    queue.leave("a")
    for job in jobs:
        job.result()
    assert order == list(range(8))
    assert not queue.busy("a")


def test_names_do_not_wait_for_each_other() -> None:
    queue = LocalQueue()
    queue.enter("a", Context())
    queue.enter("b", Context(1.0))
    assert not queue.enter_now("a")
    assert queue.enter_now("c")


def test_who_gives_up_leaves_and_the_next_goes_in() -> None:
    queue = LocalQueue()
    queue.enter("a", Context())
    with pytest.raises(DeadlineExceeded):
        queue.enter("a", Context(0.05))
    ctx = Context()
    impatient = Job(lambda: queue.enter("a", ctx))
    eventually(lambda: len(queue._queues["a"]) == 2)
    patient = Job(lambda: queue.enter("a", Context(10)))
    eventually(lambda: len(queue._queues["a"]) == 3)
    ctx.cancel()
    with pytest.raises(Cancelled):
        impatient.result()
    queue.leave("a")
    patient.result()
    queue.leave("a")
    assert not queue.busy("a")


def test_giving_up_in_the_moment_of_ones_turn_loses_no_turn() -> None:
    for _ in range(200):
        queue = LocalQueue()
        queue.enter("a", Context())
        ctx = Context()
        racing = Job(lambda q=queue, c=ctx: q.enter("a", c))
        eventually(lambda q=queue: len(q._queues["a"]) == 2)
        start = threading.Barrier(2)
        canceller = Job(lambda s=start, c=ctx: (s.wait(), c.cancel()))
        start.wait()
        queue.leave("a")
        canceller.result()
        try:
            racing.result()
        except Cancelled:
            pass
        else:
            queue.leave("a")
        assert queue.enter_now("a"), "a turn was lost"
