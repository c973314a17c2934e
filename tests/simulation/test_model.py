"""The contract of the model: what it says on the wire is what a real etcd says, asked the same."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from etcd_recipes.testing import EtcdProcess
from tests.simulation.model import Request
from tests.simulation.sides import FORM, Json, Messages, Modelled, Real, Side, b64, fresh


@pytest.fixture(params=["etcd", "model"])
def side(request: pytest.FixtureRequest, quiet_etcd: EtcdProcess) -> Iterator[Side]:
    made = Real(quiet_etcd.endpoint)
    if request.param == "model":
        version = made.version
        made.close()
        yield Modelled(version)
        return
    yield made
    made.close()


def body_of(answer: Any) -> Json:
    found: Json = json.loads(answer.body)
    return found


def until(side: Side, condition: Callable[[], Any], seconds: float) -> Any:
    """Let time pass until it is so, on whichever clock the side has."""
    for _ in range(int(seconds / 0.05)):
        if value := condition():
            return value
        side.wait(0.05)
    raise AssertionError(f"not within {seconds} s")


def put(side: Side, key: str, value: str = "v", **more: Any) -> int:
    """Put a key; give the revision."""
    answer = side.ask("kv/put", {"key": b64(key), "value": b64(value), **more})
    return int(answer["header"]["revision"])


def create(key: str, end: str = "", **more: Any) -> Json:
    """Give a create request of a watch."""
    body = {"key": b64(key), **({"range_end": b64(end)} if end else {}), **more}
    return {"create_request": body}


def events(message: Json) -> list[tuple[str, str]]:
    """Give the kinds and keys of a message's events."""
    found = message["result"].get("events", ())
    return [(event.get("type", "PUT"), event["kv"]["key"]) for event in found]


# -- keys -----------------------------------------------------------------------------------------------------


def test_numbers_are_strings_and_what_is_empty_is_left_out(side: Side) -> None:
    key = fresh("k")
    missed = side.ask("kv/range", {"key": b64(key)})
    assert set(missed) == {"header"}
    assert list(missed["header"]) == ["cluster_id", "member_id", "revision", "raft_term"]
    assert all(isinstance(value, str) for value in missed["header"].values())
    revision = put(side, key, "v")
    found = side.ask("kv/range", {"key": b64(key)})
    expected = {
        "key": b64(key),
        "create_revision": str(revision),
        "mod_revision": str(revision),
        "version": "1",
        "value": b64("v"),
    }
    assert found["kvs"] == [expected]
    assert found["count"] == "1"
    assert list(found) == ["header", "kvs", "count"]
    put(side, key, "")
    (emptied,) = side.ask("kv/range", {"key": b64(key)})["kvs"]
    assert "value" not in emptied
    assert emptied["version"] == "2"
    gone = side.ask("kv/deleterange", {"key": b64(key), "prev_kv": True})
    assert (gone["deleted"], len(gone["prev_kvs"])) == ("1", 1)
    assert set(side.ask("kv/deleterange", {"key": b64(key)})) == {"header"}


def test_an_answer_is_json_of_the_gateway(side: Side) -> None:
    answer = side.v3("kv/range", {"key": b64("x"), "nosuchfield": 1})
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
    assert b" " not in answer.body
    assert b"\n" not in answer.body


