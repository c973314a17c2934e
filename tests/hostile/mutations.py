"""Hostile input: what stands where something else was expected, and valid replies that were spoilt.

Rules of this file
1. Seeds are what real servers have answered; what is made of them stays close, so that parsers go deep before
   they find out.
2. Everything is made by Hypothesis from one stream of choices: a failure is one small value.
"""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

__all__ = ["NASTY", "NASTY_BYTES", "NASTY_TEXTS", "json_texts", "pieces", "spoilt", "texts"]

NASTY: list[Any] = [
    None,
    True,
    False,
    0,
    -1,
    1.5,
    float("nan"),
    float("inf"),
    2**31,
    2**53 + 1,
    2**63,
    2**64,
    2**64 + 1,
    -(2**63) - 1,
    10**400,
    10**4299,
    "",
    "0",
    "-1",
    "1e3",
    "1_0",
    "٣",
    str(2**64 + 1),
    "9" * 4299,
    "false",
    "YQ",
    "YQ=",
    "====",
    "é",
    "\ud800",
    "a\x1b[31m\r\n\x00b",
    "\u202e\u2028",
    [],
    {},
    [[]],
    {"": {}},
    [None],
]
"""Values that somebody else may write where another one belongs."""


def _deep(depth: int, opening: str, closing: str) -> bytes:
    return (opening * depth + "1" + closing * depth).encode()


NASTY_BYTES: list[bytes] = [
    b"",
    b" \n",
    b"null",
    b"NaN",
    b"[]",
    b'"',
    b"{",
    b"{}",
    b"\xff\xfe{\x00}\x00",
    b"\xef\xbb\xbf{}",
    b'{"a":"\xff"}',
    b'{"a":"\xed\xa0\x80"}',
    b'{"a":"\\ud800"}',
    b'{"a":' + b"9" * 5000 + b"}",
    b'{"a":' + b"9" * 4300 + b"}",
    b'{"a":1e999}',
    b'{"a":1,"a":2}',
    b"{}{}",
    b"<html>",
    b"\x1f\x8b\x08\x00",
    *(_deep(depth, '{"a":', "}") for depth in (300, 700, 900, 950, 990, 100_000)),
    *(_deep(depth, "[", "]") for depth in (900, 990, 100_000)),
]

NASTY_TEXTS = [
    *(each.decode("utf-8", "surrogateescape") for each in NASTY_BYTES),
    "\x00",
    "\x1b]0;title\x07",
    "\x9b31m",
    "a\nb",
    "\ud800",
    "/",
    "//",
    "..",
    "x" * 5000,
]

texts = st.one_of(st.sampled_from(NASTY_TEXTS), st.text(max_size=20))

_names = st.sampled_from(
    [
        *("header", "revision", "kvs", "count", "kv", "error", "code", "message", "result"),
        *("host", "pid", "id", "since", "kind", "weight", "permits", "was", "by", "members"),
        *("parties", "address", "owner", "Addr", "Op", "Metadata", "metadata", "zone", "draining"),
        *("key", "token", "grant", "value", "node", "nodes", "TTL", "ID", "", "\ud800"),
    ]
)
_leaves = st.one_of(st.sampled_from(NASTY), st.integers(), st.floats(), st.text(max_size=5))
_anything = st.recursive(
    _leaves,
    lambda inside: st.one_of(
        st.lists(inside, max_size=3), st.dictionaries(_names, inside, max_size=4)
    ),
    max_leaves=8,
)


def json_texts(*seeds: str) -> st.SearchStrategy[str]:
    """Give JSON as somebody else may have written it, made of the seeds or of nothing."""
    made = _anything.map(json.dumps)
    if not seeds:
        return st.one_of(texts, made)
    return st.one_of(texts, made, spoilt([seed.encode() for seed in seeds]).map(_as_text))


def _as_text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


@st.composite
def spoilt(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """Give one of the seeds, spoilt in a few places: its JSON, then its bytes."""
    raw = draw(st.sampled_from(seeds))
    how = draw(st.integers(0, 3))
    if how == 0:
        return draw(st.one_of(st.sampled_from(NASTY_BYTES), st.binary(max_size=40)))
    if how < 3:
        raw = _with_other_values(draw, raw, how)
    return _with_other_bytes(draw, raw) if how != 1 else raw


def _with_other_values(draw: st.DrawFn, raw: bytes, count: int) -> bytes:
    try:
        data = json.loads(raw)
    except ValueError:
        return raw
    if not isinstance(data, dict | list):
        return raw
    for _ in range(count):
        places = list(_places(data))
        if not places:
            break
        where, name = places[draw(st.integers(0, len(places) - 1))]
        if draw(st.integers(0, 4)) == 0:
            del where[name]
        else:
            where[name] = draw(st.one_of(_leaves, _anything))
    return json.dumps(data).encode("utf-8", "surrogatepass")


def _places(data: Any) -> Any:
    """Give every place of a value in `data`: what it is in, and its name or number there."""
    inside = data.items() if isinstance(data, dict) else enumerate(data)
    for name, value in list(inside):
        yield data, name
        if isinstance(value, dict | list):
            yield from _places(value)


def _with_other_bytes(draw: st.DrawFn, raw: bytes) -> bytes:
    at = draw(st.integers(0, len(raw)))
    end = draw(st.integers(at, min(len(raw), at + 8)))
    put = draw(st.one_of(st.just(b""), st.sampled_from(NASTY_BYTES[:12]), st.binary(max_size=4)))
    return raw[:at] + put + raw[end:]


@st.composite
def pieces(draw: st.DrawFn, raw: bytes) -> list[bytes]:
    """Cut `raw` anywhere, as a network does."""
    cuts = sorted(draw(st.lists(st.integers(0, len(raw)), max_size=6)))
    return [raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
