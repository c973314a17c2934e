"""Batches out of messages, whatever the servers send: the rules of a watch, without a server."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from etcd_recipes.core.v3.assembly import Assembly, EventBatch


def event(revision: int, key: str = "a") -> dict[str, Any]:
    return {"kv": {"key": b64encode(key.encode()).decode(), "mod_revision": str(revision)}}


def message(*revisions: int, fragment: bool = False, header: int = 0) -> dict[str, Any]:
    body: dict[str, Any] = {"header": {"revision": str(header or max(revisions, default=0))}}
    if revisions:
        body["events"] = [event(revision) for revision in revisions]
    if fragment:
        body["fragment"] = True
    return body


def shape(batches: list[EventBatch]) -> list[tuple[int, int]]:
    return [(batch.revision, len(batch.events)) for batch in batches]


def test_a_message_of_several_revisions_becomes_a_batch_of_each_in_order() -> None:
    assembly = Assembly(0)
    assert shape(assembly.take(message(5, 5, 7, 6))) == [(5, 2), (6, 1), (7, 1)]
    assert assembly.next_revision == 8


def test_what_was_delivered_is_not_delivered_again() -> None:
    assembly = Assembly(4)
    assert shape(assembly.take(message(3, 4, 5))) == [(5, 1)]
    assert assembly.take(message(5, 2)) == []  # a server that goes back in time
    assert shape(assembly.take(message(5, 6))) == [(6, 1)]


def test_from_now_means_from_the_first_confirmation() -> None:
    assembly = Assembly(None)
    assert assembly.next_revision == 0
    assembly.confirm(9)
    assert assembly.next_revision == 10
    assembly.confirm(30)  # a later stream: what lies between is asked for
    assert assembly.next_revision == 10


def test_fragments_are_put_together_and_a_revision_is_never_torn() -> None:
    assembly = Assembly(0)
    assert shape(assembly.take(message(2, 3, 3, fragment=True))) == [(2, 1)]
    assert shape(assembly.take(message(3, fragment=True))) == []
    assert shape(assembly.take(message(3, 4))) == [(3, 4), (4, 1)]


def test_a_revision_that_was_half_there_when_the_stream_broke_is_asked_for_again_whole() -> None:
    assembly = Assembly(0)
    assembly.take(message(2, 3, fragment=True))
    assembly.confirm(50)
    assert assembly.next_revision == 3
    assert shape(assembly.take(message(3, 3))) == [(3, 2)]


def test_a_progress_message_counts_when_the_next_message_has_not_proved_it_wrong() -> None:
    assembly = Assembly(5)
    assert assembly.take(message(header=40)) == []
    assert assembly.next_revision == 6  # not yet
    assert shape(assembly.take(message(header=60))) == [(40, 0)]
    assert assembly.next_revision == 41


def test_a_progress_message_that_came_too_early_costs_nothing() -> None:
    assembly = Assembly(5)
    assembly.take(message(header=40))
    assert shape(assembly.take(message(38))) == [(38, 1)]  # older servers
    assert assembly.take(message(header=45)) == []
    assert shape(assembly.take(message(41, 44))) == [(41, 1), (44, 1)]


def test_progress_of_a_broken_stream_proves_nothing() -> None:
    assembly = Assembly(5)
    assembly.take(message(header=40))
    assembly.confirm(80)
    assert assembly.take(message(header=41)) == []
    assert assembly.next_revision == 6


@given(st.lists(st.integers(1, 40), min_size=1, max_size=40), st.data())
def test_whatever_is_repeated_torn_or_out_of_order_each_event_comes_once_and_whole(
    sizes: list[int], data: st.DataObject
) -> None:
    """A server's history, sent in fragments of any size, broken off anywhere and asked for again."""
    history = [rev for rev, size in enumerate(sizes, start=2) for _ in range(size % 4 + 1)]
    assembly, got = Assembly(0), list[tuple[int, int]]()
    for _ in range(4):
        back = data.draw(st.integers(0, 3), "repeated")
        rest = [rev for rev in history if rev >= assembly.next_revision - back]
        cut = data.draw(st.integers(0, len(rest)), "cut")
        assembly.confirm(99)
        for part in _fragments(rest[:cut], data, whole=rest):
            got += shape(assembly.take(part))
    assembly.confirm(99)
    rest = [rev for rev in history if rev >= assembly.next_revision]
    if rest:
        got += shape(assembly.take(message(*rest)))
    assert got == [(rev, history.count(rev)) for rev in sorted(set(history))]


def _fragments(revs: list[int], data: st.DataObject, *, whole: list[int]) -> list[dict[str, Any]]:
    """A message may end inside a revision only as a fragment."""
    parts, at = [], 0
    while at < len(revs):
        size = data.draw(st.integers(1, 5), "size")
        piece, at = revs[at : at + size], at + size
        follows = whole[at : at + 1] if at < len(revs) else whole[len(revs) : len(revs) + 1]
        torn = bool(follows) and follows[0] == piece[-1]
        parts.append(message(*piece, fragment=torn or data.draw(st.booleans(), "fragment")))
    return parts
