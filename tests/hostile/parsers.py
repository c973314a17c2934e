"""Every reply parser as a function from bytes to nothing, with seeds: for the property tests and for the fuzzer.

Rules of this file
1. A target raises what its parser must not raise, and swallows what it may: an EtcdRecipesError.
2. A target checks what comes out, too: numbers that 64 bits hold, text that can be written, errors whose words
   fit into a log.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from etcd_recipes.cli.view import listing, report
from etcd_recipes.cli.view.census import take
from etcd_recipes.coordination.contenders import (
    FIRST_ONLY,
    PERMITS,
    READ,
    WRITE,
    limit_in,
    objection,
    split,
)
from etcd_recipes.coordination.identity import contender, describe_self
from etcd_recipes.coordination.rounds import look, members_in, parties_in
from etcd_recipes.core.errors import EtcdRecipesError
from etcd_recipes.core.http import redirects
from etcd_recipes.core.http.action import Reply
from etcd_recipes.core.store import Entry, Standing
from etcd_recipes.core.v2 import admin_replies as v2_admin
from etcd_recipes.core.v2 import replies as v2
from etcd_recipes.core.v2.sealed import entry_of
from etcd_recipes.core.v2.values import Node
from etcd_recipes.core.v3 import replies as v3
from etcd_recipes.core.v3.admin import replies as v3_admin
from etcd_recipes.core.v3.assembly import Assembly
from etcd_recipes.core.v3.channel import _check
from etcd_recipes.core.v3.frames import Frames
from etcd_recipes.recipes.election.handover import read_note
from etcd_recipes.recipes.fencing import _parse as fencing_file
from etcd_recipes.recipes.latch import _count_in
from etcd_recipes.recipes.registry.codec import CODECS
from etcd_recipes.settings import from_environment, from_url

__all__ = ["TARGETS", "Target", "frames", "stored"]

HERE = "http://a:2379"
STATUSES = (200, 201, 204, 301, 400, 401, 404, 410, 412, 500, 503)


@dataclass(frozen=True)
class Target:
    """A parser: what it is given, and what real servers, or the library itself, have written."""

    run: Callable[[bytes], None]
    seeds: list[bytes]


def sound(found: Any) -> None:
    """Look at what a parser has made: everything can be told, and written."""
    repr(found).encode("utf-8", "strict" if isinstance(found, Node | v2.Response) else "replace")


def _told(error: EtcdRecipesError) -> None:
    words = f"{error} {error!r}"
    assert len(words) < 100_000, "an error that nobody reads"


def _judged(judge: Any, reader: Any = None) -> Callable[[bytes], None]:
    """Judge and read `raw` as the body of an answer of each status."""

    def run(raw: bytes) -> None:
        for status in STATUSES:
            reply = Reply(status, {"x-etcd-index": "7"}, raw, HERE)
            try:
                judge(reply)
                if reader is not None and status == 200:
                    sound(reader(reply))
            except EtcdRecipesError as error:
                _told(error)

    return run


def _v3(reader: Callable[[Any], Any]) -> Callable[[Reply], Any]:
    def read(reply: Reply) -> Any:
        body = v3.decode(reply)
        with v3.Reading(HERE):
            found = v3.cluster_of(body), v3.revision_of(body), reader(body)
            json.dumps(found[1])
            return found

    return read


def frames(cut: list[bytes]) -> None:
    """Read a watch's stream that comes in these pieces, as a channel and a subscription do."""
    stream, assembly = Frames(HERE), Assembly(None)
    assembly.confirm(1)
    try:
        for piece in cut:
            for message in stream.feed(piece):
                error = v3.stream_error(message, HERE)
                if error is not None:
                    raise error
                result = message.get("result")
                if isinstance(result, dict):
                    _check(result, HERE)
                    with v3.Reading(HERE):
                        v3.cluster_of(result)
                        for batch in assembly.take(result):
                            sound(batch)
                    str(assembly.next_revision)
    except EtcdRecipesError as error:
        _told(error)


def _frames(raw: bytes) -> None:
    step = raw[0] % 7 + 1 if raw else 1
    frames([raw])
    frames([raw[at : at + step] for at in range(0, len(raw), step)])


