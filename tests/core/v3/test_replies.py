"""Replies of the v3 gateway in both of its JSON forms: v1 (etcd 3.4 and 3.5) and v2 (3.6 and 3.7)."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from etcd_recipes.core.errors import (
    Compacted,
    EmptyResponse,
    EndpointError,
    EtcdError,
    EtcdRecipesError,
    FutureRevision,
    InvalidResponse,
    KeyNotFound,
    LeaseExists,
    LeaseNotFound,
    NoLeader,
    NoSpace,
    PermissionDenied,
    RequestTooLarge,
    Unauthenticated,
)
from etcd_recipes.core.http.action import Reply
from etcd_recipes.core.v3 import replies
from etcd_recipes.core.v3.values import (
    DeleteResult,
    Event,
    KeyValue,
    LeaseGrant,
    LeaseStatus,
    PutResult,
    RangeResult,
    TxnResult,
)

HERE = "http://a:2379"


def reply(body: str | bytes, status: int = 200) -> Reply:
    return Reply(status, {}, body.encode() if isinstance(body, str) else body, HERE)


def spaced(body: str) -> str:
    """Write the same JSON as protojson may: with a space after each colon and comma."""
    return json.dumps(json.loads(body), separators=(", ", ": "))


both_forms = pytest.mark.parametrize("form", [str, spaced], ids=["v1", "v2"])


# -- results -------------------------------------------------------------------------------------------------

HEADER = (
    '"header":{"cluster_id":"14747370921688366623","member_id":"441630081764301257",'
    '"revision":"5","raft_term":"2"}'
)
KV = '{"key":"bmV3","create_revision":"4","mod_revision":"5","version":"2","value":"dg=="}'
NEW = KeyValue(b"new", b"v", 4, 5, 2)
LEASED = (
    '{"key":"AP8=","create_revision":"5","mod_revision":"5","version":"1",'
    '"lease":"7587855555555555555"}'
)
BARE = KeyValue(b"\x00\xff", b"", 5, 5, 1, 7587855555555555555)

RESULTS: list[tuple[Callable[[Any], Any], str, Any]] = [
    (replies.range_result, f"{{{HEADER}}}", RangeResult((), 0, False, 5)),
    (
        replies.range_result,
        f'{{{HEADER},"kvs":[{KV},{LEASED}],"more":true,"count":"7"}}',
        RangeResult((NEW, BARE), 7, True, 5),
    ),
    (replies.range_result, f'{{{HEADER},"count":"3"}}', RangeResult((), 3, False, 5)),
    (replies.put_result, f"{{{HEADER}}}", PutResult(5)),
    (replies.put_result, f'{{{HEADER},"prev_kv":{KV}}}', PutResult(5, NEW)),
    (replies.delete_result, f"{{{HEADER}}}", DeleteResult(0, 5)),
    (
        replies.delete_result,
        f'{{{HEADER},"deleted":"2","prev_kvs":[{KV},{LEASED}]}}',
        DeleteResult(2, 5, (NEW, BARE)),
    ),
    (replies.txn_result, f"{{{HEADER}}}", TxnResult(False, (), 5)),
    (
        replies.txn_result,
        f'{{{HEADER},"succeeded":true,"responses":[{{"response_put":{{"header":{{"revision":"5"}}}}}}]}}',
        TxnResult(True, (PutResult(5),), 5),
    ),
    (
        replies.txn_result,
        (
            f'{{{HEADER},"responses":[{{"response_range":{{"header":{{"revision":"5"}},"kvs":[{KV}],"count":"1"}}}},'
            f'{{"response_range":{{}}}},{{"response_delete_range":{{"deleted":"1"}}}},{{"response_put":{{}}}}]}}'
        ),
        TxnResult(
            False,
            (
                RangeResult((NEW,), 1, False, 5),
                RangeResult((), 0, False, 5),
                DeleteResult(1, 5),
                PutResult(5),
            ),
            5,
        ),
    ),
    (
        replies.txn_result,
        (
            f'{{{HEADER},"succeeded":true,"responses":[{{"response_txn":{{"succeeded":true,"responses":'
            '[{"response_put":{}}]}}]}'
        ),
        TxnResult(True, (TxnResult(True, (PutResult(5),), 5),), 5),
    ),
    (
        replies.keep_alive_ttl,
        f'{{"result":{{{HEADER},"ID":"7587855555555555555","TTL":"15"}}}}',
        15,
    ),
    (replies.keep_alive_ttl, f'{{"result":{{{HEADER},"ID":"12345"}}}}', 0),
    (
        replies.lease_grant,
        f'{{{HEADER},"ID":"7587855555555555555","TTL":"15"}}',
        LeaseGrant(7587855555555555555, 15, 5),
    ),
    (
        replies.lease_ids,
        f'{{{HEADER},"leases":[{{"ID":"7587855555555555555"}},{{"ID":"-5"}}]}}',
        (7587855555555555555, -5),
    ),
    (replies.lease_ids, f"{{{HEADER}}}", ()),
    (
        replies.lease_status,
        f'{{{HEADER},"ID":"7587855555555555555","TTL":"9","grantedTTL":"15","keys":["YQ==","AP8="]}}',
        LeaseStatus(7587855555555555555, 9, 15, (b"a", b"\x00\xff"), 5),
    ),
    (
        replies.lease_status,
        f'{{{HEADER},"ID":"12345","TTL":"-1"}}',
        LeaseStatus(12345, -1, 0, (), 5),
    ),
    (
        replies.lease_status,
        f'{{{HEADER},"ID":"7","grantedTTL":"2"}}',
        LeaseStatus(7, 0, 2, (), 5),
    ),
    (replies.event, f'{{"kv":{KV}}}', Event("PUT", NEW)),
    (replies.event, f'{{"type":"PUT","kv":{KV},"prev_kv":{LEASED}}}', Event("PUT", NEW, BARE)),
    (
        replies.event,
        '{"type":"DELETE","kv":{"key":"bmV3","mod_revision":"6"}}',
        Event("DELETE", KeyValue(b"new", b"", 0, 6, 0)),
    ),
    (
        replies.event,
        '{"type":1,"kv":{"key":"bmV3","mod_revision":"6"}}',
        Event("DELETE", KeyValue(b"new", b"", 0, 6, 0)),
    ),
]


@both_forms
@pytest.mark.parametrize(("read", "body", "result"), RESULTS)
def test_a_result_is_read(read, body: str, result, form: Callable[[str], str]) -> None:
    answer = reply(form(body))
    assert replies.judge(answer) is None
    with replies.Reading(HERE):
        assert read(replies.decode(answer)) == result


def test_numbers_may_come_as_numbers() -> None:
    body = {"header": {"revision": 5}, "count": 1, "kvs": [{"key": "bmV3", "mod_revision": 5}]}
    assert replies.range_result(body) == RangeResult((KeyValue(b"new", b"", 0, 5, 0),), 1, False, 5)


def test_the_revision_of_an_operation_is_that_of_its_transaction() -> None:
    inside = '{"responses":[{"response_range":{}}],"header":{"revision":"8"}}'
    result = replies.txn_result(json.loads(inside))
    assert result.responses[0].revision == 8


def test_a_key_in_a_value_does_not_make_an_answer_an_error() -> None:
    """The word `error` stands in the keys and values of a user, too: in base64."""
    answer = reply(f'{{{HEADER},"kvs":[{{"key":"ImVycm9yIg==","value":"ImVycm9yIg=="}}]}}')
    assert replies.judge(answer) is None


# -- errors --------------------------------------------------------------------------------------------------


def v1(code: int, message: str) -> str:
    return json.dumps({"error": message, "code": code, "message": message}, separators=(",", ":"))


def v1_of_3_4(code: int, message: str) -> str:
    return json.dumps({"error": message, "message": message, "code": code}, separators=(",", ":"))


def v2(code: int, message: str) -> str:
    return json.dumps({"code": code, "message": message, "details": []}, separators=(", ", ": "))


def v1_stream(code: int, message: str) -> str:
    status = {"grpc_code": code, "http_code": 503, "message": message, "http_status": "What"}
    return json.dumps({"error": status}, separators=(",", ":"))


def v2_stream(code: int, message: str) -> str:
    return json.dumps({"error": {"code": code, "message": message}}, separators=(", ", ": "))


@pytest.mark.parametrize("form", [v1, v1_of_3_4, v2, v1_stream, v2_stream])
@pytest.mark.parametrize(
    ("status", "code", "message", "certain"),
    [
        # this member has lost its leader, and says so before it does anything
        (503, 14, "etcdserver: no leader", True),
        (500, 2, "etcdserver: no leader", True),
        (503, 14, "etcdserver: not a primary lessor", True),
        # it does not begin with what it is asked for
        (429, 8, "etcdserver: too many requests", True),
        (503, 14, "etcdserver: rpc not supported for learner", True),
        (400, 9, "etcdserver: rpc not supported for learner", True),
        (503, 14, "etcdserver: not capable", True),
        (400, 9, "etcdserver: not capable", True),
        (503, 14, "etcdserver: unhealthy cluster", True),
        (500, 2, "raft proposal dropped", True),
        # nobody can tell
        (500, 2, "context deadline exceeded", False),
        (504, 4, "context deadline exceeded", False),
        (503, 14, "etcdserver: request timed out", False),
        (
            503,
            14,
            "etcdserver: request timed out, possibly due to previous leader failure",
            False,
        ),
        (
            503,
            14,
            "etcdserver: request timed out, possibly due to connection lost",
            False,
        ),
        (
            503,
            14,
            "etcdserver: request timed out, waiting for the applied index took too long",
            False,
        ),
        (504, 4, "etcdserver: context deadline exceeded", False),
        (499, 1, "etcdserver: request canceled", False),
        (500, 2, "context canceled", False),
        (500, 2, "raft: stopped", False),
        (503, 14, "etcdserver: server stopped", False),
        (503, 14, "the server is shutting down", False),
        (503, 14, "etcdserver: leader changed", False),
        (503, 14, "error reading from server: EOF", False),
        (503, 14, "transport is closing", False),
        (408, 1, "grpc: the client connection is closing", False),
        (499, 1, "context canceled", False),
        (500, 13, "stream terminated by RST_STREAM", False),
    ],
)
def test_a_member_that_cannot_answer_is_passed_over(
    form: Callable[[int, str], str], status: int, code: int, message: str, *, certain: bool
) -> None:
    for http_status in (status, 200) if form in (v1_stream, v2_stream) else (status,):
        error = replies.judge(reply(form(code, message), http_status))
        assert isinstance(error, EndpointError)
        assert error.maybe_applied is not certain
        assert error.endpoint == HERE
        assert message in error.reason
        assert not error.silent
        assert (error.code, error.message) == (code, message)


REFUSALS = [
    (404, 5, "etcdserver: requested lease not found", LeaseNotFound),
    (500, 2, "etcdserver: requested lease not found", LeaseNotFound),
    (400, 9, "etcdserver: lease already exists", LeaseExists),
    (412, 9, "etcdserver: lease already exists", LeaseExists),
    (400, 11, "etcdserver: mvcc: required revision has been compacted", Compacted),
    (400, 11, "etcdserver: mvcc: required revision is a future revision", FutureRevision),
    (400, 11, "etcdserver: too large lease TTL", EtcdError),
    (400, 3, "etcdserver: key is not provided", EtcdError),
    (400, 3, "etcdserver: key not found", KeyNotFound),
    (400, 3, "etcdserver: value is provided", EtcdError),
    (400, 3, "etcdserver: lease is provided", EtcdError),
    (400, 3, "etcdserver: request is too large", RequestTooLarge),
    (429, 8, "grpc: received message larger than max (3000010 vs. 2097152)", RequestTooLarge),
    (429, 8, "etcdserver: mvcc: database space exceeded", NoSpace),
    (500, 15, "etcdserver: corrupt cluster", EtcdError),
    (400, 3, "etcdserver: too many operations in txn request", EtcdError),
    (400, 3, "etcdserver: duplicate key given in txn request", EtcdError),
    (400, 3, "etcdserver: user name is empty", Unauthenticated),
    (401, 16, "etcdserver: invalid auth token", Unauthenticated),
    (
        400,
        3,
        "etcdserver: authentication failed, invalid user ID or password",
        Unauthenticated,
    ),
    (400, 3, "etcdserver: revision of auth store is old", Unauthenticated),
    (
        500,
        2,
        "auth: authentication failed, password was given for no password user",
        Unauthenticated,
    ),
    (500, 2, "auth: role name is not there", EtcdError),
    (403, 7, "etcdserver: permission denied", PermissionDenied),
    (400, 9, "etcdserver: authentication is not enabled", EtcdError),
    (412, 9, "etcdserver: authentication is not enabled", EtcdError),
    (501, 12, "Method Not Allowed", EtcdError),
    (404, 5, "Not Found", EtcdError),
]


@pytest.mark.parametrize("form", [v1, v1_of_3_4, v2, v1_stream, v2_stream])
@pytest.mark.parametrize(("status", "code", "message", "kind"), REFUSALS)
def test_any_other_code_is_etcds_own_answer(
    form: Callable[[int, str], str], status: int, code: int, message: str, kind: type[EtcdError]
) -> None:
    for http_status in (status, 200) if form in (v1_stream, v2_stream) else (status,):
        with pytest.raises(EtcdError) as raised:
            replies.judge(reply(form(code, message), http_status))
        assert raised.type is kind
        assert (raised.value.code, raised.value.message) == (code, message)
        assert raised.value.endpoint == HERE


@pytest.mark.parametrize("status", [400, 409, 412, 429, 500, 503, 504])
def test_the_http_status_decides_nothing_where_etcd_has_spoken(status: int) -> None:
    """The same refusal is 400 on one version and 412 on the next."""
    with pytest.raises(LeaseExists):
        replies.judge(reply(v1(9, "etcdserver: lease already exists"), status))
    error = replies.judge(reply(v2(14, "etcdserver: no leader"), status))
    assert isinstance(error, EndpointError)
    assert not error.maybe_applied


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, ""),
        (502, "<html>Bad Gateway</html>"),
        (503, "upstream connect error or disconnect/reset before headers"),
        (504, "[]"),
        (503, '"down"'),
        (502, '{"message":"httpproxy: unable to get response from 1 endpoint(s)"}'),
        (503, '{"message":"httpproxy: zero endpoints currently available"}'),
        (503, '{"health":"false","reason":"RAFT NO LEADER"}'),
        (500, "\xff\xfe"),
    ],
)
def test_a_proxy_in_front_of_a_dead_member_is_passed_over_in_doubt(status: int, body: str) -> None:
    error = replies.judge(reply(body, status))
    assert isinstance(error, EndpointError)
    assert error.maybe_applied


@pytest.mark.parametrize(
    ("status", "body", "hint"),
    [
        (404, "Not Found\n", "gateway is not there"),
        (404, "404 page not found\n", "gateway is not there"),
        (405, "Method Not Allowed\n", "is this etcd"),
        (301, "", "redirect"),
        (307, '<a href="/">Temporary Redirect</a>', "redirect"),
        (400, "CommonName of client sending a request against gateway will be ignored", "Common"),
        (400, "Client sent an HTTP request to an HTTPS server.\n", "HTTPS server"),
        (401, "", "is this etcd"),
        (403, "<html>Forbidden</html>", "is this etcd"),
        (501, "<html>Unsupported method (POST)</html>", "is this etcd"),
        (204, "", "is this etcd"),
        (400, "[1]", "is this etcd"),
        (400, "{}", "is this etcd"),
        (404, '{"message":"no Route matched with those values"}', "gateway is not there"),
        (429, '{"error":"rate limit exceeded"}', "is this etcd"),
    ],
)
def test_what_is_not_etcds_is_an_invalid_response_with_a_hint(
    status: int, body: str, hint: str
) -> None:
    with pytest.raises(InvalidResponse, match=hint) as raised:
        replies.judge(reply(body, status))
    assert raised.value.endpoint == HERE
    assert f"HTTP status {status}" in str(raised.value)


def test_an_answer_that_is_not_etcds_is_shown_by_its_beginning_only() -> None:
    with pytest.raises(InvalidResponse) as raised:
        replies.judge(reply("x" * 100_000, 404))
    assert len(str(raised.value)) < 500


def test_a_good_status_and_nothing_is_an_empty_response() -> None:
    assert replies.judge(reply("")) is None
    with pytest.raises(EmptyResponse, match="empty body"):
        replies.decode(reply(""))


@pytest.mark.parametrize(
    "body",
    ["<html>", "[]", "null", "7", '"text"', '{"header":', "{} {}", b"\xff\xfe", b"\x00", "[" * 9],
)
def test_a_good_status_and_something_else_is_an_invalid_response(body) -> None:
    with pytest.raises(InvalidResponse, match="not etcd's JSON"):
        replies.decode(reply(body))


@pytest.mark.parametrize(
    "body",
    [
        {"error": "words"},
        {"message": "words"},
        {"code": "3", "message": "words"},
        {"code": None, "message": "words"},
        {"code": [], "message": "words"},
        {"code": "many", "error": "words"},
        {"code": 1e999, "message": "words"},
        {"code": -1e999, "message": "words"},
        {"code": float("nan"), "message": "words"},
    ],
)
def test_an_error_of_half_a_shape_is_still_an_etcd_error(body: dict[str, Any]) -> None:
    assert replies.error_of(body, HERE).message == "words"


# -- streams -------------------------------------------------------------------------------------------------


@both_forms
@pytest.mark.parametrize(
    ("message", "code", "kind"),
    [
        (v1_stream(14, "etcdserver: no leader"), 14, NoLeader),
        (v2_stream(14, "etcdserver: no leader"), 14, NoLeader),
        (v1_stream(14, "error reading from server: EOF"), 14, EtcdError),
        (v1_stream(1, "grpc: the client connection is closing"), 1, EtcdError),
        (v2_stream(7, "etcdserver: permission denied"), 7, PermissionDenied),
        (v2_stream(16, "etcdserver: invalid auth token"), 16, Unauthenticated),
    ],
)
def test_the_error_that_ends_a_stream_is_read(message: str, code: int, kind, form) -> None:
    error = replies.stream_error(json.loads(form(message)), HERE)
    assert type(error) is kind
    assert error.code == code


@pytest.mark.parametrize("message", ['{"result":{}}', '{"error":null}', '{"error":"text"}', "{}"])
def test_a_message_without_an_error_has_none(message: str) -> None:
    assert replies.stream_error(json.loads(message), HERE) is None


@both_forms
def test_a_watch_that_was_cancelled_by_compaction_says_where_to_go_on(form) -> None:
    message = form('{"header":{"raft_term":"2"},"canceled":true,"compact_revision":"11"}')
    error = replies.cancel_error(json.loads(message), HERE)
    assert type(error) is Compacted
    assert (error.resume_from, error.code, error.endpoint) == (11, 11, HERE)


@both_forms
@pytest.mark.parametrize(
    ("reason", "kind", "words"),
    [
        (
            "rpc error: code = PermissionDenied desc = etcdserver: permission denied",
            PermissionDenied,
            "etcdserver: permission denied",
        ),
        (
            "rpc error: code = InvalidArgument desc = etcdserver: user name is empty",
            Unauthenticated,
            "etcdserver: user name is empty",
        ),
        ("etcdserver: permission denied", PermissionDenied, "etcdserver: permission denied"),
        ("etcdserver: no leader", NoLeader, "etcdserver: no leader"),
        ("watcher is slow", EtcdError, "watcher is slow"),
    ],
)
def test_a_watch_that_was_cancelled_says_why(reason: str, kind, words: str, form) -> None:
    message = json.dumps({"created": True, "canceled": True, "cancel_reason": reason})
    error = replies.cancel_error(json.loads(form(message)), HERE)
    assert type(error) is kind
    assert error.message == words


def test_a_cancel_without_a_word_is_still_a_sentence() -> None:
    error = replies.cancel_error({"canceled": True}, HERE)
    assert type(error) is EtcdError
    assert "cancelled the watch" in str(error)


# -- whatever comes ------------------------------------------------------------------------------------------

READERS = [
    replies.range_result,
    replies.put_result,
    replies.delete_result,
    replies.txn_result,
    replies.lease_grant,
    replies.lease_ids,
    replies.lease_status,
    replies.keep_alive_ttl,
    replies.revision_of,
    replies.key_value,
    replies.event,
    lambda body: replies.cancel_error(body, HERE),
    lambda body: replies.stream_error(body, HERE),
    lambda body: replies.error_of(body, HERE),
]

NAMES = [
    "header",
    "revision",
    "kvs",
    "count",
    "more",
    "key",
    "value",
    "create_revision",
    "mod_revision",
    "version",
    "lease",
    "prev_kv",
    "prev_kvs",
    "deleted",
    "succeeded",
    "responses",
    "response_range",
    "response_put",
    "response_delete_range",
    "response_txn",
    "result",
    "ID",
    "TTL",
    "grantedTTL",
    "leases",
    "keys",
    "type",
    "kv",
    "compact_revision",
    "cancel_reason",
    "canceled",
    "error",
    "code",
    "grpc_code",
    "message",
]

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from(["5", "-1", "YQ==", "YQ", "DELETE", "1e5", "é"]),
)
anything = st.recursive(
    scalars,
    lambda inside: st.one_of(
        st.lists(inside, max_size=3),
        st.dictionaries(st.sampled_from(NAMES), inside, max_size=4),
    ),
    max_leaves=12,
)
objects = st.dictionaries(st.sampled_from(NAMES), anything, max_size=6)


@given(objects)
@example({"header": {"revision": float("inf")}})
@example({"kvs": [{"lease": float("-inf")}]})
@example({"code": float("inf"), "message": "x"})
@settings(max_examples=200)
def test_json_of_any_shape_is_a_result_or_an_invalid_response(body: dict[str, Any]) -> None:
    for read in READERS:
        with suppress(InvalidResponse), replies.Reading(HERE):
            read(body)


@given(st.one_of(st.binary(max_size=60), objects.map(lambda body: json.dumps(body).encode())))
@example(b'{"header":{"revision":1e999}}')
@example(b'{"error":{"code":1e999,"message":"x"}}')
@example(b'{"code":1e999,"message":"x"}')
@example(b'{"result":{"TTL":"' + b"9" * 5000 + b'"}}')
@settings(max_examples=150)
def test_any_bytes_are_judged_and_decoded_with_the_librarys_errors_only(body: bytes) -> None:
    for status in (200, 204, 302, 400, 404, 412, 500, 503):
        with suppress(EtcdRecipesError):
            replies.judge(reply(body, status))
        with suppress(EtcdRecipesError):
            decoded = replies.decode(reply(body, status))
            with replies.Reading(HERE):
                replies.range_result(decoded)


DEEP = 100_000


@pytest.mark.parametrize(
    "body",
    [
        "[" * DEEP,
        '{"kvs":' * DEEP,
        '{"a":' * DEEP + "1" + "}" * DEEP,
        '{"responses":[{"response_txn":' * DEEP,
    ],
    ids=["lists", "objects", "objects with an end", "transactions"],
)
@pytest.mark.parametrize("status", [200, 400, 503])
def test_json_that_is_too_deep_is_not_etcds(body: str, status: int) -> None:
    with suppress(EtcdRecipesError):
        replies.judge(reply(body, status))
    with pytest.raises(InvalidResponse):
        replies.decode(reply(body, status))


@pytest.mark.parametrize("depth", [100, 200, 300, 400])
def test_transactions_that_are_nested_too_deep_are_not_etcds(depth: int) -> None:
    text = '{"responses":[{"response_txn":' * depth + "{}" + "}]}" * depth
    with suppress(InvalidResponse):
        body = replies.decode(reply(text))
        with replies.Reading(HERE):
            replies.txn_result(body)


def test_what_is_wrong_with_a_shape_is_kept_as_the_cause() -> None:
    with (
        pytest.raises(InvalidResponse, match="unknown shape") as raised,
        replies.Reading(HERE),
    ):
        replies.range_result({"kvs": [{"key": 7}]})
    assert isinstance(raised.value.__cause__, TypeError)
    assert raised.value.endpoint == HERE


def test_reading_lets_bugs_and_the_librarys_own_errors_through() -> None:
    for error in (KeyboardInterrupt(), ZeroDivisionError(), EtcdError("no")):
        with pytest.raises(type(error)), replies.Reading(HERE):
            raise error


def test_a_number_that_was_read_before_lets_nothing_in_that_equals_it() -> None:
    for sound in ("1", 1, "0", 0):
        assert replies.number(sound) == int(sound)
    for wrong in (True, False, 1.0, 0.0, "1.0", None, [1], {}, 2**64, "9" * 400):
        for _ in range(2):  # an error is no answer that is kept
            with pytest.raises((TypeError, ValueError)):
                replies.number(wrong)
