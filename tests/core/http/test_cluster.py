"""One walk over the endpoints: who is asked, what is raised, who is asked first next time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Self

import pytest

from etcd_recipes.core.context import Context
from etcd_recipes.core.errors import (
    Cancelled,
    ClusterError,
    DeadlineExceeded,
    EndpointError,
    EtcdError,
)
from etcd_recipes.core.http.action import Action, Reply
from etcd_recipes.core.http.cluster import Cluster
from etcd_recipes.core.http.endpoints import Ring
from etcd_recipes.core.http.wire import Stream, Wire
from tests.core.calls import FOREVER, SOON, Call, within
from tests.core.clusters import cluster_of
from tests.core.servers import (
    HANG,
    Handler,
    Peer,
    Server,
    always,
    answer,
    black_hole,
    chunked,
    each,
    echo,
    in_turn,
    refusing,
    script,
    silent,
)
from tests.tools import eventually

ONCE = Action("/v3/kv/put", b"{}", what="put key 'k'")
AGAIN = Action("/v3/kv/range", b"{}", replay=True, what="read key 'k'")


def judge(reply: Reply) -> EndpointError | None:
    """Judge as a dialect does: 503 is a member that cannot, 504 one that cannot tell, 400 etcd's own error."""
    if reply.status == 503:
        return EndpointError(reply.endpoint, "no leader", maybe_applied=False)
    if reply.status == 504:
        return EndpointError(reply.endpoint, "timed out", maybe_applied=True)
    if reply.status == 400:
        raise EtcdError("key is not provided", code=3, endpoint=reply.endpoint)
    return None


def whole(stream: Stream) -> Stream:
    """Take the stream as it is, once its headers are there."""
    return stream


OUTCOMES: dict[str, Handler] = {
    "ok": always(answer(b"ok")),
    "cut": script(),
    "silent": silent,
    "garbage": script(b"garbage\r\n\r\n"),
    "no leader": always(answer(b"", status=503)),
    "timed out": always(answer(b"", status=504)),
    "etcd error": always(answer(b"", status=400)),
}


@dataclass
class Endpoints:
    """Endpoints that behave as they are called, and a cluster that asks them in this order."""

    outcomes: tuple[str, ...]
    header_timeout: float | None = 0.2
    servers: dict[int, Server] = field(default_factory=dict)
    _stack: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Self:
        self.urls = tuple(self._start(number, how) for number, how in enumerate(self.outcomes))
        self.wire = Wire()
        self.cluster = Cluster(self.wire, self.urls, header_timeout=self.header_timeout)
        self.cluster._ring = Ring(self.urls)
        return self

    def _start(self, number: int, how: str) -> str:
        if how == "refused":
            return self._stack.enter_context(refusing())
        if how == "black hole":
            return self._stack.enter_context(black_hole())
        self.servers[number] = self._stack.enter_context(Server(OUTCOMES[how]))
        return self.servers[number].endpoint

    def __exit__(self, *_: object) -> None:
        self.cluster.close()
        self._stack.close()

    @property
    def asked(self) -> dict[int, int]:
        """How many requests each endpoint has heard, if any."""
        heard = {number: len(server.requests) for number, server in self.servers.items()}
        return {number: count for number, count in heard.items() if count}

    def paths(self, number: int) -> list[str]:
        """What one endpoint was asked for, in order."""
        return self.servers[number].paths()

    @property
    def pinned(self) -> int:
        """The number of the endpoint that is asked first."""
        return self.urls.index(self.cluster.pinned)


@dataclass(frozen=True)
class Row:
    """One walk: the endpoints' outcomes, the endpoints that hear the request, how it ends, who is next."""

    outcomes: str
    replay: bool
    heard: tuple[int, ...]
    ends: str
    next: int

    def __str__(self) -> str:
        return f"{self.outcomes} ({'replay' if self.replay else 'once'})"