def _headers(raw: bytes) -> None:
    text = raw.decode("latin-1")
    with suppress(EtcdRecipesError):
        v2.index_of(Reply(200, {"x-etcd-index": text}, b"{}", HERE))
    for endpoint in (HERE, "https://a:2379"):
        try:
            where, path = redirects.target(endpoint, "/v2/keys/a?b=c", text)
        except ValueError:
            continue
        redirects.is_own(where, [HERE])
        assert f"{where}{path}".isascii()
        assert f"{where}{path}".isprintable()
        assert not (endpoint.startswith("https") and where.startswith("http:"))


def stored(text: str) -> None:
    """Read `text` as everything that others write into etcd, in the company of sound values."""
    mine = Entry("l/2", describe_self(weight=1, permits=2, kind="read"), 3, 3, 2)
    for key in ("l/1", "l/1-0", "l.limit", "b/1", "b/1.released", "d/parties/0123456789abcdef"):
        entry = Entry(key, text, 2, 2, 1)
        who = contender(entry)
        assert who.identity.isprintable()
        assert len(who.identity) < 5000
    bad = Entry("l/1", text, 2, 2, 1)
    for rule in (FIRST_ONLY, READ, WRITE, PERMITS):
        inside, waiting = split((bad, mine), rule, Entry("l.limit", text, 1, 1, 0))
        assert len(inside) + len(waiting) == 2
    why = objection(Standing(mine, (bad,), 3, beside=Entry("l.limit", text, 1, 1, 0)))
    assert why is None or len(why) < 10_000
    str(limit_in(bad))
    number, members = parties_in(text), members_in(text)
    assert number is None or 0 < number < 2**63
    assert all(isinstance(member, str) for member in members)
    _double_barrier(text)
    read_note(text)
    str(_count_in(text))
    with suppress(ValueError, RecursionError):  # what FileFence turns into a RecipeError
        fencing_file(text)
    _census(text)
    _registry(text)
    sealed = entry_of(Node("/l/1", text, created_index=1, modified_index=1), "l")
    assert 0 <= sealed.lease < 2**64


def _double_barrier(text: str) -> None:
    keys = ("d/round", "d/parties/a", "d/7/in/a", "d/7/void", "d/7/left/a", f"d/{text}/in/a")
    view = look("d", {key: Entry(key, text, 7, 7, 1) for key in keys})
    str((view.opened, view.over, view.dead, view.all_left, view.eldest))


def _census(text: str) -> None:
    keys = (
        "l/1",
        "l/1-0",
        "l.limit",
        "b/1",
        "b/1.released",
        "d/parties/0123456789abcdef",
        "d/round",
    )
    keys = (*keys, "r/a/i", "t/x", "00000000000000000007", "l/00000000000000000007", f"k/{text}")
    entries = [Entry(key, text, number, number, 1) for number, key in enumerate(keys, 1)]
    entries.append(Entry("l/2", describe_self(weight=1, permits=2), 99, 99, 2))
    for api in ("v3", "v2"):
        census = take(entries, api=api)
        for make in (report.rows, report.plain_rows):
            for row in make(census, {}, 1.8e9, all_=True):
                assert all(cell.isprintable() for cell in row.cells)
        json.dumps(report.document(census, {}, 1.8e9, 7, all_=True))


def _registry(text: str) -> None:
    for codec in CODECS.values():
        for id_ in ("i", "a/i", text[:50]):
            found = codec.read("api", id_, text)
            if found is None:
                continue
            json.dumps(codec.encode(found))
            assert all(cell.isprintable() for cell in listing.cells(found))
            assert all("\n" not in line for line in listing.as_hosts("api", [found]))
            listing.as_env("api", [found])
            json.dumps(listing.as_prometheus([found]))
            str(found).encode()
        codec.service_at(f"r/{text[:50]}", text)


def _stored(raw: bytes) -> None:
    stored(raw.decode("utf-8", "replace"))


def _settings(raw: bytes) -> None:
    text = raw.decode("utf-8", "surrogateescape")
    for url in (text, f"etcd://{text}", f"etcds://h/{text}", f"etcd://h?{text}"):
        with suppress(ValueError):
            from_url(url)
    for variable in ("ENDPOINTS", "USER", "DIAL_TIMEOUT", "COMMAND_TIMEOUT", "INSECURE_TRANSPORT"):
        with suppress(ValueError):
            from_environment({f"ETCDCTL_{variable}": text}, {})


# -- what real servers have written ----------------------------------------------------------------------------

