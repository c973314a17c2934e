"""Requests of the v3 gateway, byte for byte; and which of them may be sent twice."""

from __future__ import annotations

import pytest

from etcd_recipes.core.http.action import Action
from etcd_recipes.core.v3 import requests
from etcd_recipes.core.v3.values import Compare, Op

BIG = 7587855555555555555

GET, PUT, DELETE = Op.get("k"), Op.put("k", "v"), Op.delete("k")
DIRECTORY = Op.get("dir/", prefix=True)

REQUESTS = [
    # (request, path, body, may be sent twice)
    (requests.range_(GET), "kv/range", '{"key":"aw=="}', True),
    (requests.range_(DIRECTORY), "kv/range", '{"key":"ZGlyLw==","range_end":"ZGlyMA=="}', True),
    (
        requests.range_(
            Op.get(b"\x00\xff", limit=2, sort_by="CREATE", descending=True, keys_only=True),
            serializable=True,
            revision=7,
            count_only=True,
        ),
        "kv/range",
        (
            '{"key":"AP8=","limit":"2","sort_target":"CREATE","sort_order":"DESCEND","keys_only":true,'
            '"serializable":true,"revision":"7","count_only":true}'
        ),
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
        requests.put(Op.put("k", "v", lease=BIG, prev_kv=True), ignore_lease=True),
        "kv/put",
        '{"key":"aw==","value":"dg==","lease":"7587855555555555555","prev_kv":true,"ignore_lease":true}',
        False,
    ),
    (
        requests.put(Op.put("k", ""), ignore_value=True),
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
    (requests.txn([], []), "kv/txn", '{"compare":[],"success":[],"failure":[]}', False),
    (
        requests.txn([Compare.create_revision("k") == 0], [PUT], [GET], replay=True),
        "kv/txn",
        (
            '{"compare":[{"target":"CREATE","result":"EQUAL","key":"aw==","create_revision":"0"}],'
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
            '{"target":"LEASE","result":"EQUAL","key":"aw==","lease":"7587855555555555555"}],'
            '"success":[{"request_put":{"key":"aw==","value":"dg=="}}],"failure":[]}}],"failure":[]}'
        ),
        False,
    ),
    (
        requests.txn([Compare.mod_revision("k") < 5], []),
        "kv/txn",
        (
            '{"compare":[{"target":"MOD","result":"LESS","key":"aw==","mod_revision":"5"}],'
            '"success":[],"failure":[]}'
        ),
        False,
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
    assert action.headers == {"Grpc-Metadata-hasleader": "true"}


@pytest.mark.parametrize(
    ("action", "what"),
    [
        (requests.range_(GET), "read key 'k'"),
        (requests.range_(DIRECTORY), "read range 'dir/'"),
        (requests.put(Op.put("k", "s3cret")), "put key 'k'"),
        (requests.put(Op.put(b"\xff\x00", "v")), r"put key '\\xff\x00'"),
        (requests.delete(DELETE), "delete key 'k'"),
        (requests.lease_grant(5), "grant a lease"),
        (requests.keep_alive(255), "renew lease ff"),
        (requests.time_to_live(255, keys=True), "look at lease ff"),
        (requests.lease_revoke(255), "revoke lease ff"),
        (requests.lease_list(), "list the leases"),
        (requests.txn([], []), "transaction"),
        (requests.txn([], [], what="create key 'k'"), "create key 'k'"),
    ],
)
def test_a_request_says_in_messages_what_it_is_and_no_values(action: Action, what: str) -> None:
    assert action.what == what