TABLE = [
    # the first one answers
    Row("ok, ok, ok", False, (0,), "answer of 0", 0),
    Row("etcd error, ok, ok", False, (0,), "EtcdError", 0),
    # not carried out: go on, whatever the action
    Row("refused, ok, ok", False, (1,), "answer of 1", 1),
    Row("refused, refused, ok", False, (2,), "answer of 2", 2),
    Row("black hole, ok, ok", False, (1,), "answer of 1", 1),
    Row("no leader, ok, ok", False, (0, 1), "answer of 1", 1),
    Row("no leader, no leader, no leader", False, (0, 1, 2), "ClusterError", 0),
    Row("refused, refused, refused", False, (), "ClusterError", 0),
    Row("refused, etcd error, ok", False, (1,), "EtcdError", 1),
    # nobody can tell: go on only with what may be sent twice
    Row("cut, ok, ok", False, (0,), "ClusterError in doubt", 1),
    Row("silent, ok, ok", False, (0,), "ClusterError in doubt", 1),
    Row("garbage, ok, ok", False, (0,), "ClusterError in doubt", 1),
    Row("timed out, ok, ok", False, (0,), "ClusterError in doubt", 1),
    Row("refused, cut, ok", False, (1,), "ClusterError in doubt", 2),
    Row("no leader, silent, ok", False, (0, 1), "ClusterError in doubt", 2),
    Row("cut, ok, ok", True, (0, 1), "answer of 1 in doubt", 1),
    Row("silent, ok, ok", True, (0, 1), "answer of 1 in doubt", 1),
    Row("garbage, ok, ok", True, (0, 1), "answer of 1 in doubt", 1),
    Row("timed out, ok, ok", True, (0, 1), "answer of 1 in doubt", 1),
    Row("timed out, no leader, ok", True, (0, 1, 2), "answer of 2 in doubt", 2),
    Row("cut, refused, etcd error", True, (0, 2), "EtcdError", 2),
    Row("refused, no leader, ok", True, (1, 2), "answer of 2", 2),
    # nobody answers
    Row("cut, refused, no leader", True, (0, 2), "ClusterError in doubt", 0),
    Row("silent, silent, silent", True, (0, 1, 2), "ClusterError in doubt", 0),
]


def walk(endpoints: Endpoints, verb: str, action: Action) -> tuple[str, bool]:
    """Give how the walk ended, and whether it left a doubt."""
    try:
        begin = (whole,) if verb == "open" else ()
        answered = getattr(endpoints.cluster, verb)(action, Context(FOREVER), judge, *begin)
    except ClusterError as error:
        return "ClusterError", error.maybe_applied
    except EtcdError:
        return "EtcdError", False
    if isinstance(answered, Stream):
        answered.close()
    number = endpoints.urls.index(answered.endpoint)
    return f"answer of {number}", getattr(answered, "doubt", False)


@pytest.mark.parametrize("row", TABLE, ids=str)
@pytest.mark.parametrize("verb", ["send", "open"])
def test_the_walk(row: Row, verb: str) -> None:
    action = AGAIN if row.replay else ONCE
    with Endpoints(tuple(row.outcomes.split(", "))) as endpoints:
        ended, doubt = walk(endpoints, verb, action)
        assert ended == row.ends.removesuffix(" in doubt")
        opened = verb == "open" and ended.startswith("answer")  # a stream changes nothing: no doubt
        assert doubt is (row.ends.endswith(" in doubt") and not opened)
        # A server may take a request from its socket when its client has long gone on.
        eventually(
            lambda: endpoints.asked.keys() >= set(row.heard), what=f"a request to {row.heard}"
        )
        assert endpoints.asked == dict.fromkeys(row.heard, 1)
        assert endpoints.pinned == row.next


def test_a_failed_walk_names_each_endpoint_in_the_order_of_the_attempts() -> None:
    with Endpoints(("refused", "no leader", "cut")) as endpoints:
        with pytest.raises(ClusterError, match=r"\(read key 'k'\)") as raised:
            endpoints.cluster.send(AGAIN, Context(FOREVER), judge)
        assert tuple(error.endpoint for error in raised.value.errors) == endpoints.urls
        assert [error.maybe_applied for error in raised.value.errors] == [False, False, True]
        refused, no_leader, cut = raised.value.detail().splitlines()
        assert "connection refused" in refused
        assert "no leader" in no_leader
        assert "closed without an answer" in cut


