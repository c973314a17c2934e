"""Whatever a server answers, in whatever pieces: a value, or one of the library's own errors."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.hostile.mutations import NASTY_BYTES, json_texts, pieces, spoilt
from tests.hostile.parsers import STORED_SEEDS, TARGETS, WATCH_SEEDS, frames, stored
from tests.tools import long

EXAMPLES = long(8, 5000)


def often(count: int = EXAMPLES) -> settings:
    return settings(max_examples=count, database=None)


@pytest.mark.parametrize("name", TARGETS)
def test_what_is_sound_and_what_is_hopeless(name: str) -> None:
    for raw in (*TARGETS[name].seeds, *NASTY_BYTES):
        TARGETS[name].run(raw)


@pytest.mark.parametrize("name", TARGETS)
def test_what_was_spoilt_on_the_way(name: str) -> None:
    target = TARGETS[name]

    @given(spoilt(target.seeds))
    @often()
    def check(raw: bytes) -> None:
        target.run(raw)

    check()


@given(st.data())
@often(long(40, 20_000))
def test_a_watch_that_comes_in_any_pieces(data: st.DataObject) -> None:
    raw = b"".join(data.draw(st.lists(spoilt(WATCH_SEEDS), min_size=1, max_size=3)))
    frames(data.draw(pieces(raw)))


@given(json_texts(*(seed.decode() for seed in STORED_SEEDS)))
@often(long(40, 20_000))
def test_what_others_have_written_into_etcd(text: str) -> None:
    stored(text)
