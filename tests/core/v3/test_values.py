"""What goes in and comes out: frozen values, and the builders of comparisons and operations."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etcd_recipes.core.v3.values import Compare, KeyValue, Op, prefix_end, to_bytes


@given(st.binary(max_size=6), st.binary(max_size=6))
@settings(deadline=None, derandomize=True, max_examples=200)
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
@settings(deadline=None, derandomize=True)
def test_a_key_that_is_not_utf_8_survives_as_text(raw: bytes) -> None:
    assert to_bytes(raw.decode("utf-8", "surrogateescape")) == raw


@pytest.mark.parametrize("key", [None, 7, bytearray(b"k"), ["k"]])
def test_what_is_neither_text_nor_bytes_is_a_type_error_that_names_it(key) -> None:
    with pytest.raises(TypeError, match=f"a key is str or bytes, not {type(key).__name__}"):
        Op.get(key)
    with pytest.raises(TypeError, match="a value is str or bytes"):
        Op.put("k", key)


def test_values_are_shown_as_text_when_they_are_text() -> None:
    assert KeyValue(b"k", "ž".encode(), 1, 1, 1).text == "ž"
    assert KeyValue(b"k", b"\xffa", 1, 1, 1).text == "�a"


def test_values_cannot_be_changed() -> None:
    kv = KeyValue(b"k", b"v", 1, 1, 1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        kv.value = b"w"
    assert kv == KeyValue(b"k", b"v", 1, 1, 1)
    assert hash(kv) == hash(KeyValue(b"k", b"v", 1, 1, 1))


def test_a_comparison_is_written_with_the_operator() -> None:
    assert (Compare.version("k") == 0) == Compare("VERSION", "EQUAL", b"k", 0)
    assert (Compare.mod_revision("k") != 3) == Compare("MOD", "NOT_EQUAL", b"k", 3)
    assert (Compare.create_revision("k") > 3) == Compare("CREATE", "GREATER", b"k", 3)
    assert (Compare.lease("k") < 3) == Compare("LEASE", "LESS", b"k", 3)
    assert (Compare.value("k") == "v") == Compare("VALUE", "EQUAL", b"k", b"v")
    assert (Compare.value("d/", prefix=True) == b"v").range_end == b"d0"


@pytest.mark.parametrize("operand", ["1", 1.0, True, None])
def test_a_revision_is_compared_with_a_number_only(operand) -> None:
    with pytest.raises(TypeError, match="is compared with an int"):
        _ = Compare.version("k") == operand


@pytest.mark.parametrize("operand", [1, None, 1.5])
def test_a_value_is_compared_with_text_or_bytes_only(operand) -> None:
    with pytest.raises(TypeError, match="is compared with str or bytes"):
        _ = Compare.value("k") == operand


def test_half_a_comparison_is_no_key_of_a_dictionary() -> None:
    with pytest.raises(TypeError, match="unhashable"):
        hash(Compare.version("k"))