# -- who is asked first --------------------------------------------------------------------------------------


def test_after_a_failure_calls_stay_on_the_endpoint_that_answers() -> None:
    with Endpoints(("silent", "ok", "ok")) as endpoints:
        for _ in range(20):
            endpoints.cluster.send(AGAIN, Context(FOREVER), judge)
        assert endpoints.asked == {0: 1, 1: 20}


def test_a_call_that_must_not_be_sent_twice_fails_once_and_the_next_one_works() -> None:
    with Endpoints(("silent", "ok", "ok")) as endpoints:
        with pytest.raises(ClusterError) as raised:
            endpoints.cluster.send(ONCE, Context(FOREVER), judge)
        assert raised.value.maybe_applied
        assert endpoints.cluster.send(ONCE, Context(FOREVER), judge).body == b"ok"


@pytest.mark.parametrize("how", ["silent", "black hole"])
def test_calls_with_less_time_than_the_header_timeout_leave_a_silent_endpoint_too(how: str) -> None:
    """Otherwise an impatient caller would ask the stopped member for ever, and never the good ones."""
    with Endpoints((how, "ok", "ok"), header_timeout=1.0) as endpoints:
        with pytest.raises(DeadlineExceeded):
            endpoints.cluster.send(AGAIN, Context(0.2), judge)
        assert endpoints.cluster.send(AGAIN, Context(0.2), judge).body == b"ok"


def test_a_cancel_says_nothing_against_the_endpoint() -> None:
    with Endpoints(("silent", "ok", "ok"), header_timeout=None) as endpoints:
        ctx = Context()
        call = Call(lambda: endpoints.cluster.send(AGAIN, ctx, judge))
        endpoints.servers[0].heard()
        ctx.cancel()
        assert isinstance(call.error(SOON), Cancelled)
        assert endpoints.pinned == 0


def test_a_call_whose_time_was_up_before_it_began_says_nothing_against_the_endpoint() -> None:
    with Endpoints(("ok", "silent", "silent")) as endpoints:
        for _ in range(5):
            with pytest.raises(DeadlineExceeded) as raised:
                endpoints.cluster.send(AGAIN, Context(0.0), judge)
            assert not raised.value.maybe_applied
        assert endpoints.pinned == 0
        assert endpoints.asked == {}


def test_a_call_to_one_endpoint_asks_that_one_and_pins_none() -> None:
    with Endpoints(("ok", "ok", "cut")) as endpoints:
        reply = endpoints.cluster.send(AGAIN, Context(FOREVER), judge, at=endpoints.urls[1])
        assert reply.endpoint == endpoints.urls[1]
        with pytest.raises(ClusterError) as raised:
            endpoints.cluster.send(AGAIN, Context(FOREVER), judge, at=endpoints.urls[2])
        assert len(raised.value.errors) == 1
        assert endpoints.asked == {1: 1, 2: 1}
        assert endpoints.pinned == 0


def test_a_stream_opened_elsewhere_begins_at_the_next_endpoint_and_pins_none() -> None:
    with Endpoints(("ok", "cut", "ok")) as endpoints:
        opened = endpoints.cluster.open(
            WATCH, Context(FOREVER), judge, whole, after=endpoints.urls[0]
        )
        assert opened.endpoint == endpoints.urls[2]
        opened.close()
        assert endpoints.asked == {1: 1, 2: 1}
        assert endpoints.pinned == 0


