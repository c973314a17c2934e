"""Locks of tasks, against a real server: exclusion, cancels, losses, blocked loops, many waiters."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from itertools import pairwise

import pytest

import etcd_recipes
from etcd_recipes import Client, Context, LockLost, NotAcquired, NotHeld, RecipeError, aio
from etcd_recipes.core.v3 import Op
from tests.aio.conftest import TTL
from tests.recipes.operator import remove, revoke
from tests.tools import Job, eventually, in_time

Connect = Callable[..., aio.Client]


def line(client: Client, name: str) -> list[str]:
    """Give who stands in the line of a lock."""
    return [entry.key for entry in client.lock(name)._line.contenders(Context(5.0))]


async def until(condition: Callable[[], object], timeout: float = 5.0) -> None:
    """Wait for a condition, letting the loop run."""
    async with asyncio.timeout(timeout):
        while not condition():
            await asyncio.sleep(0.005)


async def in_line(client: aio.Client, name: str, count: int) -> None:
    """Wait until so many stand in the line; tasks of one client stand in it one at a time."""
    await until(lambda: len(line(client.blocking, name)) == count)


def block_until(condition: Callable[[], object]) -> None:
    """Hold the loop up until the condition is true, as code that does not await does."""
    eventually(condition)


# -- what it is for -------------------------------------------------------------------------------


def test_twenty_tasks_and_a_thread_exclude_each_other(
    connect: Connect, other: Client, api: str, name: str
) -> None:
    inside: list[str] = []
    tokens: list[int] = []

    def enter(who: str, token: int) -> None:
        inside.append(who)
        assert inside == [who]
        tokens.append(token)

    async def work(lock: aio.Lock, who: str) -> None:
        async with lock as hold:
            enter(who, hold.token)
            await asyncio.sleep(0.001)
            inside.remove(who)

    def work_of_a_thread() -> None:
        for _ in range(5):
            with other.lock(name) as hold:
                enter("thread", hold.token)
                inside.remove("thread")

    async def main() -> None:
        async with connect(api) as client:
            lock = client.lock(name)
            job = Job(work_of_a_thread)
            async with asyncio.TaskGroup() as group:
                for number in range(20):
                    group.create_task(work(lock, f"task {number}"))
            await asyncio.to_thread(job.result)
            assert not await lock.locked()

    asyncio.run(main())
    assert len(tokens) == 25
    assert all(a < b for a, b in pairwise(tokens))


def test_it_is_had_in_time_or_not_at_all(connect: Connect, api: str, name: str) -> None:
    async def main() -> None:
        async with connect(api) as client:
            lock = client.lock(name, timeout=0.1)
            async with lock as hold:
                assert await lock.acquire(blocking=False) is None
                assert await lock.acquire(timeout=0.1) is None
                with pytest.raises(NotAcquired, match=r"within 0\.1 s"):
                    async with lock:
                        raise AssertionError("it ran without the lock")
                assert [c.key for c in [await lock.holder()] if c] == [hold.key]
                assert await lock.waiters() == ()
                assert hold.is_held
                assert hold.reason == ""
                assert 0 < hold.remaining() <= TTL
                hold.check()
                if api == "v3":
                    write = Op.put(f"{name}-v", "1")
                    assert (await client.kv.txn([hold.guard], [write])).succeeded
                for wrong in (None, "seconds"):
                    with pytest.raises(TypeError, match="seconds"):
                        await hold.sleep(wrong)  # type: ignore[arg-type]
                for callback in (None, until):
                    with pytest.raises(TypeError, match="plain function"):
                        hold.on_lost(callback)  # type: ignore[arg-type]
            assert not hold.is_held
            assert not await lock.locked()
            if api == "v3":
                assert not (await client.kv.txn([hold.guard], [write])).succeeded
            async with lock as hold:  # given up by the body itself: nothing is lost
                assert await hold.release()
                await asyncio.sleep(0.01)

    asyncio.run(main())


def test_a_task_releases_what_it_acquired_itself(connect: Connect, name: str) -> None:
    async def main() -> None:
        async with connect() as client:
            semaphore = client.semaphore(name, permits=3)
            mine = await semaphore.acquire()
            theirs = await asyncio.create_task(semaphore.acquire())
            assert mine is not None
            assert theirs is not None
            assert await semaphore.release()
            assert (mine.is_held, theirs.is_held) == (False, True)
            assert await semaphore.release()
            with pytest.raises(NotHeld):
                await semaphore.release()

    asyncio.run(main())


def test_a_decorated_function_runs_once_at_a_time(connect: Connect, name: str) -> None:
    async def main() -> None:
        async with connect() as client:
            busy = asyncio.Event()
            go_on = asyncio.Event()

            @client.exclusive(name, on_busy="skip")
            async def work(answer: int) -> int:
                busy.set()
                await go_on.wait()
                return answer

            first = asyncio.create_task(work(42))
            await busy.wait()
            assert await work(43) is None
            with pytest.raises(NotAcquired):
                await client.exclusive(name, on_busy="raise")(work)(44)
            go_on.set()
            assert await first == 42
            assert await client.exclusive(f"{name}-2")(work)(45) == 45
            with pytest.raises(TypeError, match="no coroutine function"):
                client.exclusive(name)(lambda: None)  # type: ignore[arg-type,return-value]
            with pytest.raises(ValueError, match="on_busy"):
                client.exclusive(name, on_busy="perhaps")  # type: ignore[arg-type]

    asyncio.run(main())


def test_a_decorated_function_knows_its_hold(connect: Connect, api: str, name: str) -> None:
    async def main() -> None:
        async with connect(api) as client:
            with pytest.raises(ValueError, match="heartbeat"):
                client.exclusive(name, heartbeat=0)  # told where it stands, not when it is called
            with pytest.raises(ValueError, match="max_hold"):
                client.exclusive(name, max_hold=0)
            seen: list[tuple[str, str, str]] = []

            @client.exclusive(name, max_hold=60, heartbeat=60)
            async def work(inner: Callable[[], Awaitable[object]] | None = None) -> aio.Hold:
                hold = aio.current_hold()
                hold.heartbeat()
                assert hold.is_held
                assert hold.remaining() <= TTL
                if inner is not None:
                    await inner()
                    assert aio.current_hold() is hold
                of_a_thread = await asyncio.to_thread(lambda: etcd_recipes.current_hold().key)
                async with asyncio.TaskGroup() as group:
                    child = group.create_task(_current_key())
                seen.append((hold.key, of_a_thread, child.result()))
                return hold

            another = client.exclusive(f"{name}-2")(_current_key)
            hold = await work(another)
            tasks = [asyncio.create_task(client.exclusive(f"{name}-3")(_current_key)())]
            tasks += [asyncio.create_task(client.exclusive(f"{name}-4")(_current_key)())]
            assert len({*await asyncio.gather(*tasks), hold.key}) == 3  # each task has its own
            assert seen == [(hold.key,) * 3]
            assert not hold.is_held
            for current in (aio.current_hold, etcd_recipes.current_hold):
                with pytest.raises(NotHeld):
                    current()

    asyncio.run(main())


async def _current_key() -> str:
    await asyncio.sleep(0)
    return aio.current_hold().key


def test_several_locks_are_had_together_or_not_at_all(
    connect: Connect, operator: Client, other: Client, api: str, name: str
) -> None:
    a, b = f"{name}-a", f"{name}-b"

    async def swap(client: aio.Client, names: list[str], done: list[int]) -> None:
        for _ in range(3):
            async with client.multi_lock(names):
                done.append(1)

    async def main() -> None:
        async with connect(api) as client:
            both = client.multi_lock([b, a], timeout=10)
            assert both.names == (a, b)
            async with both as hold:
                assert [key.rpartition("/")[0] for key in hold.keys] == [a, b]
                assert list(hold.tokens) == [a, b]
                assert 0 < hold.remaining() <= TTL
                assert await client.lock(b).acquire(blocking=False) is None
                with pytest.raises(NotAcquired, match="multi-lock"):
                    async with client.multi_lock([b], timeout=0.1):
                        raise AssertionError("it ran without the locks")
                if api == "v3":
                    done = await client.kv.txn(hold.guards, [Op.put(f"{name}-v", "1")])
                    assert done.succeeded
                else:
                    with pytest.raises(RecipeError, match="transactions"):
                        _ = hold.guards
            done: list[int] = []
            async with asyncio.TaskGroup() as group:  # nobody waits in a circle
                group.create_task(swap(client, [a, b], done))
                group.create_task(swap(client, [b, a], done))
            assert len(done) == 6

            with other.lock(b):  # a wait that is cancelled gives back what it has
                waiting = asyncio.create_task(both.acquire())
                await until(lambda: len(line(other, a)) == 1 and len(line(other, b)) == 2)
                waiting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await waiting
                assert (line(other, a), len(line(other, b))) == ([], 1)

            with pytest.raises(LockLost, match=b):  # one is lost: all are, and the body ends
                async with both as hold:
                    await asyncio.to_thread(remove, other, hold.keys[1], api)
                    await asyncio.sleep(30)
            assert _cancels() == 0
            await until(lambda: line(other, a) == [])

            hold = await both.acquire()
            assert hold is not None
            assert await both.release()
            assert (hold.is_held, hold.reason) == (False, "it was released")
            with pytest.raises(NotHeld):
                await both.release()
            with pytest.raises(NotHeld, match="not entered"):
                await both.__aexit__(None, None, None)

    asyncio.run(main())


# -- cancels --------------------------------------------------------------------------------------


def test_a_wait_that_is_cancelled_leaves_the_line_before_the_cancel_goes_on(
    connect: Connect, other: Client, api: str, name: str
) -> None:
    async def main() -> None:
        async with connect(api) as client:
            with other.lock(name) as hold:
                waiting = asyncio.create_task(client.lock(name).acquire())
                await in_line(client, name, 2)
                waiting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await waiting
                assert line(other, name) == [hold.key]
                with pytest.raises(TimeoutError):  # the same from asyncio.timeout
                    async with asyncio.timeout(0.1):
                        await client.lock(name).acquire()
                assert line(other, name) == [hold.key]

    asyncio.run(main())


def test_a_lock_that_is_granted_in_the_moment_of_the_cancel_is_given_back(
    connect: Connect, api: str, name: str
) -> None:
    async def main() -> None:
        async with connect(api) as client:
            lock = client.lock(name)
            waiting = asyncio.create_task(lock.acquire())
            await asyncio.sleep(0)  # it has begun
            block_until(lambda: lock._sync._held)  # granted, and the loop does not know
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert line(client.blocking, name) == []
            election = client.election(name)
            campaign = asyncio.create_task(_campaign(election))
            await asyncio.sleep(0)
            block_until(lambda: line(client.blocking, name))
            time.sleep(0.05)  # the thread comes back, most likely
            campaign.cancel()
            with pytest.raises(asyncio.CancelledError):
                await campaign
            assert await election.leader() is None

    asyncio.run(main())


async def _campaign(election: aio.Election) -> aio.Leadership:
    return await election.campaign()


def test_a_loop_that_ends_without_its_tasks_leaves_no_hold(
    connect: Connect, operator: Client, name: str
) -> None:
    client = connect()
    hold = operator.lock(name).acquire()
    assert hold is not None
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda _loop, _about: None)  # it says that a task was pending
    task = loop.create_task(client.lock(name).acquire())
    loop.run_until_complete(in_line(client, name, 2))
    loop.close()
    hold.release()
    eventually(lambda: line(operator, name) == [], what="the end of what nobody waits for")
    del task
    asyncio.run(client.close())


def test_a_wait_that_is_thrown_away_leaves_nothing(connect: Connect, name: str) -> None:
    async def main() -> None:
        async with connect() as client:
            lock = client.lock(name)
            async with lock:
                waiting = client.lock(name).acquire()
                waiting.send(None)  # begun by hand
                await until(lambda: client.blocking.session()._queue._queues)
                waiting.close()
            getting = lock.acquire()
            getting.send(None)
            block_until(lambda: any(hold.is_held for hold in list(lock._sync._held)))
            getting.close()  # granted, and the loop does not know
            await in_line(client, name, 0)
            async with asyncio.timeout(5):
                assert await lock.acquire()

    asyncio.run(main())


def test_a_release_that_is_cancelled_is_done_all_the_same(connect: Connect, name: str) -> None:
    async def main() -> None:
        async with connect() as client:
            hold = await client.lock(name).acquire()
            assert hold is not None
            releasing = asyncio.create_task(hold.release())
            await asyncio.sleep(0)
            releasing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await releasing
            await in_line(client, name, 0)

    asyncio.run(main())


# -- losses ---------------------------------------------------------------------------------------


def test_a_loss_cancels_the_body_within_a_third_of_the_ttl(
    connect: Connect, operator: Client, api: str, name: str
) -> None:
    async def main() -> None:
        async with connect(api) as client:
            with pytest.raises(LockLost, match=name) as caught:
                async with client.lock(name) as hold:
                    heard: list[str] = []
                    hold.on_lost(heard.append)
                    await asyncio.to_thread(revoke, operator, hold.session, api)
                    lost_at = time.monotonic()
                    await asyncio.sleep(30)
            in_time(time.monotonic() - lost_at, TTL / 3 + 0.5)
            assert isinstance(caught.value.__cause__, asyncio.CancelledError)
            assert _cancels() == 0
            await until(lambda: heard)
            assert not hold.is_held
            assert hold.lost.is_set()
            await asyncio.sleep(0)  # nothing of it comes later

            async with client.lock(name) as hold:  # an operator removes the key alone
                await asyncio.to_thread(remove, operator, hold.key, api)
                assert await hold.lost.wait(0.001) is False
                with pytest.raises(asyncio.CancelledError):
                    await hold.wait_lost()
                with pytest.raises(LockLost):
                    await hold.sleep(1)
                raise KeyError("what the body raises itself")

    with pytest.raises(KeyError):
        asyncio.run(main())


def _cancels() -> int:
    task = asyncio.current_task()
    assert task is not None
    return task.cancelling()


def test_a_limit_that_passes_cancels_the_body_as_any_loss_does(
    connect: Connect, other: Client, api: str, name: str
) -> None:
    async def hang(thing: aio.Lock | aio.MultiLock, beats: int = 0) -> float:
        begun = time.monotonic()
        async with thing as hold:
            for _ in range(beats):
                await asyncio.sleep(0.1)
                hold.heartbeat()
            try:
                await asyncio.sleep(30)
            finally:
                assert not hold.is_held
                with pytest.raises(LockLost):
                    hold.heartbeat()  # too late: no beat brings it back
                begun = time.monotonic() - begun
        return begun

    async def main() -> None:
        async with connect(api) as client:
            limits = [
                hang(client.lock(f"{name}-1", max_hold=0.3)),
                hang(client.lock(f"{name}-2", heartbeat=0.3), beats=5),
                hang(client.multi_lock([f"{name}-3", f"{name}-4"], max_hold=0.3)),
            ]
            begun = time.monotonic()
            ends = await asyncio.gather(*limits, return_exceptions=True)
            # 5 beats and 0.3 s; nobody slept for 30 s
            in_time(time.monotonic() - begun, 5, at_least=0.8)
            assert [type(end) for end in ends] == [LockLost] * 3
            assert [word in str(end) for word, end in zip(_LIMITS, ends, strict=True)] == [True] * 3
            assert _cancels() == 0
            for number in range(1, 5):  # the key goes, though the session lives
                await until(lambda n=number: line(other, f"{name}-{n}") == [])  # type: ignore[misc]

            with pytest.raises(
                LockLost, match="max_hold"
            ):  # a loop that hangs: it is free for others
                async with client.lock(name, max_hold=0.2):
                    block_until(lambda: line(other, name) == [])
                    await asyncio.sleep(30)
            assert _cancels() == 0

    asyncio.run(main())


_LIMITS = ("max_hold of 0.3 s", "no heartbeat for 0.3 s", "max_hold of 0.3 s")


def test_a_body_that_catches_the_cancel_gets_lock_lost_at_its_end(
    connect: Connect, name: str
) -> None:
    async def main() -> None:
        async with connect() as client:
            with pytest.raises(LockLost):
                async with client.lock(name) as hold:
                    hold.session.abandon()
                    with pytest.raises(asyncio.CancelledError):
                        await asyncio.sleep(30)
                    assert await hold.release()  # there is nothing to release
                    await asyncio.sleep(0.01)  # cancelled once, not again and again
            assert _cancels() == 0
            hold = await client.lock(f"{name}-2").acquire()
            assert hold is not None
            hold.session.abandon()
            with pytest.raises(LockLost):
                async with hold:
                    raise AssertionError("it ran without the lock")
            with pytest.raises(LockLost):  # never let go of the processor
                async with client.lock(f"{name}-3") as hold:
                    hold.session.abandon()
            await asyncio.sleep(0.01)
            assert _cancels() == 0

    asyncio.run(main())


def test_nested_holds_that_are_lost_together_end_as_one_loss(connect: Connect, name: str) -> None:
    async def main() -> None:
        async with connect() as client:
            with pytest.raises(LockLost, match=f"{name}-outer"):
                async with client.lock(f"{name}-outer") as hold, client.lock(name):
                    hold.session.abandon()
                    await asyncio.sleep(30)
            assert _cancels() == 0

            with pytest.raises(LockLost, match=f"{name}-third"):
                async with client.lock(f"{name}-second") as second:
                    async with client.lock(f"{name}-third", ttl=3) as hold:
                        hold.session.abandon()
                        await asyncio.sleep(30)
            assert _cancels() == 0
            assert not await client.lock(f"{name}-second").locked()
            assert not second.is_held

            with pytest.raises(LockLost):
                async with asyncio.timeout(30):
                    async with client.lock(f"{name}-4") as hold, asyncio.timeout(30):
                        hold.session.abandon()
                        await asyncio.sleep(30)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    async with client.lock(f"{name}-5"):
                        await asyncio.sleep(30)
            assert _cancels() == 0

    asyncio.run(main())


def test_an_outer_cancel_wins_over_a_loss_in_the_same_moment(connect: Connect, name: str) -> None:
    async def hold_it(client: aio.Client, first: str, holds: list[aio.Hold]) -> None:
        async with client.lock(f"{name}-{first}") as hold:
            holds.append(hold)
            await asyncio.sleep(30)

    async def main() -> None:
        async with connect() as client:
            for first in ("cancel", "loss"):
                holds: list[aio.Hold] = []
                task = asyncio.create_task(hold_it(client, first, holds))
                await until(lambda holds=holds: holds)  # type: ignore[misc]
                if first == "cancel":
                    task.cancel()
                holds[0].session.abandon()
                block_until(_loss_is_told)
                if first == "loss":
                    task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                assert task.cancelled()

    asyncio.run(main())


def _loss_is_told() -> bool:
    """Tell whether the thread that tells the loop of the loss has done so."""
    return not any(t.name == "etcd-recipes-on-lost" for t in threading.enumerate())


def test_a_task_group_inside_is_cancelled_and_awaited(connect: Connect, name: str) -> None:
    async def main() -> None:
        ended: list[int] = []

        async def work(number: int) -> None:
            try:
                await asyncio.sleep(30)
            finally:
                await asyncio.sleep(0.01)
                ended.append(number)

        async with connect() as client:
            with pytest.raises(LockLost):
                async with client.lock(name) as hold, asyncio.TaskGroup() as group:
                    for number in range(3):
                        group.create_task(work(number))
                    await asyncio.sleep(0)
                    hold.session.abandon()
                    # and the body ends: the group waits
            assert sorted(ended) == [0, 1, 2]
            assert _cancels() == 0

    asyncio.run(main())


# -- the loop and its threads ---------------------------------------------------------------------


def test_a_loop_that_is_blocked_for_longer_than_the_ttl_keeps_the_lock(
    connect: Connect, operator: Client, name: str
) -> None:
    async def main() -> None:
        async with connect() as client, client.lock(name) as hold:
            time.sleep(TTL * 1.1)
            hold.check()
            await asyncio.sleep(0)
            holder = operator.lock(name).holder()
            assert holder is not None
            assert (holder.key, holder.token) == (hold.key, hold.token)

    asyncio.run(main())


def test_two_hundred_who_wait_stop_neither_the_loop_nor_requests(
    connect: Connect, operator: Client, name: str
) -> None:
    async def main() -> None:
        async with connect() as client:
            with operator.lock(name) as hold:
                waiting = [asyncio.create_task(client.lock(name).acquire()) for _ in range(200)]
                await in_line(client, name, 2)
                loop = asyncio.get_running_loop()
                async with asyncio.timeout(10):  # the default executor, and our own requests
                    assert await loop.run_in_executor(None, lambda: 42) == 42
                    assert (await client.lock(name).holder() or hold).key == hold.key
                for task in waiting:
                    task.cancel()
                results = await asyncio.gather(*waiting, return_exceptions=True)
                assert {type(result) for result in results} == {asyncio.CancelledError}
                assert line(operator, name) == [hold.key]
            few = 4 + 4  # idle ones of each crew
            await until(lambda: _crew() <= few)

    asyncio.run(main())


def _crew() -> int:
    return sum(1 for thread in threading.enumerate() if thread.name == "etcd-recipes-aio")
