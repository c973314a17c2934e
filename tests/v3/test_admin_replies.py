"""Administrative replies in both JSON forms of the gateway: v1 (etcd 3.4 and 3.5) and v2 (3.6 and 3.7)."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etcd_recipes import (
    EndpointError,
    EtcdError,
    InvalidResponse,
    MemberExists,
    MemberNotFound,
    RoleExists,
    RoleNotFound,
    Unauthenticated,
    UserExists,
    UserNotFound,
)
from etcd_recipes.core.http.action import Reply
from etcd_recipes.core.v3 import (
    Alarm,
    AuthStatus,
    Member,
    Permission,
    Role,
    Status,
    StoreHash,
    User,
    replies,
)
from etcd_recipes.core.v3.admin import replies as read

HERE = "http://a:2379"
HEADER = (
    '"header":{"cluster_id":"428847090654732711","member_id":"8857579412501848840",'
    '"revision":"3","raft_term":"2"}'
)


def spaced(body: str) -> str:
    """Write the same JSON as protojson may: with a space after each colon and comma."""
    return json.dumps(json.loads(body), separators=(", ", ": "))


STATUS = Status(HERE, 8857579412501848840, "3.5.1", 28672, 20480, 0, 4, 4, 2, False, (), 3)
MEMBER = (
    '{"ID":"8857579412501848840","name":"m0","peerURLs":["http://a:2380"],'
    '"clientURLs":["http://a:2379"]}'
)

RESULTS: list[tuple[str, Callable[[Any], Any], str, Any]] = [
    ("auth off", read.auth_status, f'{{{HEADER},"authRevision":"1"}}', AuthStatus(False, 1)),
    (
        "auth on",
        read.auth_status,
        f'{{{HEADER},"enabled":true,"authRevision":"20"}}',
        AuthStatus(True, 20),
    ),
    ("no users", lambda body: read.names(body, "users"), f"{{{HEADER}}}", ()),
    (
        "users",
        lambda body: read.names(body, "users"),
        f'{{{HEADER},"users":["hash","root"]}}',
        ("hash", "root"),
    ),
    ("roles", lambda body: read.names(body, "roles"), f'{{{HEADER},"roles":["r1"]}}', ("r1",)),
    ("user without roles", lambda body: read.user(body, "u"), f"{{{HEADER}}}", User("u")),
    (
        "user",
        lambda body: read.user(body, "u"),
        f'{{{HEADER},"roles":["r1","root"]}}',
        User("u", ("r1", "root")),
    ),
    ("role without permissions", lambda body: read.role(body, "r"), f"{{{HEADER}}}", Role("r")),
    (
        "role",
        lambda body: read.role(body, "r"),
        (
            f'{{{HEADER},"perm":[{{"permType":"WRITE","range_end":"AA=="}},{{"key":"aw=="}},'
            '{"permType":"READWRITE","key":"cA==","range_end":"cQ=="},{"permType":2,"key":"/w=="}]}'
        ),
        Role(
            "r",
            (
                Permission(b"", b"\0", "write"),
                Permission(b"k", b"", "read"),
                Permission(b"p", b"q", "readwrite"),
                Permission(b"\xff", b"", "readwrite"),
            ),
        ),
    ),
    (
        "members",
        read.members,
        (
            '{"header":{"cluster_id":"1","member_id":"2","raft_term":"2"},"members":['
            f'{MEMBER},{{"ID":"12506687368577190184","peerURLs":["http://b:1"],"isLearner":true}}]}}'
        ),
        (
            Member(8857579412501848840, "m0", ("http://a:2380",), ("http://a:2379",)),
            Member(12506687368577190184, "", ("http://b:1",), (), learner=True),
        ),
    ),
    (
        "status without a leader",
        lambda body: read.status(body, HERE),
        (
            f'{{{HEADER},"version":"3.5.1","dbSize":"28672","raftIndex":"4","raftTerm":"2",'
            '"raftAppliedIndex":"4","errors":["etcdserver: no leader"],"dbSizeInUse":"20480"}'
        ),
        Status(
            HERE,
            8857579412501848840,
            "3.5.1",
            28672,
            20480,
            0,
            4,
            4,
            2,
            False,
            ("etcdserver: no leader",),
            3,
        ),
    ),
    (
        "status of etcd 3.6",
        lambda body: read.status(body, HERE),
        (
            f'{{{HEADER},"version":"3.6.5","dbSize":"28672","leader":"8857579412501848840",'
            '"raftIndex":"4","raftTerm":"2","raftAppliedIndex":"4","dbSizeInUse":"20480",'
            '"isLearner":true,"storageVersion":"3.6.0","dbSizeQuota":"2147483648",'
            '"downgradeInfo":{}}'
        ),
        Status(
            HERE,
            8857579412501848840,
            "3.6.5",
            28672,
            20480,
            8857579412501848840,
            4,
            4,
            2,
            True,
            (),
            3,
            "3.6.0",
            2147483648,
        ),
    ),
    ("no alarms on 3.4", read.alarms, "{}", ()),
    ("no alarms", read.alarms, f"{{{HEADER}}}", ()),
    (
        "alarms",
        read.alarms,
        (
            f'{{{HEADER},"alarms":[{{"memberID":"8857579412501848840","alarm":"NOSPACE"}},'
            '{"memberID":123,"alarm":2},{"alarm":"NEWER"}]}'
        ),
        (Alarm(8857579412501848840, "NOSPACE"), Alarm(123, "CORRUPT"), Alarm(0, "NEWER")),
    ),
    (
        "hash",
        lambda body: read.store_hash(body, HERE),
        f'{{{HEADER},"hash":3323494541}}',
        StoreHash(HERE, 3323494541, 3),
    ),
    (
        "hash of keys",
        lambda body: read.store_hash(body, HERE),
        f'{{{HEADER},"hash":3305255506,"compact_revision":"2","hash_revision":"3"}}',
        StoreHash(HERE, 3305255506, 3, 2),
    ),
    ("piece", read.piece, '{"remaining_bytes":"118784","blob":"AP8="}', (b"\0\xff", 118784)),
    ("last piece", read.piece, '{"blob":"AP8=","version":"3.6.0"}', (b"\0\xff", 0)),
    ("empty piece", read.piece, "{}", (b"", 0)),
]


@pytest.mark.parametrize("form", [str, spaced], ids=["v1", "v2"])
@pytest.mark.parametrize(
    ("parse", "body", "value"), [row[1:] for row in RESULTS], ids=[row[0] for row in RESULTS]
)
def test_results(parse: Callable[[Any], Any], body: str, value: Any, form: Any) -> None:
    assert parse(json.loads(form(body))) == value


def test_a_leader_knows_that_it_is_one() -> None:
    body = f'{{{HEADER},"leader":"8857579412501848840"}}'
    assert read.status(json.loads(body), HERE).is_leader
    assert not read.status(json.loads(f'{{{HEADER},"leader":"7"}}'), HERE).is_leader
    assert not STATUS.is_leader
    assert not read.status({"header": {"member_id": "0"}}, HERE).is_leader


@pytest.mark.parametrize(
    ("parse", "body"),
    [
        (read.members, {}),
        (read.members, {"members": [{"name": "m0"}]}),
        (read.members, {"members": "m0"}),
        (read.member, {"ID": "7", "peerURLs": "http://a"}),
        (read.member, {"ID": "7", "name": 7}),
        (lambda body: read.names(body, "users"), {"users": [7]}),
        (lambda body: read.names(body, "users"), {"users": {"a": 1}}),
        (lambda body: read.role(body, "r"), {"perm": [{"permType": "ADMIN"}]}),
        (lambda body: read.role(body, "r"), {"perm": [{"permType": []}]}),
        (lambda body: read.status(body, HERE), {}),
        (read.alarms, {"alarms": [{"alarm": 77}]}),
        (read.auth_status, {"authRevision": "many"}),
        (read.piece, {"blob": "A"}),
        (read.piece, {"blob": 7}),
    ],
)
def test_what_is_malformed_is_an_invalid_response(parse: Any, body: Any) -> None:
    with pytest.raises(InvalidResponse), replies.Reading(HERE):
        parse(body)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(
                [
                    "header",
                    "member_id",
                    "members",
                    "ID",
                    "perm",
                    "permType",
                    "alarms",
                    "alarm",
                    "blob",
                ]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)


@given(body=st.dictionaries(st.sampled_from(["header", "members", "perm", "alarms"]), anything))
def test_whatever_comes_is_a_value_or_an_invalid_response(body: dict[str, Any]) -> None:
    for parse in (
        read.members,
        read.alarms,
        read.piece,
        read.auth_status,
        lambda each: read.role(each, "r"),
        lambda each: read.status(each, HERE),
        lambda each: read.store_hash(each, HERE),
    ):
        try:
            with replies.Reading(HERE):
                parse(body)
        except InvalidResponse:
            pass


# -- errors ------------------------------------------------------------------------------------------------

ERRORS = [
    (9, "etcdserver: user name not found", UserNotFound),
    (9, "etcdserver: user name already exists", UserExists),
    (9, "etcdserver: role name not found", RoleNotFound),
    (9, "etcdserver: role name already exists", RoleExists),
    (5, "etcdserver: member not found", MemberNotFound),
    (9, "etcdserver: member ID already exist", MemberExists),
    (9, "etcdserver: Peer URLs already exists", MemberExists),
    (2, "auth: user name is empty", Unauthenticated),
    (2, "auth: invalid auth token", Unauthenticated),
    (9, "etcdserver: role is not granted to the user", EtcdError),
    (9, "etcdserver: bad leader transferee", EtcdError),
    (15, "etcdserver: corrupt cluster", EtcdError),
]


@pytest.mark.parametrize(("code", "words", "kind"), ERRORS)
@pytest.mark.parametrize("status", [400, 412, 500])
def test_errors_are_known_by_their_words(
    code: int, words: str, kind: type[EtcdError], status: int
) -> None:
    forms: list[dict[str, Any]] = [
        {"error": words, "code": code, "message": words},
        {"code": code, "message": words},
        {"error": {"grpc_code": code, "http_code": status, "message": words}},
    ]
    for form in forms:
        with pytest.raises(kind) as raised:
            replies.judge(Reply(status, {}, json.dumps(form).encode(), HERE))
        assert type(raised.value) is kind
        assert (raised.value.code, raised.value.message) == (code, words)


@pytest.mark.parametrize(
    ("code", "words"), [(9, "etcdserver: not leader"), (14, "etcdserver: unhealthy cluster")]
)
def test_who_cannot_and_did_nothing_lets_the_next_one_be_asked(code: int, words: str) -> None:
    body = json.dumps({"error": words, "code": code, "message": words}).encode()
    refusal = replies.judge(Reply(503, {}, body, HERE))
    assert isinstance(refusal, EndpointError)
    assert not refusal.maybe_applied
    assert words in refusal.reason