def test_the_last_endpoint_is_asked_again_however_often_it_failed() -> None:
    with refusing() as endpoint:
        cluster = Cluster(Wire(), (endpoint,))
        for _ in range(3):
            with pytest.raises(ClusterError):
                cluster.send(AGAIN, Context(FOREVER), judge)
    alive = threading.Event()

    def handle(peer: Peer) -> None:
        while request := peer.request():
            if not alive.is_set():
                return
            peer.send(answer(request.body))

    with Server(handle) as server:
        cluster = Cluster(Wire(), (server.endpoint,))
        with pytest.raises(ClusterError):
            cluster.send(AGAIN, Context(FOREVER), judge)
        alive.set()
        assert cluster.send(AGAIN, Context(FOREVER), judge).body == b"{}"
        cluster.close()


def test_many_calls_that_fail_at_once_turn_the_ring_by_one() -> None:
    with Endpoints(("silent", "ok", "ok")) as endpoints:
        calls = [
            Call(lambda: endpoints.cluster.send(AGAIN, Context(FOREVER), judge)) for _ in range(8)
        ]
        assert {call.result().endpoint for call in calls} == {endpoints.urls[1]}
        assert endpoints.pinned == 1


def test_new_endpoints_are_used_from_the_next_call_on_and_the_pinned_one_stays_pinned() -> None:
    with Server(echo) as one, Server(echo) as two, Server(echo) as three:
        cluster = Cluster(Wire(), (one.endpoint, two.endpoint))
        first = cluster.send(AGAIN, Context(FOREVER), judge).endpoint
        for _ in range(5):
            cluster.set_endpoints((three.endpoint, two.endpoint, one.endpoint))
            assert cluster.pinned == first
            assert cluster.endpoints == (three.endpoint, two.endpoint, one.endpoint)
        cluster.set_endpoints((three.endpoint,))
        assert cluster.send(AGAIN, Context(FOREVER), judge).endpoint == three.endpoint
        cluster.close()


# -- the end of the context ----------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["cut", "timed out"])
def test_a_context_error_says_that_an_earlier_attempt_may_have_been_carried_out(how: str) -> None:
    with Endpoints((how, "black hole"), header_timeout=None) as endpoints:
        with within(0.3 + SOON), pytest.raises(DeadlineExceeded) as raised:
            endpoints.cluster.send(AGAIN, Context(0.3), judge)
        assert raised.value.maybe_applied


@pytest.mark.parametrize("outcomes", [("black hole",), ("refused", "black hole")], ids=str)
def test_a_context_error_of_a_call_that_was_never_sent_is_in_no_doubt(outcomes) -> None:
    with Endpoints(outcomes, header_timeout=None) as endpoints:
        with pytest.raises(DeadlineExceeded) as raised:
            endpoints.cluster.send(AGAIN, Context(0.2), judge)
        assert not raised.value.maybe_applied


def test_the_end_of_the_context_ends_the_walk_at_once() -> None:
    with Endpoints(("silent", "silent", "ok"), header_timeout=1.0) as endpoints:
        ctx = Context()
        call = Call(lambda: endpoints.cluster.send(AGAIN, ctx, judge))
        endpoints.servers[0].heard()
        with within(SOON):
            ctx.cancel("the worker ends")
            error = call.error()
        assert isinstance(error, Cancelled)
        assert error.maybe_applied
        assert endpoints.asked == {0: 1}


# -- streams -------------------------------------------------------------------------------------------------


def streams_only(peer: Peer) -> None:
    """Open every watch, and stay silent to everything else; as a member does that is stopped later."""
    while request := peer.request():
        if request.path == "/v3/watch":
            peer.send(chunked(b"created", end=False))


WATCH = Action("/v3/watch", b"{}", replay=True, what="watch")


@pytest.fixture
def half_dead() -> Iterator[Endpoints]:
    OUTCOMES["streams only"] = streams_only
    with Endpoints(("streams only", "streams only", "ok")) as endpoints:
        yield endpoints
    del OUTCOMES["streams only"]


