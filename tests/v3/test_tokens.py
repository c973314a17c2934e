"""A user's token: fetched once, shared, renewed when it has died, and never seen by anybody."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator

import pytest

from etcd_recipes import (
    Client,
    ClusterError,
    Context,
    DeadlineExceeded,
    PermissionDenied,
    Unauthenticated,
)
from etcd_recipes.core.http.action import Action
from etcd_recipes.core.v3 import requests
from etcd_recipes.core.v3.tokens import Tokens
from etcd_recipes.testing import EtcdProcess
from tests.tools import QUICK, Job, eventually, long
from tests.versions import SERVERS, binary_of

PASSWORD = "s3cret-wörd"
CHEAP = ("--bcrypt-cost=4",)  # of the passwords, which are not what is tested here


# -- the token, without a server -------------------------------------------------------------------------------


class Source:
    """Gives token after token, when it is let."""

    def __init__(self, *, held: bool = False) -> None:
        self.asked = 0
        self._go = threading.Event()
        if not held:
            self._go.set()
        self.fails_with: Exception | None = None

    def __call__(self, ctx: Context) -> str:
        self.asked += 1
        assert self._go.wait(10)
        if self.fails_with is not None:
            raise self.fails_with
        return f"token {self.asked}"

    def let_go(self) -> None:
        self._go.set()


def test_it_is_fetched_once_and_shared() -> None:
    source = Source()
    tokens = Tokens(source)
    assert [tokens.get(Context()) for _ in range(3)] == ["token 1"] * 3
    assert source.asked == 1


def test_calls_that_come_while_it_is_fetched_wait_for_it() -> None:
    source = Source(held=True)
    tokens = Tokens(source)
    jobs = [Job(lambda: tokens.get(Context(10))) for _ in range(8)]
    eventually(lambda: len(tokens._waiting) == 7)
    source.let_go()
    assert [job.result() for job in jobs] == ["token 1"] * 8
    assert source.asked == 1


def test_one_that_waits_ends_by_its_own_limit() -> None:
    source = Source(held=True)
    tokens = Tokens(source)
    first = Job(lambda: tokens.get(Context(10)))
    eventually(lambda: source.asked == 1)
    with pytest.raises(DeadlineExceeded):
        tokens.get(Context(0.05))
    source.let_go()
    assert first.result() == "token 1"


def test_many_calls_that_were_refused_the_same_token_fetch_one_new() -> None:
    source = Source()
    tokens = Tokens(source)
    old = tokens.get(Context())
    jobs = [Job(lambda: tokens.get(Context(10), refused=old)) for _ in range(8)]
    assert {job.result() for job in jobs} == {"token 2"}
    assert source.asked == 2
    assert (
        tokens.get(Context(), refused="token 0") == "token 2"
    )  # older still: there is a newer one


def test_a_fetch_that_etcd_refuses_is_refused_for_all_who_waited_for_it() -> None:
    source = Source(held=True)
    source.fails_with = Unauthenticated("no", code=3)
    tokens = Tokens(source)
    jobs = [Job(lambda: tokens.get(Context(10))) for _ in range(8)]
    eventually(lambda: len(tokens._waiting) == 7)
    source.let_go()
    for job in jobs:
        with pytest.raises(Unauthenticated):
            job.result()
    assert source.asked == 1


def test_when_the_fetch_fails_the_next_one_that_waits_fetches() -> None:
    source = Source(held=True)
    source.fails_with = ClusterError([])
    tokens = Tokens(source)
    jobs = [Job(lambda: tokens.get(Context(10))) for _ in range(3)]
    eventually(lambda: len(tokens._waiting) == 2)
    source.let_go()
    for job in jobs:
        with pytest.raises(ClusterError):
            job.result()
    assert source.asked == 3
    source.fails_with = None
    assert tokens.get(Context()) == "token 4"


# -- on real servers -------------------------------------------------------------------------------------------


def call(client: Client, path: str, **body: object) -> None:
    client._gateway.call(requests.unary(path, body, replay=False, what=path), Context(10))


def enable(etcd: EtcdProcess) -> None:
    """Make users root and ann (who may use keys below a/), and switch auth on."""
    # Hashing a password may take the server long on a busy machine, and what it has begun is not sent again.
    with Client(etcd.endpoint, header_timeout=8) as client:
        call(client, "auth/role/add", name="root")
        call(client, "auth/role/add", name="a")
        permission = {"permType": "READWRITE", "key": "YS8=", "range_end": "YTA="}
        call(client, "auth/role/grant", name="a", perm=permission)
        for user, role in (("root", "root"), ("ann", "a")):
            call(client, "auth/user/add", name=user, password=PASSWORD)
            call(client, "auth/user/grant", user=user, role=role)
        call(client, "auth/enable")


@pytest.fixture(scope="module", params=list(SERVERS))
def guarded(request: pytest.FixtureRequest) -> Iterator[EtcdProcess]:
    """A server with auth on, whose tokens live for a second."""
    life = ["--auth-token-ttl", str(long(1, 3))]
    with EtcdProcess(binary=binary_of(request.param), extra_args=[*life, *CHEAP], **QUICK) as etcd:
        enable(etcd)
        yield etcd


def ann(etcd: EtcdProcess) -> Client:
    return Client(etcd.endpoint, username="ann", password=PASSWORD)


def idle(seconds: float) -> None:
    threading.Event().wait(seconds)


def test_all_calls_of_a_client_share_one_token(guarded: EtcdProcess) -> None:
    with ann(guarded) as client:
        seen = list[Action]()
        fetch = client._gateway._fetch_token
        client._gateway._tokens = Tokens(lambda ctx: (seen.append(ctx), fetch(ctx))[1])  # type: ignore[func-returns-value, arg-type]
        jobs = [Job(lambda n=n: client.v3.kv.put(f"a/{n}", "")) for n in range(8)]  # type: ignore[misc]
        for job in jobs:
            job.result()
        assert client.v3.kv.get("a/0") is not None
        assert len(seen) == 1


def test_an_idle_client_whose_token_has_died_notices_nothing(guarded: EtcdProcess) -> None:
    with ann(guarded) as client, ann(guarded) as other, client.v3.watch("a/k") as watch:
        client.v3.kv.put("a/k", "1")
        assert other.v3.kv.get("a/k") is not None  # this one has a token, too
        idle(long(2.2, 9))
        client.v3.kv.put("a/k", "2")
        lease = client.v3.lease.grant(10).id
        result = client.v3.kv.put("a/k", "3", lease=lease)
        assert [watch.next(timeout=5).kv.text for _ in range(3)] == ["1", "2", "3"]
        # A watch is told "denied".
        with other.v3.watch("a/k", start_revision=result.revision) as late:
            assert late.next(timeout=5).kv.text == "3"


def test_a_lock_stays_held_for_many_lives_of_a_token(guarded: EtcdProcess) -> None:
    with ann(guarded) as client, ann(guarded) as other:
        with client.lock("a/lock", ttl=2) as hold:
            until = long(4, 60)  # two ttls, and a token does not live for two seconds
            assert hold.lost.wait(until) is False
            assert other.lock("a/lock", ttl=2).acquire(timeout=0.2) is None
            hold.check()
        assert other.lock("a/lock", ttl=2).acquire(timeout=5)


def test_a_member_that_was_restarted_has_forgotten_all_tokens() -> None:
    with EtcdProcess(extra_args=CHEAP, **QUICK) as etcd:
        enable(etcd)
        with ann(etcd) as client, client.v3.watch("a/k") as watch:
            client.v3.kv.put("a/k", "1")
            etcd.kill()
            etcd.restart()
            client.v3.kv.put("a/k", "2")
            assert [watch.next(timeout=10).kv.text for _ in range(2)] == ["1", "2"]


def test_auth_may_be_switched_off_and_on_under_a_client() -> None:
    with EtcdProcess(extra_args=CHEAP, **QUICK) as etcd:
        enable(etcd)
        with (
            ann(etcd) as client,
            Client(etcd.endpoint, username="root", password=PASSWORD) as root,
            client.v3.watch("a/k") as watch,
        ):
            client.v3.kv.put("a/k", "1")
            call(root, "auth/disable")
            client.v3.kv.put("a/k", "2")
            root.v3.kv.put("a/k", "3")
            call(root, "auth/enable")
            client.v3.kv.put("a/k", "4")
            assert [watch.next(timeout=5).kv.text for _ in range(4)] == list("1234")


def test_users_that_change_cost_no_call_its_success(guarded: EtcdProcess) -> None:
    """Each change makes older tokens ones of an old revision."""
    with (
        ann(guarded) as client,
        Client(guarded.endpoint, username="root", password=PASSWORD) as root,
    ):
        for number in range(5):
            call(root, "auth/user/add", name=f"user-{guarded.endpoint}-{number}", password="x")
            client.v3.kv.put("a/k", str(number))


@pytest.mark.parametrize(("user", "password"), [("ann", "wrong"), ("nobody", PASSWORD)])
def test_a_wrong_password_is_said_and_not_shown(
    guarded: EtcdProcess, user: str, password: str
) -> None:
    with Client(guarded.endpoint, username=user, password=password) as client:
        for call_ in (
            lambda: client.v3.kv.get("a/k"),
            lambda: client.v3.watch("a/k"),
            lambda: client.lock("a/l").acquire(timeout=2),
        ):
            with pytest.raises(Unauthenticated, match="invalid user ID or password") as caught:
                call_()
            assert password not in str(caught.value)
            assert caught.value.code == 3


def test_who_says_no_name_is_told_to(guarded: EtcdProcess) -> None:
    with (
        Client(guarded.endpoint) as client,
        pytest.raises(Unauthenticated, match="user name is empty"),
    ):
        client.v3.kv.get("a/k")


def test_what_is_not_allowed_stays_not_allowed(guarded: EtcdProcess) -> None:
    with ann(guarded) as client:
        with pytest.raises(PermissionDenied):
            client.v3.kv.put("b", "1")
        with pytest.raises(PermissionDenied):
            client.v3.watch("b")
        with pytest.raises(PermissionDenied):
            client.lock("b/lock").acquire(timeout=5)


def test_neither_password_nor_token_is_ever_shown(
    guarded: EtcdProcess, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "etcd_recipes"), ann(guarded) as client:
        client.v3.kv.put("a/k", "1")
        assert client._gateway._tokens is not None
        token = client._gateway._tokens._token
        shown = [repr(vars(record)) for record in caplog.records] + [repr(client), repr(client.v3)]
    assert token
    assert any("authenticate" in line for line in shown)
    for line in shown:
        assert PASSWORD not in line
        assert token not in line
