"""What the model does that one healthy server cannot show: elections, members that are cut off, faults."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from tests.simulation.model import Answer, Cluster, Member, Request, WatchHandle
from tests.simulation.sides import FORM, Json, b64

LEADER = {"Grpc-Metadata-hasleader": "true"}


def cluster(version: str = "3.5.1", seed: int = 1) -> Cluster:
    return Cluster(rng=random.Random(seed), version=version)


def request(path: str, body: Json, **headers: str) -> Request:
    heads = {name.replace("_", "-"): value for name, value in headers.items()}
    return Request("POST", f"/v3/{path}", json.dumps(body).encode(), heads)


def v3(member: Member, path: str, body: Json, now: float = 0.0, **headers: str) -> Answer:
    return member.answer(request(path, body, **headers), now)


def v2(member: Member, method: str, path: str, form: str = "", now: float = 0.0) -> Answer:
    return member.answer(Request(method, f"/v2/keys{path}", form.encode(), FORM), now)


def put(member: Member, key: str, now: float = 0.0, **more: Any) -> Json:
    answer = v3(member, "kv/put", {"key": b64(key), **more}, now)
    assert answer.status == 200, answer
    found: Json = json.loads(answer.body)
    return found


def count(member: Member, key: str, now: float = 0.0, **more: Any) -> int:
    answer = v3(member, "kv/range", {"key": b64(key), **more}, now)
    assert answer.status == 200, answer
    return int(json.loads(answer.body).get("count", "0"))


class Client:
    """A stream's client."""

    def __init__(self, member: Member, asked: Request, now: float = 0.0) -> None:
        self.chunks: list[bytes] = []
        self.ended = False
        opened = member.open(asked, now, self.chunks.append, self._end)
        assert isinstance(opened, WatchHandle), opened
        self.handle = opened

    def _end(self) -> None:
        self.ended = True

    def revisions(self) -> list[int]:
        """Give the revisions of the events so far, in the order in which they came."""
        results = [json.loads(chunk)["result"] for chunk in self.chunks]
        events = [event for result in results for event in result.get("events", ())]
        return [int(event["kv"]["mod_revision"]) for event in events]


def watch(
    member: Member, key: str, now: float = 0.0, *, headers: Any = None, **more: Any
) -> Client:
    body = json.dumps({"create_request": {"key": b64(key), **more}}).encode()
    return Client(member, Request("POST", "/v3/watch", body, headers or {}), now)


def wait(member: Member, path: str) -> Client:
    return Client(member, Request("GET", f"/v2/keys{path}wait=true", b"", {}))


def run(made: Cluster, until: float) -> None:
    while (due := made.next_deadline()) is not None and due <= until:
        made.tick(due)
    made.tick(until)


# -- time ------------------------------------------------------------------------------------------------------


def test_a_lease_ends_within_half_a_second_of_its_time_and_not_before() -> None:
    for seed in range(20):
        made = cluster(seed=seed)
        v3(made.members[0], "lease/grant", {"TTL": 5, "ID": 7}, 1.0)
        put(made.members[0], "k", 1.0, lease=7)
        due = made.next_deadline()
        assert due is not None
        assert 6.0 <= due < 6.5
        run(made, due - 0.001)
        assert count(made.members[1], "k") == 1
        made.tick(due)
        assert count(made.members[1], "k") == 0
        assert made.next_deadline() is None


def test_a_renewal_counts_from_now_and_comes_too_late_when_the_time_is_over() -> None:
    made = cluster()
    member = made.members[0]
    v3(member, "lease/grant", {"TTL": 5, "ID": 7})
    put(member, "k", lease=7)
    assert b'"TTL":"5"' in v3(member, "lease/keepalive", {"ID": 7}, 4.9).body
    run(made, 9.8)
    assert count(member, "k") == 1
    revision = made.revision
    assert b"TTL" not in v3(member, "lease/keepalive", {"ID": 7}, 9.91).body
    assert (count(member, "k"), made.revision) == (0, revision + 1)


def test_a_new_leader_starts_every_lease_anew_and_no_v2_ttl() -> None:
    made = cluster()
    member = made.members[0]
    v3(member, "lease/grant", {"TTL": 5, "ID": 7})
    put(member, "k", lease=7)
    v2(member, "PUT", "/k", "value=v&ttl=5")
    made.elect(None, 3.0)
    run(made, 4.0)
    made.elect(1, 4.0)
    run(made, 9.9)
    assert count(member, "k") == 1
    assert v2(member, "GET", "/k", now=9.9).status == 404
    run(made, 10.5)
    assert count(member, "k") == 0


