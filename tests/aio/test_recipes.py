"""The other recipes, awaited: elections, registry, read-write lock, barriers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from etcd_recipes import (
    BrokenBarrier,
    Cancelled,
    Client,
    Context,
    DeadlineExceeded,
    DoubleBarrier,
    LockLost,
    NotHeld,
    SessionLost,
    aio,
)
from tests.aio.test_lock import block_until, line, until
from tests.recipes.operator import remove
from tests.tools import Job

Connect = Callable[..., aio.Client]


# -- elections ------------------------------------------------------------------------------------


def test_a_term_begins_with_a_campaign_and_ends_with_its_body(
    connect: Connect, other: Client, api: str, name: str
) -> None:
    async def main() -> None:
        async with connect(api) as client:
            election = client.election(name, value="web-1")
            async with election.campaign() as term:
                assert term.value == "web-1"
                await term.proclaim("web-2")
                assert term.value == "web-2"
                leader = await election.leader()
                assert leader is not None
                assert (leader.key, leader.value) == (term.key, "web-2")
                assert len(await election.candidates()) == 1
                with pytest.raises(DeadlineExceeded):
                    async with client.election(name).campaign(timeout=0.1):
                        raise AssertionError("two leaders")
                await asyncio.to_thread(remove, other, term.key, api)
                with pytest.raises(LockLost):
                    while True:
                        await term.proclaim("web-3")
            assert await election.leader() is None
            term = await election.campaign("web-4")
            assert await term.resign()
            assert await election.leader() is None

    with pytest.raises(LockLost):
        asyncio.run(main())


def test_a_lost_term_is_over_and_awaited_before_the_next_campaign(
    connect: Connect, name: str
) -> None:
    said: list[str] = []

    async def main() -> None:
        async with connect() as client:
            election = client.election(name)
            stop = asyncio.Event()

            async def lead(term: aio.Leadership) -> None:
                assert term.is_held
                said.append(f"begin {len(said)}")
                if len(said) > 1:
                    stop.set()
                try:
                    if not stop.is_set():
                        await asyncio.to_thread(term.session.close)
                    await asyncio.sleep(30)
                finally:
                    await asyncio.sleep(0.05)
                    said.append("end")

            running = asyncio.create_task(election.run(lead))
            await stop.wait()
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            assert await election.leader() is None

    asyncio.run(main())
    assert said == ["begin 0", "end", "begin 2", "end"]


def test_terms_go_on_after_a_loss_and_are_resigned_when_the_loop_is_left(
    connect: Connect, operator: Client, name: str
) -> None:
    async def main() -> None:
        async with connect() as client:
            election = client.election(name)
            tokens = []
            async for term in election.terms():
                async with term:
                    tokens.append(term.token)
                    if len(tokens) == 1:  # the body ends, by its cancel or by its own look
                        operator.v3.kv.delete(term.key)
                        await asyncio.sleep(30)
                    if len(tokens) == 2:
                        term.session.close()
                        block_until(lambda term=term: not term.is_held)  # type: ignore[misc]
                        term.check()
                    if len(tokens) == 4:
                        break
            assert len(tokens) == 4
            assert sorted(set(tokens)) == tokens
            await until(lambda: line(operator, name) == [])

            with pytest.raises(KeyError):
                async for term in election.terms():
                    async with term:
                        raise KeyError
            await until(lambda: line(operator, name) == [])

            ctx = Context()
            with pytest.raises(Cancelled, match="stop now"):
                async for term in election.terms(ctx=ctx, value="web-9"):
                    assert term.value == "web-9"
                    ctx.cancel("stop now")
            await until(lambda: line(operator, name) == [])

            running = asyncio.create_task(election.run(_nothing))
            await asyncio.sleep(0)
        with pytest.raises(SessionLost, match="closed"):
            await running

    asyncio.run(main())


def test_a_campaign_in_the_background_tells_of_its_terms(
    connect: Connect, api: str, name: str
) -> None:
    said: list[str] = []

    async def main() -> None:
        async with connect(api) as client:

            async def lost() -> None:
                await asyncio.sleep(0.01)
                said.append("lost")

            def elected() -> None:
                said.append("elected")
                raise ValueError("of the user's code: it is logged")

            background = client.election(name).background(elected, lost)
            async with background:
                await until(lambda: background.is_leader)
                assert background.term is not None
                await asyncio.to_thread(background.term.session.close)
                await until(lambda: said.count("elected") == 2)
            assert not background.is_leader
            assert await client.election(name).leader() is None

            async with client.election(name).background():
                pass  # left while it campaigns

    asyncio.run(main())
    assert said == ["elected", "lost", "elected", "lost"]


async def _nothing(term: aio.Leadership) -> None:
    await term.wait_lost()


# -- the registry ---------------------------------------------------------------------------------


def test_instances_are_registered_followed_and_picked(
    connect: Connect, api: str, name: str
) -> None:
    async def main() -> None:
        async with connect(api) as client:
            registry = client.registry(name)
            healthy = asyncio.Event()
            healthy.set()

            async def check() -> bool:
                return healthy.is_set()

            async with registry.follow("api") as view:
                assert view.instances == ()
                async with registry.register("api", "10.0.0.1:80", check=check) as mine:
                    (found,) = await view.wait_for(1, timeout=5)
                    assert found == mine.instance
                    assert view.pick() == found
                    view.report(found, ok=False)
                    assert await registry.services() == ("api",)
                    assert await mine.update(weight=7)
                    await until(lambda: view.instances and view.instances[0].weight == 7)
                    assert await mine.drain()
                    await until(lambda: view.draining)
                    assert not view.stale
                    assert view.age < 10
                    healthy.clear()
                    await until(lambda: not mine.is_published)
                async with await registry.register("api", "10.0.0.2:80", id="two") as mine:
                    assert [i.id for i in await registry.instances("api")] == ["two"]
                    assert mine.is_published
                assert await registry.instances("api") == ()
                with pytest.raises(DeadlineExceeded):
                    await view.wait_for(1, timeout=0.05)
            with pytest.raises(ValueError, match="address"):
                await registry.register("api", "")

    asyncio.run(main())


# -- the others -----------------------------------------------------------------------------------


def test_readers_share_and_a_writer_becomes_one(connect: Connect, api: str, name: str) -> None:
    async def main() -> None:
        async with connect(api) as client:
            rw = client.rwlock(name)
            async with rw.read() as first, rw.read() as second:
                assert {c.key for c in await rw.holders()} == {first.key, second.key}
                assert await rw.write().acquire(timeout=0.05) is None
            async with rw.write() as hold:
                assert hold.kind == "write"
                assert await rw.read().acquire(blocking=False) is None
                await hold.downgrade()
                assert hold.kind == "read"
                async with rw.read():
                    pass
                await asyncio.to_thread(hold.session.close)
                await asyncio.sleep(30)

    with pytest.raises(LockLost):
        asyncio.run(main())


def test_permits_are_counted(connect: Connect, api: str, name: str) -> None:
    async def main() -> None:
        async with connect(api) as client:
            semaphore = client.semaphore(name, permits=3)
            semaphore.permits = 2
            assert semaphore.permits == 2
            async with semaphore, semaphore:
                assert len(await semaphore.holders()) == 2
                assert await semaphore.acquire(timeout=0.05) is None
            hold = await semaphore.acquire(weight=2)
            assert hold is not None
            assert await semaphore.acquire(blocking=False) is None
            assert await hold.release()
            with pytest.raises(ValueError, match="never be had"):
                await semaphore.acquire(weight=3)

    asyncio.run(main())


def test_barriers_and_latches_open(connect: Connect, api: str, name: str) -> None:
    async def main() -> None:
        async with connect(api) as client:
            barrier = client.barrier(f"{name}-barrier")
            assert await barrier.hold()
            with pytest.raises(DeadlineExceeded):
                await barrier.wait(0.05)
            waiting = asyncio.create_task(barrier.wait())
            await asyncio.sleep(0)
            assert await barrier.held()
            assert await barrier.release()
            await waiting
            latch = client.latch(f"{name}-latch", count=2)
            waiting = asyncio.create_task(latch.wait(10))
            assert await latch.count_down("a") == 1
            assert await latch.remaining() == 1
            assert await latch.count_down("b") == 0
            await waiting
            await latch.clear()

    asyncio.run(main())


def test_each_task_is_a_party_of_a_double_barrier(
    connect: Connect, other: Client, api: str, name: str
) -> None:
    async def main() -> None:
        async with connect(api) as client:
            double = client.double_barrier(name, parties=3)
            inside: set[int] = set()

            async def party(number: int) -> None:
                for _ in range(2):
                    async with double:
                        inside.add(number)
                        await until(lambda: len(inside) == 3)
                inside.discard(number)

            async with asyncio.TaskGroup() as group:
                for number in range(3):
                    group.create_task(party(number))

            inside.clear()
            with pytest.raises(NotHeld):
                await double.leave()
            pair = client.double_barrier(f"{name}-2", parties=2)
            stay = asyncio.create_task(_stay(pair))
            with pytest.raises(KeyError):  # who raises breaks it for the other
                async with pair:
                    raise KeyError
            with pytest.raises(BrokenBarrier):
                await stay

            waiting = asyncio.create_task(pair.enter())
            await until(
                lambda: other.double_barrier(f"{name}-2", parties=2)._look(Context(5)).parties
            )
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert not other.double_barrier(f"{name}-2", parties=2)._look(Context(5)).parties

            third = client.double_barrier(f"{name}-3", parties=2)
            waiting = asyncio.create_task(third.enter())
            await asyncio.sleep(0)
            job = Job(lambda: _enter_and_leave(other.double_barrier(f"{name}-3", parties=2)))
            block_until(lambda: third._sync._inside)  # it is inside, and the loop does not know
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            with pytest.raises(BrokenBarrier):
                await asyncio.to_thread(job.result)

    asyncio.run(main())


def _enter_and_leave(double: DoubleBarrier) -> None:
    double.enter(10)
    double.leave(10)


async def _stay(double: aio.DoubleBarrier) -> None:
    async with double:
        pass
