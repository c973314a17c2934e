"""A stream of JSON objects, cut into objects, whatever pieces it arrives in."""

from __future__ import annotations

import json
from base64 import b64encode
from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etcd_recipes.core.errors import InvalidResponse
from etcd_recipes.core.v3.frames import Frames
from tests.core.calls import within

CREATED = '{"result":{"header":{"revision":"4"},"created":true}}'
EVENT = '{"result":{"header":{"revision":"5"},"events":[{"kv":{"key":"YQ==","value":"e30="}}]}}'
SPACED = (
    '{"result": {"header": {"revision": "6"}, "cancel_reason": "a \\"}\\" in a string, ž 好 🙂"}}'
)
ERROR = '{"error":{"grpc_code":14,"http_code":503,"message":"etcdserver: no leader"}}'
MESSAGES = [CREATED, EVENT, SPACED, EVENT, ERROR]

STREAMS = {
    "newline after each": "\n".join(MESSAGES) + "\n",
    "no newline at the end": "\n".join(MESSAGES),
    "no newlines": "".join(MESSAGES),
    "all in one line": "".join(MESSAGES) + "\n",
    "much white space": " \r\n\t ".join(MESSAGES) + "  \n\n ",
}
streams = pytest.mark.parametrize("stream", STREAMS.values(), ids=STREAMS)


def fed(*pieces: bytes) -> list[dict[str, object]]:
    frames = Frames("http://a:1")
    return [message for piece in pieces for message in frames.feed(piece)]


@streams
def test_a_stream_in_one_piece(stream: str) -> None:
    assert fed(stream.encode()) == [json.loads(message) for message in MESSAGES]


def test_a_line_that_goes_on_from_the_piece_before_is_no_object_of_its_own() -> None:
    frames = Frames("http://a:1")
    assert list(frames.feed(b'{"result":')) == []
    with pytest.raises(InvalidResponse):
        list(frames.feed(b"{}\n"))


def test_two_objects_in_one_line_are_two() -> None:
    assert fed(f"{CREATED}{EVENT}\n".encode()) == [json.loads(CREATED), json.loads(EVENT)]


@streams
def test_a_stream_cut_in_two_at_every_position(stream: str) -> None:
    raw = stream.encode()
    expected = [json.loads(message) for message in MESSAGES]
    for at in range(len(raw) + 1):
        assert fed(raw[:at], raw[at:]) == expected


@streams
def test_a_stream_byte_by_byte(stream: str) -> None:
    raw = stream.encode()
    assert fed(*[raw[at : at + 1] for at in range(len(raw))]) == [
        json.loads(message) for message in MESSAGES
    ]


@given(st.lists(st.integers(0, 400), max_size=8))
def test_a_stream_cut_anywhere(cuts: list[int]) -> None:
    raw = STREAMS["no newlines"].encode()
    edges = [0, *sorted(min(cut, len(raw)) for cut in cuts), len(raw)]
    pieces = [raw[start:end] for start, end in pairwise(edges)]
    assert fed(*pieces) == [json.loads(message) for message in MESSAGES]


def test_an_object_is_given_as_soon_as_it_is_complete() -> None:
    frames = Frames()
    assert list(frames.feed(CREATED[:-1].encode())) == []
    assert len(list(frames.feed(b"}"))) == 1
    assert list(frames.feed(b"\n")) == []
    assert len(list(frames.feed(ERROR.encode()))) == 1


def test_nothing_is_nothing() -> None:
    assert fed() == []
    assert fed(b"", b"\n", b" ") == []


def event_of(size: int) -> bytes:
    value = b64encode(b"x" * size).decode()
    return json.dumps(
        {"result": {"header": {"revision": "5"}, "events": [{"kv": {"value": value}}]}}
    ).encode()


def in_pieces(raw: bytes, count: int) -> list[bytes]:
    size = -(-len(raw) // count)
    return [raw[at : at + size] for at in range(0, len(raw), size)]


def test_a_large_event_in_a_thousand_pieces_costs_little() -> None:
    raw = event_of(1_000_000)
    with within(0.5):
        (message,) = fed(*in_pieces(raw, 1000), b"\n")
    assert message == json.loads(raw)


@pytest.mark.parametrize("cut", ["anywhere", "after each event"])
def test_many_events_in_one_message_in_a_thousand_pieces_cost_little(cut: str) -> None:
    """A watch that catches up is sent a thousand revisions in one message."""
    events = [
        {"kv": {"key": "YQ==", "mod_revision": str(n), "value": "e" * 900}} for n in range(1000)
    ]
    raw = json.dumps({"result": {"header": {"revision": "5"}, "events": events}}).encode()
    pieces = in_pieces(raw, 1000)
    if cut == "after each event":
        pieces = [piece + b"}}" for piece in raw.split(b"}}")[:-1]]
        assert b"".join(pieces) in raw
    with within(1.0):
        found = fed(*pieces[:-1], raw[len(b"".join(pieces[:-1])) :], b"\n")
    assert found == [json.loads(raw)]


def test_a_large_catch_up_costs_little() -> None:
    """A thousand revisions of 10 kB each, as they are read from a socket."""
    value = "e" * 13_000
    events = [{"kv": {"key": "YQ==", "mod_revision": str(n), "value": value}} for n in range(1000)]
    raw = json.dumps({"result": {"header": {"revision": "5"}, "events": events}}).encode()
    with within(1.5):
        (message,) = fed(*in_pieces(raw, len(raw) // 32768), b"\n")
    assert len(message["result"]["events"]) == 1000  # type: ignore[index]


@pytest.mark.parametrize(
    "garbage",
    [
        b"<html></html>}",
        b"404 page not found}",
        b"null}",
        b"[{}]",
        b'"text"}',
        b"\x00}",
        b"HTTP/1.1 400 Bad Request\r\n\r\n{}",
        CREATED.encode() + b"\n<html>}",
    ],
)
def test_what_is_not_json_is_an_invalid_response(garbage: bytes) -> None:
    with pytest.raises(InvalidResponse, match="http://a:1"):
        fed(garbage)


@pytest.mark.parametrize(
    "garbage",
    [
        b"{garbage}\n",
        b'{"result":}\n',
        b'{"result":{"events":[}}\n',
        b'{"result":"\xff\xfe"}\n',
        b"{]}\n",
        b"{'result':{}}\n",
    ],
)
def test_what_can_never_become_json_does_not_swallow_the_rest_of_the_stream(garbage: bytes) -> None:
    """Else the reader waits for ever for messages that have arrived."""
    with pytest.raises(InvalidResponse):
        fed(garbage, EVENT.encode() + b"\n", EVENT.encode() + b"\n")


def test_objects_that_are_too_deep_are_an_invalid_response() -> None:
    with pytest.raises(InvalidResponse):
        fed(b'{"a":' * 100_000, b"1" + b"}" * 100_000 + b"\n")


@given(st.lists(st.one_of(st.binary(max_size=20), st.sampled_from([CREATED.encode(), b"}", b"{"]))))
@settings(max_examples=200)
def test_any_bytes_are_messages_or_an_invalid_response(pieces: list[bytes]) -> None:
    with suppress(InvalidResponse):
        for message in fed(*pieces):
            assert isinstance(message, dict)