def test_nothing_ends_while_there_is_no_leader() -> None:
    made = cluster()
    v3(made.members[0], "lease/grant", {"TTL": 2, "ID": 7})
    put(made.members[0], "k", lease=7)
    v2(made.members[0], "PUT", "/k", "value=v&ttl=1")
    made.elect(None, 1.0)
    assert made.next_deadline() is None
    run(made, 60.0)
    assert set(made.keys()) == {b"k"}
    assert len(made.v2_history()) == 1


def test_the_past_is_served_within_a_tenth_of_a_second() -> None:
    made = cluster()
    put(made.members[0], "k")
    client = watch(made.members[0], "k", 1.0, start_revision="2")
    assert client.revisions() == []
    due = made.next_deadline()
    assert due is not None
    assert 1.0 <= due <= 1.1
    put(made.members[0], "k", 1.0)
    made.tick(due)
    assert client.revisions() == [2, 3]
    put(made.members[0], "k", 1.2)
    assert client.revisions() == [2, 3, 4]


def test_two_watches_of_the_past_on_one_stream_are_both_served() -> None:
    made = cluster()
    put(made.members[0], "k")
    create = {"create_request": {"key": b64("k"), "start_revision": "2"}}
    body = json.dumps(create).encode() * 2
    client = Client(made.members[0], Request("POST", "/v3/watch", body, {}))
    run(made, 1.0)
    assert client.revisions() == [2, 2]


def test_progress_is_told_to_those_who_asked_for_it() -> None:
    made = cluster()
    client = watch(made.members[0], "k", progress_notify=True)
    put(made.members[0], "other")
    run(made, 601.0)
    (_, told) = (json.loads(chunk)["result"] for chunk in client.chunks)
    assert (set(told), told["header"]["revision"]) == ({"header"}, "2")


# -- a member that is cut off -------------------------------------------------------------------------------------


def test_a_member_that_is_cut_off_serves_what_it_had() -> None:
    made = cluster()
    alone, other = made.members[2], made.members[0]
    put(other, "k")
    v2(other, "PUT", "/k", "value=old")
    alone.isolated = True
    put(other, "k")
    put(other, "new")
    v2(other, "PUT", "/k", "value=new")
    made.compact(4)
    stale = v3(alone, "kv/range", {"key": b64("k"), "serializable": True})
    found = json.loads(stale.body)
    assert (found["header"]["revision"], found["kvs"][0]["mod_revision"]) == ("2", "2")
    assert count(alone, "new", serializable=True) == 0
    assert json.loads(v2(alone, "GET", "/k").body)["node"]["value"] == "old"
    alone.isolated = False
    assert count(alone, "new", serializable=True) == 1
    assert json.loads(v2(alone, "GET", "/k").body)["node"]["value"] == "new"


def test_a_member_without_a_leader_refuses_what_needs_one() -> None:
    made = cluster()
    alone = made.members[0]
    alone.isolated = True
    made.elect(1, 1.2)
    key = {"key": b64("k")}
    cases: list[tuple[str, Json, int, int, str]] = [
        ("kv/put", key, 500, 2, "context deadline exceeded"),
        ("kv/txn", {"success": [{"request_put": key}]}, 500, 2, "context deadline exceeded"),
        ("lease/grant", {"TTL": 5}, 500, 2, "context deadline exceeded"),
        ("kv/range", key, 503, 14, "etcdserver: request timed out"),
        ("kv/txn", {"success": [{"request_range": key}]}, 503, 14, "etcdserver: request timed out"),
        ("lease/timetolive", {"ID": 1}, 503, 14, "etcdserver: no leader"),
    ]
    for path, body, status, code, words in cases:
        answer = v3(alone, path, body, 2.0)
        found = json.loads(answer.body)
        assert (answer.status, found["code"], found["message"]) == (status, code, words), path
        hasty = v3(alone, path, body, 2.0, **_LEADER)
        assert (hasty.status, json.loads(hasty.body)["message"]) == (503, "etcdserver: no leader")
    kept = v3(alone, "lease/keepalive", {"ID": 1}, 2.0)
    assert (kept.status, json.loads(kept.body)["error"]["grpc_code"]) == (503, 14)
    status = json.loads(v3(alone, "maintenance/status", {}, 2.0).body)
    assert (status["errors"], "leader" in status) == (["etcdserver: no leader"], False)
    assert alone.answer(Request("GET", "/health"), 2.0).status == 503
    for method, path in (("PUT", "/k"), ("GET", "/k?quorum=true"), ("DELETE", "/k")):
        answer = v2(alone, method, path, "value=v", 2.0)
        body = json.loads(answer.body)
        assert (answer.status, body["errorCode"], body["index"]) == (500, 300, 0)
        assert body["cause"] == "etcdserver: request timed out"
    assert alone.answer(Request("GET", "/v2/members/leader"), 2.0).status == 503
    assert not made.keys()
    put(made.members[1], "k", 2.0)


