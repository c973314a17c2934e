"""The feed of changes: over one watch, against a real server, and against scripted ones."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from etcd_recipes.core.context import Context
from etcd_recipes.core.errors import (
    Cancelled,
    ClusterError,
    Compacted,
    DeadlineExceeded,
    EtcdError,
    HistoryLost,
    InvalidResponse,
    PermissionDenied,
)
from etcd_recipes.core.store import Batch, Change, Entry, Feed
from etcd_recipes.core.v3 import requests
from etcd_recipes.core.v3.api import V3
from etcd_recipes.core.v3.gateway import Gateway
from etcd_recipes.core.v3.store import V3Store
from etcd_recipes.core.v3.txn import Op
from etcd_recipes.testing import EtcdProcess
from tests.core.calls import FOREVER, SOON, Call, within
from tests.core.clusters import cluster_of
from tests.core.servers import HANG, RESET, Server, answer, chunked, refusing, script
from tests.core.v3.test_kv import compact
from tests.tools import QUICK

CREATED = b'{"result":{"header":{"revision":"4"},"created":true}}\n'


def keys(batch: Batch | None) -> list[str]:
    assert batch is not None
    return [change.key.rpartition("/")[2] for change in batch.changes]


# -- from now on ---------------------------------------------------------------------------------------------


def test_a_feed_from_now_on_delivers_what_comes_after_it_was_confirmed(
    store: V3Store, v3: V3, name: str, ctx: Context
) -> None:
    before = v3.kv.put(f"{name}/before", "v").revision
    with store.watch(ctx, prefix=f"{name}/") as feed:
        assert feed.revision >= before
        put = v3.kv.put(f"{name}/a", "1").revision
        deleted = v3.kv.delete(f"{name}/a").revision
        assert feed.next() == Batch(put, (Change(f"{name}/a", Entry(f"{name}/a", "1", put, put)),))
        assert feed.next() == Batch(deleted, (Change(f"{name}/a", None),))


def test_all_changes_of_one_revision_stand_in_one_batch(
    store: V3Store, v3: V3, name: str, ctx: Context
) -> None:
    with store.watch(ctx, prefix=f"{name}/") as feed:
        v3.kv.txn([], [Op.put(f"{name}/{letter}", "") for letter in "abc"])
        v3.kv.delete(f"{name}/", prefix=True)
        first, second = feed.next(), feed.next()
    assert keys(first) == keys(second) == ["a", "b", "c"]
    assert [change.entry for change in second.changes] == [None] * 3


def test_a_feed_of_keys_hears_of_these_and_no_others(
    store: V3Store, v3: V3, name: str, ctx: Context
) -> None:
    wanted = [f"{name}/a", f"{name}/b"]
    with store.watch(ctx, keys=wanted, own=f"{name}/mine") as feed:
        for letter in ("x", "b", "ab", "a", "mine"):
            v3.kv.put(f"{name}/{letter}", "")
        assert [keys(feed.next()) for _ in range(3)] == [["b"], ["a"], ["mine"]]


def heard_from(feed: Feed, count: int) -> list[tuple[str, int]]:
    """Read until so many changes have come: their keys and revisions."""
    heard: list[tuple[str, int]] = []
    while len(heard) < count:
        batch = feed.next()
        if batch is None:
            break
        heard += [(change.key.rpartition("/")[2], batch.revision) for change in batch.changes]
    return heard


def test_two_keys_that_change_in_one_step_are_both_heard_of(
    store: V3Store, v3: V3, name: str, ctx: Context
) -> None:
    """etcd tells each watch of the stream in a message of its own."""
    with store.watch(ctx, keys=[f"{name}/a"], own=f"{name}/b", quiet=0.5) as feed:
        revision = v3.kv.txn([], [Op.put(f"{name}/a", ""), Op.put(f"{name}/b", "")]).revision
        assert sorted(heard_from(feed, 2)) == [("a", revision), ("b", revision)]


def test_keys_whose_histories_interleave_are_all_heard_of(
    store: V3Store, v3: V3, name: str, ctx: Context
) -> None:
    start = v3.kv.put(name, "").revision
    written = [(letter, v3.kv.put(f"{name}/{letter}", "").revision) for letter in "abab"]
    both = [f"{name}/a", f"{name}/b"]
    with store.watch(ctx, keys=both, after=start, quiet=0.5) as feed:
        assert sorted(heard_from(feed, 4)) == sorted(written)


# -- nothing is lost -----------------------------------------------------------------------------------------


@contextmanager
def writing(v3: V3, name: str, total: int) -> Iterator[None]:
    """Count up under ten keys, one after the other, as fast as it goes; then put `end`."""

    def write() -> None:
        for number in range(total):
            v3.kv.put(f"{name}/{number % 10}", str(number))
        v3.kv.put(f"{name}/end", "")

    call = Call(write)
    yield
    call.result()


def test_from_now_on_and_one_read_lose_nothing_under_a_concurrent_writer(
    store: V3Store, v3: V3, name: str, ctx: Context
) -> None:
    """Confirm the watch, then read: what the read has not seen, the feed delivers."""
    for round_ in range(8):
        line = f"{name}/{round_}"
        with writing(v3, line, 150), store.watch(ctx, prefix=f"{line}/") as feed:
            snapshot = store.list(f"{line}/", ctx)
            state = {entry.key: entry.value for entry in snapshot.entries}
            assert snapshot.revision >= feed.revision
            while f"{line}/end" not in state:
                batch = feed.next()
                assert batch is not None
                if batch.revision > snapshot.revision:
                    state |= {change.key: change.entry.value for change in batch.changes}
        expected = {f"{line}/{digit}": str(140 + digit) for digit in range(10)}
        assert state == expected | {f"{line}/end": ""}


def test_every_change_comes_once_and_in_order(
    store: V3Store, v3: V3, name: str, ctx: Context
) -> None:
    with store.watch(ctx, prefix=f"{name}/") as feed, writing(v3, name, 300):
        seen = [feed.next() for _ in range(300)]
    assert [batch.changes[0].entry.value for batch in seen] == [str(n) for n in range(300)]
    revisions = [batch.revision for batch in seen]
    assert revisions == sorted(set(revisions))


def test_a_feed_after_a_revision_replays_history_without_a_gap(
    store: V3Store, v3: V3, name: str, ctx: Context
) -> None:
    revisions = [v3.kv.put(f"{name}/{number % 3}", str(number)).revision for number in range(30)]
    with store.watch(ctx, prefix=f"{name}/", after=revisions[9]) as feed:
        v3.kv.put(f"{name}/live", "30")
        heard = [feed.next() for _ in range(21)]
    assert [batch.changes[0].entry.value for batch in heard] == [str(n) for n in range(10, 31)]
    assert [batch.revision for batch in heard[:20]] == revisions[10:]


def test_a_history_of_many_changes_is_caught_up_with_quickly(
    store: V3Store, v3: V3, name: str, ctx: Context
) -> None:
    value = "x" * 20_000
    start = v3.kv.put(name, "").revision
    for number in range(10):
        v3.kv.txn([], [Op.put(f"{name}/{number}/{part}", value) for part in range(50)])
    before = time.thread_time()  # the reader's own work, whatever else this machine does
    with store.watch(ctx, prefix=f"{name}/", after=start) as feed:
        assert len(heard_from(feed, 500)) == 500
    assert time.thread_time() - before < 1.0
    v3.kv.delete(f"{name}/", prefix=True)


def test_large_events_come_whole(store: V3Store, v3: V3, name: str, ctx: Context) -> None:
    value = "ž" * 500_000
    with store.watch(ctx, prefix=f"{name}/") as feed:
        v3.kv.put(f"{name}/large", value)
        batch = feed.next()
    assert batch is not None
    assert batch.changes[0].entry.value == value
    v3.kv.delete(f"{name}/large")


def test_lost_history_says_where_to_go_on(
    store: V3Store, v3: V3, gateway: Gateway, name: str, ctx: Context
) -> None:
    first = v3.kv.put(f"{name}/a", "1").revision
    v3.kv.put(f"{name}/a", "2")
    last = v3.kv.put(f"{name}/a", "3").revision
    compact(gateway, last)

    def read() -> None:
        with store.watch(ctx, prefix=f"{name}/", after=first) as feed:
            feed.next()

    with within(2.0), pytest.raises(HistoryLost) as raised:
        read()
    assert raised.type is Compacted
    assert raised.value.resume_from == last
    with store.watch(ctx, prefix=f"{name}/", after=last) as feed:
        v3.kv.put(f"{name}/a", "4")
        batch = feed.next()
    assert batch is not None
    assert batch.changes[0].entry.value == "4"


def test_a_live_feed_is_not_disturbed_by_compaction(
    store: V3Store, v3: V3, gateway: Gateway, name: str, ctx: Context
) -> None:
    with store.watch(ctx, prefix=f"{name}/") as feed:
        v3.kv.put(f"{name}/a", "1")
        compact(gateway, v3.kv.put(f"{name}/a", "2").revision)
        v3.kv.put(f"{name}/a", "3")
        values = [batch.changes[0].entry.value for batch in (feed.next() for _ in range(3))]
    assert values == ["1", "2", "3"]


# -- how it ends ---------------------------------------------------------------------------------------------


def test_quiet_ends_the_feed(store: V3Store, v3: V3, name: str, ctx: Context) -> None:
    with store.watch(ctx, prefix=f"{name}/", quiet=0.2) as feed:
        v3.kv.put(f"{name}/a", "")
        assert feed.next() is not None
        with within(0.2 + SOON, at_least=0.2):
            assert feed.next() is None
        with within(SOON):
            assert feed.next() is None


def test_cancel_from_another_thread_ends_next_within_100_ms(store: V3Store, name: str) -> None:
    ctx = Context()
    with store.watch(ctx, prefix=f"{name}/") as feed:
        call = Call(feed.next)
        ctx.child().wait(0.05)
        with within(SOON):
            ctx.cancel()
            assert isinstance(call.error(), Cancelled)
    assert ctx._callbacks == {}


def test_a_feed_ends_with_the_deadline_of_its_context(store: V3Store, name: str) -> None:
    with (
        within(0.3 + SOON, at_least=0.3),
        store.watch(Context(0.3), prefix=f"{name}/") as feed,
        pytest.raises(DeadlineExceeded),
    ):
        feed.next()


def test_a_member_that_is_killed_ends_the_feed_without_an_error(ctx: Context) -> None:
    with EtcdProcess(**QUICK) as server, cluster_of(server.endpoint) as cluster:
        store = V3Store(Gateway(cluster))
        with store.watch(ctx, prefix="a/") as feed:
            call = Call(feed.next)
            server.kill()
            assert call.result(SOON) is None
            assert feed.next() is None
        with pytest.raises(ClusterError):
            store.watch(ctx, prefix="a/")


def test_a_member_that_is_stopped_ends_the_feed_when_another_call_finds_out(ctx: Context) -> None:
    with EtcdProcess(**QUICK) as server, cluster_of(server.endpoint, header_timeout=0.2) as cluster:
        store = V3Store(Gateway(cluster))
        with store.watch(ctx, prefix="a/") as feed:
            call = Call(feed.next)
            server.pause()
            with pytest.raises(ClusterError):
                store.get("k", ctx)
            assert call.result(SOON) is None


def test_closing_the_client_ends_its_feeds(etcd: EtcdProcess, ctx: Context) -> None:
    with cluster_of(etcd.endpoint) as cluster:
        feed = V3Store(Gateway(cluster)).watch(ctx, prefix="a/")
        call = Call(feed.next)
        with within(SOON):
            cluster.close()
            assert call.result() is None
        feed.close()
        feed.close()


def test_a_feed_that_nobody_confirms_is_not_waited_for_for_ever() -> None:
    with (
        Server(script(chunked(b"", end=False)[:-2], HANG)) as server,
        cluster_of(server.endpoint, header_timeout=0.6) as cluster,
    ):
        store = V3Store(Gateway(cluster))
        with within(0.3 + SOON), pytest.raises(DeadlineExceeded):
            store.watch(Context(0.3), prefix="a/")
        with within(0.6 + SOON), pytest.raises(ClusterError, match=r"not confirmed within 0\.6 s"):
            store.watch(Context(FOREVER), prefix="a/")


# -- what the server may say -----------------------------------------------------------------------------------


@contextmanager
def scripted(*steps: bytes | float | object) -> Iterator[V3Store]:
    """Give a store whose server answers a watch like this."""
    with Server(script(*steps)) as server, cluster_of(server.endpoint) as cluster:
        yield V3Store(Gateway(cluster))


def says(*messages: bytes, end: bool = True) -> bytes:
    return chunked(*messages, end=end)


def event(revision: int, key: str = "YQ==", **more: object) -> dict[str, object]:
    return {"kv": {"key": key, "mod_revision": str(revision), **more}}


def events(*some: dict[str, object], watch_id: int = 0) -> bytes:
    result: dict[str, object] = {"header": {"revision": "99"}, "events": some}
    if watch_id:
        result["watch_id"] = str(watch_id)
    return json.dumps({"result": result}).encode() + b"\n"


def test_revisions_that_the_server_repeats_are_dropped(ctx: Context) -> None:
    """Servers go back once after a partition that ended in a snapshot."""
    steps = [CREATED, *(events(event(revision)) for revision in (5, 6, 7, 5, 6, 7, 8))]
    with scripted(says(*steps)) as store, store.watch(ctx, prefix="a") as feed:
        revisions = []
        while batch := feed.next():
            revisions.append(batch.revision)
    assert revisions == [5, 6, 7, 8]


def test_what_came_before_the_revision_asked_for_is_dropped(ctx: Context) -> None:
    with (
        scripted(says(CREATED, events(event(9)), events(event(11)))) as store,
        store.watch(ctx, prefix="a", after=10) as feed,
    ):
        batch = feed.next()
    assert batch is not None
    assert batch.revision == 11


def test_events_that_arrive_before_every_watch_is_confirmed_are_delivered(ctx: Context) -> None:
    second = b'{"result":{"header":{"revision":"6"},"watch_id":"1","created":true}}\n'
    with (
        scripted(says(CREATED, events(event(5)), second, events(event(7)))) as store,
        store.watch(ctx, keys=["a", "b"]) as feed,
    ):
        assert feed.revision == 4  # from the lowest on, all is delivered
        assert [feed.next().revision, feed.next().revision] == [5, 7]


def test_a_message_without_events_is_no_batch(ctx: Context) -> None:
    progress = b'{"result":{"header":{"revision":"14"}}}\n'
    with (
        scripted(says(CREATED, progress, events(event(15)))) as store,
        store.watch(ctx, prefix="a") as feed,
    ):
        assert feed.next().revision == 15


def test_messages_that_share_a_packet_or_are_cut_are_all_delivered(ctx: Context) -> None:
    raw = CREATED + b"".join(events(event(revision)) for revision in (5, 6, 7))
    pieces = [raw[at : at + 7] for at in range(0, len(raw), 7)]
    for sent in (says(raw), says(*pieces)):
        with scripted(sent) as store, store.watch(ctx, prefix="a") as feed:
            assert [feed.next().revision for _ in range(3)] == [5, 6, 7]
            assert feed.next() is None


def test_an_end_in_good_order_ends_the_feed_after_what_had_come(ctx: Context) -> None:
    with scripted(says(CREATED + events(event(5)))) as store, store.watch(ctx, prefix="a") as feed:
        assert feed.next() is not None
        assert feed.next() is None


@pytest.mark.parametrize(
    "end",
    [
        b'{"error":{"grpc_code":14,"http_code":503,"message":"etcdserver: no leader"}}',
        b'{"error":{"code":14, "message":"etcdserver: no leader"}}',
        b'{"error":{"grpc_code":14,"http_code":503,"message":"error reading from server: EOF"}}',
        b'{"error":{"grpc_code":1,"http_code":408,"message":"grpc: the client connection is closing"}}',
    ],
    ids=["no leader", "no leader, 3.6", "member stops, 3.5", "member stops, 3.4"],
)
def test_a_member_that_cannot_go_on_ends_the_feed_without_an_error(
    end: bytes, ctx: Context
) -> None:
    with (
        scripted(says(CREATED, events(event(5)), end, end=False), HANG) as store,
        store.watch(ctx, prefix="a") as feed,
    ):
        assert feed.next() is not None
        with within(SOON):
            assert feed.next() is None


@pytest.mark.parametrize("how", [(), (RESET,)], ids=["cut", "reset"])
def test_a_connection_that_breaks_ends_the_feed_without_an_error(how, ctx: Context) -> None:
    with (
        scripted(says(CREATED, events(event(5)), end=False), 0.05, *how) as store,
        store.watch(ctx, prefix="a") as feed,
    ):
        assert feed.next() is not None
        assert feed.next() is None


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        (
            (
                b'{"result":{"created":true,"canceled":true,"cancel_reason":'
                b'"rpc error: code = PermissionDenied desc = etcdserver: permission denied"}}'
            ),
            PermissionDenied,
        ),
        (
            (
                b'{"result": {"canceled": true, "watch_id": "-1", '
                b'"cancel_reason": "etcdserver: permission denied"}}'
            ),
            PermissionDenied,
        ),
        (b'{"result":{"canceled":true,"compact_revision":"11"}}', Compacted),
        (b'{"result":{"canceled":true}}', EtcdError),
        (b'{"error":{"code":7,"message":"etcdserver: permission denied"}}', PermissionDenied),
    ],
)
@pytest.mark.parametrize("when", ["at once", "later"])
def test_a_watch_that_etcd_cancels_raises_though_the_stream_stays_open(
    message: bytes, kind: type[EtcdError], when: str, ctx: Context
) -> None:
    first = [CREATED] if when == "later" else []

    def read() -> None:
        with store.watch(ctx, prefix="a") as feed:
            feed.next()

    with (
        scripted(says(*first, message, end=False), HANG) as store,
        within(SOON),
        pytest.raises(kind),
    ):
        read()
    assert ctx._callbacks == {}


UNCONFIRMED = [
    b'{"result":{"header":7,"created":true}}',
    b'{"result":{"header":{"revision":"x"},"created":true}}',
    b'{"result":{"header":{"revision":1e999},"created":true}}',
]
SHAPELESS = [
    b"{}",
    b"<html>}",
    b'{"result":7}',
    b'{"result":{"events":7}}',
    b'{"result":{"events":[7]}}',
    b'{"result":{"events":null}}',
    b'{"result":{"events":[{"kv":7}]}}',
    b'{"result":{"events":[{"kv":{"key":7}}]}}',
    b'{"result":{"events":[{"kv":{"mod_revision":"x"}}]}}',
    b'{"result":{"events":[{"kv":{"mod_revision":1e999}}]}}',
    b'{"result":{"canceled":true,"compact_revision":"x"}}',
    b'{"result":{"canceled":true,"compact_revision":[]}}',
    b'{"result":{"canceled":true,"compact_revision":1e999}}',
]


@pytest.mark.parametrize(
    "messages",
    [*([message] for message in UNCONFIRMED + SHAPELESS), *([CREATED, one] for one in SHAPELESS)],
    ids=lambda messages: b" ".join(messages).decode().replace(CREATED.decode(), "later"),
)
def test_a_message_of_an_unknown_shape_is_an_invalid_response(
    messages: list[bytes], ctx: Context
) -> None:
    def read() -> None:
        with store.watch(ctx, prefix="a") as feed:
            while feed.next():
                pass

    # What comes before the confirmation is looked at after it; here there is none.
    expected = InvalidResponse if CREATED in messages else (InvalidResponse, ClusterError)
    with scripted(says(*messages)) as store, pytest.raises(expected):
        read()
    assert ctx._callbacks == {}


@pytest.mark.parametrize(
    ("sent", "kind"),
    [
        (
            answer(b'{"code":7,"message":"etcdserver: permission denied"}', status=403),
            PermissionDenied,
        ),
        (
            answer(b'{"error":"no","code":14,"message":"etcdserver: no leader"}', status=503),
            ClusterError,
        ),
        (answer(b"Not Found\n", status=404), InvalidResponse),
        (answer(b"bad gateway", status=502), ClusterError),
        (says(b'{"error":{"code":14,"message":"etcdserver: no leader"}}'), ClusterError),
        (says(), ClusterError),
        (b"garbage\r\n\r\n", ClusterError),
    ],
    ids=["denied", "no leader", "no etcd", "proxy", "no leader in the stream", "empty", "garbage"],
)
def test_a_watch_that_is_not_opened_raises_as_a_call_would(
    sent: bytes, kind: type[Exception], ctx: Context
) -> None:
    with scripted(sent) as store, pytest.raises(kind):
        store.watch(ctx, prefix="a")
    assert ctx._callbacks == {}


def test_a_watch_goes_to_an_endpoint_that_takes_it(
    etcd: EtcdProcess, v3: V3, name: str, ctx: Context
) -> None:
    no_leader = answer(b'{"code":14,"message":"etcdserver: no leader"}', status=503)
    with refusing() as refused, Server(script(no_leader)) as server, Server(script()) as cut:
        endpoints = (refused, server.endpoint, cut.endpoint, etcd.endpoint)
        with (
            cluster_of(*endpoints) as cluster,
            V3Store(Gateway(cluster)).watch(ctx, prefix=name) as feed,
        ):
            v3.kv.put(name, "")
            assert feed.next() is not None
            assert cluster.pinned == etcd.endpoint


def test_a_feed_asks_for_a_leader_and_for_all_its_keys_in_one_request(ctx: Context) -> None:
    second = CREATED.replace(b'"created"', b'"watch_id":"1","created"')
    with Server(script(says(CREATED, second))) as server, cluster_of(server.endpoint) as cluster:
        V3Store(Gateway(cluster)).watch(ctx, keys=["a"], own="b", after=7).close()
    (request,) = server.requests
    assert request.headers["grpc-metadata-hasleader"] == "true"
    wanted = [requests.watch_create(key, start_revision=8, fragment=True) for key in (b"a", b"b")]
    assert request.body == requests.watch(wanted, what="").body


def test_reading_after_the_end_and_closing_twice_are_harmless(etcd: EtcdProcess) -> None:
    with cluster_of(etcd.endpoint) as cluster:
        feed = V3Store(Gateway(cluster)).watch(Context(FOREVER), prefix="a/")
        feed.close()
        assert feed.next() is None
        feed.close()
