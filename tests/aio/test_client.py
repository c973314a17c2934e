"""Threads, loops, forks and limits of the awaitable client; and that it mirrors the blocking one."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable
from typing import Any

import pytest

import etcd_recipes
from etcd_recipes import Client, DeadlineExceeded, RecipeError, SessionLost, aio
from etcd_recipes.aio.calls import REQUESTS_AT_ONCE
from etcd_recipes.core.v3 import Watcher
from etcd_recipes.core.v3.kv import KV
from etcd_recipes.testing import EtcdProcess, FaultProxy, NoEtcd
from tests.aio.test_lock import line, until
from tests.tools import Job, child, in_time

Connect = Callable[..., aio.Client]


def test_every_await_ends_by_its_timeout_though_all_threads_wait_for_a_silent_server(
    etcd: EtcdProcess, name: str
) -> None:
    async def main(proxy: FaultProxy) -> None:
        client = aio.Client(proxy.endpoint, header_timeout=None, session_ttl=30)
        hold = await client.lock(name).acquire()
        assert hold is not None
        proxy.blackhole()
        busy = [asyncio.create_task(client.kv.get("a", timeout=60)) for _ in range(50)]
        await asyncio.sleep(0)
        assert client._calls._requests._threads == REQUESTS_AT_ONCE
        queued = asyncio.create_task(client.kv.get("a"))
        await asyncio.sleep(0)
        begun = time.monotonic()
        with pytest.raises(DeadlineExceeded, match=r"other requests|timeout"):
            await client.kv.get("a", timeout=0.1)
        assert (
            await client.lock(name).acquire(timeout=0.1) is None
        )  # a wait has a thread of its own
        queued.cancel()
        with pytest.raises(asyncio.CancelledError):
            await queued
        releasing = asyncio.create_task(hold.release())  # and so has what gives back
        await until(lambda: not hold.is_held)
        proxy.heal()
        await releasing
        for task in busy:
            task.cancel()
        await asyncio.gather(*busy, return_exceptions=True)
        in_time(time.monotonic() - begun, 30.0)  # not the 60 s that the others were given
        await client.close()

    with FaultProxy(etcd.endpoint) as proxy:
        asyncio.run(main(proxy))


def test_one_client_serves_several_loops(connect: Connect, operator: Client, name: str) -> None:
    client = connect()
    inside: list[int] = []

    async def work() -> int:
        async with client.lock(name) as hold:
            inside.append(hold.token)
            assert len(inside) == 1
            await asyncio.sleep(0.001)
            inside.clear()
            return hold.token

    async def many() -> list[int]:
        return await asyncio.gather(*(work() for _ in range(5)))

    jobs = [Job(lambda: asyncio.run(many())) for _ in range(2)]  # at once
    tokens = jobs[0].result() + jobs[1].result() + asyncio.run(many())  # and later
    assert len(set(tokens)) == 15
    asyncio.run(client.close())
    assert line(operator, name) == []


def test_a_wrapped_client_stays_open(operator: Client, name: str) -> None:
    async def main() -> None:
        async with aio.Client.wrap(operator) as client:
            assert client.blocking is operator
            async with client.lock(name) as hold:
                assert hold.session is operator.session()
                assert operator.lock(name).locked()
        assert operator.lock(name).acquire(blocking=False)

    asyncio.run(main())


def test_a_client_without_an_etcd_is_wrapped_as_well() -> None:
    async def main() -> None:
        with NoEtcd() as blocking, blocking.another() as rival:
            client = aio.Client.wrap(blocking)
            async with client.lock("a") as hold:
                assert rival.lock("a").locked()
                with pytest.raises(RecipeError, match=r"no transactions.*hold\.token"):
                    _ = hold.guard
            for needs_etcd in (lambda: client.kv.get("a"), lambda: client.watch("a").__anext__()):
                with pytest.raises(RecipeError, match="NoEtcd"):
                    await needs_etcd()
            await client.close()

    asyncio.run(main())


def test_the_end_of_the_client_releases_and_ends_all_waits(
    connect: Connect, operator: Client, name: str
) -> None:
    async def main() -> None:
        client = connect()
        async with client:
            assert await client.lock(name).acquire()
            assert await client.version()
            waiting = asyncio.create_task(client.lock(name).acquire())
            await asyncio.sleep(0.01)
        with pytest.raises(SessionLost):
            await waiting
        assert line(operator, name) == []
        with pytest.raises(SessionLost, match="closed"):
            await client.lock(name).acquire()

    asyncio.run(main())


def test_clients_are_made_as_blocking_ones_are() -> None:
    async def main() -> None:
        async with aio.Client.from_url("etcd://h1:1,h2:2/shop?timeout=5") as client:
            assert client.endpoints == ("http://h1:1", "http://h2:2")
            client.set_endpoints("h3")
            assert client.endpoints == ("http://h3:2379",)
            assert client.lock("a").name == "shop/a"
            assert "h3" in repr(client)
        async with aio.Client.from_env({"ETCDCTL_ENDPOINTS": "h4:4"}) as client:
            assert client.blocking.endpoints == ("http://h4:4",)

    asyncio.run(main())


def test_a_forked_child_holds_nothing_and_works(etcd: EtcdProcess, name: str) -> None:
    program = """
        import asyncio, json, os, sys, warnings
        warnings.simplefilter("ignore", DeprecationWarning)  # about forks of programs with threads
        from etcd_recipes import LockLost, aio

        client = aio.Client(sys.argv[1])

        async def begin():
            hold = await client.lock(sys.argv[2]).acquire()
            await asyncio.gather(*(client.kv.get("a") for _ in range(5)))  # there are idle threads
            return hold

        async def of_the_child(hold):
            try:
                hold.check()
            except LockLost:
                async with client.lock(sys.argv[2] + "-2"):
                    assert await client.lock(sys.argv[2]).acquire(timeout=0.1) is None
                    os.write(1, b'"the child works"\\n')

        hold = asyncio.run(begin())
        if (pid := os.fork()) == 0:
            asyncio.run(of_the_child(hold))
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        print(json.dumps([status, hold.is_held]), flush=True)
    """
    with child(program, etcd.endpoint, name) as process:
        assert process.read() == "the child works"
        assert process.read() == [0, True]


# -- mirrors --------------------------------------------------------------------------------------

MIRRORS = [
    (getattr(etcd_recipes, each), getattr(aio, each))
    for each in aio.__all__
    if isinstance(getattr(etcd_recipes, each, None), type)
]
MIRRORS += [(KV, aio.KV), (Watcher, aio.Watcher)]
NOT_MIRRORED = {
    "Client": {"session", "v2"},  # and v3: reached by client.blocking
    "Latch": {"count"},  # a property that asks etcd: remaining()
    "DoubleBarrier": {"is_inside"},
    "Discovery": {"wait_until_known"},
    "InstanceEvents": {"take", "wake"},
    "Watcher": {"unread"},
}
INTERNAL = {"after_fork_in_child", "forfeit"}
OF_THE_OBJECT = {"name", "names", "key", "keys", "token", "tokens", "lost", "parties", "value"}
"""Attributes that are not in the class."""
OTHER_ARGUMENTS = {
    ("Registration", "close"),  # it is not cut short
    ("DoubleBarrier", "enter"),  # the party is the task
    ("DoubleBarrier", "leave"),
    ("DoubleBarrier", "abort"),
}


def _public(kind: type) -> set[str]:
    return {name for name in dir(kind) if not name.startswith("_")} - INTERNAL


def test_whatever_a_client_makes_has_a_mirror() -> None:
    methods = [m for m in map(Client.__dict__.get, _public(Client)) if inspect.isfunction(m)]
    made = {method.__annotations__["return"] for method in methods} - {"Session"}
    assert made & set(etcd_recipes.__all__) <= set(aio.__all__)
    assert {"Lock", "MultiLock", "Latch"} <= made


def _arguments(function: Any) -> list[tuple[str, Any, Any]]:
    shape = inspect.signature(function)
    return [(p.name, p.kind, p.default) for p in shape.parameters.values() if p.name != "self"]


@pytest.mark.parametrize(("sync", "mirror"), MIRRORS, ids=lambda kind: kind.__name__)
def test_a_mirror_has_the_names_and_arguments_of_the_blocking_one(sync: type, mirror: type) -> None:
    left_out = NOT_MIRRORED.get(sync.__name__, set())
    assert _public(sync) - _public(mirror) - OF_THE_OBJECT == left_out
    for name in _public(sync) & _public(mirror):
        ours, theirs = getattr(mirror, name), getattr(sync, name)
        if inspect.isroutine(theirs) and (sync.__name__, name) not in OTHER_ARGUMENTS:
            assert _arguments(ours) == _arguments(theirs), name