_LEADER = {"Grpc_Metadata_hasleader": "true"}


def test_a_member_notices_only_after_an_election_timeout() -> None:
    made = cluster()
    made.tick(10.0)
    made.members[0].isolated = True
    early = v3(made.members[0], "kv/put", {"key": b64("k")}, 10.9, **_LEADER)
    assert json.loads(early.body)["message"] == "context deadline exceeded"
    late = v3(made.members[0], "kv/put", {"key": b64("k")}, 11.0, **_LEADER)
    assert json.loads(late.body)["message"] == "etcdserver: no leader"


def test_streams_of_a_member_that_is_cut_off_are_silent_and_catch_up() -> None:
    made = cluster()
    alone, other = made.members[1], made.members[0]
    client, poll = watch(alone, "k"), wait(alone, "/k?")
    stream = wait(alone, "/k?stream=true&")
    alone.isolated = True
    fresh = watch(alone, "k")
    for _ in range(3):
        put(other, "k")
        v2(other, "PUT", "/k", "value=v")
    run(made, 100.0)
    assert (client.revisions(), len(poll.chunks), len(stream.chunks)) == ([], 0, 0)
    alone.isolated = False
    assert client.revisions() == fresh.revisions() == [2, 3, 4]
    assert (len(poll.chunks), poll.ended, len(stream.chunks)) == (1, True, 3)
    put(other, "k")
    assert client.revisions() == [2, 3, 4, 5]


def test_a_stream_that_asked_for_a_leader_is_ended_without_one() -> None:
    made = cluster()
    made.tick(10.0)
    alone = made.members[1]
    plain, careful = watch(alone, "k", 10.0), watch(alone, "k", 10.0, headers=LEADER)
    elsewhere = watch(made.members[0], "k", 10.0, headers=LEADER)
    alone.isolated = True
    assert made.next_deadline() == 14.0
    run(made, 13.9)
    assert not careful.ended
    run(made, 14.0)
    assert (careful.ended, plain.ended, elsewhere.ended) == (True, False, False)
    error = json.loads(careful.chunks[-1])["error"]
    assert (error["grpc_code"], error["message"]) == (14, "etcdserver: no leader")
    assert not careful.chunks[-1].endswith(b"\n")
    body = {"create_request": {"key": b64("k")}}
    refused = alone.open(request("watch", body, **_LEADER), 14.0, print, print)
    assert isinstance(refused, Answer)
    assert (refused.status, b"no leader" in refused.body) == (503, True)


def test_an_election_does_not_end_a_stream() -> None:
    made = cluster()
    careful = watch(made.members[1], "k", headers=LEADER)
    made.elect(None, 1.0)
    run(made, 2.2)
    made.elect(1, 2.2)
    run(made, 60.0)
    assert not careful.ended
    put(made.members[0], "k", 60.0)
    assert careful.revisions() == [2]


def test_a_leader_that_is_cut_off_leads_nobody() -> None:
    made = cluster()
    made.tick(1.0)
    made.members[0].isolated = True
    answer = v3(made.members[1], "kv/put", {"key": b64("k")}, 1.5)
    assert json.loads(answer.body)["message"] == "context deadline exceeded"
    late = v3(made.members[1], "kv/put", {"key": b64("k")}, 2.0, **_LEADER)
    assert json.loads(late.body)["message"] == "etcdserver: no leader"
    made.elect(1, 2.2)
    put(made.members[1], "k", 2.3)


def test_a_leader_without_a_majority_has_nothing_agreed_on() -> None:
    made = cluster()
    made.tick(1.0)
    v3(made.members[0], "lease/grant", {"TTL": 2, "ID": 7}, 1.0)
    made.members[1].isolated = True
    put(made.members[0], "k", 1.0, lease=7)
    made.members[2].isolated = True
    answer = v3(made.members[0], "kv/put", {"key": b64("k")}, 1.5, **_LEADER)
    assert json.loads(answer.body)["message"] == "context deadline exceeded"
    late = v3(made.members[0], "kv/put", {"key": b64("k")}, 2.0, **_LEADER)
    assert json.loads(late.body)["message"] == "etcdserver: no leader"
    run(made, 60.0)
    assert set(made.keys()) == {b"k"}
    made.members[2].isolated = False
    made.elect(2, 61.0)
    put(made.members[0], "k", 61.0)


