"""Values of others, in etcd: they never hurt whoever only reads, and a neighbour's never take what is ours."""

# ruff: noqa: PT017 (most of what is tried does not raise)

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from etcd_recipes import Client, Context, EtcdRecipesError
from etcd_recipes.cli import main
from etcd_recipes.cli.run.options import say, who
from etcd_recipes.recipes.fencing import FileFence
from etcd_recipes.testing import EtcdProcess, NoEtcd
from tests.core.servers import Server, answer, each
from tests.hostile.mutations import NASTY_TEXTS, json_texts
from tests.hostile.parsers import STORED_SEEDS
from tests.tools import Job, eventually, long

SEEDS = [seed.decode() for seed in STORED_SEEDS]
EVIL = '{"host":"\\u001b]0;evil\\u0007","pid":"\\n","id":"\\u202e","since":1e300,"kind":"read","weight":1,"permits":9}'


def often(short: int, many: int = 3000) -> settings:
    return settings(max_examples=long(short, many), database=None)


# -- every recipe, on a store in memory ----------------------------------------------------------------------------

KEYS = [
    *(
        "l.limit",
        "b/1",
        "b/1.released",
        "b/999999999999999999",
        "b/x",
        "d/parties/0123456789abcdef",
    ),
    *("d/round", "d/7/void", "t/x", "t/y", "e.transfer", "r/s/i", "r/s/", "r/s/a/b", "r//x", "r/s"),
]


def write(client: Client, text: str) -> None:
    """Write `text` to every key that a recipe reads, and stand with it in every line, ahead of all others."""
    store, ctx = client._sessions.store, Context(5.0)
    for key in KEYS:
        store.create(key, text, None, ctx)
    for line in ("l", "w", "s", "e"):
        store.join(line, text, store.open_grant(15.0, ctx), ctx, ahead=None)


READING: list[Callable[[Client], object]] = [
    lambda c: [each.identity for each in (c.lock("l").holder(), *c.lock("l").waiters()) if each],
    lambda c: c.lock("l").acquire(blocking=False),
    lambda c: [each.identity for each in (*c.rwlock("w").holders(), *c.rwlock("w").waiters())],
    lambda c: c.rwlock("w").read().acquire(blocking=False),
    lambda c: c.semaphore("s", permits=2).limit(),
    lambda c: [each.identity for each in (*c.semaphore("s", permits=2).holders(),)],
    lambda c: c.semaphore("s", permits=2).acquire(blocking=False),
    lambda c: c.semaphore("l", permits=2).limit(),
    lambda c: (c.election("e").leader(), c.election("e").candidates()),
    lambda c: next(c.election("e").observe(timeout=1)),
    lambda c: c.barrier("b").held(),
    lambda c: (c.registry("r").instances("s"), c.registry("r").services()),
    lambda c: (
        c.registry("r", codec="grpc").instances("s"),
        c.registry("r", codec="grpc").services(),
    ),
]


@given(json_texts(*SEEDS))
@example(EVIL)
@example('{"permits":3,"was":' + "9" * 4299 + "}")
@example('{"host":' + "[" * 900 + "]" * 900 + ',"pid":1,"id":2}')
@often(20)
def test_who_reads_gets_an_answer(text: str) -> None:
    with NoEtcd() as stranger, stranger.another() as client:
        write(stranger, text)
        for read in READING:
            try:
                read(client)
            except EtcdRecipesError as error:  # another limit, say
                assert str(error).isprintable()
        for count in (lambda: client.latch("t", count=3).count, client.barrier("b").release):
            try:
                count()
            except ValueError as error:
                assert "count=" in str(error)
        assert client.barrier("b").held() is False


@given(json_texts(*SEEDS))
@often(8)
def test_who_waits_ends_in_time_or_goes_in(text: str) -> None:
    with NoEtcd() as stranger, stranger.another() as client:
        write(stranger, text)
        waits: list[Callable[[], object]] = [
            lambda: client.double_barrier("d", parties=1).enter(0.02),
            lambda: client.latch("t", count=3).wait(0.02),
            lambda: client.lock("l").acquire(timeout=0.02),
        ]
        for wait in waits:
            try:
                wait()
            except (EtcdRecipesError, ValueError) as error:
                assert str(error).isprintable()


def test_requests_to_a_service_go_past_addresses_that_are_none() -> None:
    import requests

    from etcd_recipes.contrib.requests import ServiceAdapter

    with NoEtcd() as client, Server(each(lambda _request: answer(b"ok"))) as server:
        registry = client.registry("r")
        bad = ["[::1", "h:99999999", "*", "a b\nc", "http://x", "\x1b[2J", "h:" + "9" * 5000]
        for number, address in enumerate(bad):
            registry.register("api", address, id=f"a{number}")
        registry.register("api", "h:1", id="b", metadata={"scheme": "file"})
        registry.register("api", server.endpoint.removeprefix("http://"), id="c")
        with requests.Session() as session:
            session.trust_env = False
            session.mount("service://", ServiceAdapter(registry, tries=len(bad) + 2))
            for method in ("GET", "POST"):
                assert session.request(method, "service://api/x", timeout=5).text == "ok"
        with requests.Session() as session:
            session.trust_env = False
            session.mount("service://", ServiceAdapter(registry, tries=2))
            with pytest.raises(requests.RequestException) as raised:
                for _ in range(3):
                    session.get("service://api/x", timeout=5)
            assert str(raised.value).isprintable()


# -- on real servers -----------------------------------------------------------------------------------------------


