"""Two processes with a scheduler each; and the gate's order, with a real election."""

from __future__ import annotations

import itertools
import signal
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.schedulers.base import STATE_PAUSED, STATE_RUNNING

from etcd_recipes import Client, RecipeError
from etcd_recipes.contrib.apscheduler import LeaderGate
from etcd_recipes.testing import EtcdProcess
from tests.tools import Job, child, eventually, long

SCHEDULER = """
    import json, logging, sys, time
    from apscheduler.schedulers.background import BackgroundScheduler
    from etcd_recipes import Client
    from etcd_recipes.contrib.apscheduler import LeaderGate

    endpoint, name, api = sys.argv[1:]
    logging.disable()
    scheduler = BackgroundScheduler()

    @scheduler.scheduled_job("interval", seconds=1, misfire_grace_time=3600, coalesce=False)
    def job():
        print(json.dumps(time.time()), flush=True)

    client = Client(endpoint, api=api, session_ttl=2)
    with LeaderGate(scheduler, client.election(name)):
        scheduler.start()
        sys.stdin.readline()
"""


@pytest.mark.only_v3
def test_one_of_two_processes_runs_the_job_through_a_stop_and_a_kill(
    etcd: EtcdProcess, client: Client, name: str, api: str
) -> None:
    ran: list[tuple[int, float]] = []
    election = client.election(name)
    with (
        child(SCHEDULER, etcd.endpoint, name, api) as a,
        child(SCHEDULER, etcd.endpoint, name, api) as b,
    ):

        def listen(process) -> None:
            while True:
                ran.append((process.pid, process.read()))

        Job(lambda: listen(a)), Job(lambda: listen(b))
        processes = {a.pid: a, b.pid: b}
        eventually(lambda: ran and len(election.candidates()) == 2, 15, "the first run")
        first = ran[0][0]
        (second,) = set(processes) - {first}
        calm = long(2, 20)
        eventually(lambda: len(ran) > calm, calm + 4, "the runs")
        assert {pid for pid, _ in ran} == {first}

        if long(False, True):
            # Stopped past its ttl, it finds its scheduler awake and its jobs overdue, and runs none.
            processes[first].signal(signal.SIGSTOP)
            eventually(lambda: ran[-1][0] == second, 10, "the takeover")
            seen = len(ran)
            processes[first].signal(signal.SIGCONT)
            eventually(lambda: len(election.candidates()) == 2, 10, "the first one's return")
            eventually(lambda: len(ran) > seen + 1, 6, "the next runs")
            assert {pid for pid, _ in ran[seen:]} == {second}
            first, second = second, first

        processes[first].signal(signal.SIGKILL)
        processes[first].wait()
        eventually(lambda: ran[-1][0] == second, 10, "the takeover")
        last = [at for pid, at in ran if pid == first][-1]
        next_ = next(at for pid, at in ran if pid == second and at > last)
        assert next_ - last <= 2 + 2
        times = [at for _, at in ran]
        assert min(after - before for before, after in itertools.pairwise(times)) > 0.05  # no burst
        processes[second].say()
        assert processes[second].wait() == 0
        assert election.candidates() == ()


def test_a_scheduler_runs_jobs_only_while_the_gate_leads(
    client: Client, make_client: Callable[..., Client], name: str
) -> None:
    scheduler = BackgroundScheduler()
    ran: list[str] = []
    missed = {"misfire_grace_time": 3600, "coalesce": False}
    long_ago = datetime.now().astimezone() - timedelta(hours=1)
    times = {"next_run_time": long_ago, **missed}
    scheduler.add_job(ran.append, "interval", args=["missed"], minutes=1, id="missed", **times)
    scheduler.add_job(ran.append, "date", args=["once"], run_date=long_ago, id="once", **missed)
    scheduler.add_job(ran.append, "interval", args=["now"], seconds=0.1, id="now", **times)
    gate = LeaderGate(scheduler, client.election(name))
    try:
        with make_client().election(name).campaign() as other:
            with gate:
                scheduler.start()  # after the gate, and while another one leads
                assert scheduler.state == STATE_PAUSED
                with pytest.raises(RecipeError, match="already"), gate:
                    pass
                scheduler.resume()  # by whoever: it is the term that counts
                eventually(lambda: len(client.election(name).candidates()) == 2)
                assert ran == []
                other.resign()
                eventually(lambda: gate.is_leader and "now" in ran, what="the first run")
                assert scheduler.state == STATE_RUNNING
                assert set(ran) == {"now"}  # and none that was missed
                assert scheduler.get_job("once") is None
                assert gate.term is not None
            assert scheduler.state == STATE_PAUSED
            assert client.election(name).leader() is None
            count = len(ran)
            with gate:  # before a scheduler that runs already, and again
                eventually(lambda: len(ran) > count)
    finally:
        scheduler.shutdown()


def test_overdue_jobs_are_apschedulers_when_catching_up(client: Client, name: str) -> None:
    scheduler = BackgroundScheduler()
    ran: list[str] = []
    long_ago = datetime.now().astimezone() - timedelta(hours=1)
    scheduler.add_job(ran.append, "date", args=["once"], run_date=long_ago, misfire_grace_time=None)
    with LeaderGate(scheduler, client.election(name), catch_up=True):
        scheduler.start()
        # APScheduler takes a job out a moment after it has run, and stumbles when it is shut down in between.
        eventually(lambda: ran == ["once"] and not scheduler.get_jobs())
    scheduler.shutdown()
    with pytest.raises(TypeError, match="APScheduler"):
        LeaderGate(object(), client.election(name))