def test_a_transaction_answers_for_each_operation(side: Side) -> None:
    key = fresh("t/")
    body = {
        "compare": [{"key": b64(key), "target": "CREATE", "create_revision": "0"}],
        "success": [
            {"request_put": {"key": b64(key), "value": b64("v")}},
            {"request_range": {"key": b64(key), "keys_only": True}},
        ],
        "failure": [{"request_range": {"key": b64(key)}}],
    }
    done = side.ask("kv/txn", body)
    revision = done["header"]["revision"]
    kv = {"key": b64(key), "create_revision": revision, "mod_revision": revision, "version": "1"}
    assert done["succeeded"] is True
    assert done["responses"] == [
        {"response_put": {"header": {"revision": revision}}},
        {"response_range": {"header": {"revision": revision}, "kvs": [kv], "count": "1"}},
    ]
    failed = side.ask("kv/txn", body)
    assert "succeeded" not in failed
    assert failed["header"]["revision"] == revision
    (found,) = failed["responses"]
    assert found["response_range"]["kvs"] == [kv | {"value": b64("v")}]
    inner = {"compare": [], "success": [], "failure": []}
    nested = side.ask("kv/txn", {"success": [{"request_txn": inner}]})
    assert nested["responses"] == [{"response_txn": {"header": {}, "succeeded": True}}]


def test_a_range_is_filtered_sorted_cut_and_counted(side: Side) -> None:
    line = fresh("r/")
    revisions = [put(side, f"{line}{name}") for name in "cab"]
    put(side, f"{line}c")
    span = {"key": b64(line), "range_end": b64(line[:-1] + chr(ord(line[-1]) + 1))}

    def names(**options: Any) -> str:
        found = side.ask("kv/range", {**span, **options}).get("kvs", ())
        wanted = {b64(f"{line}{name}"): name for name in "abc"}
        return "".join(wanted[kv["key"]] for kv in found)

    assert names() == "abc"
    assert names(sort_target="CREATE") == "cab"
    assert names(sort_target="CREATE", sort_order="DESCEND") == "bac"
    assert names(sort_target="MOD") == "abc"
    assert names(sort_target="CREATE", max_create_revision=str(revisions[2] - 1)) == "ca"
    assert names(min_mod_revision=str(revisions[2])) == "bc"
    assert names(revision=str(revisions[1])) == "ac"
    cut = side.ask("kv/range", {**span, "limit": "2"})
    assert (len(cut["kvs"]), cut["more"], cut["count"]) == (2, True, "3")
    counted = side.ask("kv/range", {**span, "count_only": True})
    assert (counted["count"], "kvs" in counted) == ("3", False)


