"""Each figure that is of us, in a form that takes a second: it runs, and what it says can be so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from benchmarks import servers
from benchmarks.figures import FIGURES
from benchmarks.figures.failover import judged
from benchmarks.peers import OURS, PEERS, Peer
from benchmarks.stage import Stage
from etcd_recipes.testing import EtcdProcess

FLOOR = PEERS["raw"]


@pytest.fixture
def shared(etcd: EtcdProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    """All figures on the one server that is there."""

    @contextmanager
    def the_one() -> Iterator[str]:
        yield etcd.endpoint

    monkeypatch.setattr(servers, "etcd", the_one)


def played(name: str, *others: Peer) -> dict[str, Any]:
    """Give the one round of each case that was played with us."""
    found = {}
    for case, peers in FIGURES[name].play(Stage("tiny", (*others, PEERS[OURS]))).items():
        for peer, rounds in peers.items():
            assert not [each for each in rounds if each.get("failed")], f"{name}, {peer}: {rounds}"
        if OURS in peers:
            (found[case],) = peers[OURS]
    return found


def test_latency(shared: None) -> None:
    found = played("latency", FLOOR)
    for case in ("get", "put"):
        assert 0 < found[case]["p50_us"] <= found[case]["p99_us"]
        assert found[case]["cpu_us"] > 0


def test_pairs_and_handoffs(shared: None) -> None:
    (pairs,) = played("pairs").values()
    assert (pairs["requests"], pairs["leases"]) == (2.0, 0.0)
    (line,) = played("handoffs").values()
    assert line["handoffs"] > 10
    assert (line["two_at_once"], line["errors"]) == (0, 0)


def test_watching_and_a_registry(shared: None) -> None:
    single, batched = played("watch").values()
    for case in (single, batched):
        assert (case["lost"], case["twice"], case["ended"]) == (0, 0, "")
    (followed,) = played("registry", FLOOR).values()
    assert followed["first_view"] > 0
    assert followed["cpu_us"] > 0


def test_many_holds_cost_no_more_threads_and_requests_than_one(shared: None) -> None:
    (many,) = played("holds").values()
    assert many["threads"] <= 3
    assert 1 <= many["renewals"] <= 3  # two in a ttl of 2 s, or three


def test_idle_and_takeover(shared: None) -> None:
    found = played("idle")
    assert found["nothing"]["threads"] == 1
    assert found["one lock held"]["per_minute"] >= 60
    (given,) = played("takeover").values()
    assert given["ttls"] < 0.5


def test_what_came_of_the_calls_around_a_failure() -> None:
    calls = [
        [0.0, 0.1, None],  # before
        [0.9, 2.0, "refused"],  # under way when it struck
        [2.1, 2.3, None],
        [2.4, 2.5, None],
    ]
    found = judged(calls, 1.0, 3.0)
    assert found["first_good"] == pytest.approx(1.3)
    assert (found["errors"], found["hangs"], found["said"]) == (1, 0, ["refused"])
    assert found["longest"] == pytest.approx(1.1)
    hung = judged([[0.9, None, None]], 1.0, 21.0)
    assert (hung["first_good"], hung["hangs"]) == (None, 1)
    assert hung["longest"] == pytest.approx(20.1)