def test_an_endpoint_that_stays_silent_loses_its_streams_and_no_other_does(
    half_dead: Endpoints,
) -> None:
    cluster, there, elsewhere = half_dead.cluster, *half_dead.urls[:2]
    lost = [cluster.open(WATCH, Context(), judge, whole) for _ in range(2)]
    cluster._ring = cluster._ring.pin(elsewhere)
    kept = cluster.open(WATCH, Context(), judge, whole)
    cluster._ring = cluster._ring.pin(there)
    assert [stream.read() for stream in (*lost, kept)] == [b"created"] * 3
    readers = [Call(stream.read) for stream in (*lost, kept)]
    with within(0.2 + 2 * SOON), pytest.raises(ClusterError):
        cluster.send(ONCE, Context(FOREVER), judge)
    for reader in readers[:2]:
        error = reader.error(SOON)
        assert isinstance(error, EndpointError)
        assert error.endpoint == there
        assert "silent in other calls" in error.reason
    assert readers[2].running
    kept.abort("the test is over")
    assert isinstance(readers[2].error(SOON), EndpointError)
    for stream in (*lost, kept):
        stream.close()


@pytest.mark.parametrize("how", ["refused", "cut", "timed out"])
def test_an_endpoint_that_answers_badly_keeps_its_streams(half_dead: Endpoints, how: str) -> None:
    stream = half_dead.cluster.open(WATCH, Context(), judge, whole)
    stream.read()
    with Endpoints((how,), header_timeout=None) as others:  # all of them answer, if late
        with pytest.raises(ClusterError) as raised:
            others.cluster.send(ONCE, Context(FOREVER), judge)
        (error,) = raised.value.errors
    assert not error.silent
    error.endpoint = stream.endpoint
    half_dead.cluster._leave(error)
    with pytest.raises(EndpointError, match="stalled"):
        stream.read(quiet=0.1)
    stream.close()


def test_a_stream_that_was_dropped_is_not_remembered(half_dead: Endpoints) -> None:
    stream = half_dead.cluster.open(WATCH, Context(), judge, whole)
    assert len(half_dead.cluster._streams) == 1
    stream.close()
    del stream
    assert len(half_dead.cluster._streams) == 0


def test_close_ends_all_streams(half_dead: Endpoints) -> None:
    stream = half_dead.cluster.open(WATCH, Context(), judge, whole)
    stream.read()
    reader = Call(stream.read)
    with within(SOON):
        half_dead.cluster.close()
        error = reader.error()
    assert isinstance(error, EndpointError)
    assert error.reason == "the client was closed"
    stream.close()


@pytest.mark.parametrize(
    ("status", "ends"),
    [(400, EtcdError), (503, ClusterError), (504, ClusterError), (404, ClusterError)],
)
def test_a_stream_that_is_refused_is_read_to_its_reason(status: int, ends) -> None:
    with Server(always(answer(b"why", status=status))) as server:
        cluster = Cluster(Wire(), (server.endpoint,))
        with pytest.raises(ends):
            cluster.open(WATCH, Context(FOREVER), judge, whole)


def test_a_refusal_whose_reason_does_not_come_does_not_hold_the_walk() -> None:
    refusal = script(b"HTTP/1.1 503 Down\r\nContent-Length: 10\r\n\r\n12345", HANG)
    with (
        Server(refusal) as server,
        Server(streams_only) as good,
        cluster_of(server.endpoint, good.endpoint) as cluster,
    ):
        with within(1.0 + SOON):
            stream = cluster.open(WATCH, Context(FOREVER), judge, whole)
        assert stream.endpoint == good.endpoint
        stream.close()


def test_a_refusal_without_end_does_not_hold_the_walk() -> None:
    def handle(peer: Peer) -> None:
        peer.request()
        peer.send(b"HTTP/1.1 503 Down\r\nContent-Length: 99999999\r\n\r\n")
        while True:
            peer.send(b"x" * 65536)

    with Server(handle) as server, within(SOON), pytest.raises(ClusterError):
        Cluster(Wire(), (server.endpoint,)).open(WATCH, Context(FOREVER), judge, whole)