_MANY = [{"request_range": {"key": b64("k")}}] * 129
_TWICE = [{"request_put": {"key": b64("k")}}, {"request_put": {"key": b64("k")}}]
_REFUSED = [
    ("kv/put", {"nosuchfield": 1}, 3, "etcdserver: key is not provided"),
    ("kv/put", {"key": b64("k"), "lease": "1"}, 5, "etcdserver: requested lease not found"),
    ("kv/put", {"key": b64("nokey"), "ignore_value": True}, 3, "etcdserver: key not found"),
    ("kv/txn", {"success": _MANY}, 3, "etcdserver: too many operations in txn request"),
    ("kv/txn", {"success": _TWICE}, 3, "etcdserver: duplicate key given in txn request"),
    ("kv/txn", {"success": [{}]}, 3, "etcdserver: key not found"),
    (
        "kv/range",
        {"key": b64("k"), "revision": "999999999"},
        11,
        "etcdserver: mvcc: required revision is a future revision",
    ),
    ("lease/revoke", {"ID": "12345"}, 5, "etcdserver: requested lease not found"),
    ("lease/grant", {"TTL": "9000000001"}, 11, "etcdserver: too large lease TTL"),
    ("auth/authenticate", {"name": "a", "password": "b"}, 9, "etcdserver: authentication is not enabled"),
    ("kv/put", {"key": b64("k"), "value": "A" * 2_100_000}, 3, "etcdserver: request is too large"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("path", "body", "code", "words"), _REFUSED, ids=[f"{r[0]}-{i}" for i, r in enumerate(_REFUSED)]
)
def test_a_refusal_has_etcds_code_and_words(
    side: Side, path: str, body: Json, code: int, words: str
) -> None:
    answer = side.v3(path, body)
    status = {3: 400, 5: 404, 11: 400, 9: 412 if side.is_old else 400}[code]
    assert (answer.status, body_of(answer)) == (
        status,
        {"error": words, "code": code, "message": words},
    )
    assert answer.headers["Content-Type"] == "application/json"


def test_what_is_no_request_is_refused(side: Side) -> None:
    for body in (b"{", b'{"key": "***"}', b'{"key": 5}', b"[]"):
        answer = side.v3("kv/put", body)
        assert (answer.status, body_of(answer)["code"]) == (400, 3), body
    answer = side.v3("nosuch", {})
    assert (answer.status, answer.body) == (404, b"Not Found\n")
    assert side.send(Request("GET", "/v3/kv/range")).status == 405
    assert side.send(Request("POST", "/v3beta/kv/range", b'{"key":"eA=="}')).status == 200
    assert side.send(Request("POST", "/v3alpha/kv/range", b'{"key":"eA=="}')).status == 404
    token = side.v3("kv/range", {"key": b64("x")}, {"Authorization": "x"})
    assert (token.status, body_of(token)["code"]) == (401, 16)


def test_compaction_refuses_what_is_before_it(side: Side) -> None:
    key = fresh("c")
    first, second = put(side, key), put(side, key)
    assert "header" in side.ask("kv/compaction", {"revision": str(second)})
    answer = side.v3("kv/range", {"key": b64(key), "revision": str(first)})
    assert body_of(answer)["message"] == "etcdserver: mvcc: required revision has been compacted"
    assert side.ask("kv/range", {"key": b64(key), "revision": str(second)})["count"] == "1"
    again = side.v3("kv/compaction", {"revision": str(second)})
    assert body_of(again)["code"] == 11


# -- leases -----------------------------------------------------------------------------------------------------


def lease_id() -> str:
    return str(0x7000_0000_0000 + int(fresh("")))


def test_a_lease_is_granted_looked_at_renewed_and_revoked(side: Side) -> None:
    id_, key = lease_id(), fresh("leased/")
    granted = side.ask("lease/grant", {"TTL": -5, "ID": id_})
    assert (granted["ID"], granted["TTL"]) == (id_, "2")
    exists = side.v3("lease/grant", {"TTL": 60, "ID": id_})
    assert body_of(exists)["message"] == "etcdserver: lease already exists"
    side.ask("lease/revoke", {"ID": id_})
    side.ask("lease/grant", {"TTL": "60", "ID": int(id_)})
    put(side, f"{key}a", lease=id_)
    put(side, f"{key}b", lease=int(id_))
    (kv,) = side.ask("kv/range", {"key": b64(f"{key}a")})["kvs"]
    assert kv["lease"] == id_
    alive = side.v3("lease/keepalive", {"ID": id_})
    assert alive.body.endswith(b"}\n")
    assert body_of(alive)["result"].items() >= {"ID": id_, "TTL": "60"}.items()
    looked = side.ask("lease/timetolive", {"ID": id_, "keys": True})
    assert looked["grantedTTL"] == "60"
    assert int(looked["TTL"]) >= 58
    assert sorted(looked["keys"]) == sorted([b64(f"{key}a"), b64(f"{key}b")])
    assert {"ID": id_} in side.ask("lease/leases", {})["leases"]
    stream = side.watch(create(key, f"{key}z"))
    before = int(stream.take(1)[0]["result"]["header"]["revision"])
    revoked = side.ask("lease/revoke", {"ID": id_})
    assert int(revoked["header"]["revision"]) == before + 1
    (message,) = stream.take(1)
    assert events(message) == [("DELETE", b64(f"{key}a")), ("DELETE", b64(f"{key}b"))]
    stream.close()


def test_a_lease_that_is_gone_is_told_by_what_is_missing(side: Side) -> None:
    result = side.ask("lease/keepalive", {"ID": "987654321"})["result"]
    assert (result["ID"], "TTL" in result) == ("987654321", False)
    looked = side.ask("lease/timetolive", {"ID": "987654321"})
    assert (looked["TTL"], "grantedTTL" in looked) == ("-1", False)


def test_a_put_without_the_lease_takes_the_key_from_it(side: Side) -> None:
    id_, key = lease_id(), fresh("freed")
    side.ask("lease/grant", {"TTL": "60", "ID": id_})
    put(side, key, lease=id_)
    put(side, key, "w", ignore_lease=True)
    assert side.ask("lease/timetolive", {"ID": id_, "keys": True})["keys"] == [b64(key)]
    put(side, key)
    assert "keys" not in side.ask("lease/timetolive", {"ID": id_, "keys": True})
    side.ask("lease/revoke", {"ID": id_})
    assert side.ask("kv/range", {"key": b64(key)})["count"] == "1"


def test_what_has_a_time_to_live_ends(side: Side) -> None:
    """One wait for both stores: etcd's shortest lease, and a ttl of v2."""
    id_, key = lease_id(), fresh("mortal/")
    kept = lease_id()
    side.ask("lease/grant", {"TTL": 2, "ID": id_})
    side.ask("lease/grant", {"TTL": 2, "ID": kept})
    put(side, f"{key}a", lease=id_)
    put(side, f"{key}b", lease=id_)
    put(side, f"{key}c", lease=kept)
    stream = side.watch(create(key, f"{key}z"))
    stream.take(1)
    side.v2("PUT", f"/{key}f", {"value": "v", "ttl": "1"})
    wait = side.wait_v2(f"/{key}f?wait=true")
    side.wait(1.0)
    side.ask("lease/keepalive", {"ID": kept})
    assert side.ask("kv/range", {"key": b64(f"{key}a")})["count"] == "1"
    until(side, lambda: side.v2("GET", f"/{key}f").status == 404, 1.5)
    (event,) = wait.take(1)
    assert event["action"] == "expire"
    assert event["prevNode"]["value"] == "v"
    wait.close()
    until(side, lambda: "count" not in side.ask("kv/range", {"key": b64(f"{key}a")}), 2.0)
    (message,) = stream.take(1)
    assert events(message) == [("DELETE", b64(f"{key}a")), ("DELETE", b64(f"{key}b"))]
    assert side.ask("lease/timetolive", {"ID": id_})["TTL"] == "-1"
    assert side.ask("kv/range", {"key": b64(f"{key}c")})["count"] == "1"
    side.ask("lease/revoke", {"ID": kept})
    stream.close()


# -- watches ----------------------------------------------------------------------------------------------------


def opened(side: Side, *asked: Json) -> Messages:
    """Open a stream and take what confirms its watches."""
    stream = side.watch(*asked)
    for number, message in enumerate(stream.take(len(asked))):
        result = message["result"]
        assert result["created"] is True
        assert result.get("watch_id", "0") == str(number)
        assert "revision" in result["header"]
    return stream


def test_a_watch_is_confirmed_and_sends_each_revision_as_one_message(side: Side) -> None:
    key = fresh("w/")
    stream = opened(side, create(key, f"{key}z", prev_kv=True), create(f"{key}b"))
    assert stream.stream.status == 200
    first = put(side, f"{key}a")
    (message,) = stream.take(1)
    kv = {"key": b64(f"{key}a"), "value": b64("v"), "version": "1"}
    kv |= {"create_revision": str(first), "mod_revision": str(first)}
    assert message["result"]["events"] == [{"kv": kv}]
    assert message["result"]["header"]["revision"] == str(first)
    ops = [{"request_put": {"key": b64(f"{key}{n}")}} for n in "cd"]
    done = side.ask(
        "kv/txn", {"success": [*ops, {"request_delete_range": {"key": b64(f"{key}a")}}]}
    )
    (message,) = stream.take(1)
    assert [kind for kind, _ in events(message)] == ["PUT", "PUT", "DELETE"]
    deleted = message["result"]["events"][2]
    revision = done["header"]["revision"]
    assert deleted == {
        "type": "DELETE",
        "kv": {"key": b64(f"{key}a"), "mod_revision": revision},
        "prev_kv": kv,
    }
    put(side, f"{key}b")
    both = stream.take(2)
    assert sorted(m["result"].get("watch_id", "0") for m in both) == ["0", "1"]
    assert all(chunk.endswith(b"\n") for chunk in stream.chunks)
    stream.close()


def test_a_watch_of_the_past_comes_in_one_message_and_goes_on(side: Side) -> None:
    key = fresh("past/")
    first = put(side, f"{key}a")
    put(side, f"{key}b")
    side.ask("kv/deleterange", {"key": b64(f"{key}a")})
    stream = opened(side, create(key, f"{key}z", start_revision=str(first), filters=["NODELETE"]))
    (message,) = stream.take(1)
    assert events(message) == [("PUT", b64(f"{key}a")), ("PUT", b64(f"{key}b"))]
    put(side, f"{key}c")
    assert events(stream.take(1)[0]) == [("PUT", b64(f"{key}c"))]
    stream.close()


def test_a_watch_of_the_future_waits_for_its_revision(side: Side) -> None:
    key = fresh("future")
    now = put(side, key)
    stream = opened(side, create(key, start_revision=str(now + 2)))
    put(side, key)
    second = put(side, key)
    assert stream.take(1)[0]["result"]["events"][0]["kv"]["mod_revision"] == str(second)
    stream.close()


def test_a_compacted_watch_is_cancelled_and_its_stream_stays_open(side: Side) -> None:
    key = fresh("compacted")
    first, second = put(side, key), put(side, key)
    side.ask("kv/compaction", {"revision": str(second)})
    stream = opened(side, create(key, start_revision=str(first)))
    result = stream.take(1)[0]["result"]
    assert "revision" not in result["header"]
    del result["header"]
    assert result == {"canceled": True, "compact_revision": str(second)}
    put(side, key)
    assert stream.take(1, 0.15) == []
    assert not stream.ended
    stream.close()
    allowed = opened(side, create(key, start_revision=str(second)))
    assert len(events(allowed.take(1)[0])) == 2
    allowed.close()


def test_a_stream_cancels_and_tells_progress_and_is_silent_otherwise(side: Side) -> None:
    key = fresh("cancel")
    stream = side.watch(
        create(key),
        {"cancel_request": {"watch_id": "7"}},
        {"cancel_request": {"watch_id": "0"}},
        {"progress_request": {}},
        {},
    )
    created, cancelled, progress = (message["result"] for message in stream.take(3))
    assert created["created"] is True
    assert cancelled.pop("header")["revision"]
    assert cancelled == {"canceled": True}
    assert progress.pop("header")["revision"]
    assert progress == {"watch_id": "-1"}
    put(side, key)
    assert stream.take(1, 0.1) == []
    stream.close()


def test_a_watch_that_makes_no_sense_is_refused_on_its_stream(side: Side) -> None:
    stream = side.watch(create("b", "a"), create("c", watch_id="3"), create("d", watch_id="3"))
    told = [message["result"] for message in stream.take(3)]
    for result in told:
        del result["header"]
    refused = {"watch_id": "-1", "created": True, "canceled": True}
    empty, double = "watcher range is empty", "duplicate watch ID provided on the WatchStream"
    assert told == [
        refused | {"cancel_reason": f"mvcc: {empty}"},
        {"watch_id": "3", "created": True},
        refused | {"cancel_reason": f"mvcc: {double}"},
    ]
    stream.close()


def test_a_large_message_comes_in_pieces_when_asked_for(side: Side) -> None:
    key = fresh("large/")
    first = put(side, f"{key}0", "A" * 700_000)
    for number in range(1, 4):
        put(side, f"{key}{number}", "A" * 700_000)
    past = {"start_revision": str(first)}
    stream = opened(side, create(key, f"{key}z", fragment=True, **past))
    pieces = [message["result"] for message in stream.take(2)]
    assert [piece.get("fragment") for piece in pieces] == [True, None]
    assert [len(piece["events"]) for piece in pieces] == [2, 2]
    stream.close()
    whole = opened(side, create(key, f"{key}z", **past))
    assert len(events(whole.take(1)[0])) == 4
    whole.close()


# -- the member --------------------------------------------------------------------------------------------------


def test_a_member_tells_of_itself_and_its_cluster(side: Side) -> None:
    status = side.ask("maintenance/status", {})
    assert status["version"] == side.version
    assert status["leader"]
    assert set(status) >= {"header", "dbSize", "raftIndex", "raftTerm", "raftAppliedIndex"}
    listed = side.ask("cluster/member/list", {})
    assert "revision" not in listed["header"]
    assert set(listed["members"][0]) == {"ID", "name", "peerURLs", "clientURLs"}
    health = side.send(Request("GET", "/health"))
    expected = {"health": "true"} if side.is_old else {"health": "true", "reason": ""}
    assert (health.status, body_of(health)) == (200, expected)
    version = body_of(side.send(Request("GET", "/version")))
    assert set(version) == {"etcdserver", "etcdcluster"}
    members = body_of(side.send(Request("GET", "/v2/members")))["members"]
    assert set(members[0]) == {"id", "name", "peerURLs", "clientURLs"}
    leader = body_of(side.send(Request("GET", "/v2/members/leader")))
    assert leader in members
    machines = side.send(Request("GET", "/v2/machines"))
    assert members[0]["clientURLs"][0].encode() in machines.body
    asked = side.v3("kv/range", {"key": b64("x")}, {"Grpc-Metadata-hasleader": "true"})
    assert asked.status == 200


# -- v2 -------------------------------------------------------------------------------------------------------


def node_of(answer: Any) -> Json:
    node: Json = body_of(answer)["node"]
    return node


def test_v2_writes_reads_and_deletes(side: Side) -> None:
    key = f"/{fresh('v2')}"
    made = side.v2("PUT", key, {"value": "a b&ü"})
    assert (made.status, body_of(made)["action"]) == (201, "set")
    node = node_of(made)
    assert node.items() >= {"key": key, "value": "a b&ü"}.items()
    assert node["createdIndex"] == node["modifiedIndex"] == int(made.headers["X-Etcd-Index"])
    assert made.headers["Content-Type"] == "application/json"
    assert set(made.headers) >= {"X-Etcd-Cluster-Id", "X-Raft-Index", "X-Raft-Term"}
    assert made.body.endswith(b"}\n")
    again = body_of(side.v2("PUT", key, {"value": "b"}))
    assert again["prevNode"] == node
    assert again["node"]["createdIndex"] == node["createdIndex"] + 1
    updated = side.v2("PUT", f"{key}?prevExist=true", {"value": "c", "ttl": "100"})
    assert (updated.status, body_of(updated)["action"]) == (200, "update")
    assert node_of(updated)["createdIndex"] == again["node"]["createdIndex"]
    assert node_of(updated)["ttl"] == 100
    assert node_of(updated)["expiration"].endswith("Z")
    swapped = side.v2("PUT", f"{key}?prevValue=c&noValueOnSuccess=true", {"value": "d"})
    assert body_of(swapped) == {"action": "compareAndSwap"}
    read = side.v2("GET", f"{key}?quorum=true&recursive=false&sorted=false")
    assert (body_of(read)["action"], node_of(read)["value"]) == ("get", "d")
    assert "ttl" not in node_of(read)
    gone = side.v2("DELETE", f"{key}?prevIndex={node_of(read)['modifiedIndex']}")
    assert body_of(gone)["action"] == "compareAndDelete"
    assert "value" not in node_of(gone)


def test_v2_refuses_with_codes_and_causes(side: Side) -> None:
    top = f"/{fresh('v2')}"
    side.v2("PUT", f"{top}/file", {"value": "have"})
    index = side.index()
    update_dir = (200, None, None) if side.is_old else (500, 300, None)
    cases: list[tuple[str, str, dict[str, str], tuple[int, int | None, str | None]]] = [
        ("GET", f"{top}/x/y", {}, (404, 100, f"{top}/x")),
        ("GET", f"{top}/file/x", {}, (400, 104, f"{top}/file")),
        ("PUT", f"{top}/file/x", {"value": "v"}, (400, 104, f"{top}/file")),
        ("PUT", f"{top}/file?prevExist=false", {"value": "v"}, (412, 105, f"{top}/file")),
        ("PUT", f"{top}/none?prevExist=true", {"value": "v"}, (404, 100, f"{top}/none")),
        ("PUT", f"{top}/file?prevValue=want", {"value": "v"}, (412, 101, "[want != have]")),
        ("DELETE", f"{top}/file?prevIndex=1", {}, (412, 101, f"[1 != {index}]")),
        ("PUT", f"{top}/file?prevValue=", {"value": "v"}, (400, 201, None)),
        ("PUT", f"{top}/file?prevIndex=x", {"value": "v"}, (400, 203, None)),
        ("GET", f"{top}?wait=true&waitIndex=-1", {}, (400, 203, None)),
        ("PUT", f"{top}/file", {"value": "v", "ttl": "1.5"}, (400, 202, None)),
        ("GET", f"{top}?recursive=maybe", {}, (400, 209, None)),
        ("PUT", f"{top}/file", {"value": "v", "refresh": "true", "ttl": "9"}, (400, 211, None)),
        ("PUT", f"{top}/file", {"value": "", "refresh": "true"}, (400, 212, None)),
        ("PUT", top, {"value": "v"}, (403, 102, top)),
        ("PUT", f"{top}?prevValue=x", {"value": "v"}, (403, 102, top)),
        ("DELETE", top, {}, (403, 102, None)),
        ("DELETE", f"{top}?dir=true", {}, (403, 108, top)),
        ("DELETE", "/", {}, (400, 107, "/")),
        ("POST", f"{top}/file", {"value": "v"}, (400, 104, f"{top}/file")),
        ("PUT", f"{top}?dir=true&prevExist=true", {"ttl": "100"}, update_dir),
    ]
    for method, path, form, (status, code, cause) in cases:
        answer = side.v2(method, path, form)
        body = body_of(answer)
        assert (answer.status, body.get("errorCode")) == (status, code), (method, path, body)
        if cause is not None:
            assert body["cause"] == cause
        if code in (201, 202, 203, 209, 211, 212):
            assert (body["index"], answer.headers["X-Etcd-Index"]) == (0, "0")


def test_v2_lists_directories(side: Side) -> None:
    top = f"/{fresh('v2')}"
    for name in ("b", "a/x", "_hidden", "a/_h/y"):
        side.v2("PUT", f"{top}/{name}", {"value": "v"})
    side.v2("PUT", f"{top}/c?dir=true", {})

    def names(node: Json) -> Any:
        found = [(child["key"].rpartition("/")[2], names(child)) for child in node.get("nodes", ())]
        return found or node.get("dir", node.get("value"))

    flat = node_of(side.v2("GET", f"{top}?sorted=true"))
    assert names(flat) == [("a", True), ("b", "v"), ("c", True)]
    deep = node_of(side.v2("GET", f"{top}?sorted=true&recursive=true"))
    assert names(deep) == [("a", [("x", "v")]), ("b", "v"), ("c", True)]
    assert node_of(side.v2("GET", f"{top}/_hidden"))["value"] == "v"
    places = [node_of(side.v2("POST", f"{top}/line", {"value": name})) for name in "xy"]
    assert [place["key"] for place in places] == [
        f"{top}/line/{place['createdIndex']:020d}" for place in places
    ]


def test_v2_refreshes_without_a_word(side: Side) -> None:
    key = f"/{fresh('v2')}"
    made = node_of(side.v2("PUT", key, {"value": "v", "ttl": "50"}))
    wait = side.wait_v2(f"{key}?wait=true&waitIndex={made['modifiedIndex'] + 1}")
    assert int(wait.stream.headers["X-Etcd-Index"]) == made["modifiedIndex"]
    form = {"value": "", "refresh": "true", "ttl": "100"}
    kept = side.v2("PUT", f"{key}?prevValue=v&prevExist=true", form)
    assert (body_of(kept)["action"], node_of(kept)["value"]) == ("compareAndSwap", "v")
    assert node_of(kept)["ttl"] == 100
    assert node_of(kept)["modifiedIndex"] == made["modifiedIndex"] + 1
    late = side.wait_v2(f"{key}?wait=true&waitIndex={made['modifiedIndex'] + 1}")
    side.v2("DELETE", key)
    for stream in (wait, late):
        (event,) = stream.take(1)
        assert event["action"] == "delete"
        assert stream.at_end()
        stream.close()


def test_v2_tells_those_who_wait(side: Side) -> None:
    top = f"/{fresh('v2')}"
    side.v2("PUT", f"{top}/a", {"value": "1"})
    waits = {
        name: side.wait_v2(f"{path}wait=true")
        for name, path in {
            "key": f"{top}/a?",
            "below": f"{top}?recursive=true&",
            "dir": f"{top}?",
            "stream": f"{top}?recursive=true&stream=true&",
        }.items()
    }
    assert {wait.stream.status for wait in waits.values()} == {200}
    side.v2("PUT", f"{top}/_hidden", {"value": "1"})
    side.v2("PUT", f"{top}/a", {"value": "2"})
    side.v2("PUT", f"{top}/b", {"value": "3"})
    told = {name: waits[name].take(1)[0] for name in ("key", "below", "stream")}
    assert [event["node"]["value"] for event in told.values()] == ["2", "2", "2"]
    assert told["key"]["prevNode"]["value"] == "1"
    assert waits["key"].at_end()
    assert waits["stream"].take(1)[0]["node"]["key"] == f"{top}/b"
    assert waits["dir"].take(1, 0.05) == []
    inner = side.wait_v2(f"{top}/a?wait=true")
    side.v2("DELETE", f"{top}?recursive=true")
    for wait in (inner, waits["dir"]):
        (event,) = wait.take(1)
        assert (event["node"]["key"], event["node"]["dir"]) == (top, True)
    for wait in (*waits.values(), inner):
        wait.close()


def test_v2_replays_its_history_and_says_when_it_is_cleared(side: Side) -> None:
    top = f"/{fresh('v2')}"
    first = node_of(side.v2("PUT", f"{top}/_hidden", {"value": "1"}))["modifiedIndex"]
    late = side.wait_v2(f"{top}?wait=true&recursive=true&waitIndex={first}")
    assert late.take(1)[0]["node"]["key"] == f"{top}/_hidden"
    late.close()
    ahead = side.wait_v2(f"{top}/f?wait=true&waitIndex={first + 1002}")
    one = Request("PUT", f"/v2/keys{top}/f", b"value=v", FORM)
    side.send_all([one] * 1002)
    (event,) = ahead.take(1)
    assert event["node"]["modifiedIndex"] == first + 1002
    ahead.close()
    answer = side.send(Request("GET", f"/v2/keys{top}?wait=true&waitIndex={first}"))
    body = body_of(answer)
    assert (answer.status, body["errorCode"]) == (400, 401)
    assert body["cause"] == f"the requested history has been cleared [{first + 3}/{first}]"
    assert body["index"] == first + 1002


def test_v2_with_quorum_does_not_wait(side: Side) -> None:
    key = f"/{fresh('v2')}"
    side.v2("PUT", key, {"value": "v"})
    answer = side.send(Request("GET", f"/v2/keys{key}?wait=true&quorum=true"))
    assert body_of(answer)["action"] == "get"
