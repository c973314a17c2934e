"""The session's promises, against a real server."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator

import pytest

from etcd_recipes import (
    Client,
    ClusterError,
    Context,
    DeadlineExceeded,
    EtcdRecipesError,
    LockLost,
    SessionLost,
)
from etcd_recipes.coordination.session import DRIFT, Session, SessionState
from etcd_recipes.coordination.sessions import Sessions
from etcd_recipes.core.store import Renewal
from etcd_recipes.testing import EtcdProcess, FaultProxy
from tests.requests_seen import requests_seen
from tests.tools import QUICK, Job, child, eventually, in_time


@pytest.fixture
def client(etcd: EtcdProcess) -> Iterator[Client]:
    with Client(etcd.endpoint) as client:
        yield client


def test_one_session_per_ttl_serves_all_threads(client: Client) -> None:
    sessions = {job.result() for job in [Job(lambda: client.session(7)) for _ in range(16)]}
    assert len(sessions) == 1
    assert client.session(8) is not client.session(7)
    assert client.session(7).ttl == 7
    assert client.session(1.2).ttl == 2


def test_a_session_forgets_those_who_have_left(client: Client) -> None:
    lock, election = client.lock("remembered"), client.election("remembered-too")
    for _ in range(3):
        with lock, election.campaign(timeout=5):
            assert lock.acquire(blocking=False) is None
            assert lock.acquire(timeout=0.01) is None  # a visit that ends without a turn
    session = client.session()
    assert (session._listeners, session._claims, session._queue._queues) == ({}, {}, {})


def test_a_session_is_renewed_for_as_long_as_it_is_needed(client: Client) -> None:
    session = client.session(2)
    Context(3.0).wait()
    assert session.is_alive
    assert client.v3.lease.time_to_live(session.id).ttl > 0


def test_the_deadline_counts_from_the_sending_with_the_granted_ttl(client: Client) -> None:
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    session = client.session(1)  # granted as 2 by a server with an election timeout of 1 s
    after = time.clock_gettime(time.CLOCK_BOOTTIME)
    assert session.ttl == 2
    assert before <= session._deadline - 2 * (1 - DRIFT) <= after


def test_a_session_without_etcd_is_suspended_then_lost_before_the_lease_can_end() -> None:
    with EtcdProcess(**QUICK) as server, Client(server.endpoint, header_timeout=0.2) as client:
        session = client.session(2)
        reasons: list[str] = []
        session.on_lost(reasons.append)
        server.pause()
        eventually(lambda: session.state is SessionState.SUSPENDED, 3)
        assert session.is_alive
        remaining = session.remaining()
        assert 0 < remaining < 2
        eventually(lambda: session.state is SessionState.LOST, remaining + 0.5)
        assert eventually(lambda: reasons, 0.5) == ["its lease could not be renewed in time"]
        assert session.remaining() == 0.0
        with pytest.raises(SessionLost, match="renewed in time"):
            session.check()
        server.resume()
        assert not session.is_alive, "lost is final"
        replaced = client.session(2)
        assert replaced is not session
        assert replaced.is_alive


def test_a_suspended_session_is_active_again_when_etcd_is_back() -> None:
    with EtcdProcess(**QUICK) as server, Client(server.endpoint, header_timeout=0.2) as client:
        session = client.session(6)
        server.pause()
        eventually(lambda: session.state is SessionState.SUSPENDED, 5)
        server.resume()
        eventually(lambda: session.state is SessionState.ACTIVE, 5)
        assert session.remaining() > 4


def test_a_deadline_that_has_passed_is_seen_even_if_no_thread_has_run(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = client.session(30)
    assert session.is_alive
    from etcd_recipes.core import runtime

    later = runtime.now() + 31
    with monkeypatch.context() as patch:
        patch.setattr("etcd_recipes.coordination.session.runtime.now", lambda: later)
        assert not session.is_alive
        assert session.state is SessionState.LOST
        assert session.remaining() == 0.0


def test_closing_revokes_and_tells_everybody(client: Client, etcd: EtcdProcess) -> None:
    session = client.session(60)
    reasons: list[str] = []
    number = session.on_lost(lambda _: reasons.append("forgotten"))
    session.on_lost(reasons.append)
    session.forget(number)
    assert session.close()
    assert session.close()
    assert reasons == ["the session was closed"]
    assert session.id not in client.v3.lease.list()
    session.on_lost(reasons.append)
    assert len(reasons) == 2


def test_abandoning_lets_go_at_once_without_a_word_and_the_lease_runs_out_by_itself(
    client: Client, etcd: EtcdProcess
) -> None:
    session = client.session(2)
    hold = client.lock("abandoned", ttl=2).acquire()
    assert hold is not None
    reasons: list[str] = []
    hold.on_lost(reasons.append)
    before = requests_seen(etcd.endpoint)
    session.abandon()
    assert (session.state, session.remaining()) == (SessionState.LOST, 0.0)
    assert not hold.is_held
    with pytest.raises(LockLost, match="abandoned"):
        hold.check()
    assert hold.release()
    assert eventually(lambda: reasons) == ["the session was abandoned"]
    Context(2 / 3 + 0.1).wait()  # the time of a renewal
    assert not session._keeper.is_alive()
    assert sum((requests_seen(etcd.endpoint) - before).values()) == 0
    with Client(etcd.endpoint) as other:
        assert other.lock("abandoned").acquire(timeout=0) is None, "it was given up early"
        second = other.lock("abandoned").acquire(timeout=8)
        assert second is not None
        assert second.token > hold.token
    assert client.session(2) is not session


def test_what_was_abandoned_is_not_revoked_when_the_program_ends(etcd: EtcdProcess) -> None:
    source = """
        import json, sys
        from etcd_recipes import Client
        client = Client(sys.argv[1])
        session = client.session(60)
        session.abandon()
        client.close()
        print(json.dumps(session.id), flush=True)
    """
    with child(source, etcd.endpoint) as worker, Client(etcd.endpoint) as client:
        lease = worker.read()
        assert worker.wait() == 0
        assert lease in client.v3.lease.list()
        client.v3.lease.revoke(lease)


def test_a_hold_made_on_a_session_that_ends_just_then_is_lost_for_all_to_see(
    client: Client,
) -> None:
    lock = client.lock("too-late")
    turn = lock._line.enter("", None, Context(5))
    turn.session.abandon()
    hold = lock._hold_of(turn)
    assert hold.lost._event.is_set()
    assert turn.claim.key not in turn.session._claims, "the claim was not given back"
    with pytest.raises(LockLost, match="abandoned"):
        hold.check()


def test_an_unreachable_etcd_is_reported_within_the_default_timeout(
    caplog: pytest.LogCaptureFixture,
) -> None:
    begun = time.monotonic()
    with Client("http://127.0.0.1:9", default_timeout=0.5) as client:
        with pytest.raises(ClusterError, match="refused"):
            client.lock("x").acquire()
        in_time(time.monotonic() - begun, 1.0)
    assert (
        "session.not_opened" in caplog.text
    )  # as soon as the first attempt has failed, not at the end


def test_renewals_cost_one_request_in_a_third_of_the_ttl_whatever_is_held() -> None:
    with EtcdProcess(**QUICK) as alone, Client(alone.endpoint) as client:
        holds = [client.lock(f"many-{n}", ttl=3).acquire() for n in range(50)]
        before = requests_seen(alone.endpoint)
        Context(2.5).wait()
        seen = requests_seen(alone.endpoint) - before
        still_held = all(hold is not None and hold.is_held for hold in holds)
    assert 1 <= seen["LeaseKeepAlive"] <= 3
    assert seen["LeaseTimeToLive"] <= 3
    assert sum(seen.values()) == seen["LeaseKeepAlive"] + seen["LeaseTimeToLive"]
    assert still_held


def test_renewals_go_on_while_the_application_is_busy(etcd: EtcdProcess) -> None:
    source = """
        import json, sys, time
        from etcd_recipes import Client
        hold = Client(sys.argv[1]).lock("busy-worker", ttl=2).acquire()
        end = time.monotonic() + 2.6
        while time.monotonic() < end:
            sum(range(10000))
        print(json.dumps(hold.is_held), flush=True)
        sys.stdin.readline()
    """
    with child(source, etcd.endpoint) as worker:
        assert worker.read() is True
        worker.signal(signal.SIGKILL)


def test_a_grant_that_was_answered_late_is_renewed_in_time(etcd: EtcdProcess) -> None:
    with FaultProxy(etcd.endpoint) as proxy:
        proxy.delay(
            1.6, only=b"/v3/lease/grant", times=1
        )  # of a lease of 2 s: 0.4 s are left of it
        with Client(proxy.endpoint, header_timeout=3) as client:
            session = client.session(2)
            Context(1.0).wait()
            assert session.state is SessionState.ACTIVE


def test_a_session_that_was_abandoned_does_not_come_back(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whoever suspends it looks and writes in two steps.
    session = client.session()
    suspended, looked, go = [session._suspended], threading.Event(), threading.Event()
    here = threading.get_ident()

    def put(_: Session, new: bool) -> None:
        if threading.get_ident() != here:
            looked.set()
            go.wait(5)
        suspended[0] = new

    where = property(lambda _: suspended[0], put)
    monkeypatch.setattr(Session, "_suspended", where, raising=False)
    job = Job(lambda: session._suspend(OSError("no answer")))  # as its keeper does
    assert looked.wait(5)
    session.abandon()
    assert not session.is_alive
    go.set()
    job.result()
    assert suspended == [True], "it had looked before the end"
    assert session.state is SessionState.LOST, "LOST is final"
    assert not session.is_alive


@pytest.mark.parametrize("api", ["v3", "v2"])
def test_a_session_that_is_opened_while_the_client_closes_holds_nothing(
    etcd: EtcdProcess, api: str
) -> None:
    # `Sessions.close` sees only what is open already: a hold is given out by a client that is closed.
    name = f"opened-while-closing-{api}"
    with FaultProxy(etcd.endpoint) as proxy, Client(etcd.endpoint, api=api) as other:
        client = Client(proxy.endpoint, api=api, header_timeout=5)
        proxy.hold(only=b"/v3/lease/grant" if api == "v3" else b"GET /v2", times=1)
        job = Job(lambda: client.lock(name).acquire(timeout=20))
        eventually(lambda: proxy.hits == 1)
        closing = Job(client.close)
        eventually(lambda: client._sessions.ctx.cancelled)
        proxy.heal()
        closing.result()
        with pytest.raises(EtcdRecipesError):
            job.result()
        assert other.lock(name).acquire(timeout=3) is not None


def test_one_ttl_is_one_session_however_it_is_written(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The queue goes by f"{ttl}", the table by the number: 2 and 2.0 are opened twice, and only one is closed.
    both, real = threading.Barrier(2, timeout=0.3), Sessions._open

    def open_(self: Sessions, ttl: float, ctx: Context) -> Session:
        try:
            both.wait()
        except threading.BrokenBarrierError:
            pass  # one by one: that is how it should be
        return real(self, ttl, ctx)

    monkeypatch.setattr(Sessions, "_open", open_)
    jobs = [Job(lambda: client.session(20)), Job(lambda: client.session(20.0))]
    first, second = (job.result() for job in jobs)
    assert first is second


def test_an_answer_after_the_deadline_does_not_bring_a_session_back(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = client.session(30)
    until = session._deadline
    monkeypatch.setattr(session._grant, "renew", lambda _, **__: Renewal(60, None))
    with pytest.raises(DeadlineExceeded):
        session._renew(Context(0))
    assert session._deadline == until
