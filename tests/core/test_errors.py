"""The error tree: as drawn, and what its errors carry."""

from __future__ import annotations

import copy
import pickle
import re

import pytest

import etcd_recipes
from etcd_recipes.core import errors
from etcd_recipes.core.errors import (
    ClusterError,
    Compacted,
    ContextError,
    DeadlineExceeded,
    EndpointError,
    EtcdError,
    EtcdRecipesError,
    InvalidResponse,
    LeaseNotFound,
    NotAcquired,
    ResponseError,
)

REAL = {
    value.__name__: value
    for value in vars(errors).values()
    if isinstance(value, type) and issubclass(value, EtcdRecipesError)
}


def drawn() -> dict[str, str]:
    """Give the parent of each class, as the module's docstring draws it."""
    parents: dict[str, str] = {}
    road: list[str] = []
    drawing = (errors.__doc__ or "").partition("::")[2].partition("Rules of this file")[0]
    for line in drawing.splitlines():
        names = re.match(r"[\s│├└─]*((?:[A-Z]\w+(?:\s\s|$)\s*)+)", line)
        if names is None:
            continue
        depth = (names.start(1) - 4) // 4
        for name in names[1].split():
            parents[name] = road[depth - 1] if depth else "Exception"
            road[depth:] = [name]
    return parents


def test_the_drawn_tree_is_the_real_one() -> None:
    assert drawn() == {name: kind.__bases__[0].__name__ for name, kind in REAL.items()}


def test_every_error_is_named_as_public_and_is_in_the_package() -> None:
    assert set(errors.__all__) == set(REAL)
    for name, kind in REAL.items():
        assert getattr(etcd_recipes, name) is kind


def test_what_ran_out_of_time_is_also_a_timeout_error() -> None:
    assert {kind for kind in REAL.values() if issubclass(kind, TimeoutError)} == {
        DeadlineExceeded,
        NotAcquired,
    }


def test_every_error_says_what_it_is() -> None:
    assert all(kind.__doc__ for kind in REAL.values())


# -- no answer ---------------------------------------------------------------------------------------


def test_a_cluster_error_has_one_line_per_attempt() -> None:
    error = ClusterError(
        [EndpointError("http://a:1", "refused"), EndpointError("http://b:2", "silent")],
        what="put key 'k'",
    )
    assert error.detail() == "http://a:1: refused\nhttp://b:2: silent"
    assert error.detail(" / ") == "http://a:1: refused / http://b:2: silent"
    assert str(error) == (
        "no etcd endpoint answered (put key 'k'): http://a:1: refused; http://b:2: silent"
    )
    assert [e.endpoint for e in error.errors] == ["http://a:1", "http://b:2"]
    assert not error.maybe_applied


def test_one_attempt_in_doubt_puts_the_whole_call_in_doubt_and_the_message_says_so() -> None:
    error = ClusterError(
        [EndpointError("http://a:1", "cut", maybe_applied=True), EndpointError("http://b:2", "x")]
    )
    assert error.maybe_applied
    assert str(error).endswith("; it may have been carried out all the same")


def test_of_what_may_be_repeated_at_will_the_message_raises_no_alarm() -> None:
    attempt = EndpointError("http://a:1", "cut", maybe_applied=True)
    error = ClusterError([attempt], what="read key 'k'", harmless=True)
    assert error.maybe_applied
    assert str(error) == "no etcd endpoint answered (read key 'k'): http://a:1: cut"


def test_without_an_endpoint_the_message_is_still_a_sentence() -> None:
    assert ClusterError([]).detail() == "there was no endpoint to ask"
    assert not ClusterError([]).maybe_applied


def test_a_context_error_is_in_no_doubt_unless_it_says_so() -> None:
    assert ContextError().maybe_applied is False


# -- an answer ---------------------------------------------------------------------------------------


def test_an_etcd_error_carries_etcds_own_words() -> None:
    error = EtcdError("Key not found", code=100, cause="/k", index=7, endpoint="http://a:1")
    assert str(error) == "http://a:1: Key not found (/k) [code 100]"
    assert (error.code, error.message, error.cause, error.index, error.endpoint) == (
        100,
        "Key not found",
        "/k",
        7,
        "http://a:1",
    )
    assert str(EtcdError("no")) == "no [code 0]"


def test_lost_history_says_where_to_go_on() -> None:
    assert Compacted("gone").resume_from == 0


# -- across processes --------------------------------------------------------------------------------


def in_doubt() -> DeadlineExceeded:
    error = DeadlineExceeded("too late")
    error.maybe_applied = True
    return error


def compacted() -> Compacted:
    error = Compacted("gone", code=11, endpoint="http://a:1")
    error.resume_from = 7
    return error


@pytest.mark.parametrize("way", [lambda e: pickle.loads(pickle.dumps(e)), copy.copy])
@pytest.mark.parametrize(
    "error",
    [
        in_doubt(),
        EndpointError("http://a:1", "cut", maybe_applied=True, silent=True),
        ClusterError([EndpointError("http://a:1", "cut", maybe_applied=True)], what="put"),
        ResponseError("what", endpoint="http://a:1"),
        InvalidResponse("what", endpoint="http://a:1"),
        LeaseNotFound("gone", code=5, cause="why", index=3, endpoint="http://a:1"),
        compacted(),
        NotAcquired("busy"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_travels_to_another_process_as_it_is(error: EtcdRecipesError, way) -> None:
    """A worker pool that cannot read a worker's error waits for it for ever."""
    there = way(error)
    assert type(there) is type(error)
    assert str(there) == str(error)
    for name in ("maybe_applied", "silent", "endpoint", "reason", "what", "code", "message"):
        assert getattr(there, name, None) == getattr(error, name, None)
    for name in ("cause", "index", "resume_from"):
        assert getattr(there, name, None) == getattr(error, name, None)
    assert [str(e) for e in getattr(there, "errors", ())] == [
        str(e) for e in getattr(error, "errors", ())
    ]
