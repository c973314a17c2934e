"""The model walks beside a real etcd: the same random requests, the same answers."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest

from etcd_recipes.testing import EtcdProcess
from tests.simulation.sides import Json, Messages, Modelled, Norm, Real, Side, b64, fresh
from tests.simulation.walks import Step, V2Walk, V3Walk
from tests.tools import long

SEEDS = long(3, 300)
STEPS = long(120, 300)


@pytest.fixture
def real(quiet_etcd: EtcdProcess) -> Iterator[Real]:
    side = Real(quiet_etcd.endpoint)
    yield side
    side.close()


def sorted_keys(body: Any) -> Any:
    """Put in order what etcd has in the order of a hash map."""
    if isinstance(body, dict) and "grantedTTL" in body and "keys" in body:
        body["keys"].sort()
    return body


class Pair:
    """Both sides, and the streams that are open on both."""

    def __init__(self, real: Real) -> None:
        self.model = Modelled(real.version)
        self.sides: tuple[Side, Side] = (real, self.model)
        self._mark = fresh("mark")
        for side in self.sides:
            side.ask("kv/put", {"key": b64(self._mark)})
        self.norms = (Norm(real), Norm(self.model))
        self.streams: list[list[Messages]] = []

    def settle(self) -> None:
        """Let the real one serve the watches that begin in the past: a compaction cancels those it has not."""
        request = {"key": b64(self._mark), "start_revision": str(self.norms[0].revision)}
        stream = self.sides[0].watch({"create_request": request})
        assert len(stream.take(2)) == 2
        stream.close()

    def send(self, step: Step, trail: list[str]) -> None:
        build, found = step.build, []
        if step.kind == "kv/compaction":
            self.settle()
        for side, norm in zip(self.sides, self.norms, strict=True):
            request = build(norm)
            answer = side.send(request)
            status, body = norm.answer(answer)
            index = norm.value(int(answer.headers.get("X-Etcd-Index", "0")), "index")
            found.append((status, index, sorted_keys(body)))
        trail.append(f"{request.method} {request.path} {request.body.decode()}")
        assert found[1] == found[0]

    def close(self) -> None:
        for pair in self.streams:
            for stream in pair:
                stream.close()


def events_of(messages: list[Json], norm: Norm) -> dict[str, list[Any]]:
    """Give the events of each watch, whatever messages they came in, and what else it was told."""
    found: dict[str, list[Any]] = {}
    for message in messages:
        result = message["result"]
        told = found.setdefault(result.get("watch_id", "0"), [])
        told += norm.value(result.get("events", []))
        rest = {k: norm.value(v, k) for k, v in result.items() if k not in _COMPARED}
        told += [rest] if rest else []
    return found


_COMPARED = ("events", "watch_id", "header")


def drain(stream: Messages, seconds: float) -> list[Json]:
    found = []
    while more := stream.take(1, seconds):
        found += more
    return found


def watched(pair: Pair, streams: list[Messages]) -> None:
    """Compare what a stream has brought on both sides since it was last compared."""
    expected = events_of(drain(streams[1], 0.2), pair.norms[1])
    count = sum(len(told) for told in expected.values())
    messages: list[Json] = []
    while sum(map(len, events_of(messages, pair.norms[0]).values())) < count:
        more = streams[0].take(1, 2.0)
        if not more:
            break
        messages += more
    assert events_of(messages, pair.norms[0]) == expected


@pytest.mark.parametrize("seed", range(SEEDS))
def test_on_v3_the_model_answers_as_etcd_does(real: Real, seed: int) -> None:
    rng = random.Random(seed)
    pair = Pair(real)
    walk = V3Walk(rng, fresh("walk"), lease=rng.getrandbits(50) + 1)
    trail: list[str] = []
    try:
        for _ in range(STEPS):
            if rng.random() < 0.03 and len(pair.streams) < 4:
                asked = walk.watch()
                streams = [
                    side.watch(*asked(norm))
                    for side, norm in zip(pair.sides, pair.norms, strict=True)
                ]
                pair.streams.append(streams)
                trail.append(f"watch {asked(pair.norms[1])}")
                watched(pair, streams)
            pair.send(walk.step(), trail)
        for streams in pair.streams:
            watched(pair, streams)
    except AssertionError as error:
        opened = [line for line in trail if line.startswith("wa")]
        raise AssertionError(
            "\n".join((f"seed {seed}", *opened, *trail[-6:], str(error)))
        ) from None
    finally:
        pair.close()
        for id_ in range(4):
            real.v3("lease/revoke", {"ID": str(walk._lease + id_)})


@pytest.mark.parametrize("seed", range(SEEDS))
def test_on_v2_the_model_answers_as_etcd_does(real: Real, seed: int) -> None:
    rng = random.Random(seed)
    pair = Pair(real)
    walk = V2Walk(rng, f"/{fresh('walk')}")
    trail: list[str] = []
    try:
        for _ in range(STEPS):
            if rng.random() < 0.05 and len(pair.streams) < 10:
                path = walk.watch()
                streams = [
                    side.wait_v2(path(norm))
                    for side, norm in zip(pair.sides, pair.norms, strict=True)
                ]
                trail.append(f"wait {path(pair.norms[1])}")
                pair.streams.append(streams)
            pair.send(walk.step(), trail)
        for streams in pair.streams:
            compare_waits(pair, streams)
    except AssertionError as error:
        opened = [line for line in trail if line.startswith("wa")]
        raise AssertionError(
            "\n".join((f"seed {seed}", *opened, *trail[-6:], str(error)))
        ) from None
    finally:
        pair.close()


def compare_waits(pair: Pair, streams: list[Messages]) -> None:
    expected = drain(streams[1], 0.0)
    found = streams[0].take(len(expected), 2.0) + streams[0].take(1, 0.02)
    norm, own = pair.norms
    assert norm.value(found) == own.value(expected)
    assert streams[0].stream.status == streams[1].stream.status
