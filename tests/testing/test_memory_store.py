"""The contract of a Store: the same cases over v3, v2 and memory; then what is memory's own."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from etcd_recipes import Client
from etcd_recipes.core import runtime
from etcd_recipes.core.context import Context
from etcd_recipes.core.errors import (
    Cancelled,
    CompareFailed,
    DeadlineExceeded,
    HistoryLost,
    LeaseNotFound,
)
from etcd_recipes.core.store import Change, Entry, Grant, Store
from etcd_recipes.testing import EtcdProcess
from etcd_recipes.testing import memory as memory_module
from etcd_recipes.testing.memory import MemoryStore
from tests.tools import Job, eventually

ENDLESS = 60.0


@pytest.fixture(params=["v3", "v2", "memory"])
def store(request: pytest.FixtureRequest, etcd: EtcdProcess) -> Iterator[Store]:
    if request.param == "memory":
        yield MemoryStore()
        return
    with Client(etcd.endpoint, api=request.param) as client:
        yield client._sessions.store


@pytest.fixture
def ctx() -> Context:
    return Context(10.0)


@pytest.fixture
def grants(store: Store, ctx: Context) -> Iterator[list[Grant]]:
    grants = [store.open_grant(ENDLESS, ctx) for _ in range(3)]
    yield grants
    for grant in grants:
        grant.close(ctx)


def made(store: Store, key: str, value: str, ctx: Context) -> Entry:
    entry = store.create(key, value, None, ctx).mine
    assert entry is not None
    return entry


# -- one key -------------------------------------------------------------------------------------------------


def test_a_key_is_created_once_and_listed_in_the_order_of_creation(
    store: Store, name: str, ctx: Context
) -> None:
    assert store.get(f"{name}/b", ctx) is None
    first = made(store, f"{name}/b", "1", ctx)
    assert (first.key, first.value, first.lease) == (f"{name}/b", "1", 0)
    second = made(store, f"{name}/a", "2", ctx)
    assert first.created == first.modified < second.created
    assert made(store, f"{name}/b", "other", ctx) == first
    assert store.get(f"{name}/b", ctx) == first
    snapshot = store.list(f"{name}/", ctx)
    assert snapshot.entries == (first, second)
    assert snapshot.revision >= second.created
    assert store.list(f"{name}/none/", ctx).entries == ()


def test_replace_and_delete_mean_one_incarnation(store: Store, name: str, ctx: Context) -> None:
    key = f"{name}/k"
    old = made(store, key, "1", ctx)
    changed = store.replace(old, "2", ctx)
    assert (changed.value, changed.created) == ("2", old.created)
    assert changed.modified > old.modified
    assert store.get(key, ctx) == changed
    # By the incarnation, not by the last change: who has an old entry may go on with it.
    assert store.replace(old, "3", ctx).value == "3"
    assert store.delete(old, ctx) is True
    assert store.delete(old, ctx) is False
    new = made(store, key, "4", ctx)
    assert new.created > old.created
    assert store.delete(old, ctx) is False
    with pytest.raises(CompareFailed):
        store.replace(old, "late", ctx)
    assert store.get(key, ctx) == new


def test_swap_means_what_was_read(store: Store, name: str, ctx: Context) -> None:
    key = f"{name}/k"
    read = made(store, key, "1", ctx)
    store.swap(read, "2", ctx)
    with pytest.raises(CompareFailed):
        store.swap(read, "3", ctx)
    now = store.get(key, ctx)
    assert now is not None
    assert (now.value, now.created) == ("2", read.created)
    store.delete(now, ctx)
    with pytest.raises(CompareFailed):
        store.swap(now, "4", ctx)
    assert store.get(key, ctx) is None


def test_withdraw_takes_what_is_attached_to_the_grant_and_nothing_else(
    store: Store, name: str, grants: list[Grant], ctx: Context
) -> None:
    key = f"{name}/k"
    entry = store.create(key, "1", grants[0], ctx).mine
    assert entry is not None
    assert entry.lease == grants[0].id
    assert store.withdraw(key, grants[1], ctx) is False
    assert store.withdraw(key, grants[0], ctx) is True
    assert store.withdraw(key, grants[0], ctx) is False
    assert store.get(key, ctx) is None


# -- a line --------------------------------------------------------------------------------------------------


def test_who_joins_stands_last_and_sees_those_ahead_the_nearest_first(
    store: Store, name: str, grants: list[Grant], ctx: Context
) -> None:
    join = store.join
    one = join(name, "one", grants[0], ctx, ahead=1)
    two = join(name, "two", grants[1], ctx, ahead=1)
    three = join(name, "three", grants[2], ctx, ahead=None)
    assert one.mine is not None
    assert two.mine is not None
    assert three.mine is not None
    assert (one.ahead, two.ahead) == ((), (one.mine,))
    assert three.ahead == (two.mine, one.mine)
    assert store.standing(name, three.mine, ctx, ahead=1).ahead == (two.mine,)
    assert store.look(name, ctx).ahead == (three.mine, two.mine, one.mine)
    assert store.contender_id(name, one.mine.key)
    assert store.contender_id(name, f"{one.mine.key}/deeper") is None

    store.delete(two.mine, ctx)
    assert store.standing(name, two.mine, ctx, ahead=1).mine is None
    assert store.standing(name, three.mine, ctx, ahead=1).ahead == (one.mine,)
    assert not any(each.doubt for each in (one, two, three))


# v2 knows a join again only while its reply is missing.
@pytest.mark.parametrize("store", ["v3", "memory"], indirect=True)
def test_whoever_joins_again_has_the_place_that_it_has(
    store: Store, name: str, grants: list[Grant], ctx: Context
) -> None:
    one = store.join(name, "one", grants[0], ctx, ahead=None)
    two = store.join(name, "two", grants[1], ctx, ahead=None)
    again = store.join(name, "other", grants[0], ctx, ahead=None)
    assert (again.mine, again.ahead) == (one.mine, ())
    assert store.join_if_first(name, "other", grants[0], ctx).mine == one.mine
    assert store.join_if_first(name, "other", grants[1], ctx).mine is None
    assert store.look(name, ctx).ahead == (two.mine, one.mine)


def test_a_place_is_taken_if_nobody_is_there_and_otherwise_nothing_is_written(
    store: Store, name: str, grants: list[Grant], ctx: Context
) -> None:
    made(store, f"{name}/deeper/key", "of another line", ctx)
    first = store.join_if_first(name, "one", grants[0], ctx)
    assert first.mine is not None
    assert first.mine.value == "one"
    before = store.list(f"{name}/", ctx).entries
    other = store.join_if_first(name, "two", grants[1], ctx)
    assert (other.mine, other.ahead) == (None, (first.mine,))
    assert store.list(f"{name}/", ctx).entries == before


def test_seats_of_one_grant_are_places_and_what_lies_beside_is_read_with_the_line(
    store: Store, name: str, grants: list[Grant], ctx: Context
) -> None:
    limit = store.beside(name, "limit")
    beside = made(store, limit, "5", ctx)
    here = store.join(name, "a", grants[0], ctx, ahead=None, seat=0, beside=limit)
    also = store.join(name, "b", grants[0], ctx, ahead=None, seat=1, beside=limit)
    assert here.mine is not None
    assert also.mine is not None
    assert also.ahead == (here.mine,)
    assert here.beside == also.beside == beside
    seen = store.look(name, ctx, beside=limit)
    assert (seen.ahead, seen.beside) == ((also.mine, here.mine), beside)
    assert store.withdraw(store.place(name, grants[0], 0), grants[0], ctx) is True
    assert store.look(name, ctx).ahead == (also.mine,)


# -- changes and grants --------------------------------------------------------------------------------------


def test_a_feed_from_now_on_tells_every_later_change_of_its_keys(
    store: Store, name: str, ctx: Context
) -> None:
    here, there = f"{name}/here", f"{name}/there"
    entry = made(store, here, "1", ctx)
    with store.watch(ctx, keys=[here]) as feed:
        assert feed.revision >= entry.created
        other = made(store, there, "not watched", ctx)
        changed = store.replace(entry, "2", ctx)
        store.delete(changed, ctx)
        batch = feed.next()
        assert batch is not None
        assert batch.changes == (Change(here, changed),)
        assert batch.revision == changed.modified > other.created
        batch = feed.next()
        assert batch is not None
        assert batch.changes == (Change(here, None),)


def test_a_feed_after_a_revision_begins_with_what_has_happened_since(
    store: Store, name: str, ctx: Context
) -> None:
    made(store, f"{name}/a", "1", ctx)
    read = store.list(f"{name}/", ctx)
    entry = made(store, f"{name}/b", "2", ctx)
    with store.watch(ctx, prefix=f"{name}/", after=read.revision) as feed:
        batch = feed.next()
        assert batch is not None
        assert (batch.changes, batch.revision) == ((Change(entry.key, entry),), entry.created)
        store.delete(entry, ctx)
        batch = feed.next()
        assert batch is not None
        assert batch.changes == (Change(entry.key, None),)


def test_a_feed_ends_by_quiet_by_close_and_by_its_context(store: Store, name: str) -> None:
    with store.watch(Context(10.0), keys=[name], quiet=0.05) as feed:
        assert feed.next() is None
        assert feed.next() is None
    ctx = Context(10.0)
    with store.watch(ctx, keys=[name]) as feed:
        waiting = Job(feed.next)
        ctx.cancel()
        with pytest.raises(Cancelled):
            waiting.result(5.0)
    with store.watch(Context(0.2), keys=[name]) as feed:
        with pytest.raises(DeadlineExceeded):
            feed.next()


def test_a_grant_has_its_ttl_tells_its_keys_and_takes_them_along(
    store: Store, name: str, ctx: Context
) -> None:
    grant = store.open_grant(29.2, ctx)
    assert grant.ttl == 30
    keys = {f"{name}/a", f"{name}/b"}
    for key in keys:
        store.create(key, "1", grant, ctx)
    renewal = grant.renew(ctx, keys=True)
    assert (renewal.ttl, renewal.keys) == (30, keys)
    kept = made(store, f"{name}/kept", "1", ctx)
    grant.close(ctx)
    grant.close(ctx)
    assert store.list(f"{name}/", ctx).entries == (kept,)


def test_nothing_begins_when_the_context_has_ended(store: Store, name: str, ctx: Context) -> None:
    over = Context(0.0)
    with pytest.raises(DeadlineExceeded):
        store.create(name, "1", None, over)
    assert store.get(name, ctx) is None


# -- memory alone --------------------------------------------------------------------------------------------


@pytest.fixture
def memory() -> MemoryStore:
    return MemoryStore()


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ahead = 0.0
        real = runtime.now
        monkeypatch.setattr(runtime, "now", lambda: real() + self.ahead)


def test_a_lease_that_is_not_renewed_ends_and_whoever_watches_hears_of_it(
    memory: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, ctx = Clock(monkeypatch), Context()
    grant = memory.open_grant(2, ctx)
    memory.create("k", "1", grant, ctx)
    with memory.watch(ctx, keys=["k"]) as feed:
        clock.ahead += 1.9
        grant.renew(ctx)
        clock.ahead += 1.9
        assert memory.get("k", ctx) is not None
        clock.ahead += 0.2
        batch = feed.next()
        assert batch is not None
        assert batch.changes == (Change("k", None),)
    assert memory.get("k", ctx) is None
    for use in (grant.renew, lambda ctx: memory.create("k", "1", grant, ctx)):
        with pytest.raises(LeaseNotFound):
            use(ctx)


def test_a_reader_that_sleeps_is_up_when_a_lease_ends(memory: MemoryStore) -> None:
    ctx = Context(10.0)
    grant = memory.open_grant(1, ctx)
    memory.create("k", "1", grant, ctx)
    memory._leases[grant.id].until = runtime.now() + 0.1
    with memory.watch(ctx, keys=["k"]) as feed:
        batch = feed.next()
    assert batch is not None
    assert batch.changes == (Change("k", None),)


def test_history_that_is_not_kept_is_history_lost(memory: MemoryStore) -> None:
    ctx = Context()
    begin = memory.list("", ctx).revision
    entry = made(memory, "k", "0", ctx)
    for number in range(memory_module._HISTORY):
        entry = memory.replace(entry, str(number), ctx)
    with pytest.raises(HistoryLost) as caught:
        memory.watch(ctx, prefix="", after=begin)
    with memory.watch(ctx, prefix="", after=caught.value.resume_from) as feed:
        batch = feed.next()
    assert batch is not None
    assert batch.revision == caught.value.resume_from + 1


def test_a_closed_feed_is_forgotten_and_wakes_its_reader(memory: MemoryStore) -> None:
    feed = memory.watch(Context(), keys=["k"])
    waiting = Job(feed.next)
    eventually(lambda: waiting.running)
    feed.close()
    assert waiting.result() is None
    assert memory._feeds == []


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # of a program with threads
def test_a_forked_child_begins_with_nothing(memory: MemoryStore) -> None:
    ctx = Context()
    made(memory, "k", "1", ctx)
    inside, leave = runtime.new_event(), runtime.new_event()

    def be_in_the_middle_of_a_verb() -> None:
        with memory._lock:
            inside.set()
            leave.wait(10.0)

    busy = Job(be_in_the_middle_of_a_verb)
    assert inside.wait(10.0)
    pid = os.fork()
    if not pid:
        signal.alarm(5)  # the end of a child that waits for ever
        os._exit(0 if memory.get("k", Context(5.0)) is None else 1)
    leave.set()
    busy.result()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert memory.get("k", ctx) is not None