_HEADER = (
    b'"header":{"cluster_id":"14841639068965178418","member_id":"10276657743932975437","revision":"5",'
    b'"raft_term":"2"}'
)
_KV = (
    b'{"key":"bmV3","create_revision":"4","mod_revision":"5","version":"2","value":"dg==",'
    b'"lease":"7587855555555555555"}'
)


def _body(*fields: bytes) -> bytes:
    return b"{" + b",".join((_HEADER, *fields)) + b"}"


V3_SEEDS = [
    _body(b'"kvs":[' + _KV + b'],"more":true,"count":"7"'),
    _body(b'"prev_kv":' + _KV),
    _body(b'"deleted":"1","prev_kvs":[' + _KV + b"]"),
    _body(
        b'"succeeded":true,"responses":[{"response_put":{"header":{"revision":"5"}}},'
        b'{"response_range":{"kvs":['
        + _KV
        + b'],"count":"1"}},{"response_delete_range":{"deleted":"1"}},'
        b'{"response_txn":{"succeeded":true,"responses":[{"response_put":{}}]}}]'
    ),
    _body(b'"ID":"7587855555555555555","TTL":"15"'),
    _body(b'"ID":"7","TTL":"9","grantedTTL":"15","keys":["YQ==","AP8="]'),
    _body(b'"leases":[{"ID":"7587855555555555555"}]'),
    b'{"result":{' + _HEADER + b',"ID":"7","TTL":"15"}}',
    b'{"error":"etcdserver: no leader","code":14,"message":"etcdserver: no leader"}',
    b'{"error":{"grpc_code":11,"http_code":400,"message":"etcdserver: mvcc: required revision has been compacted"}}',
    _body(b'"token":"abcdefgh.5"'),
]
V3_ADMIN_SEEDS = [
    _body(
        b'"members":[{"ID":"10276657743932975437","name":"m0","peerURLs":["http://a:1"],"clientURLs":["http://a:2"]}]'
    ),
    _body(
        b'"version":"3.5.1","dbSize":"20480","leader":"10276657743932975437","raftIndex":"8","raftTerm":"2",'
        b'"raftAppliedIndex":"8","dbSizeInUse":"16384","errors":["x"]'
    ),
    _body(b'"alarms":[{"memberID":"7","alarm":"NOSPACE"}]'),
    _body(b'"hash":2839477,"compact_revision":"-1"'),
    _body(b'"roles":["root"],"users":["root"],"enabled":true,"authRevision":"3"'),
    _body(b'"perm":[{"permType":"READWRITE","key":"YQ==","range_end":"Yg=="}]'),
    _body(b'"blob":"AAEC","remaining_bytes":"17"'),
]
V2_SEEDS = [
    (
        b'{"action":"get","node":{"key":"/a","dir":true,"nodes":[{"key":"/a/b","value":"v","modifiedIndex":5,'
        b'"createdIndex":5,"ttl":9,"expiration":"2026-11-22T10:11:12.123456789Z"}],"modifiedIndex":4,"createdIndex":4}}'
    ),
    (
        b'{"action":"compareAndSwap","node":{"key":"/a","value":"\xc3\xa9","modifiedIndex":6,"createdIndex":4},'
        b'"prevNode":{"key":"/a","value":"1","modifiedIndex":4,"createdIndex":4}}'
    ),
    b'{"errorCode":100,"message":"Key not found","cause":"/a","index":7}',
    b'{"errorCode":401,"message":"The event in requested index is outdated and cleared","cause":"x","index":2000}',
    b'{"message":"User x does not exist"}',
    b'{"etcdserver":"3.5.1","etcdcluster":"3.5.0"}',
]
V2_ADMIN_SEEDS = [
    b'{"members":[{"id":"8e9e05c52164694d","name":"m0","peerURLs":["http://a:1"],"clientURLs":["http://a:2"]}]}',
    b'{"id":"8e9e05c52164694d","name":"m0","peerURLs":["http://a:1"],"clientURLs":["http://a:2"]}',
    b'{"user":"u","roles":["root",{"role":"r"}]}',
    b'{"users":[{"user":"u"},"v"]}',
    b'{"role":"r","permissions":{"kv":{"read":["/a*"],"write":null}}}',
    b'{"roles":[{"role":"r"}]}',
    b'{"enabled":true}',
]
WATCH_SEEDS = [
    b'{"result":{' + _HEADER + b',"created":true}}\n{"result":{' + _HEADER + b',"events":[{"kv":' + _KV + b"}]}}\n",
    b'{"result":{' + _HEADER + b',"events":[{"type":"DELETE","kv":{"key":"YQ==","mod_revision":"6"},"prev_kv":'
    + _KV + b'}],"fragment":true,"watch_id":"1"}}\n',
    b'{"result":{' + _HEADER + b',"canceled":true,"compact_revision":"4","watch_id":"-1"}}\n',
    b'{"result":{' + _HEADER + b',"canceled":true,"cancel_reason":"rpc error: desc = etcdserver: x"}}',
    b'{"error":{"grpc_code":14,"http_code":503,"message":"etcdserver: no leader"}}',
]  # fmt: skip
STORED_SEEDS = [
    b'{"host":"h","pid":7,"since":1763800000.123,"id":"0123abcd","kind":"write"}',
    b'{"host":"h","pid":7,"since":1763800000.123,"id":"0123abcd","weight":1,"permits":2}',
    b'{"permits":3,"was":2}',
    b'{"parties":3,"host":"h","pid":7,"since":1763800000.123,"id":"0123abcd"}',
    b'{"members":["a","b"]}',
    b'{"id":"0123456789abcdef","by":{"host":"h","pid":7,"since":1763800000.123,"id":"0123abcd"}}',
    b'{"count":3,"by":{"host":"h","pid":7,"since":1763800000.123,"id":"0123abcd"}}',
    b'{"key":"l/1","token":7}',
    b'{"address":"10.0.0.7:80","owner":"x","metadata":{"a":"b"},"weight":2,"zone":"z","draining":true}',
    b'{"Op":0,"Addr":"10.0.0.7:80","Metadata":"{\\"owner\\":\\"x\\",\\"weight\\":2}"}',
    b'{"Op":0,"Addr":"::1","Metadata":{"a":1,"metadata":[2]}}',
    b'{"grant":"1f-0","value":"{}"}',
    b'{"jobs": 7, "": 3}',
]
SETTINGS_SEEDS = [
    b"etcd://user:pw@h1:2379,h2:2379/name%20space?timeout=5&ttl=3",
    b"http://[::1]:2379,h2",
    b"1m30s",
    b"name:password",
    b"h1:2379,[fe80::1%25eth0]:80",
]
HEADER_SEEDS = [
    b"http://b:2379/v2/keys/a?x=y",
    b"//c/d",
    b"../e",
    b"HTTPS://A:2379",
    b"18446744073709551615",
]

