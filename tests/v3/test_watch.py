"""The watcher on real servers: every event once, in order, across deaths, stops and compactions."""

from __future__ import annotations

import gc
import logging
import os
import sys
import threading
import time
import tracemalloc
from collections.abc import Iterator, Sequence

import pytest

from etcd_recipes import (
    Cancelled,
    Client,
    ClusterError,
    Compacted,
    Context,
    DeadlineExceeded,
)
from etcd_recipes.core.v3 import Event, Op, subscription, watcher
from etcd_recipes.core.v3.api import V3
from etcd_recipes.core.v3.assembly import Assembly
from etcd_recipes.testing import EtcdCluster, EtcdProcess
from tests.tools import QUICK, Job, eventually, in_time
from tests.versions import SERVERS, binary_of

SOON = 0.5
"""A promise of 100 ms, on a machine that others share."""


@pytest.fixture(params=list(SERVERS))
def own_server(request: pytest.FixtureRequest) -> Iterator[EtcdProcess]:
    with EtcdProcess(binary=binary_of(request.param), **QUICK) as process:
        yield process


@pytest.fixture(scope="module")
def members() -> Iterator[EtcdCluster]:
    with EtcdCluster(3) as cluster:
        yield cluster


def texts(events: list[Event]) -> list[str]:
    return [f"{event.type} {event.kv.key.decode()}={event.kv.text}" for event in events]


def take(watch: watcher.Watcher, count: int, timeout: float = 10.0) -> list[Event]:
    ctx = Context(timeout)
    return [watch.next(ctx=ctx) for _ in range(count)]


# -- what is delivered ---------------------------------------------------------------------------------------


def test_from_now_is_from_the_moment_that_the_call_returned(v3: V3, name: str) -> None:
    v3.kv.put(name, "before")
    with v3.watch(name) as watch:
        put = v3.kv.put(name, "after").revision
        deleted = v3.kv.delete(name).revision
        first, second = take(watch, 2)
    assert (first.type, first.kv.text, first.kv.mod_revision) == ("PUT", "after", put)
    assert (second.type, second.kv.mod_revision) == ("DELETE", deleted)
    assert watch.revision == deleted


def test_history_is_delivered_from_the_start_revision_on(v3: V3, name: str) -> None:
    revisions = [v3.kv.put(f"{name}/{number}", "").revision for number in range(5)]
    with v3.watch(f"{name}/", prefix=True, start_revision=revisions[2]) as watch:
        assert watch.revision == revisions[2] - 1
        assert [event.kv.mod_revision for event in take(watch, 3)] == revisions[2:]


def test_a_watch_of_a_range_hears_of_its_keys_alone(v3: V3, name: str) -> None:
    with v3.watch(f"{name}/b", f"{name}/d") as watch:
        for letter in "abcde":
            v3.kv.put(f"{name}/{letter}", "")
        assert [event.kv.key[-1:] for event in take(watch, 2)] == [b"b", b"c"]
        with pytest.raises(DeadlineExceeded):
            watch.next(timeout=0.1)


def test_what_was_there_before_comes_with_an_event_if_asked_for(v3: V3, name: str) -> None:
    v3.kv.put(name, "1")
    with v3.watch(name, prev_kv=True) as watch:
        v3.kv.put(name, "2")
        v3.kv.delete(name)
        changed, deleted = take(watch, 2)
    assert changed.prev_kv is not None
    assert changed.prev_kv.text == "1"
    assert deleted.prev_kv is not None
    assert deleted.prev_kv.text == "2"


@pytest.mark.parametrize(("left_out", "seen"), [("NOPUT", "DELETE"), ("NODELETE", "PUT")])
def test_filters_leave_events_out(v3: V3, name: str, left_out: str, seen: str) -> None:
    with v3.watch(name, filters=[left_out]) as watch:
        for _ in range(2):
            v3.kv.put(name, "")
            v3.kv.delete(name)
        assert [event.type for event in take(watch, 2)] == [seen, seen]


def test_a_transaction_is_one_batch_and_next_takes_it_apart(v3: V3, name: str) -> None:
    with v3.watch(f"{name}/", prefix=True) as watch:
        result = v3.kv.txn([], [Op.put(f"{name}/{number}", "") for number in range(100)])
        v3.kv.put(f"{name}/last", "")
        batch = watch.next_batch(timeout=5)
        assert (batch.revision, len(batch.events)) == (result.revision, 100)
        assert len(watch.next_batch(timeout=5).events) == 1
        v3.kv.txn([], [Op.put(f"{name}/{number}", "") for number in range(3)])
        first = watch.next(timeout=5)
        rest = watch.next_batch(timeout=5)
        assert [first.kv.key, *(event.kv.key for event in rest.events)] == [
            f"{name}/{number}".encode() for number in range(3)
        ]


