"""Which error each answer is that is not a result, as literals."""

from __future__ import annotations

import json

import pytest

from etcd_recipes.core import errors as e
from etcd_recipes.core.http.action import Reply
from etcd_recipes.core.v2 import replies

AT = "http://a:2379"


def reply(body: object = b"", status: int = 200, doubt: bool = False, **headers: str) -> Reply:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, named, raw, AT, doubt)


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (404, 100, e.KeyNotFound),
        (412, 101, e.CompareFailed),
        (403, 102, e.NotAFile),
        (400, 104, e.NotADirectory),
        (412, 105, e.KeyExists),
        (400, 107, e.EtcdError),
        (403, 108, e.DirectoryNotEmpty),
        (401, 110, e.NotAuthorized),
        (400, 201, e.EtcdError),
        (400, 400, e.EtcdError),
        (400, 401, e.EventIndexCleared),
        (400, 9999, e.EtcdError),
    ],
)
def test_etcds_own_error_is_told_by_its_code(status: int, code: int, kind: type) -> None:
    body = {"errorCode": code, "message": "words", "cause": "/a", "index": 18}
    with pytest.raises(kind) as raised:
        replies.judge(reply(body, status))
    error = raised.value
    assert type(error) is kind
    assert (error.code, error.message, error.cause, error.index, error.endpoint) == (
        code,
        "words",
        "/a",
        18,
        AT,
    )


def test_an_error_without_a_cause_has_none() -> None:
    with pytest.raises(e.NotAFile) as raised:
        replies.judge(reply({"errorCode": 102, "message": "Not a file", "index": 3140}, 403))
    assert raised.value.cause == ""


def test_a_cleared_index_tells_where_to_go_on() -> None:
    body = {
        "errorCode": 401,
        "message": "The event in requested index is outdated and cleared",
        "cause": "the requested history has been cleared [2150/1]",
        "index": 3149,
    }
    with pytest.raises(e.EventIndexCleared) as raised:
        replies.judge(reply(body, 400))
    assert raised.value.resume_from == raised.value.index == 3149
    assert isinstance(raised.value, e.HistoryLost)


def test_a_refused_user_is_caught_as_either() -> None:
    with pytest.raises(e.NotAuthorized) as raised:
        replies.judge(reply({"message": "Insufficient credentials"}, 401))
    assert isinstance(raised.value, e.Unauthenticated)
    assert isinstance(raised.value, e.PermissionDenied)
    assert raised.value.code == 110


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        (404, "auth: User xx does not exist.", e.UserNotFound),
        (404, "auth: User xx does not exist", e.UserNotFound),
        (404, "auth: Role xx doesn't exist.", e.RoleNotFound),
        (404, "auth: Role xx does not exist.", e.RoleNotFound),
        (404, "auth: User a\nb does not exist.", e.UserNotFound),
        (409, "auth: Role r1 already exists.", e.RoleExists),
        (409, "auth: already disabled", e.EtcdError),
        (404, "No such member: abc", e.MemberNotFound),
        (410, "Member permanently removed: abc", e.MemberNotFound),
        (409, "membership: peerURL exists", e.MemberExists),
    ],
)
def test_services_without_codes_are_told_by_their_words(
    status: int, message: str, kind: type
) -> None:
    with pytest.raises(kind) as raised:
        replies.judge(reply({"message": message}, status))
    assert type(raised.value) is kind
    assert (raised.value.code, raised.value.message) == (status, message)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (404, b"404 page not found\n"),
        (404, b"<html>nginx</html>"),
        (403, b""),
        (400, b"{}"),
        (400, b'{"errorCode":"100"}'),
        (302, b""),
        (304, b""),
        (101, b"x"),
        (206, b"x"),
    ],
)
def test_an_error_that_is_not_etcds_is_invalid(status: int, body: bytes) -> None:
    with pytest.raises(e.InvalidResponse) as raised:
        replies.judge(reply(body, status))
    assert AT in str(raised.value)
    assert str(status) in str(raised.value)


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (
            500,
            {"errorCode": 300, "message": "Raft Internal Error", "cause": "request timed out"},
            (300, "Raft Internal Error", "request timed out"),
        ),
        (503, {"message": "During election"}, (0, "During election", "")),
        (502, {"message": "httpproxy: no endpoint"}, (0, "httpproxy: no endpoint", "")),
        (502, b"<html>Bad Gateway</html>", (0, "", "")),
        (504, b"", (0, "", "")),
        (599, b"[]", (0, "", "")),
    ],
)
def test_an_endpoint_that_cannot_keeps_its_own_words(
    status: int, body: object, said: tuple[int, str, str]
) -> None:
    error = replies.judge(reply(body, status))
    assert error is not None
    assert (error.code, error.message, error.cause) == said
    assert error.maybe_applied
    assert error.endpoint == AT
    assert f"HTTP status {status}" in error.reason
    assert said[1] in error.reason
    assert said[2] in error.reason


def test_a_directory_whose_ttl_cannot_be_changed_is_no_failed_endpoint() -> None:
    body = {
        "errorCode": 300,
        "message": "Raft Internal Error",
        "cause": "nodePath /1/d : Not a file ()",
    }
    with pytest.raises(e.NotAFile):
        replies.judge(reply(body, 500))


def test_a_member_that_is_gone_is_removed() -> None:
    gone = reply({"message": "Member permanently removed: abc"}, 410)
    assert replies.judge_removal(gone) is None
