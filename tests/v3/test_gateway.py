"""What every v3 call has in common: answers from the past, older paths, no gateway, walks that are repeated."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from etcd_recipes import (
    Client,
    ClusterError,
    Compacted,
    Context,
    DeadlineExceeded,
    EmptyResponse,
    InvalidResponse,
    PermissionDenied,
    Retry,
)
from etcd_recipes.core.http.endpoints import Ring
from etcd_recipes.core.store import Standing
from etcd_recipes.core.v3 import Compare, Op, gateway, horizon, subscription
from etcd_recipes.core.v3.store import V3Store
from etcd_recipes.testing import EtcdProcess
from tests.core.calls import FOREVER
from tests.core.servers import (
    HANG,
    Handler,
    Peer,
    Request,
    Server,
    always,
    answer,
    chunked,
    each,
    in_turn,
    refusing,
    script,
)
from tests.tools import Job, eventually


def reply(revision: int, cluster: str = "1", **more: object) -> bytes:
    header = {"cluster_id": cluster, "revision": str(revision)}
    return answer(json.dumps({"header": header, **more}).encode())


@contextmanager
def client_of(*endpoints: str, **options: object) -> Iterator[Client]:
    """A client that asks these endpoints in this order."""
    with Client(endpoints, **{"header_timeout": 0.5, **options}) as client:  # type: ignore[arg-type]
        client._cluster._ring = Ring(endpoints)
        yield client


# -- answers from the past -------------------------------------------------------------------------------------


class Member:
    """A member whose revision the test sets."""

    def __init__(self, revision: int, cluster: str = "1") -> None:
        self.revision = revision
        self.cluster = cluster

    def __call__(self, peer: Peer) -> None:
        each(lambda _: reply(self.revision, self.cluster))(peer)


@pytest.fixture
def behind() -> Iterator[tuple[Member, Server, Server]]:
    """A member that will fall behind, its server, and that of one that is at revision 12."""
    first = Member(10)
    with Server(first) as one, Server(Member(12)) as other:
        yield first, one, other


def test_a_read_of_the_past_is_refused_and_asked_again_elsewhere(
    behind: tuple[Member, Server, Server], caplog: pytest.LogCaptureFixture
) -> None:
    member, one, other = behind
    with client_of(one.endpoint, other.endpoint) as client:
        assert client.v3.kv.range("a").revision == 10
        member.revision = 9
        with caplog.at_level(logging.WARNING, "etcd_recipes"):
            assert client.v3.kv.range("a").revision == 12
        assert [record.getMessage() for record in caplog.records] == ["answer.too_old"]
        assert client._cluster.pinned == other.endpoint


def test_alone_it_is_an_error_that_says_what_is_wrong(
    behind: tuple[Member, Server, Server],
) -> None:
    member, one, _ = behind
    with client_of(one.endpoint) as client:
        client.v3.kv.range("a")
        member.revision = 9
        with pytest.raises(ClusterError) as caught:
            client.v3.kv.put("a", "1")
        assert caught.value.maybe_applied is True  # it was carried out, wherever that was
        with pytest.raises(ClusterError, match=r"revision 9.*been at 10") as caught:
            client.v3.kv.range("a")
        assert caught.value.maybe_applied is False
        with pytest.raises(ClusterError) as caught:
            client.v3.kv.txn([Compare.version("a") == 0], [Op.put("a", "")])
        assert (
            caught.value.maybe_applied is False
        )  # after trouble it is read from before it is written to
        member.revision = 10
        assert client.v3.kv.range("a").revision == 10


def test_what_may_be_old_is_taken_as_it_is(behind: tuple[Member, Server, Server]) -> None:
    member, one, _ = behind
    with client_of(one.endpoint) as client:
        client.v3.kv.range("a")
        member.revision = 9
        assert client.v3.kv.range("a", serializable=True).revision == 9


def test_another_cluster_behind_the_same_address_is_another_history(
    behind: tuple[Member, Server, Server],
) -> None:
    member, one, _ = behind
    with client_of(one.endpoint) as client:
        client.v3.kv.range("a")
        member.revision, member.cluster = 2, "other"
        assert client.v3.kv.range("a").revision == 2


def test_a_history_that_has_gone_back_for_good_is_believed_in_the_end(
    behind: tuple[Member, Server, Server],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(horizon, "PATIENCE", 0.3)
    member, one, _ = behind
    with client_of(one.endpoint) as client:
        client.v3.kv.range("a")
        member.revision = 5

        def read() -> int:
            try:
                return client.v3.kv.range("a").revision
            except ClusterError:
                return 0

        assert read() == 0
        assert eventually(read) == 5
        assert "history.went_back" in [record.getMessage() for record in caplog.records]


# -- answers that are none ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [b"", b"<html>", b"{"], ids=["empty", "html", "half"])
def test_an_answer_that_is_none_leaves_open_what_a_write_did(body: bytes) -> None:
    with Server(always(answer(body))) as server, client_of(server.endpoint) as client:
        for call, in_doubt in (
            (lambda: client.v3.kv.get("a"), False),
            (lambda: client.v3.kv.put("a", "1"), True),
            (lambda: client.v3.lease.revoke(7), True),
            (lambda: client.v3.kv.txn([], [Op.get("a")]), False),
        ):
            with pytest.raises((InvalidResponse, EmptyResponse)) as caught:
                call()
            assert caught.value.maybe_applied is in_doubt
    with (
        Server(always(answer(b"no\n", status=404))) as server,
        client_of(server.endpoint) as client,
    ):
        with pytest.raises(InvalidResponse) as caught:
            client.v3.kv.put("a", "1")
        assert caught.value.maybe_applied is False


# -- where the gateway is, and whether -------------------------------------------------------------------------


def at_root(root: str, then: Callable[[Request], bytes]) -> Handler:
    """A gateway whose paths begin with `root`, as an older or a newer etcd has them."""

    def reply_to(request: Request) -> bytes:
        if request.path.startswith(f"{root}/"):
            return then(request)
        return answer(b"Not Found\n", "Content-Type: text/plain", status=404, reason="Not Found")

    return each(reply_to)


def test_an_older_etcd_has_its_gateway_below_v3beta() -> None:
    with Server(at_root("/v3beta", lambda _: reply(7))) as server:
        with client_of(server.endpoint) as client:
            assert client.v3.kv.put("a", "1").revision == 7
            assert client.v3.kv.put("a", "2").revision == 7
        assert server.paths() == ["/v3/kv/put", "/v3beta/kv/put", "/v3beta/kv/put"]


def test_an_upgrade_under_a_client_brings_it_back_to_v3() -> None:
    root = ["/v3beta"]

    def upgraded(peer: Peer) -> None:
        at_root(root[0], lambda _: reply(7))(peer)

    with Server(upgraded) as server, client_of(server.endpoint) as client:
        client.v3.kv.put("a", "1")
        root[0] = "/v3"
        client._cluster._wire.close()  # the old server went, and its connections with it
        assert client.v3.kv.put("a", "2").revision == 7
        assert server.paths()[-1] == "/v3/kv/put"


def test_a_real_server_has_both(etcd: EtcdProcess) -> None:
    with client_of(etcd.endpoint) as client:
        client._gateway._root = "/v3beta"
        revision = client.v3.kv.put("both", "1").revision
        assert client._gateway._root == "/v3beta"
        with client.v3.watch("both", start_revision=revision) as watch:
            assert watch.next(timeout=5).kv.text == "1"


def test_a_gateway_that_is_off_is_named() -> None:
    etcd = EtcdProcess(extra_args=["--enable-grpc-gateway=false"])
    try:
        etcd.start(wait=False)
        with client_of(etcd.endpoint) as client:
            eventually(lambda: _serves(client), 30, "the server")
            for call in (
                lambda: client.v3.kv.get("a"),
                lambda: client.v3.watch("a"),
                lambda: client.lock("a").acquire(timeout=5),
            ):
                with pytest.raises(InvalidResponse, match="--enable-grpc-gateway"):
                    call()
    finally:
        etcd.close()


def _serves(client: Client) -> bool:
    try:
        return bool(client.version())
    except ClusterError:
        return False


SETTINGS = b"\0\0\x06\x04\0\0\0\0\0\0\x05\0\0\x40\0"  # how HTTP/2 greets


def test_a_port_that_speaks_grpc_alone_is_named() -> None:
    with Server(script(SETTINGS)) as server, client_of(server.endpoint) as client:
        with pytest.raises(ClusterError, match="gRPC-only port") as caught:
            client.v3.kv.get("a")
        assert server.endpoint in str(caught.value)


# -- walking again ---------------------------------------------------------------------------------------------


def test_without_a_policy_there_is_one_walk() -> None:
    with Server(script()) as server, client_of(server.endpoint) as client:
        with pytest.raises(ClusterError):
            client.v3.kv.get("a")
        assert server.accepted == 1


def test_a_policy_walks_again() -> None:
    with Server(in_turn(script(), script(), always(reply(7)))) as server:
        with client_of(server.endpoint, retry=Retry(attempts=3, first=0.01)) as client:
            assert client.v3.kv.range("a").revision == 7
        assert server.accepted == 3


def test_a_policy_ends_with_its_attempts_and_with_the_call() -> None:
    few, many = Retry(attempts=4, first=0.01, longest=0.02), Retry(attempts=None)
    with refusing() as endpoint:
        with client_of(endpoint, retry=few) as client, pytest.raises(ClusterError, match="refused"):
            client.v3.kv.get("a")
        with client_of(endpoint, retry=many) as client:
            with pytest.raises(DeadlineExceeded):
                client.v3.kv.get("a", timeout=0.3)
            ctx = Context()
            job = Job(lambda: client.v3.kv.get("a", ctx=ctx))
            ctx.cancel()
            with pytest.raises(Exception, match="cancelled"):
                job.result()


def hangs_up_on(path: str) -> Handler:
    """A member that answers everything but the requests of one path."""

    def handle(peer: Peer) -> None:
        while (request := peer.request()) and request.path != path:
            peer.send(reply(7))

    return handle


def test_a_write_that_was_never_sent_is_tried_again_and_one_in_doubt_is_not() -> None:
    policy = Retry(attempts=None, first=0.01)
    with Server(hangs_up_on("/v3/kv/put")) as server, refusing() as refused:
        with client_of(refused, retry=policy) as client:
            job = Job(lambda: client.v3.kv.put("a", "1", timeout=10))
            client.set_endpoints([server.endpoint])
            with pytest.raises(ClusterError) as caught:
                job.result()
        assert caught.value.maybe_applied
        assert server.paths().count("/v3/kv/put") == 1


@pytest.mark.parametrize(
    "arguments", [{"attempts": 0}, {"first": -1.0}, {"first": 2.0, "longest": 1.0}]
)
def test_a_policy_that_makes_no_sense_is_refused(arguments: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="got"):
        Retry(**arguments)  # type: ignore[arg-type]


def test_what_one_walk_left_open_the_next_one_does_not_settle() -> None:
    """The first copy of each request is lost on its way: it may be carried out yet."""
    policy = Retry(attempts=3, first=0.01)
    ops = ([Compare.version("a") == 0], [Op.put("a", "1")])
    denied = answer(b'{"code":7,"message":"etcdserver: permission denied"}', status=403)

    def store(server: Server, client: Client) -> Standing:
        return V3Store(client._gateway).create("a", "1", None, Context(FOREVER))

    done = reply(7, succeeded=True, responses=[{"response_put": {}}])
    with Server(in_turn(hangs_up_on("/v3/kv/txn"), always(done))) as server:
        with client_of(server.endpoint, retry=policy) as client:
            assert store(server, client).doubt
    with (
        Server(in_turn(hangs_up_on("/v3/kv/txn"), always(done))) as server,
        client_of(server.endpoint) as client,
    ):
        with pytest.raises(ClusterError):
            store(server, client)
        assert not store(server, client).doubt  # another call
    with Server(in_turn(hangs_up_on("/v3/kv/txn"), always(denied))) as server:
        with client_of(server.endpoint, retry=policy) as client:
            with pytest.raises(PermissionDenied) as caught:
                client.v3.kv.txn(*ops, replay=True)
            assert caught.value.maybe_applied
    with (
        Server(hangs_up_on("/v3/kv/txn")) as server,
        client_of(server.endpoint, retry=policy) as client,
    ):
        job = Job(lambda: client.v3.kv.txn(*ops, replay=True, timeout=10))
        server.heard(1)
        server.close()
        with pytest.raises(ClusterError) as lost:
            job.result()
        assert lost.value.maybe_applied


def test_a_token_that_cannot_be_fetched_says_nothing_of_the_call() -> None:
    with (
        Server(script()) as server,
        client_of(server.endpoint, username="ann", password="x") as client,
        pytest.raises(ClusterError, match="authenticate") as caught,
    ):
        client.v3.kv.put("a", "1")
    assert caught.value.maybe_applied is False


def test_an_endpoint_that_is_not_etcd_is_not_asked_first_again() -> None:
    with Server(always(answer(b"<html>"))) as web, Server(always(reply(7))) as etcd:
        with client_of(web.endpoint, etcd.endpoint) as client:
            with pytest.raises(InvalidResponse):
                client.v3.kv.get("a")
            assert client.v3.kv.range("a").revision == 7


def test_v2_walks_again_too() -> None:
    node = b'{"action":"get","node":{"key":"/a","value":"1","modifiedIndex":7,"createdIndex":7}}'
    with (
        Server(in_turn(script(), always(answer(node, "X-Etcd-Index: 7")))) as server,
        client_of(server.endpoint, retry=Retry(attempts=2, first=0.01)) as client,
    ):
        assert client.v2.keys.get("a").node.value == "1"


# -- watches that real servers cannot be made to send ------------------------------------------------------------


def created(revision: int) -> bytes:
    return b'{"result":{"header":{"cluster_id":"1","revision":"%d"},"created":true}}\n' % revision


def events(*revisions: int, header: int = 0) -> bytes:
    body = {
        "header": {"cluster_id": "1", "revision": str(header or max(revisions))},
        "events": [{"kv": {"key": "YQ==", "mod_revision": str(r)}} for r in revisions],
    }
    return json.dumps({"result": body}).encode() + b"\n"


def starts(server: Server) -> list[int]:
    """From which revision each watch was asked for."""
    return [
        int(json.loads(request.body)["create_request"].get("start_revision", 0))
        for request in server.requests
    ]


def test_an_endpoint_that_sends_its_headers_and_no_confirmation_is_left(etcd: EtcdProcess) -> None:
    with (
        Server(script(chunked(end=False), HANG)) as silent,
        client_of(silent.endpoint, etcd.endpoint) as client,
        client.v3.watch("half") as watch,
    ):
        client.v3.kv.put("half", "1")
        assert watch.next(timeout=5).kv.text == "1"


def test_events_that_come_again_or_from_the_past_are_dropped() -> None:
    sent = [created(5), events(6), events(7), events(3), events(6, 7), events(7, 8)]
    with (
        Server(script(chunked(*sent, end=False), HANG)) as server,
        client_of(server.endpoint) as client,
        client.v3.watch("a") as watch,
    ):
        assert [watch.next(timeout=5).kv.mod_revision for _ in range(3)] == [6, 7, 8]


ENDS = {
    "error without a line end": b'{"error":{"grpc_code":14,"http_code":503,"message":"no leader"}}',
    "error of a newer server": b'{"error": {"code": 14, "message": "etcdserver: no leader"}}\n',
    "garbage": b"<html>\n",
    "a malformed event": b'{"result":{"events":[{"kv":7}]}}\n',
    "nothing": b"",
}


@pytest.mark.parametrize("last", ENDS.values(), ids=ENDS)
def test_a_stream_that_ends_is_resumed_after_the_last_event(last: bytes) -> None:
    pieces = [created(5), events(6) + last]  # in one piece: what came before it counts
    first = script(chunked(*pieces), HANG)
    second = script(chunked(created(9), events(7), end=False), HANG)
    with (
        Server(in_turn(first, second)) as server,
        client_of(server.endpoint) as client,
        client.v3.watch("a") as watch,
    ):
        assert [watch.next(timeout=5).kv.mod_revision for _ in range(2)] == [6, 7]
        assert starts(server) == [0, 7]


def test_a_compaction_is_told_though_the_stream_stays_open() -> None:
    gone = b'{"result":{"header":{"cluster_id":"1"},"canceled":true,"compact_revision":"11"}}\n'
    with (
        Server(script(chunked(created(20), gone, end=False), HANG)) as server,
        client_of(server.endpoint) as client,
        client.v3.watch("a", start_revision=3) as watch,
    ):
        with pytest.raises(Compacted) as caught:
            watch.next(timeout=5)
        assert caught.value.resume_from == 11


def test_watchers_of_one_client_share_the_probes_of_a_member(
    etcd: EtcdProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscription, "QUIET", 0.2)
    probes = 0
    prove = gateway.Gateway._probe

    def counted(*args: Any) -> None:
        nonlocal probes
        probes += 1
        prove(*args)

    monkeypatch.setattr(gateway.Gateway, "_probe", counted)
    with client_of(etcd.endpoint) as client:
        watches = [client.v3.watch(f"idle-{number}") for number in range(6)]
        jobs = [Job(lambda watch=watch: watch.next(timeout=1.5)) for watch in watches]  # type: ignore[misc]
        for job in jobs:
            with pytest.raises(DeadlineExceeded):
                job.result()
        for watch in watches:
            watch.close()
    assert 2 <= probes <= 8, "each of the six asked for itself"


def test_a_confirmation_that_trickles_is_left_like_one_that_does_not_come(
    etcd: EtcdProcess,
) -> None:
    head = chunked(end=False)
    slow = [piece for byte in created(5) for piece in (b"1\r\n%c\r\n" % byte, 0.1)]
    with (
        Server(script(head, *slow, HANG)) as server,
        client_of(server.endpoint, etcd.endpoint) as client,
    ):
        with client.v3.watch("trickled") as watch:
            client.v3.kv.put("trickled", "1")
            assert watch.next(timeout=5).kv.text == "1"


def test_a_message_that_stalls_in_its_middle_is_asked_for_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(subscription, "QUIET", 0.3)
    half = events(6)[:40]

    def stalls(peer: Peer) -> None:
        while request := peer.request():
            if request.path == "/v3/watch":
                peer.send(chunked(created(5), half, end=False))
            else:
                peer.client_hangs_up()

    with (
        Server(stalls) as one,
        Server(script(chunked(created(9), events(6), end=False), HANG)) as other,
        client_of(one.endpoint, other.endpoint) as client,
        client.v3.watch("a") as watch,
    ):
        assert watch.next(timeout=5).kv.mod_revision == 6
        assert starts(other) == [6]


def test_short_waits_leave_a_silent_member_as_one_long_wait_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(subscription, "QUIET", 0.5)

    def silent_after(peer: Peer) -> None:
        while request := peer.request():
            if request.path == "/v3/watch":
                peer.send(chunked(created(5), end=False))
            peer.client_hangs_up()

    with (
        Server(silent_after) as server,
        Server(script(chunked(created(9), events(6), end=False), HANG)) as other,
        client_of(server.endpoint, other.endpoint) as client,
        client.v3.watch("a") as watch,
    ):

        def poll() -> int:
            try:
                return watch.next(timeout=0.1).kv.mod_revision
            except DeadlineExceeded:
                return 0

        assert eventually(poll, 10, "the change of the endpoint") == 6


def test_a_watch_that_etcd_cancels_is_asked_for_again_by_the_next_call() -> None:
    cancel = b'{"result":{"canceled":true,"cancel_reason":"etcdserver: permission denied"}}\n'
    first = script(chunked(created(5), events(6), cancel, end=False), HANG)
    second = script(chunked(created(9), events(7), end=False), HANG)
    with (
        Server(in_turn(first, second)) as server,
        client_of(server.endpoint) as client,
        client.v3.watch("a") as watch,
    ):
        got: list[int] = []
        denied = 0
        while len(got) < 2:
            try:
                got.append(watch.next(timeout=5).kv.mod_revision)
            except PermissionDenied:
                denied += 1
        assert (got, denied) == ([6, 7], 1)


def test_a_history_that_went_back_ends_a_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cluster is restored from a backup, with the same id; then with another."""
    monkeypatch.setattr(horizon, "PATIENCE", 0.2)
    monkeypatch.setattr(subscription, "QUIET", 0.1)
    member = Member(50)

    def handle(peer: Peer) -> None:
        while request := peer.request():
            if request.path == "/v3/watch":
                peer.send(chunked(created(member.revision), end=False))
                peer.client_hangs_up()
            peer.send(reply(member.revision, member.cluster))

    with (
        Server(handle) as server,
        client_of(server.endpoint) as client,
        client.v3.watch("a") as watch,
    ):
        client.v3.kv.range("a")
        member.revision = 20
        for _ in range(2):
            with pytest.raises(Compacted, match="restored") as caught:
                watch.next(timeout=10)
        assert caught.value.resume_from == 20