def test_iterating_goes_on_where_next_has_stopped(v3: V3, name: str) -> None:
    with v3.watch(f"{name}/", prefix=True) as watch:
        v3.kv.txn([], [Op.put(f"{name}/{letter}", letter) for letter in "abc"])
        first = watch.next(timeout=5)
        v3.kv.put(f"{name}/d", "d")
        events = iter(watch)
        assert first.kv.text + "".join(next(events).kv.text for _ in range(2)) == "abc"
        assert watch.revision == first.kv.mod_revision
        watch.unread([first], 0)
        assert [next(events).kv.text for _ in range(2)] == ["a", "d"]


@pytest.mark.skipif(sys.gettrace() is not None, reason="a tracer would be counted as well")
def test_what_an_event_costs(v3: V3, name: str) -> None:
    """Calls of Python functions, from the socket to the caller: they are the same on every machine."""
    events, calls = 50, 0

    def count(_frame: object, what: str, _given: object) -> None:
        nonlocal calls
        calls += what == "call"

    with v3.watch(name) as watch:
        there = iter(watch)
        for number in range(events):
            v3.kv.put(name, str(number))
            sys.setprofile(count)
            try:
                next(there)
            finally:
                sys.setprofile(None)
    assert calls / events < 70


def test_a_lease_that_ends_is_one_batch(v3: V3, name: str) -> None:
    lease = v3.lease.grant(60).id
    for number in range(5):
        v3.kv.put(f"{name}/{number}", "", lease=lease)
    with v3.watch(f"{name}/", prefix=True) as watch:
        v3.lease.revoke(lease)
        assert [event.type for event in watch.next_batch(timeout=5).events] == ["DELETE"] * 5


def test_large_events_and_a_history_of_many_megabytes_arrive_whole(v3: V3, name: str) -> None:
    large = "x" * 1_000_000
    first = v3.kv.put(f"{name}/0", large).revision
    for number in range(1, 30):
        v3.kv.put(f"{name}/{number}", large[: 20_000 * number])
    with v3.watch(f"{name}/", prefix=True, start_revision=first) as watch:
        events = take(watch, 30)
    assert [len(event.kv.value) for event in events] == [
        1_000_000,
        *(20_000 * number for number in range(1, 30)),
    ]


def test_keys_of_any_bytes_are_watched(v3: V3) -> None:
    keys = [b"\0", b"v3-nul\0\xff", b"\xff\xff"]
    with v3.watch(b"", prefix=True) as watch:
        for key in keys:
            v3.kv.put(key, b"\0\xff")
        heard = {(event.kv.key, event.kv.value) for event in take(watch, 3)}
    v3.kv.delete(b"\0")
    v3.kv.delete(b"\xff\xff")
    assert heard == {(key, b"\0\xff") for key in keys}


# -- limits and ends -----------------------------------------------------------------------------------------


def test_a_wait_that_times_out_loses_nothing(v3: V3, name: str) -> None:
    with v3.watch(name) as watch:
        for number in range(5):
            with pytest.raises(DeadlineExceeded):
                watch.next(timeout=0.02)
            v3.kv.put(name, str(number))
            assert watch.next(timeout=5).kv.text == str(number)


def test_close_from_another_thread_ends_a_wait_and_the_iteration(v3: V3, name: str) -> None:
    for read in (list, lambda watch: list(watch.batches())):
        watch = v3.watch(name)
        job = Job(lambda read=read, watch=watch: read(watch))
        eventually(lambda watch=watch: watch._reader is not None)
        before = time.monotonic()
        watch.close()
        assert job.result() == []
        assert job.ended_at is not None
        in_time(job.ended_at - before, SOON)
    with pytest.raises(Cancelled, match="closed"):
        watch.next()
    watch.close()


@pytest.mark.parametrize("timeout", [None, 60.0])
def test_close_in_a_wait_closes_the_connection(v3: V3, name: str, timeout: float | None) -> None:
    watch = v3.watch(name)
    job = Job(lambda: watch.next(timeout=timeout))
    eventually(lambda: watch._reader is not None)
    watch.close()
    with pytest.raises(Cancelled):
        job.result()
    assert watch._subscription._channel is None, "it stays open until the collector finds it"