TARGETS: dict[str, Target] = {
    **{
        f"v3 {reader.__name__}": Target(_judged(v3.judge, _v3(reader)), V3_SEEDS)
        for reader in (
            v3.range_result,
            v3.put_result,
            v3.delete_result,
            v3.txn_result,
            v3.lease_grant,
            v3.lease_status,
            v3.lease_ids,
            v3.keep_alive_ttl,
        )
    },
    **{
        f"v3 {name}": Target(_judged(v3.judge, _v3(reader)), V3_ADMIN_SEEDS)
        for name, reader in {
            "members": v3_admin.members,
            "status": lambda body: v3_admin.status(body, HERE),
            "alarms": v3_admin.alarms,
            "hash": lambda body: v3_admin.store_hash(body, HERE),
            "auth": v3_admin.auth_status,
            "names": lambda body: v3_admin.names(body, "users"),
            "user": lambda body: v3_admin.user(body, "u"),
            "role": lambda body: v3_admin.role(body, "r"),
            "snapshot": v3_admin.piece,
        }.items()
    },
    "v3 watch": Target(_frames, WATCH_SEEDS),
    "v2 keys": Target(_judged(v2.judge, v2.response), V2_SEEDS),
    "v2 version": Target(_judged(v2.judge_removal, v2.version), V2_SEEDS),
    **{
        f"v2 {reader.__name__}": Target(_judged(v2.judge, reader), V2_ADMIN_SEEDS)
        for reader in (
            v2_admin.members,
            v2_admin.member,
            v2_admin.user,
            v2_admin.users,
            v2_admin.role,
            v2_admin.roles,
            v2_admin.enabled,
        )
    },
    "headers": Target(_headers, HEADER_SEEDS),
    "stored values": Target(_stored, STORED_SEEDS),
    "settings": Target(_settings, SETTINGS_SEEDS),
}
