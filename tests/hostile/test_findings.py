"""What these tests and the fuzzer have found, each as the input that showed it."""

from __future__ import annotations

import json
import time

import pytest

from etcd_recipes.cli.view import events, listing, report
from etcd_recipes.cli.view.census import take
from etcd_recipes.coordination.contenders import objection
from etcd_recipes.coordination.identity import contender
from etcd_recipes.coordination.rounds import parties_in
from etcd_recipes.core.errors import InvalidResponse
from etcd_recipes.core.http.action import Reply
from etcd_recipes.core.store import Entry, Standing
from etcd_recipes.core.v2 import replies as v2
from etcd_recipes.core.v2.sealed import entry_of
from etcd_recipes.core.v2.values import Node
from etcd_recipes.core.v3 import replies as v3
from etcd_recipes.core.v3.horizon import Horizon
from etcd_recipes.recipes.latch import _count_in
from etcd_recipes.recipes.registry.instance import Instance
from etcd_recipes.settings import from_environment

HERE = "http://a:1"
ME = {"host": "h", "pid": 7, "id": "x"}


def line(*values: object) -> list[Entry]:
    return [
        Entry(f"l/{number:x}", json.dumps(value), number, number, number)
        for number, value in enumerate(values, 1)
    ]


def told(entries: list[Entry]) -> str:
    census = take(entries)
    rows = report.rows(census, {}, 1.8e9, all_=True) + report.plain_rows(
        census, {}, 1.8e9, all_=True
    )
    return json.dumps(report.document(census, {}, 1.8e9, 7, all_=True)) + repr(rows)


@pytest.mark.parametrize(
    "since", [10**400, -(10**400), float("nan"), float("inf"), 1e300, -5, True, "x"]
)
def test_a_time_that_is_none_ends_no_census(since: object) -> None:
    """`locks` and `top` ended with OverflowError: somebody's `since` is no time of day."""
    assert '"since": null' in told(line({**ME, "since": since}))


def test_a_strangers_permits_of_4300_digits_are_no_permits() -> None:
    """They were told to everybody who used the semaphore, as a mismatch of limits."""
    much = int("9" * 4300)
    bad, mine = line({**ME, "weight": much, "permits": much}, {**ME, "weight": 1, "permits": 2})
    assert objection(Standing(mine, (bad,), 3)) is None
    told([bad, mine])
    told([Entry("l.limit", f'{{"permits":{much},"was":{much}}}', 1, 1)])
    told([Entry("t/x", json.dumps({"count": -(10**4000), "by": ME}), 1, 1)])


def test_a_name_for_people_is_one_short_printable_line() -> None:
    """It went to stderr, to logs and into errors as it stood in etcd."""
    entry = line({"host": "\x1b]0;x\x07\n" + "h" * 10_000, "pid": 1, "id": "\ud800"})[0]
    who = contender(entry).identity
    assert who.isprintable()
    assert who.startswith(r"\x1b]0;x\x07\nhhh")
    assert len(who) < 400
    assert contender(line({"host": ["a"], "pid": 1, "id": 2})[0]).identity == "1"


@pytest.mark.parametrize("value", [True, 2.7, "3", -3, 0, 10**400, float("inf"), None, [2]])
def test_a_number_of_parties_that_is_none_is_nobodys(value: object) -> None:
    """ "3" and 2.7 were numbers of parties, and everybody else was told to use the same."""
    assert parties_in(json.dumps({"parties": value})) is None


@pytest.mark.parametrize("value", ["x" * 100, {"a": 1}, [1], True, 2.5])
def test_a_count_that_is_none_is_nobodys(value: object) -> None:
    """It was quoted whole in a ValueError for everybody who used the latch."""
    assert _count_in(json.dumps({"count": value})) is None


def test_an_address_is_no_line_of_its_own_in_a_hosts_file() -> None:
    """The zone of an IPv6 address may be any text for `ipaddress`, a line end included."""
    for zone in ("\n6.6.6.6\tbank.example", " 6.6.6.6", "\t#", "\x1b[2J"):
        (shown,) = listing.as_hosts("api", [Instance("api", "i", f"::1%{zone}")])
        assert shown.startswith("# ")
        assert shown.isprintable()
    assert listing.as_hosts("api", [Instance("api", "i", "fe80::1%eth0")]) == ["fe80::1%eth0\tapi"]