@pytest.mark.parametrize("how", ["silent", "trickles"])
def test_a_stream_ends_with_its_context(how: str) -> None:
    handlers: dict[str, Callable[[Peer], None]] = {
        "silent": script(chunked(b"x", end=False), HANG),
        "trickles": script(chunked(b"x", end=False), *[b"1\r\nx\r\n", 0.02] * 100),
    }
    with Server(handlers[how]) as server:
        cluster, ctx = Cluster(Wire(), (server.endpoint,)), Context()
        stream = cluster.open(WATCH, ctx, judge, whole)

        def read() -> None:
            while stream.read():
                pass

        reader = Call(read)
        eventually(lambda: server.requests)
        with within(SOON):
            ctx.cancel()
            assert isinstance(reader.error(), Cancelled)
        stream.close()


# -- after trouble -------------------------------------------------------------------------------------------

FIRST = Action("/v3/first", b"{}", replay=True, what="ask first")
WRITE = Action("/v3/kv/put", b"{}", what="put key 'k'", preflight=FIRST)


def test_without_trouble_nothing_is_asked_first() -> None:
    with Endpoints(("ok", "ok")) as endpoints:
        for _ in range(3):
            endpoints.cluster.send(WRITE, Context(FOREVER), judge)
        assert endpoints.paths(0) == [WRITE.path] * 3


def test_after_trouble_a_member_has_to_answer_a_read_before_it_gets_a_write() -> None:
    with Endpoints(("silent", "silent", "ok")) as endpoints:
        with pytest.raises(ClusterError) as caught:
            endpoints.cluster.send(WRITE, Context(FOREVER), judge)
        assert caught.value.maybe_applied
        assert endpoints.cluster.send(WRITE, Context(FOREVER), judge).endpoint == endpoints.urls[2]
        assert endpoints.paths(1) == [FIRST.path]
        assert endpoints.paths(2) == [FIRST.path, WRITE.path]
        endpoints.cluster.send(WRITE, Context(FOREVER), judge)
        assert endpoints.paths(2)[2:] == [WRITE.path]


def test_a_member_that_answers_no_read_was_certainly_not_written_to() -> None:
    with Endpoints(("silent",)) as endpoints:
        for maybe_applied in (True, False):
            with pytest.raises(ClusterError) as caught:
                endpoints.cluster.send(WRITE, Context(FOREVER), judge)
            assert caught.value.maybe_applied is maybe_applied
        assert endpoints.paths(0) == [WRITE.path, FIRST.path]


@pytest.mark.parametrize(
    "reply",
    [answer(b"denied", status=400), answer(b"ok")],
    ids=["refuses the read", "answers the read"],
)
def test_any_answer_to_the_read_ends_the_trouble(reply: bytes) -> None:
    def handle(peer: Peer) -> None:
        while request := peer.request():
            peer.send(reply if request.path == FIRST.path else answer(b"ok"))

    with Server(in_turn(script(), handle)) as server, cluster_of(server.endpoint) as cluster:
        with pytest.raises(ClusterError):
            cluster.send(WRITE, Context(FOREVER), judge)
        for _ in range(2):
            cluster.send(WRITE, Context(FOREVER), judge)
        assert server.paths() == [WRITE.path, FIRST.path, WRITE.path, WRITE.path]


def test_a_read_that_an_election_ended_is_asked_again() -> None:
    replies = iter([answer(status=504), answer(), answer()])
    handler = in_turn(script(), each(lambda _: next(replies)))
    with Server(handler) as server, cluster_of(server.endpoint) as cluster:
        with pytest.raises(ClusterError):
            cluster.send(WRITE, Context(FOREVER), judge)
        cluster.send(WRITE, Context(FOREVER), judge)
        assert server.paths() == [WRITE.path, FIRST.path, FIRST.path, WRITE.path]


def test_a_call_that_ends_while_its_read_is_under_way_was_not_sent() -> None:
    with Endpoints(("silent",), header_timeout=None) as endpoints:
        for maybe_applied in (True, False):
            with pytest.raises(DeadlineExceeded) as caught:
                endpoints.cluster.send(WRITE, Context(0.2), judge)
            assert caught.value.maybe_applied is maybe_applied
