"""The other recipes, awaited: elections, registry, read-write lock, barriers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from etcd_recipes import (
    BrokenBarrier,
    Cancelled,
    Client,
    Codec,
    Context,
    DeadlineExceeded,
    DoubleBarrier,
    Instance,
    LimitMismatch,
    LockLost,
    NotHeld,
    RecipeError,
    SessionLost,
    aio,
)
from etcd_recipes.testing import EtcdProcess, FaultProxy
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


def test_a_term_is_handed_over_by_its_leader(connect: Connect, api: str, name: str) -> None:
    async def lead_once(election: aio.Election, value: str, until: asyncio.Event) -> None:
        async with election.campaign(value) as term:
            assert term.value == value
            await until.wait()

    async def main() -> None:
        async with connect(api) as client, connect(api) as second, connect(api) as third:
            others, stop = [second.election(name), third.election(name)], asyncio.Event()
            waiting = []
            async with client.election(name).campaign("one") as term:
                for number, election in enumerate(others):
                    task = lead_once(election, f"other {number}", stop)
                    waiting.append(asyncio.create_task(task))
                    await until(lambda n=number: len(line(client.blocking, name)) == n + 2)  # type: ignore[misc]
                with pytest.raises(RecipeError, match="no candidate"):
                    await term.transfer("nobody")
                term.check()  # it goes on
                told = asyncio.create_task(term.wait_lost())
                assert await term.transfer("other 1", timeout=10)
                assert (
                    await told
                )  # over, and known at once; neither a loss nor a cancel of this body
                assert (term.is_held, term.reason) == (False, "it was released")
                leader = await client.election(name).leader()
                assert leader is not None
                assert leader.value == "other 1"
                await asyncio.sleep(0.01)
            (_, last) = await others[0].candidates()
            assert await others[1].evict(last)
            ends = asyncio.gather(*waiting, return_exceptions=True)
            await until(lambda: len(line(client.blocking, name)) == 1)
            if api == "v3":
                assert isinstance(await _first_end(waiting), LockLost)
            stop.set()
            assert sum(isinstance(end, LockLost) for end in await ends) == 1

    asyncio.run(main())


async def _first_end(tasks: list[asyncio.Task[None]]) -> BaseException | None:
    done, _ = await asyncio.wait(tasks, timeout=5, return_when=asyncio.FIRST_COMPLETED)
    return done.pop().exception()


def test_who_waits_for_the_end_of_a_term_hears_of_it_when_it_is_handed_over(
    connect: Connect, operator: Client, name: str
) -> None:
    """A candidate of another library never says that it leads: `transfer` goes on waiting."""

    async def main() -> None:
        async with connect() as client:
            election = client.election(name)
            lost = asyncio.Event()
            async with election.background(on_lost=lost.set) as background:
                await until(lambda: background.is_leader)
                with pytest.raises(RecipeError, match="runs already"):
                    await background.__aenter__()
                assert background.error is None
                term = background.term
                assert term is not None
                lease = operator.v3.lease.grant(60)
                operator.v3.kv.put(f"{name}/{lease.id:x}", "foreign", lease=lease.id)
                handing = asyncio.create_task(term.transfer("foreign", timeout=1.0))
                hearing = asyncio.create_task(lost.wait())
                both = {handing, hearing}
                first, _ = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
                assert hearing in first
                assert not await handing  # not confirmed in time, which is no error
                operator.v3.lease.revoke(lease.id)
                await until(lambda: background.is_leader)  # it campaigns again
                assert background.term is not term
            background = election.background()
            with pytest.raises(SessionLost, match="closed"):
                async with background:
                    await client.close()
                    await until(lambda: background.error)

    asyncio.run(main())


def test_a_lead_that_resigns_by_itself_and_looks_goes_on_to_the_next_term(
    connect: Connect, name: str
) -> None:
    tokens: list[int] = []

    async def lead(term: aio.Leadership) -> None:
        tokens.append(term.token)
        if len(tokens) == 3:
            raise KeyError
        await term.resign()
        term.check()

    async def main() -> None:
        async with connect() as client:
            with pytest.raises(KeyError):
                await client.election(name).run(lead)
            with pytest.raises(TypeError, match="proposal"):
                client.election(name).terms(value=1)  # type: ignore[arg-type]
            ctx = Context()
            ctx.cancel("before it began")
            with pytest.raises(Cancelled, match="before it began"):
                await client.election(name).run(lead, ctx=ctx)

    asyncio.run(main())
    assert len(set(tokens)) == 3


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


@pytest.mark.parametrize("how", ["transfer", "resign"])
def test_a_campaign_in_the_background_that_hands_over_goes_to_the_end_of_the_line(
    connect: Connect, other: Client, api: str, name: str, how: str
) -> None:
    said: list[str] = []

    async def main() -> None:
        async with connect(api) as client:
            election = client.election(name, value="a")
            on, off = lambda: said.append("elected"), lambda: said.append("lost")
            async with election.background(on, off) as background:
                await until(lambda: background.is_leader)
                term = background.term
                assert term is not None
                job = Job(lambda: other.election(name).campaign("b", timeout=10))
                await until(lambda: len(other.election(name).candidates()) == 2)
                assert await (term.transfer("b") if how == "transfer" else term.resign())
                theirs = await asyncio.to_thread(job.result)
                await until(lambda: said == ["elected", "lost"])
                assert background.error is None
                await until(lambda: len(other.election(name).candidates()) == 2)  # once more
                assert not background.is_leader
                await asyncio.to_thread(theirs.resign)
                await until(lambda: background.is_leader)
                assert background.term is not term

    asyncio.run(main())
    assert said == ["elected", "lost"] * 2


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
                    await until(lambda: [i.id for i in view.instances] == ["two"])
                async with asyncio.timeout(5):  # an end that was not confirmed in time goes on
                    while await registry.instances("api"):
                        await asyncio.sleep(0.01)
                await until(lambda: not view.instances)  # which hears of it a moment later
                with pytest.raises(DeadlineExceeded):
                    await view.wait_for(1, timeout=0.05)
            with pytest.raises(ValueError, match="address"):
                await registry.register("api", "")

    asyncio.run(main())


def test_a_change_that_is_not_confirmed_in_time_is_no_error(
    etcd: EtcdProcess, connect: Connect, name: str
) -> None:
    """As with the blocking one: it tells False for its timeout, and raises for that of the caller's Context."""

    async def main(proxy: FaultProxy) -> None:
        client = aio.Client(proxy.endpoint, header_timeout=None, session_ttl=30)
        mine = await client.registry(name).register("api", "10.0.0.1:80")
        proxy.blackhole()
        assert not await mine.update(weight=2, timeout=0.1)
        assert not await mine.drain(timeout=0.1)
        assert (mine.instance.weight, mine.instance.draining) == (2, True)
        proxy.heal()
        await until(lambda: mine.is_published)
        proxy.blackhole()
        with pytest.raises(DeadlineExceeded):
            await mine.update(zone="a", ctx=Context(0.1))
        proxy.heal()
        await client.close()

    with FaultProxy(etcd.endpoint) as proxy:
        asyncio.run(main(proxy))