@pytest.mark.parametrize(
    "text",
    [
        "9" * 100_000,
        "9" * 150 + "h" + "9" * 40 + "h",
        "9" * 300 + "s" + "9" * 308 + "s",
        "1" + "0" * 309 + "s",
    ],
    ids=["digits", "two", "two that are infinite", "one that is infinite"],
)
def test_a_duration_that_is_none_is_refused_at_once(text: str) -> None:
    """A search in digits took minutes, a sum of large ones was an OverflowError, others were for ever."""
    began = time.process_time()
    with pytest.raises(ValueError, match="ETCDCTL_DIAL_TIMEOUT"):
        from_environment({"ETCDCTL_DIAL_TIMEOUT": text}, {})
    assert time.process_time() - began < 1


def test_half_a_character_in_v2s_json_is_none() -> None:
    """It made `watch --api v2` end, and could not be printed or written back."""
    body = b'{"action":"set","node":{"key":"/a","value":"x\\ud800","modifiedIndex":5,"createdIndex":5}}'
    node = v2.response(Reply(200, {}, body, HERE)).node
    assert node.value == "x?"
    assert events.as_line(events.Seen(5, "PUT", node.key.encode(), node.value.encode()))


@pytest.mark.parametrize(
    "number", ["18446744073709551616", "-9223372036854775809", "1e3", "5.0", "true"]
)
@pytest.mark.parametrize("name", ["modifiedIndex", "createdIndex", "ttl"])
def test_a_number_of_v2_that_64_bits_do_not_hold_is_none(name: str, number: str) -> None:
    body = f'{{"action":"get","node":{{"key":"/a","{name}":{number}}}}}'.encode()
    with pytest.raises(InvalidResponse):
        v2.response(Reply(200, {}, body, HERE))


@pytest.mark.parametrize(
    "owner", ["0x1f", "-1f", "1_f", "f" * 17, "1f-", "1f-0x1", "1f-" + "f" * 9, "", " 1f"]
)
def test_a_sealed_value_of_no_grant_is_somebody_elses(owner: str) -> None:
    """A grant of ten thousand digits was one, and so was a negative one."""
    text = json.dumps({"grant": owner, "value": "v"})
    entry = entry_of(Node("/a", text), "a")
    assert (entry.lease, entry.seat, entry.value) == (0, None, text)


@pytest.mark.parametrize(
    "value", ["18446744073709551616", "9" * 4300, 2**65, -(2**63) - 1, 1.5, 1e3, True, [], {}]
)
def test_a_number_of_v3_that_64_bits_do_not_hold_is_none(value: object) -> None:
    """A ttl of 400 digits was an OverflowError of the session, a revision of 4,300 a ValueError of the watch."""
    for read in (v3.lease_grant, v3.lease_status, v3.range_result):
        with pytest.raises(InvalidResponse), v3.Reading(HERE):
            read({"ID": "7", "TTL": value, "header": {"revision": value}, "count": value})


def test_a_flag_that_is_text_and_bytes_that_are_no_base64_are_none() -> None:
    for body in ({"succeeded": "false"}, {"succeeded": 1}, {"more": "x"}):
        with pytest.raises(InvalidResponse), v3.Reading(HERE):
            v3.txn_result(body)
            v3.range_result(body)
    for text in ("!!!!", "YQ", "YQ==YQ==", "Y Q ="):
        with pytest.raises(InvalidResponse), v3.Reading(HERE):
            v3.key_value({"key": text})


def test_an_error_whose_words_are_none_says_so() -> None:
    """A list in the place of the message was told as it stood, however long."""
    assert v3.error_of({"code": 2, "message": ["x"] * 10_000}).message == "unknown error"
    assert len(str(v3.cancel_error({"cancel_reason": {"a": "x" * 1000}}, HERE))) < 300


def test_a_server_that_invents_clusters_is_remembered_a_hundred_times() -> None:
    horizon = Horizon()
    for number in range(1000):
        horizon.note(f"c{number}", 5)
    assert len(horizon.seen()) == 100