def test_progress_of_a_member_that_is_cut_off_proves_nothing() -> None:
    made = cluster()
    client = watch(made.members[2], "k", progress_notify=True)
    made.members[2].isolated = True
    put(made.members[0], "k")
    run(made, 601.0)
    told = json.loads(client.chunks[-1])["result"]
    assert (told["header"]["revision"], "events" in told) == ("1", False)


# -- what kind of request it is ---------------------------------------------------------------------------------


def test_a_network_is_told_what_a_request_is() -> None:
    member = cluster().members[0]
    key = {"key": b64("k")}
    stale = {"request_range": {**key, "serializable": True}}
    cases: list[tuple[str, Json, str]] = [
        ("kv/put", key, "write"),
        ("kv/deleterange", key, "write"),
        ("kv/compaction", {}, "write"),
        ("lease/grant", {}, "write"),
        ("lease/revoke", {}, "write"),
        ("lease/keepalive", {}, "read"),
        ("lease/timetolive", {}, "read"),
        ("kv/range", key, "read"),
        ("kv/range", {**key, "serializable": True}, "serializable"),
        ("kv/txn", {"success": [{"request_put": key}]}, "write"),
        ("kv/txn", {"success": [{"request_range": key}, stale]}, "read"),
        ("kv/txn", {"success": [stale]}, "serializable"),
        ("watch", {}, "watch"),
        ("maintenance/status", {}, "other"),
    ]
    for path, body, kind in cases:
        assert member.kind(request(path, body)) == kind, (path, body)
    for method, path, kind in (
        ("GET", "/k", "serializable"),
        ("GET", "/k?quorum=true", "read"),
        ("GET", "/k?wait=true", "watch"),
        ("GET", "/k?wait=true&quorum=true", "read"),
        ("PUT", "/k", "write"),
    ):
        assert member.kind(Request(method, f"/v2/keys{path}", b"", {})) == kind, path
    assert member.kind(Request("GET", "/health", b"", {})) == "other"
    with pytest.raises(ValueError, match="to be opened"):
        member.answer(request("watch", {}), 0.0)


# -- faults -----------------------------------------------------------------------------------------------------


def test_a_watch_can_go_back_in_time() -> None:
    made = cluster()
    client = watch(made.members[0], "k")
    for _ in range(4):
        put(made.members[0], "k")
    made.members[0].repeat(2)
    put(made.members[0], "k")
    assert client.revisions() == [2, 3, 4, 5, 4, 5, 6]


def test_a_stream_can_be_made_silent() -> None:
    made = cluster()
    member = made.members[0]
    client = watch(member, "k")
    member.silence()
    put(member, "k")
    assert client.revisions() == []
    assert watch(member, "k").handle.silent is False
    member.silence(on=False)
    put(member, "k")
    assert client.revisions() == [2, 3]


def test_a_linearizable_read_can_be_stale() -> None:
    made = cluster()
    for _ in range(3):
        put(made.members[0], "k")
    made.members[1].stale_by = 2
    found = json.loads(v3(made.members[1], "kv/range", {"key": b64("k")}).body)
    assert (found["header"]["revision"], found["kvs"][0]["version"]) == ("2", "1")
    body = {"success": [{"request_range": {"key": b64("k")}}]}
    assert b'"version":"1"' in v3(made.members[1], "kv/txn", body).body
    assert count(made.members[1], "k", serializable=True) == 1
    assert b'"version":"3"' in v3(made.members[0], "kv/txn", body).body


def test_a_member_can_lag_behind() -> None:
    made = cluster()
    late = made.members[1]
    client = watch(late, "k")
    late.lagging = True
    put(late, "k")
    assert (count(late, "k"), count(late, "k", serializable=True), client.revisions()) == (1, 0, [])
    late.isolated = True
    late.lagging = False
    assert client.revisions() == []
    late.isolated = False
    assert client.revisions() == [2]


