"""What comes out, and what stands in what goes in: frozen values, checked bytes and numbers."""

from __future__ import annotations

import copy
import dataclasses
import enum
import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etcd_recipes.core.v3.values import (
    Event,
    KeyValue,
    made_event,
    made_key_value,
    prefix_end,
    span,
    to_bytes,
    to_int64,
)


@given(st.binary(max_size=6), st.binary(max_size=6))
@settings(max_examples=200)
def test_a_prefix_ends_before_the_first_key_that_does_not_begin_with_it(
    prefix: bytes, key: bytes
) -> None:
    end = prefix_end(prefix)
    inside = key >= prefix and (end == b"\0" or key < end)
    assert inside is key.startswith(prefix)


@pytest.mark.parametrize(
    ("prefix", "end"),
    [(b"a", b"b"), (b"a\xff", b"b"), (b"\xff\xff", b"\0"), (b"", b"\0"), (b"a/", b"a0")],
)
def test_the_end_of_a_prefix(prefix: bytes, end: bytes) -> None:
    assert prefix_end(prefix) == end


@given(st.binary(max_size=20))
def test_a_key_that_is_not_utf_8_survives_as_text(raw: bytes) -> None:
    assert to_bytes(raw.decode("utf-8", "surrogateescape")) == raw


@pytest.mark.parametrize("key", [None, 7, True, bytearray(b"k"), memoryview(b"k"), ["k"]])
def test_what_is_neither_text_nor_bytes_is_a_type_error_that_names_it(key) -> None:
    with pytest.raises(TypeError, match=f"a key is str or bytes, not {type(key).__name__}"):
        to_bytes(key)
    with pytest.raises(TypeError, match="a value is str or bytes"):
        to_bytes(key, "value")
    if key is not None:
        with pytest.raises(TypeError, match="a range_end is str or bytes"):
            span("k", key, prefix=False)


def test_a_surrogate_that_stands_for_no_byte_is_a_value_error_that_says_where() -> None:
    with pytest.raises(ValueError, match=r"a key must be text .* the character at 2 is '\\ud800'"):
        to_bytes("ab\ud800")


@pytest.mark.parametrize("number", [None, "seven", 7.0, True, b"7"])
def test_a_number_is_an_int_and_no_bool(number) -> None:
    with pytest.raises(TypeError, match=f"limit is an int, not {type(number).__name__}"):
        to_int64(number, "limit")


def test_a_number_is_one_that_etcd_can_hold() -> None:
    for number in (-(2**63), -1, 0, 2**63 - 1):
        assert to_int64(number, "n") == number
    for number, least in ((-(2**63) - 1, -(2**63)), (2**63, 0), (-1, 0), (0, 1)):
        with pytest.raises(ValueError, match=f"n is {least} or more and below"):
            to_int64(number, "n", least=least)


def test_a_number_goes_out_as_the_number_that_it_is() -> None:
    class Named(int, enum.Enum):
        LIMIT = 7

    assert str(to_int64(Named.LIMIT, "limit")) == "7"


def test_values_are_shown_as_text_when_they_are_text() -> None:
    assert KeyValue(b"k", "ž".encode(), 1, 1, 1).text == "ž"
    assert KeyValue(b"k", b"\xffa", 1, 1, 1).text == "�a"


def test_values_cannot_be_changed() -> None:
    kv = KeyValue(b"k", b"v", 1, 1, 1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        kv.value = b"w"
    assert kv == KeyValue(b"k", b"v", 1, 1, 1)
    assert hash(kv) == hash(KeyValue(b"k", b"v", 1, 1, 1))


def test_what_is_made_the_short_way_is_no_other_than_what_a_user_makes() -> None:
    kv = KeyValue(b"k", b"v", 1, 2, 3, 4)
    pairs = [
        (made_key_value(b"k", b"v", 1, 2, 3, 4), kv),
        (made_event("DELETE", kv, kv), Event("DELETE", kv, kv)),
    ]
    for made, own in pairs:
        assert type(made) is type(own)
        assert (made, hash(made), repr(made)) == (own, hash(own), repr(own))
        assert (
            pickle.loads(pickle.dumps(made)) == copy.copy(made) == dataclasses.replace(made) == own
        )
        for field in dataclasses.fields(made):
            with pytest.raises(dataclasses.FrozenInstanceError):
                setattr(made, field.name, None)
        assert not hasattr(made, "__dict__")