def test_the_context_of_a_watcher_ends_its_iteration(v3: V3, name: str) -> None:
    ctx = Context()
    with v3.watch(name, ctx=ctx) as watch:
        job = Job(lambda: list(watch))
        eventually(lambda: watch._reader is not None)
        ctx.cancel("the worker stops")
        with pytest.raises(Cancelled, match="the worker stops"):
            job.result()
    with v3.watch(name, ctx=Context(0.3)) as watch:
        before = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            list(watch)
        in_time(time.monotonic() - before, 0.3 + SOON, at_least=0.1)


def test_the_context_of_one_wait_ends_that_wait_alone(v3: V3, name: str) -> None:
    with v3.watch(name) as watch:
        ctx = Context()
        job = Job(lambda: watch.next(ctx=ctx))
        eventually(lambda: watch._reader is not None)
        ctx.cancel()
        with pytest.raises(Cancelled):
            job.result()
        v3.kv.put(name, "1")
        assert watch.next(timeout=5).kv.text == "1"


def test_two_threads_cannot_read_one_watcher(v3: V3, name: str) -> None:
    with v3.watch(name) as watch:
        job = Job(lambda: list(watch))
        eventually(lambda: watch._reader is not None)
        with pytest.raises(RuntimeError, match="one thread"):
            watch.next(timeout=1)
        watch.close()
        job.result()


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"key": ""}, ValueError),
        ({"key": None}, TypeError),
        ({"key": "a", "range_end": "b", "prefix": True}, ValueError),
        ({"key": "a", "start_revision": -1}, ValueError),
        ({"key": "a", "start_revision": "1"}, TypeError),
        ({"key": "a", "filters": ["NOTHING"]}, ValueError),
        ({"key": "a", "filters": "NOPUT"}, ValueError),
    ],
)
def test_what_is_no_watch_is_said_before_anything_is_sent(
    arguments: dict[str, object], error: type[Exception]
) -> None:
    with Client("http://127.0.0.1:1") as client, pytest.raises(error):
        client.v3.watch(**arguments)  # type: ignore[arg-type]


def test_a_watch_that_nobody_confirms_fails_like_any_call() -> None:
    with Client("http://127.0.0.1:1") as client, pytest.raises(ClusterError, match="refused"):
        client.v3.watch("a")


def test_a_forked_child_and_its_parent_both_hear_of_everything(v3: V3, name: str) -> None:
    with v3.watch(name) as watch:
        v3.kv.put(name, "1")
        assert watch.next(timeout=5).kv.text == "1"
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.write(write, watch.next(timeout=10).kv.value)
            finally:
                os._exit(0)
        v3.kv.put(name, "2")
        assert os.read(read, 10) == b"2"
        os.waitpid(child, 0)
        os.close(read)
        os.close(write)
        assert watch.next(timeout=5).kv.text == "2"
        v3.kv.put(name, "3")
        assert watch.next(timeout=5).kv.text == "3"


def test_a_child_that_closes_its_copy_or_cancels_leaves_the_parents_watch_alone(
    v3: V3, name: str
) -> None:
    ctx = Context()
    with v3.watch(name, ctx=ctx) as watch:
        job = Job(lambda: watch.next(timeout=10).kv.text)
        eventually(lambda: watch._reader is not None)
        child = os.fork()
        if child == 0:
            try:
                watch.close()
                ctx.cancel()
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        channel = watch._subscription._channel
        v3.kv.put(name, "1")
        assert job.result() == "1"
        assert watch._subscription._channel is channel, "the stream was broken"


def test_closing_the_client_ends_its_watches(server: EtcdProcess, name: str) -> None:
    client = Client(server.endpoint)
    watch = client.v3.watch(name)
    job = Job(lambda: list(watch))
    eventually(lambda: watch._reader is not None)
    client.close()
    assert job.result() == []
    with pytest.raises(Cancelled, match="closed"):
        watch.next()


