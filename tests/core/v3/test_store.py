"""The Store over v3, verb by verb, against a real server; and that each may be sent twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from etcd_recipes.core.context import Context
from etcd_recipes.core.errors import (
    ClusterError,
    CompareFailed,
    InvalidResponse,
    LeaseNotFound,
)
from etcd_recipes.core.http.cluster import Cluster
from etcd_recipes.core.store import Entry, Grant, Standing
from etcd_recipes.core.v3.api import V3
from etcd_recipes.core.v3.gateway import Gateway
from etcd_recipes.core.v3.store import V3Store
from etcd_recipes.testing import EtcdProcess, FaultProxy
from tests.core.calls import SOON, within
from tests.core.clusters import cluster_of
from tests.core.servers import Server, always, answer, each, silent
from tests.requests_seen import requests_seen
from tests.tools import eventually


@pytest.fixture
def grant(store: V3Store, ctx: Context) -> Iterator[Grant]:
    grant = store.open_grant(60, ctx)
    yield grant
    grant.close(ctx)


@pytest.fixture
def grants(store: V3Store, ctx: Context) -> Iterator[list[Grant]]:
    grants = [store.open_grant(60, ctx) for _ in range(4)]
    yield grants
    for grant in grants:
        grant.close(ctx)


@pytest.fixture
def loses_a_reply(etcd: EtcdProcess) -> Iterator[Callable[[], V3Store]]:
    """Make stores whose next request is carried out at an endpoint that does not answer it."""
    with FaultProxy(etcd.endpoint) as proxy, cluster_of(proxy.endpoint, etcd.endpoint) as cluster:

        def make() -> V3Store:
            cluster._ring = cluster._ring.pin(proxy.endpoint)
            proxy.lose_reply()
            return V3Store(Gateway(cluster))

        yield make


# -- one key -------------------------------------------------------------------------------------------------


def test_get_gives_the_entry_or_none(store: V3Store, v3: V3, name: str, ctx: Context) -> None:
    assert store.get(name, ctx) is None
    lease = v3.lease.grant(60).id
    created = v3.kv.put(name, "one", lease=lease).revision
    modified = v3.kv.put(name, "two", lease=lease).revision
    assert store.get(name, ctx) == Entry(name, "two", created, modified, lease)
    v3.lease.revoke(lease)


def test_list_gives_all_below_a_prefix_the_oldest_first(
    store: V3Store, v3: V3, name: str, ctx: Context
) -> None:
    for letter in "cab":
        v3.kv.put(f"{name}/{letter}", letter)
    last = v3.kv.put(f"{name}/c", "again").revision
    v3.kv.put(f"{name}0", "beside")
    snapshot = store.list(f"{name}/", ctx)
    assert [entry.key for entry in snapshot.entries] == [f"{name}/{one}" for one in "cab"]
    assert [entry.value for entry in snapshot.entries] == ["again", "a", "b"]
    assert snapshot.revision == last + 1
    assert store.list(f"{name}/nothing", ctx).entries == ()


def test_list_of_the_empty_prefix_is_everything(
    store: V3Store, v3: V3, name: str, ctx: Context
) -> None:
    v3.kv.put(name, "v")
    assert name in {entry.key for entry in store.list("", ctx).entries}


def test_keys_and_values_that_are_not_utf_8_are_shown(
    store: V3Store, v3: V3, name: str, ctx: Context
) -> None:
    raw = name.encode() + b"/\xff\x00"
    v3.kv.put(raw, b"\xffvalue")
    (entry,) = store.list(f"{name}/", ctx).entries
    assert entry.value == "�value"
    assert store.get(entry.key, ctx) == entry
    assert store.delete(entry, ctx)
    assert v3.kv.get(raw) is None


def test_create_writes_once_and_then_gives_what_is_there(
    store: V3Store, name: str, grant: Grant, ctx: Context
) -> None:
    first = store.create(name, "mine", grant, ctx)
    assert first.mine == store.get(name, ctx)
    assert (first.mine.lease, first.ahead, first.doubt) == (grant.id, (), False)
    assert first.revision == first.mine.created
    second = store.create(name, "theirs", None, ctx)
    assert second.mine == first.mine
    assert second.revision >= first.revision


def test_a_key_without_a_grant_has_no_lease(store: V3Store, name: str, ctx: Context) -> None:
    assert store.create(name, "v", None, ctx).mine.lease == 0


def test_replace_changes_this_incarnation_and_no_other(
    store: V3Store, v3: V3, name: str, grant: Grant, ctx: Context
) -> None:
    entry = store.create(name, "one", grant, ctx).mine
    changed = store.replace(entry, "two", ctx)
    assert changed == store.get(name, ctx)
    assert (changed.created, changed.lease) == (entry.created, grant.id)
    assert changed.modified > entry.modified
    assert store.replace(changed, "two", ctx).value == "two"  # the second copy
    v3.kv.delete(name)
    with pytest.raises(CompareFailed, match=f"key '{name}' created at revision {entry.created}"):
        store.replace(changed, "three", ctx)
    assert store.get(name, ctx) is None
    store.create(name, "somebody else's", None, ctx)
    with pytest.raises(CompareFailed):
        store.replace(changed, "three", ctx)
    assert store.get(name, ctx).value == "somebody else's"


def test_replace_works_from_an_entry_that_is_out_of_date_and_restores_its_lease(
    store: V3Store, v3: V3, name: str, grant: Grant, ctx: Context
) -> None:
    entry = store.create(name, "one", grant, ctx).mine
    for put in ("an operator's", "two"):
        v3.kv.put(name, put)  # takes the key off its lease
        changed = store.replace(entry, "two", ctx)
        assert changed == store.get(name, ctx)
        assert (changed.value, changed.lease) == ("two", grant.id)


def test_a_late_copy_of_a_replace_does_not_write_over_a_later_one(
    store: V3Store, etcd: EtcdProcess, name: str, grant: Grant, ctx: Context
) -> None:
    entry = store.create(name, "one", grant, ctx).mine
    for keeps in (True, False):  # the entry that was given, or the one it began with
        with (
            FaultProxy(etcd.endpoint) as proxy,
            cluster_of(proxy.endpoint, etcd.endpoint, header_timeout=0.2) as cluster,
        ):
            cluster._ring = cluster._ring.pin(proxy.endpoint)
            proxy.hold(times=1)
            slow = V3Store(Gateway(cluster))
            first = slow.replace(entry, f"early {keeps}", ctx)
            assert (proxy.hits, first) == (1, store.get(name, ctx))
            last = slow.replace(first if keeps else entry, f"late {keeps}", ctx)
            before = requests_seen(etcd.endpoint)["Txn"]
            proxy.heal()
            eventually(lambda seen=before: requests_seen(etcd.endpoint)["Txn"] > seen)
            assert store.get(name, ctx) == last
            entry = last


def test_delete_takes_this_incarnation_and_no_other(
    store: V3Store, name: str, ctx: Context
) -> None:
    entry = store.create(name, "one", None, ctx).mine
    changed = store.replace(entry, "two", ctx)
    assert store.delete(entry, ctx) is True  # whichever version of it
    assert store.delete(changed, ctx) is False
    other = store.create(name, "somebody else's", None, ctx).mine
    assert store.delete(entry, ctx) is False
    assert store.get(name, ctx) == other


def test_withdraw_takes_only_what_is_attached_to_the_grant(
    store: V3Store, name: str, grants: list[Grant], ctx: Context
) -> None:
    mine, theirs, *_ = grants
    assert store.withdraw(name, mine, ctx) is False
    store.create(name, "theirs", theirs, ctx)
    assert store.withdraw(name, mine, ctx) is False
    assert store.get(name, ctx) is not None
    assert store.withdraw(name, theirs, ctx) is True
    assert store.withdraw(name, theirs, ctx) is False
    assert store.get(name, ctx) is None


# -- a line --------------------------------------------------------------------------------------------------


def ids(standing: Standing) -> list[int]:
    return [entry.lease for entry in standing.ahead]


def test_a_place_is_the_lease_in_hex_directly_below_the_line(store: V3Store, name: str) -> None:
    class Small:
        id = 0x1F

    assert store.place(name, Small()) == f"{name}/1f"


@pytest.mark.parametrize(
    ("rest", "id_"),
    [
        ("/1f", "1f"),
        ("/0", "0"),
        ("/694d7f3f1a2b3c4d", "694d7f3f1a2b3c4d"),
        ("/1F", None),
        ("/1f/", None),
        ("/1f/2a", None),
        ("/sub/1f", None),
        ("/", None),
        ("", None),
        ("1f", None),
        ("/1f\n", None),
        ("/694d7f3f1a2b3c4d5", None),
        ("/0x1f", None),
        ("/\u0661", None),
    ],
)
def test_a_contender_is_exactly_a_lease_below_the_line(
    store: V3Store, rest: str, id_: str | None
) -> None:
    assert store.contender_id("line", f"line{rest}") == id_
    assert store.contender_id("line", f"other{rest}") is None


def test_join_takes_the_last_place_and_tells_who_is_ahead_the_nearest_first(
    store: V3Store, name: str, grants: list[Grant], ctx: Context
) -> None:
    standings = [store.join(name, "me", grant, ctx, ahead=None) for grant in grants]
    first, second, third, fourth = [grant.id for grant in grants]
    assert [ids(standing) for standing in standings] == [
        [],
        [first],
        [second, first],
        [third, second, first],
    ]
    for standing, grant in zip(standings, grants, strict=True):
        assert standing.mine == store.get(store.place(name, grant), ctx)
        assert standing.revision == standing.mine.created
        assert not standing.doubt
    assert fourth == standings[3].mine.lease


@pytest.mark.parametrize("ahead", [0, 1, 2, 3, 9])
def test_join_tells_as_many_as_were_asked_for(
    store: V3Store, name: str, grants: list[Grant], ctx: Context, ahead: int
) -> None:
    for grant in grants[:3]:
        store.join(name, "", grant, ctx, ahead=1)
    expected = [grants[2].id, grants[1].id, grants[0].id][:ahead]
    for _ in range(2):  # the second copy finds the place and the same answer
        assert ids(store.join(name, "", grants[3], ctx, ahead=ahead)) == expected


def test_joining_twice_is_one_place_at_the_time_of_the_first(
    store: V3Store, name: str, grants: list[Grant], ctx: Context
) -> None:
    first = store.join(name, "v", grants[0], ctx, ahead=None)
    store.join(name, "", grants[1], ctx, ahead=None)
    again = store.join(name, "another", grants[0], ctx, ahead=None)
    assert again.mine == first.mine
    assert again.ahead == ()
    assert len(store.list(f"{name}/", ctx).entries) == 2


def test_keys_of_deeper_lines_are_not_ahead_however_many(
    store: V3Store, v3: V3, name: str, grants: list[Grant], ctx: Context
) -> None:
    first = store.join(name, "", grants[0], ctx, ahead=1)
    for number in range(5):
        v3.kv.put(f"{name}/deeper/{number}", "")
        v3.kv.put(f"{name}/{number}x", "no lease id")
    second = store.join(name, "", grants[1], ctx, ahead=1)
    assert second.ahead == (first.mine,)
    for number in range(5):
        v3.kv.put(f"{name}/deeper/{number}", "")
    assert store.standing(name, second.mine, ctx, ahead=1).ahead == (first.mine,)
    assert store.standing(name, first.mine, ctx, ahead=1).ahead == ()
    v3.kv.delete(f"{name}/", prefix=True)


def test_join_if_first_writes_only_into_an_empty_line(
    store: V3Store, name: str, grants: list[Grant], ctx: Context
) -> None:
    first = store.join_if_first(name, "v", grants[0], ctx)
    assert first.mine == store.get(store.place(name, grants[0]), ctx)
    assert first.ahead == ()
    busy = store.join_if_first(name, "v", grants[1], ctx)
    assert busy.mine is None
    assert busy.ahead == (first.mine,)
    assert len(store.list(f"{name}/", ctx).entries) == 1
    again = store.join_if_first(name, "v", grants[0], ctx)  # the second copy
    assert (again.mine, again.ahead) == (first.mine, ())
    store.delete(first.mine, ctx)
    assert store.join_if_first(name, "v", grants[1], ctx).mine is not None


def test_join_if_first_is_not_kept_out_by_a_deeper_line(
    store: V3Store, v3: V3, name: str, grants: list[Grant], ctx: Context
) -> None:
    v3.kv.put(f"{name}/deeper/1f", "")
    first = store.join_if_first(name, "v", grants[0], ctx)
    assert first.mine is not None
    assert first.ahead == ()
    busy = store.join_if_first(name, "v", grants[1], ctx)
    assert busy.mine is None
    assert busy.ahead == (first.mine,)
    assert store.get(store.place(name, grants[1]), ctx) is None
    v3.kv.delete(f"{name}/", prefix=True)


def test_standing_follows_departures_and_the_loss_of_the_own_place(
    store: V3Store, name: str, grants: list[Grant], ctx: Context
) -> None:
    first, second, third = [store.join(name, "", g, ctx, ahead=None).mine for g in grants[:3]]
    assert ids(store.standing(name, third, ctx, ahead=None)) == [second.lease, first.lease]
    assert ids(store.standing(name, third, ctx, ahead=1)) == [second.lease]
    store.delete(second, ctx)
    assert ids(store.standing(name, third, ctx, ahead=1)) == [first.lease]
    grants[2].close(ctx)
    gone = store.standing(name, third, ctx, ahead=None)
    assert (gone.mine, gone.ahead) == (None, ())


def test_a_place_of_another_incarnation_is_not_mine(
    store: V3Store, name: str, grants: list[Grant], ctx: Context
) -> None:
    old = store.join(name, "", grants[0], ctx, ahead=None).mine
    store.delete(old, ctx)
    new = store.join(name, "", grants[0], ctx, ahead=None).mine
    assert store.standing(name, old, ctx, ahead=None).mine is None
    assert store.standing(name, new, ctx, ahead=None).mine == new


@pytest.mark.parametrize("verb", ["create", "join", "join_if_first"])
def test_nothing_is_written_under_a_grant_that_is_gone(
    store: V3Store, name: str, ctx: Context, verb: str
) -> None:
    grant = store.open_grant(60, ctx)
    grant.close(ctx)
    calls = {
        "create": lambda: store.create(name, "", grant, ctx),
        "join": lambda: store.join(name, "", grant, ctx, ahead=None),
        "join_if_first": lambda: store.join_if_first(name, "", grant, ctx),
    }
    with pytest.raises(LeaseNotFound):
        calls[verb]()
    assert store.list(name, ctx).entries == ()


# -- a reply is lost -----------------------------------------------------------------------------------------


def test_a_key_created_by_a_copy_whose_reply_was_lost_is_ours_and_in_doubt(
    loses_a_reply, store: V3Store, name: str, grant: Grant, ctx: Context
) -> None:
    standing = loses_a_reply().create(name, "mine", grant, ctx)
    assert standing.mine == store.get(name, ctx)
    assert (standing.mine.value, standing.mine.lease) == ("mine", grant.id)
    assert standing.doubt


def test_a_place_taken_by_a_copy_whose_reply_was_lost_is_ours_and_in_doubt(
    loses_a_reply, store: V3Store, name: str, grants: list[Grant], ctx: Context
) -> None:
    first = store.join(name, "", grants[0], ctx, ahead=None)
    second = loses_a_reply().join(name, "", grants[1], ctx, ahead=1)
    assert second.mine == store.get(store.place(name, grants[1]), ctx)
    assert second.ahead == (first.mine,)
    assert second.doubt
    assert len(store.list(f"{name}/", ctx).entries) == 2


def test_an_empty_line_taken_by_a_copy_whose_reply_was_lost_is_ours_and_in_doubt(
    loses_a_reply, store: V3Store, name: str, grants: list[Grant], ctx: Context
) -> None:
    first = loses_a_reply().join_if_first(name, "", grants[0], ctx)
    assert first.mine == store.get(store.place(name, grants[0]), ctx)
    assert first.ahead == ()
    assert first.doubt
    busy = loses_a_reply().join_if_first(name, "", grants[1], ctx)
    assert (busy.mine, busy.ahead, busy.doubt) == (None, (first.mine,), True)


def test_changes_whose_reply_was_lost_are_made_once(
    loses_a_reply, store: V3Store, name: str, grant: Grant, ctx: Context
) -> None:
    entry = store.create(name, "one", grant, ctx).mine
    changed = loses_a_reply().replace(entry, "two", ctx)
    assert changed == store.get(name, ctx)
    assert changed.modified == entry.created + 1, "written once"
    assert loses_a_reply().delete(changed, ctx) in (True, False)  # the first copy took it
    assert store.get(name, ctx) is None
    store.create(name, "one", grant, ctx)
    loses_a_reply().withdraw(name, grant, ctx)
    assert store.get(name, ctx) is None


def test_a_grant_whose_reply_was_lost_is_the_one_that_is_given(
    loses_a_reply, v3: V3, ctx: Context
) -> None:
    before = set(v3.lease.list())
    grant = loses_a_reply().open_grant(7.5, ctx)
    assert set(v3.lease.list()) - before == {grant.id}
    assert grant.ttl == 8
    loses_a_reply()
    assert grant.renew(ctx, keys=True).ttl == 8
    loses_a_reply()
    grant.close(ctx)
    assert grant.id not in v3.lease.list()


def test_reads_are_in_no_doubt(store: V3Store, name: str, grant: Grant, ctx: Context) -> None:
    mine = store.join(name, "", grant, ctx, ahead=None).mine
    assert not store.standing(name, mine, ctx, ahead=None).doubt


# -- grants --------------------------------------------------------------------------------------------------


def test_a_grant_has_the_ttl_that_the_server_granted(store: V3Store, ctx: Context) -> None:
    for asked, granted in ((60, 60), (59.5, 60), (0.1, None)):
        grant = store.open_grant(asked, ctx)
        assert grant.ttl == granted or (granted is None and grant.ttl >= 1)
        assert 0 < grant.id < 2**63
        grant.close(ctx)


def test_a_renewal_tells_the_ttl_and_the_keys(
    store: V3Store, name: str, grant: Grant, ctx: Context
) -> None:
    assert grant.renew(ctx).keys is None
    assert grant.renew(ctx, keys=True).keys == frozenset()
    store.create(f"{name}/a", "", grant, ctx)
    store.create(f"{name}/\udcff", "", grant, ctx)
    renewal = grant.renew(ctx, keys=True)
    assert renewal.ttl == 60
    assert renewal.keys == {f"{name}/a", f"{name}/\udcff"}


@pytest.mark.parametrize("keys", [False, True])
def test_the_renewal_of_a_grant_that_is_gone_says_so(
    store: V3Store, ctx: Context, *, keys: bool
) -> None:
    grant = store.open_grant(60, ctx)
    grant.close(ctx)
    with pytest.raises(LeaseNotFound, match=f"{grant.id:x}"):
        grant.renew(ctx, keys=keys)
    grant.close(ctx)


def test_a_renewal_leaves_a_silent_endpoint_long_before_its_lease_ends(
    etcd: EtcdProcess, ctx: Context
) -> None:
    with (
        Server(silent) as server,
        cluster_of(etcd.endpoint, server.endpoint, header_timeout=5.0) as cluster,
    ):
        grant = V3Store(Gateway(cluster)).open_grant(2, ctx)
        cluster.pin(server.endpoint)
        with within(grant.ttl / 6 + SOON):
            assert grant.renew(ctx, keys=True).ttl == grant.ttl


def test_a_renewal_that_the_keys_contradict_is_not_believed(ctx: Context) -> None:
    """Some servers answer a renewal of a revoked lease with success."""
    answers = {
        "/v3/lease/grant": b'{"ID":"7","TTL":"60"}',
        "/v3/lease/keepalive": b'{"result":{"ID":"7","TTL":"60"}}\n',
        "/v3/lease/timetolive": b'{"ID":"7","TTL":"-1"}',
    }

    def handle(peer) -> None:
        while request := peer.request():
            peer.send(answer(answers[request.path]))

    with Server(handle) as server, cluster_of(server.endpoint) as cluster:
        grant = V3Store(Gateway(cluster)).open_grant(60, ctx)
        assert grant.renew(ctx).ttl == 60
        with pytest.raises(LeaseNotFound):
            grant.renew(ctx, keys=True)


def test_in_its_last_second_a_lease_still_lives(ctx: Context) -> None:
    answers = {
        "/v3/lease/grant": b'{"ID":"7","TTL":"2"}',
        "/v3/lease/keepalive": b'{"result":{"ID":"7","TTL":"2"}}\n',
        "/v3/lease/timetolive": b'{"ID":"7","grantedTTL":"2","keys":["aw=="]}',
    }

    def handle(peer) -> None:
        while request := peer.request():
            peer.send(answer(answers[request.path]))

    with Server(handle) as server, cluster_of(server.endpoint) as cluster:
        grant = V3Store(Gateway(cluster)).open_grant(2, ctx)
        assert grant.renew(ctx, keys=True).keys == {"k"}


# -- answers of no shape -------------------------------------------------------------------------------------

VERBS: dict[str, Callable[[V3Store, Context], object]] = {
    "get": lambda store, ctx: store.get("k", ctx),
    "list": lambda store, ctx: store.list("k", ctx),
    "create": lambda store, ctx: store.create("k", "", None, ctx),
    "replace": lambda store, ctx: store.replace(Entry("k", "", 1, 1), "", ctx),
    "delete": lambda store, ctx: store.delete(Entry("k", "", 1, 1), ctx),
    "withdraw": lambda store, ctx: store.withdraw("k", _seven(), ctx),
    "join": lambda store, ctx: store.join("k", "", _seven(), ctx, ahead=1),
    "join_if_first": lambda store, ctx: store.join_if_first("k", "", _seven(), ctx),
    "standing": lambda store, ctx: store.standing("k", Entry("k/7", "", 1, 1), ctx, ahead=1),
    "open_grant": lambda store, ctx: store.open_grant(5, ctx),
}


def _seven() -> Grant:
    class Seven:
        id, ttl = 7, 5.0

    return Seven()  # type: ignore[return-value]


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(
    "body",
    [
        b'{"header":7,"responses":[{}],"TTL":"x","kvs":7}',
        b'{"header":{"revision":"x"},"TTL":[],"kvs":[7]}',
        b'{"header":{"revision":1e999},"TTL":1e999,"kvs":[{"lease":1e999}]}',
        b'{"header":[],"succeeded":true,"responses":7,"TTL":{},"kvs":{"a":1}}',
    ],
)
def test_an_answer_of_an_unknown_shape_is_an_invalid_response(
    verb: str, body: bytes, ctx: Context
) -> None:
    with (
        Server(always(answer(body))) as server,
        cluster_of(server.endpoint) as cluster,
        pytest.raises(InvalidResponse) as raised,
    ):
        VERBS[verb](V3Store(Gateway(cluster)), ctx)
    assert raised.value.endpoint == server.endpoint


REFUSED = b'{"header":{"revision":"5"}}'


@pytest.mark.parametrize(
    ("verb", "body"),
    [
        ("join", REFUSED[:-1] + b',"succeeded":true}'),
        ("join_if_first", REFUSED),
        ("create", REFUSED),
    ],
)
def test_a_transaction_that_lacks_an_answer_is_an_invalid_response(
    verb: str, body: bytes, ctx: Context
) -> None:
    with (
        Server(always(answer(body))) as server,
        cluster_of(server.endpoint) as cluster,
        pytest.raises(InvalidResponse),
    ):
        VERBS[verb](V3Store(Gateway(cluster)), ctx)


def test_a_place_that_goes_between_a_refused_join_and_its_reading_is_gone(ctx: Context) -> None:
    # The join found its key, made by a first copy; an operator, or the end of the lease, was faster than the read.
    with Server(always(answer(REFUSED))) as server, cluster_of(server.endpoint) as cluster:
        standing = V3Store(Gateway(cluster)).join("k", "", _seven(), ctx, ahead=1)
    assert (standing.mine, standing.ahead) == (None, ())
    assert len(server.requests) == 2, "who is ahead of nobody is not asked"


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_is_repeated_elsewhere_when_an_endpoint_breaks(
    verb: str, etcd: EtcdProcess, ctx: Context
) -> None:
    with (
        Server(lambda peer: peer.request()) as server,
        cluster_of(server.endpoint, etcd.endpoint) as cluster,
    ):
        try:
            VERBS[verb](V3Store(Gateway(cluster)), ctx)
        except (CompareFailed, LeaseNotFound):
            # etcd's own answer, from the second endpoint
            assert cluster.pinned == etcd.endpoint
        assert len(server.requests) == 1


def test_a_verb_that_nobody_answers_is_a_cluster_error(cluster: Cluster, ctx: Context) -> None:
    with (
        Server(lambda peer: peer.request()) as server,
        cluster_of(server.endpoint) as broken,
        pytest.raises(ClusterError, match="join line 'k'") as raised,
    ):
        VERBS["join"](V3Store(Gateway(broken)), ctx)
    assert raised.value.maybe_applied


# -- beside the line -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "code", ["required revision is a future revision", "required revision has been compacted"]
)
def test_a_line_is_read_again_when_its_limit_cannot_be_read_at_the_same_revision(
    code: str, ctx: Context
) -> None:
    line = b'{"header":{"revision":"7"},"count":"0"}'
    there = b'{"key":"ZA==","value":"Mg==","create_revision":"3","mod_revision":"3"}'
    limit = b'{"header":{"revision":"9"},"kvs":[%s]}' % there
    refusal = answer(b'{"code":11,"message":"etcdserver: mvcc: %s"}' % code.encode(), status=400)
    replies = iter([answer(line), refusal, answer(line), answer(limit)])
    with Server(each(lambda _: next(replies))) as server, cluster_of(server.endpoint) as cluster:
        seen = V3Store(Gateway(cluster)).look("a", ctx, beside="d")
    assert seen.beside is not None
    assert seen.beside.value == "2"
    assert next(replies, None) is None
