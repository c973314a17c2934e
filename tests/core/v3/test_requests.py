"""Requests of the v3 gateway, byte for byte; and which of them may be sent twice."""

from __future__ import annotations

import math

import pytest

from etcd_recipes.core.http.action import Action
from etcd_recipes.core.v3 import requests
from etcd_recipes.core.v3.txn import Compare, Op

BIG = 7587855555555555555

GET, PUT, DELETE = Op.get("k"), Op.put("k", "v"), Op.delete("k")
DIRECTORY = Op.get("dir/", prefix=True)

REQUESTS = [
    # (request, path, body, may be sent twice)
    (requests.range_(GET), "kv/range", '{"key":"aw=="}', True),
    (requests.range_(DIRECTORY), "kv/range", '{"key":"ZGlyLw==","range_end":"ZGlyMA=="}', True),
    (
        requests.range_(
            Op.get(
                b"\x00\xff",
                limit=2,
                sort_by="CREATE",
                descending=True,
                keys_only=True,
                serializable=True,
                revision=7,
                count_only=True,
            )
        ),
        "kv/range",
        (
            '{"key":"AP8=","sort_target":"CREATE","sort_order":"DESCEND","limit":"2","revision":"7",'
            '"keys_only":true,"count_only":true,"serializable":true}'
        ),
        True,
    ),
    (
        requests.range_(
            Op.get(
                "a",
                "c",
                min_mod_revision=1,
                max_mod_revision=2,
                min_create_revision=3,
                max_create_revision=2**63 - 1,
            )
        ),
        "kv/range",
        (
            '{"key":"YQ==","range_end":"Yw==","min_mod_revision":"1","max_mod_revision":"2",'
            '"min_create_revision":"3","max_create_revision":"9223372036854775807"}'
        ),
        True,
    ),
    # by key is etcd's own order, and costs nothing when it is not asked for by name
    (requests.range_(Op.get("k", sort_by="KEY")), "kv/range", '{"key":"aw=="}', True),
    (
        requests.range_(Op.get("k", descending=True)),
        "kv/range",
        '{"key":"aw==","sort_target":"KEY","sort_order":"DESCEND"}',
        True,
    ),
    (
        requests.range_(Op.get("k", sort_by="MOD", max_create_revision=9)),
        "kv/range",
        '{"key":"aw==","sort_target":"MOD","sort_order":"ASCEND","max_create_revision":"9"}',
        True,
    ),
    (requests.put(PUT), "kv/put", '{"key":"aw==","value":"dg=="}', False),
    (requests.put(Op.put("k", "")), "kv/put", '{"key":"aw==","value":""}', False),
    (requests.put(Op.put("ключ", "ž")), "kv/put", '{"key":"0LrQu9GO0Yc=","value":"xb4="}', False),
    (
        requests.put(Op.put("k", "v", lease=BIG, prev_kv=True)),
        "kv/put",
        '{"key":"aw==","value":"dg==","lease":"7587855555555555555","prev_kv":true}',
        False,
    ),
    (
        requests.put(Op.put("k", "v", ignore_lease=True)),
        "kv/put",
        '{"key":"aw==","value":"dg==","ignore_lease":true}',
        False,
    ),
    (
        requests.put(Op.put("k", ignore_value=True)),
        "kv/put",
        '{"key":"aw==","ignore_value":true}',
        False,
    ),
    (requests.delete(DELETE), "kv/deleterange", '{"key":"aw=="}', False),
    (
        requests.delete(Op.delete("dir/", prefix=True, prev_kv=True)),
        "kv/deleterange",
        '{"key":"ZGlyLw==","range_end":"ZGlyMA==","prev_kv":true}',
        False,
    ),
    (requests.txn([], []), "kv/txn", '{"compare":[],"success":[]}', False),
    (
        requests.txn([Compare.create_revision("k") == 0], [PUT], [GET], replay=True),
        "kv/txn",
        (
            '{"compare":[{"target":"CREATE","key":"aw==","create_revision":"0"}],'
            '"success":[{"request_put":{"key":"aw==","value":"dg=="}}],'
            '"failure":[{"request_range":{"key":"aw=="}}]}'
        ),
        True,
    ),
    (
        requests.txn(
            [Compare.value("k") != b"\xff", Compare.version("dir/", prefix=True) > 2],
            [DELETE, Op.txn((Compare.lease("k") == BIG,), (PUT,))],
        ),
        "kv/txn",
        (
            '{"compare":[{"target":"VALUE","result":"NOT_EQUAL","key":"aw==","value":"/w=="},'
            '{"target":"VERSION","result":"GREATER","key":"ZGlyLw==","version":"2","range_end":"ZGlyMA=="}],'
            '"success":[{"request_delete_range":{"key":"aw=="}},{"request_txn":{"compare":['
            '{"target":"LEASE","key":"aw==","lease":"7587855555555555555"}],'
            '"success":[{"request_put":{"key":"aw==","value":"dg=="}}]}}]}'
        ),
        False,
    ),
    (
        requests.txn([Compare.mod_revision("k") < 5], []),
        "kv/txn",
        (
            '{"compare":[{"target":"MOD","result":"LESS","key":"aw==","mod_revision":"5"}],'
            '"success":[]}'
        ),
        False,
    ),
    (
        requests.txn(
            [Compare.version("a", "c") > 2],
            [Op.delete("a", "c", prev_kv=True), Op.put("k", lease=7, ignore_value=True)],
            [Op.get("a", count_only=True, serializable=True, revision=3)],
        ),
        "kv/txn",
        (
            '{"compare":[{"target":"VERSION","result":"GREATER","key":"YQ==","version":"2","range_end":"Yw=="}],'
            '"success":[{"request_delete_range":{"key":"YQ==","range_end":"Yw==","prev_kv":true}},'
            '{"request_put":{"key":"aw==","lease":"7","ignore_value":true}}],'
            '"failure":[{"request_range":{"key":"YQ==","revision":"3","count_only":true,"serializable":true}}]}'
        ),
        False,
    ),
    (requests.compact(7, physical=False), "kv/compaction", '{"revision":"7"}', True),
    (
        requests.compact(7, physical=True),
        "kv/compaction",
        '{"revision":"7","physical":true}',
        True,
    ),
    (requests.lease_grant(15), "lease/grant", '{"TTL":"15"}', False),
    (
        requests.lease_grant(15, BIG),
        "lease/grant",
        '{"TTL":"15","ID":"7587855555555555555"}',
        True,
    ),
    (requests.keep_alive(BIG), "lease/keepalive", '{"ID":"7587855555555555555"}', True),
    (requests.time_to_live(7, keys=False), "lease/timetolive", '{"ID":"7"}', True),
    (requests.time_to_live(7, keys=True), "lease/timetolive", '{"ID":"7","keys":true}', True),
    (requests.lease_revoke(7), "lease/revoke", '{"ID":"7"}', True),
    (requests.lease_list(), "lease/leases", "{}", True),
    (
        requests.watch([requests.watch_create(b"k")], what="watch 'k'"),
        "watch",
        '{"create_request":{"key":"aw=="}}',
        True,
    ),
    (
        requests.watch(
            [
                requests.watch_create(b"dir/", b"dir0", start_revision=8, prev_kv=True),
                requests.watch_create(b"k", filters=["NOPUT"], progress_notify=True),
            ],
            what="watch 'dir/' and 'k'",
        ),
        "watch",
        (
            '{"create_request":{"key":"ZGlyLw==","range_end":"ZGlyMA==","start_revision":"8","prev_kv":true}}'
            '{"create_request":{"key":"aw==","filters":["NOPUT"],"progress_notify":true}}'
        ),
        True,
    ),
]