class SoftTimeLimit(Exception):
    """What a task queue raises in the middle of a task whose time is up."""


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SoftTimeLimit])
def test_an_interrupt_loses_nothing_and_leaves_the_watcher_usable(
    v3: V3, name: str, monkeypatch: pytest.MonkeyPatch, kind: type[BaseException]
) -> None:
    with v3.watch(name) as watch:
        first = v3.kv.put(name, "1").revision
        take_apart = Assembly.take

        def interrupted(self: Assembly, result: dict[str, object]) -> object:
            take_apart(self, result)
            raise kind

        with monkeypatch.context() as patched:
            patched.setattr(Assembly, "take", interrupted)
            with pytest.raises(kind):
                watch.next(timeout=5)
        v3.kv.put(name, "2")
        assert [event.kv.text for event in take(watch, 2)] == ["1", "2"]
        assert first <= watch.revision


def test_a_signal_handler_may_close_a_watcher_in_the_middle_of_anything(v3: V3, name: str) -> None:
    with v3.watch(name) as watch, watch._lock:  # as if its own thread had it
        watch.close()
    with pytest.raises(Cancelled):
        watch.next()


def test_a_watcher_that_was_forgotten_gives_its_connection_back(v3: V3, name: str) -> None:
    ctx = Context()
    watches = [v3.watch(name, ctx=ctx) for _ in range(5)]
    assert len(ctx._callbacks) == 5
    del watches[:]
    gc.collect()
    assert ctx._callbacks == {}


def test_the_revision_is_that_of_what_was_given_whole(v3: V3, name: str) -> None:
    with v3.watch(f"{name}/", prefix=True) as watch:
        before = v3.kv.put(f"{name}/first", "").revision
        watch.next(timeout=5)
        result = v3.kv.txn([], [Op.put(f"{name}/{number}", "") for number in range(3)])
        assert [watch.next(timeout=5) and watch.revision for _ in range(3)] == [
            before,
            before,
            result.revision,
        ]


def test_a_wait_of_no_time_gives_what_is_there(v3: V3, name: str) -> None:
    with v3.watch(name) as watch:
        v3.kv.put(name, "1")
        assert eventually(lambda: _poll(watch)) == "1"


def _poll(watch: watcher.Watcher) -> str:
    try:
        return watch.next(timeout=0).kv.text
    except DeadlineExceeded:
        return ""


# -- history -------------------------------------------------------------------------------------------------


def test_a_history_that_was_compacted_says_where_to_go_on(v3: V3, name: str) -> None:
    first = v3.kv.put(name, "1").revision
    for _ in range(5):
        last = v3.kv.put(name, "2").revision
    v3.kv.compact(last)
    with v3.watch(name, start_revision=first) as watch:
        for _ in range(2):  # it stays so
            with pytest.raises(Compacted) as caught:
                watch.next(timeout=5)
            assert caught.value.resume_from == last
    found = v3.kv.range(name, revision=last)
    with v3.watch(name, start_revision=found.revision + 1) as watch:
        v3.kv.put(name, "3")
        assert watch.next(timeout=5).kv.text == "3"


def test_a_live_watch_does_not_mind_a_compaction(v3: V3, name: str) -> None:
    with v3.watch(name) as watch:
        for number in range(10):
            v3.kv.compact(v3.kv.put(name, str(number)).revision)
        assert [event.kv.text for event in take(watch, 10)] == [str(n) for n in range(10)]


def test_a_watch_whose_events_were_compacted_while_it_was_cut_off_says_so(
    own_server: EtcdProcess,
) -> None:
    with (
        Client(own_server.endpoint) as client,
        Client(own_server.endpoint) as other,
        client.v3.watch("a") as watch,
    ):
        watch._subscription._channel.close()  # type: ignore[union-attr]
        watch._subscription._channel = None
        other.v3.kv.put("a", "1")
        last = other.v3.kv.put("a", "2").revision
        other.v3.kv.compact(last)
        with pytest.raises(Compacted) as caught:
            watch.next(timeout=10)
        assert caught.value.resume_from == last


def test_progress_spares_an_idle_watch_the_compaction_of_what_others_wrote() -> None:
    often = ["--experimental-watch-progress-notify-interval", "100ms"]
    with (
        EtcdProcess(extra_args=often) as etcd,
        Client(etcd.endpoint) as client,
        client.v3.watch("idle", progress_notify=True) as watch,
    ):
        revision = client.v3.kv.put("other", "1").revision
        while watch.revision < revision:
            assert watch.next_batch(timeout=10).events == ()
        client.v3.kv.compact(revision)
        etcd.kill()
        etcd.restart()
        client.v3.kv.put("idle", "1")
        assert watch.next(timeout=10).kv.text == "1"