def test_a_view_keeps_those_that_vanish_all_at_once(connect: Connect, api: str, name: str) -> None:
    async def main() -> None:
        codec = Codec(lambda instance: instance.address, Instance)
        async with connect(api) as client, connect(api) as another:
            registry = client.registry(name, codec=codec)
            made = [
                another.registry(name, codec=codec).register("api", f"h:{n}") for n in (1, 2, 3)
            ]
            for each in made:
                await each
            async with registry.follow("api", confirm=0.3) as view:
                assert len(view.instances) == 3
                assert view.suspects == ()
                events = view.events()
                await another.close()
                await until(lambda: len(view.suspects) == 3)
                assert len(view.instances) == 3
                while view.instances:
                    event = await anext(events)
                assert (event.kind, events.dropped) == ("removed", 0)
                await events.aclose()
                assert [event async for event in events] == []

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
            assert await semaphore.limit() == semaphore.permits == 3
            await semaphore.resize(2)
            assert await semaphore.limit() == 2
            with pytest.raises(LimitMismatch, match="permits"):
                await client.semaphore(name, permits=5).acquire()
            async with semaphore, semaphore:
                assert len(await semaphore.holders()) == 2
                assert await semaphore.acquire(timeout=0.05) is None
            hold = await semaphore.acquire(weight=2)
            assert hold is not None
            assert await semaphore.acquire(blocking=False) is None
            waiting = asyncio.create_task(semaphore.acquire())
            await semaphore.resize(3)
            also = await waiting
            assert also is not None
            (first, second) = await semaphore.holders()
            assert await semaphore.evict(second)
            assert await also.wait_lost(5)
            assert "removed" in also.reason
            assert (first.key, hold.reason) == (hold.key, "")
            assert await hold.release()
            assert hold.reason == "it was released"
            with pytest.raises(ValueError, match="never be had"):
                await semaphore.acquire(weight=4)

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
            await until(
                lambda: not other.double_barrier(f"{name}-2", parties=2)._look(Context(5)).parties
            )

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