@pytest.fixture(params=["v3", "v2"])
def api(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def place(api: str, request: pytest.FixtureRequest) -> str:
    """A name of the test's own."""
    return f"hostile-{request.node.name.replace('[', '-').replace(']', '')}"


def put(client: Client, api: str, key: str, value: str) -> None:
    """Write what etcd itself would take."""
    if api == "v3":
        client.v3.kv.put(key, value.encode("utf-8", "replace"))
    else:
        client.v2.keys.set(f"/{key}", value.encode("utf-8", "replace").decode().replace("\0", "0"))


def run(*args: str) -> int:
    return main.run(list(args))


def test_a_registry_with_poisoned_instances(
    etcd: EtcdProcess, api: Any, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with Client(etcd.endpoint, api=api) as client:
        registry = client.registry(place)
        with registry.follow("api") as view:
            poison = [
                *NASTY_TEXTS,
                *SEEDS,
                EVIL,
                '{"address":"::1%\\n6.6.6.6 bank","owner":"x","zone":"\\u001b[2J"}',
            ]
            for number, value in enumerate(text for text in poison if len(text) < 10_000):
                put(client, api, f"{place}/api/bad-{number:02}", value)
            if api == "v3":
                client.v3.kv.put(f"{place}/api/".encode() + b"\xff\x1b[2J", SEEDS[8])
                client.v3.kv.put(f"{place}/\x1b[2J/i", SEEDS[8])
            with registry.register("api", "10.0.0.1:80", id="good"):
                eventually(lambda: "good" in [each.id for each in view.instances])
                assert "good" in [each.id for each in registry.instances("api")]
                assert "api" in registry.services()
                assert view.pick().address
                common = ("--endpoints", etcd.endpoint, "--api", api)
                for output in ("table", "plain", "json", "hosts", "prometheus-sd"):
                    assert (
                        run("discover", "api", "--prefix", place, "-a", "-o", output, *common) == 0
                    )
                    told = capsys.readouterr().out
                    assert "10.0.0.1" in told
                    assert told.replace("\n", "").replace("\t", "").isprintable()
                    assert not any(line.startswith("6.6.6.6") for line in told.splitlines())
                for output in ("table", "plain", "json"):
                    assert run("locks", place, "-a", "-o", output, *common) == 0
                    assert capsys.readouterr().out.replace("\n", "").replace("\t", "").isprintable()


def test_a_bad_neighbour_in_a_line(
    etcd: EtcdProcess, api: Any, place: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with Client(etcd.endpoint, api=api) as stranger, Client(etcd.endpoint, api=api) as client:
        store, ctx = stranger._sessions.store, Context(5.0)
        grant = store.open_grant(15.0, ctx)
        store.join(place, EVIL, grant, ctx, ahead=None)
        put(stranger, api, f"{place}/no-contender", EVIL)
        lock = client.lock(place)
        holder = lock.holder()
        assert holder is not None
        assert holder.identity == r"\x1b]0;evil\x07/\n/\u202e"
        assert lock.acquire(blocking=False) is None
        common = ("--endpoints", etcd.endpoint, "--api", api)
        assert run("locks", place, *common) == 0
        assert run("break", place, "--yes", "--token", "1", *common) == 1
        waiting = Job(lambda: lock.acquire(timeout=10))
        eventually(lambda: len(lock.waiters()) == 1)
        assert run("break", place, "--yes", *common) == 0
        assert waiting.result() is not None
        told = capfd.readouterr()
        assert (told.out + told.err).replace("\n", "").isprintable()
        assert "evil" in told.out
        lock.release()


def test_a_command_that_waits_names_who_holds_in_one_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with NoEtcd() as stranger, stranger.another() as client:
        write(stranger, EVIL)
        holder = client.lock("l").holder()
        assert holder is not None
        say(f"waiting for l, held by {who([holder])}")
    told = capsys.readouterr().err
    assert r"held by \x1b]0;evil\x07/\n/\u202e" in told
    assert told.rstrip("\n").isprintable()


def test_a_limit_that_nobody_can_read_and_one_that_is_too_large(
    etcd: EtcdProcess, api: Any, place: str
) -> None:
    with Client(etcd.endpoint, api=api) as client:
        semaphore = client.semaphore(place, permits=2)
        limit = client._sessions.store.beside(place, "limit")
        for text in ("{", '{"permits":0,"was":1}', '{"permits":' + "9" * 400 + ',"was":1}', "[1]"):
            put(client, api, limit, text)
            assert semaphore.limit() == 2
            with semaphore:
                pass
        with pytest.raises(ValueError, match=r"less than 2\*\*63"):
            client.semaphore(place, permits=2**63)


# -- files -----------------------------------------------------------------------------------------------------------


@given(
    st.one_of(
        st.binary(max_size=30), json_texts('{"a": 7}').map(lambda t: t.encode("utf-8", "replace"))
    )
)
@example(b'{"a":' + b"9" * 5000 + b"}")
@example(b'{"a":' * 990 + b"1" + b"}" * 990)
@example(b"\xff")
@often(20)
def test_a_fencing_file_that_is_something_else_lets_nobody_through(
    tmp_path_factory: pytest.TempPathFactory, raw: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "fence"
    path.write_bytes(raw)
    fence = FileFence(path)
    try:
        highest = fence.highest("a")
        fence.check(highest + 1, "a")
    except EtcdRecipesError:
        assert path.read_bytes() == raw
    else:
        assert all(type(token) is int for token in json.loads(path.read_text()).values())