# -- members that die, restart, stop, lose their leader --------------------------------------------------------


def test_a_watch_survives_the_death_and_restart_of_its_only_member(own_server: EtcdProcess) -> None:
    with Client(own_server.endpoint) as client, client.v3.watch("a/", prefix=True) as watch:
        expected: list[int] = []
        for round_ in range(3):
            expected += [client.v3.kv.put(f"a/{n}", str(round_)).revision for n in range(5)]
            if round_ == 1:
                take(watch, 5)
                del expected[:5]
            own_server.kill()
            own_server.restart()
        assert [event.kv.mod_revision for event in take(watch, len(expected))] == expected


def test_what_happens_to_a_watch_is_said_in_the_log_once(
    own_server: EtcdProcess, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        caplog.at_level(logging.INFO, "etcd_recipes"),
        Client(own_server.endpoint) as client,
        client.v3.watch("a") as watch,
    ):
        own_server.kill()
        with pytest.raises(DeadlineExceeded):
            watch.next(timeout=0.5)
        own_server.restart()
        client.v3.kv.put("a", "1")
        assert watch.next(timeout=10).kv.text == "1"
    said = [record.getMessage() for record in caplog.records if "watch" in record.name]
    assert said == ["watch.interrupted", "watch.resumed"]


def pinned(client: Client, members: EtcdCluster) -> int:
    """Which member the client's watch has chosen."""
    return [m.endpoint for m in members.members].index(client._cluster.pinned)


def test_a_watch_leaves_a_member_that_was_stopped_though_nobody_else_calls(
    members: EtcdCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscription, "QUIET", 0.5)
    with (
        Client(members.endpoints, header_timeout=0.5) as client,
        client.v3.watch("stopped") as watch,
    ):
        victim = members.members[pinned(client, members)]
        others = [m.endpoint for m in members.members if m is not victim]
        victim.pause()
        try:
            # The victim may have been the leader: then the others take a moment to agree on another.
            eventually(lambda: _try_put(others, "stopped"), 20, "a write")
            before = time.monotonic()
            assert watch.next(timeout=10).kv.text == "1"
            in_time(time.monotonic() - before, 0.5 + 0.5 + SOON)
        finally:
            victim.resume()


def test_a_watch_leaves_a_member_that_has_lost_its_leader_and_loses_nothing(
    members: EtcdCluster,
) -> None:
    with (
        Client(members.endpoints, header_timeout=0.5) as client,
        client.v3.watch("lonely") as watch,
    ):
        chosen = pinned(client, members)
        others = [m for i, m in enumerate(members.members) if i != chosen]
        for member in others:
            member.kill()
        with pytest.raises(DeadlineExceeded):
            watch.next(timeout=5.0)
        assert watch._subscription._is_interrupted, "a member without a leader went unnoticed"
        for member in others:
            member.restart()
        eventually(lambda: _try_put(members.endpoints, "lonely"), 20, "a write")
        assert watch.next(timeout=15).kv.text == "1"


def _try_put(endpoints: Sequence[str], key: str) -> int:
    with Client(endpoints) as client:
        try:
            return client.v3.kv.put(key, "1").revision
        except ClusterError:
            return 0


# -- a consumer that is slow -----------------------------------------------------------------------------------


def test_a_slow_consumer_costs_no_memory_loses_nothing_and_is_told(
    v3: V3, name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(watcher, "SLOW", 0.2)
    value = "x" * 200_000
    with (
        caplog.at_level(logging.WARNING, "etcd_recipes"),
        v3.watch(f"{name}/", prefix=True) as watch,
    ):
        tracemalloc.start()
        try:
            for number in range(150):  # 30 MB
                v3.kv.put(f"{name}/{number}", value)
            threading.Event().wait(0.3)
            before, _ = tracemalloc.get_traced_memory()
            assert before < 5_000_000
            tracemalloc.reset_peak()
            keys = [watch.next(timeout=10).kv.key]
            threading.Event().wait(0.3)  # still slow: not said again
            keys += [watch.next(timeout=10).kv.key for _ in range(149)]
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert keys == [f"{name}/{number}".encode() for number in range(150)]
    assert peak < 20_000_000, "the whole backlog was read at once"
    said = [record.getMessage() for record in caplog.records if "watch" in record.name]
    assert said == ["watch.slow_consumer"]