@pytest.mark.parametrize(("action", "path", "body", "replay"), REQUESTS)
def test_a_request_is_these_bytes(action: Action, path: str, body: str, replay: bool) -> None:
    assert action.path == f"/v3/{path}"
    assert action.body == body.encode()
    assert action.method == "POST"
    assert action.replay is replay


@pytest.mark.parametrize("action", [row[0] for row in REQUESTS])
def test_every_request_asks_a_member_without_a_leader_to_say_so(action: Action) -> None:
    if action.path == "/v3/kv/range" and b"serializable" in action.body:
        assert action.headers == {}
        assert not action.fresh
    else:
        assert action.headers["Grpc-Metadata-hasleader"] == "true"


def test_a_transaction_is_of_any_member_only_if_all_it_does_is_read_a_members_own_state() -> None:
    own, now, put = Op.get("k", serializable=True), Op.get("k"), Op.put("k", "v")
    for success, failure in (([own], []), ([own], [own, own])):
        action = requests.txn([], success, failure)
        assert (action.headers, action.fresh) == ({}, False)
    for success, failure in (([own, now], []), ([own], [put]), ([], []), ([Op.txn([], [own])], [])):
        action = requests.txn([], success, failure)
        assert (action.headers, action.fresh) == (requests.REQUIRE_LEADER, True)


def test_a_physical_compaction_may_take_as_long_as_the_call_has() -> None:
    assert requests.compact(7, physical=True).header_timeout == math.inf
    assert requests.compact(7, physical=False).header_timeout is None


@pytest.mark.parametrize(
    ("action", "what"),
    [
        (requests.range_(GET), "read key 'k'"),
        (requests.range_(DIRECTORY), "read range 'dir/'"),
        (requests.range_(Op.get("", prefix=True)), "read all keys"),
        (requests.put(Op.put("k", "s3cret")), "put key 'k'"),
        (requests.put(Op.put(b"\xff\x00", "v")), r"put key '\\xff\x00'"),
        (requests.delete(DELETE), "delete key 'k'"),
        (requests.lease_grant(5), "grant a lease"),
        (requests.keep_alive(255), "renew lease ff"),
        (requests.time_to_live(255, keys=True), "look at lease ff"),
        (requests.lease_revoke(255), "revoke lease ff"),
        (requests.lease_list(), "list the leases"),
        (requests.txn([], []), "transaction"),
        (requests.compact(7, physical=True), "compact up to revision 7"),
        (requests.txn([], [], what="create key 'k'"), "create key 'k'"),
    ],
)
def test_a_request_says_in_messages_what_it_is_and_no_values(action: Action, what: str) -> None:
    assert action.what == what