def test_answers_can_be_replaced() -> None:
    made = cluster()
    member = made.members[0]
    expected = {
        "leader changed": (503, "etcdserver: leader changed"),
        "timed out": (503, "etcdserver: request timed out"),
        "timed out, leader failed": (
            503,
            "etcdserver: request timed out, possibly due to previous leader failure",
        ),
        "deadline": (500, "context deadline exceeded"),
    }
    for name, (status, words) in expected.items():
        for applied in (False, True):
            revision = made.revision
            member.fail(name, applied=applied)  # type: ignore[arg-type]
            answer = v3(member, "kv/put", {"key": b64("k")})
            assert (answer.status, json.loads(answer.body)["message"]) == (status, words)
            assert made.revision == revision + applied
        member.fail(name)  # type: ignore[arg-type]
        answer = v2(member, "PUT", "/k", "value=v")
        assert (answer.status, json.loads(answer.body)["errorCode"]) == (500, 300)
    member.fail("truncated", applied=True)
    answer = v3(member, "kv/put", {"key": b64("k")})
    assert answer.status == 200
    with pytest.raises(ValueError, match=r"JSON|Unterminated|delimiter|Expecting"):
        json.loads(answer.body)
    member.fail("empty", times=2)
    assert [v3(member, "kv/put", {"key": b64("k")}).body for _ in range(2)] == [b"", b""]
    member.fail("watcher cleared")
    refused = member.open(Request("GET", "/v2/keys/k?wait=true"), 0.0, print, print)
    assert isinstance(refused, Answer)
    assert json.loads(refused.body)["errorCode"] == 400
    put(member, "k")


def test_a_server_that_goes_ends_its_streams() -> None:
    for version, code in (("3.5.1", 14), ("3.4.23", 1)):
        made = cluster(version)
        client, poll = watch(made.members[0], "k"), wait(made.members[0], "/k?")
        made.members[0].shut_down()
        assert (client.ended, client.handle.cut, poll.handle.cut) == (True, False, True)
        assert json.loads(client.chunks[-1])["error"]["grpc_code"] == code
        killed, other = watch(made.members[0], "k"), watch(made.members[1], "k")
        made.members[0].kill()
        assert (killed.ended, killed.handle.cut, len(killed.chunks)) == (True, True, 1)
        put(made.members[1], "k")
        assert (len(killed.chunks), other.revisions()) == (1, [2])


def test_a_client_that_left_hears_no_more() -> None:
    made = cluster()
    client, poll = watch(made.members[0], "k"), wait(made.members[0], "/k?")
    client.handle.close()
    poll.handle.close()
    put(made.members[0], "k")
    v2(made.members[0], "PUT", "/k", "value=v")
    assert (client.revisions(), poll.chunks, client.ended) == ([], [], False)


def test_the_v2_history_can_be_cleared() -> None:
    made = cluster()
    for _ in range(3):
        v2(made.members[0], "PUT", "/k", "value=v")
    made.v2.forget()
    refused = made.members[0].open(
        Request("GET", "/v2/keys/k?wait=true&waitIndex=5"), 0.0, print, print
    )
    assert isinstance(refused, Answer)
    assert json.loads(refused.body)["errorCode"] == 401


# -- versions, seeds ---------------------------------------------------------------------------------------------


def test_the_gateway_of_later_versions_has_another_form() -> None:
    member = cluster("3.6.5").members[0]
    refused = v3(member, "kv/put", {})
    assert json.loads(refused.body) == {"code": 3, "message": "etcdserver: key is not provided"}
    assert v3(member, "auth/authenticate", {}).status == 400
    assert json.loads(v3(member, "nosuch", {}).body)["code"] == 5
    assert v2(member, "GET", "/k").status == 404
    member.isolated = True
    kept = json.loads(v3(member, "lease/keepalive", {"ID": 1}).body)
    assert kept["error"] == {"code": 14, "message": "etcdserver: no leader"}


def play(seed: int) -> list[bytes]:
    made = cluster(seed=seed)
    chunks: list[bytes] = []
    rng = random.Random(seed)
    now = 0.0
    for step in range(40):
        now += rng.random()
        member = rng.choice(made.members)
        if step % 9 == 0:
            member.isolated = not member.isolated
        if step % 7 == 0:
            made.elect(rng.choice([None, 0, 1, 2]), now)
        create = {"create_request": {"key": b64("k"), "start_revision": str(rng.randint(1, 5))}}
        member.open(request("watch", create, **_LEADER), now, chunks.append, lambda: None)
        chunks.append(v3(member, "lease/grant", {"TTL": 2}, now).body)
        chunks.append(v3(member, "kv/put", {"key": b64("k")}, now).body)
        chunks.append(v2(member, "POST", "/line", "value=v&ttl=1", now).body)
        run(made, now)
    return chunks


def test_a_seed_replays_to_the_byte() -> None:
    assert play(3) == play(3)
    assert play(3) != play(4)
