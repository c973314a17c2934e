"""What ``async for`` reads from: it gives all, ends cleanly, and leaves nothing behind however it is left."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from etcd_recipes import Cancelled, Client, DeadlineExceeded, FutureRevision, aio
from tests.aio.test_lock import block_until, until

Connect = Callable[..., aio.Client]


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_leaders_are_observed(connect: Connect, other: Client, api: str, name: str) -> None:
    async def main() -> None:
        async with connect(api) as client:
            election = client.election(name)
            seen: list[str | None] = []

            async def watch() -> None:
                async for leader in election.observe():
                    seen.extend([None if leader is None else leader.value])

            watching = asyncio.create_task(watch())
            await until(lambda: seen == [None])
            async with election.campaign("one") as term:
                await until(lambda: seen[-1] == "one")
                await term.proclaim("two")
                await until(lambda: seen[-1] == "two")
            await until(lambda: seen[-1] is None)
            watching.cancel()
            with pytest.raises(asyncio.CancelledError):
                await watching
            with pytest.raises(DeadlineExceeded):
                async for _leader in election.observe(timeout=0.1):
                    pass

    asyncio.run(main())


@pytest.mark.parametrize("way", ["break", "raise", "cancel", "aclose", "while another waits"])
def test_a_stream_leaves_nothing_behind(connect: Connect, name: str, way: str) -> None:
    async def read(election: aio.Election, seen: list[object]) -> None:
        async for leader in election.observe():
            seen.append(leader)
            if way == "break":
                break
            if way == "raise":
                raise KeyError

    async def main() -> None:
        async with connect() as client:
            election = client.election(name)
            await election.leader()
            before = descriptors()
            if way in {"break", "raise", "cancel"}:
                seen: list[object] = []
                task = asyncio.create_task(read(election, seen))
                if way == "cancel":
                    await until(lambda: seen)
                    await asyncio.sleep(0)  # it waits for the next one
                    task.cancel()
                await asyncio.wait({task})
                assert task.cancelled() == (way == "cancel")
                del task
            else:
                stream = election.observe()
                assert await anext(stream) is None
                waiting = asyncio.ensure_future(anext(stream)) if "waits" in way else None
                await asyncio.sleep(0)
                if waiting is not None:
                    with pytest.raises(RuntimeError, match="one task at a time"):
                        await anext(stream)
                await stream.aclose()
                await stream.aclose()
                if waiting is not None:
                    with pytest.raises(Cancelled):
                        await waiting
                assert [leader async for leader in stream] == []
            # The connection of a feed may be kept for the next request.
            await until(lambda: descriptors() <= before + 1)

    asyncio.run(main())


def test_events_of_a_view_end_with_it(connect: Connect, api: str, name: str) -> None:
    async def main() -> None:
        async with connect(api) as client:
            registry = client.registry(name)
            view = await registry.follow("api")
            events = view.events()  # from now on, not from the first step on
            async with registry.register("api", "10.0.0.1:80"):
                assert (await anext(events)).kind == "added"
            assert (await anext(events)).kind == "removed"
            ending = view.events()
            step = asyncio.ensure_future(anext(ending))
            await asyncio.sleep(0.01)
            step.cancel()
            with pytest.raises(asyncio.CancelledError):
                await step
            assert [event async for event in ending] == []
            rest = asyncio.ensure_future(anext(events))
            await asyncio.sleep(0.01)
            await view.close()
            with pytest.raises(StopAsyncIteration):
                await rest

    asyncio.run(main())


def test_every_event_of_a_watch_is_given(connect: Connect, operator: Client, name: str) -> None:
    def put(*values: str) -> None:
        for value in values:
            operator.v3.kv.put(name, value)

    async def main() -> None:
        async with connect() as client:
            start = (await client.kv.put(name, "0")).revision
            put("1", "2", "3")
            seen = []
            async for event in client.watch(name, start_revision=start):
                seen.append(event.kv.text)
                if len(seen) == 4:
                    break
            assert seen == ["0", "1", "2", "3"]

            async with client.watch(name) as watcher:
                put("4")
                assert (await watcher.next(timeout=5)).kv.text == "4"
                before = watcher.revision
                with pytest.raises(DeadlineExceeded):
                    await watcher.next(timeout=0.05)
                # The event is there, and the task is cancelled before it hears of it.
                waiting = asyncio.create_task(watcher.next())
                await asyncio.sleep(0)
                put("5")
                block_until(lambda: watcher.revision > before)
                waiting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await waiting
                assert watcher.revision == before
                assert (await watcher.next_batch(timeout=5)).events[0].kv.text == "5"
                put("6")
                async for batch in watcher.batches():
                    assert [event.kv.text for event in batch.events] == ["6"]
                    break
                rest = asyncio.create_task(_all(watcher))
                await asyncio.sleep(0.01)
                await watcher.close()
                assert await rest == []  # closed: the iteration ends
                with pytest.raises(Cancelled):
                    await watcher.next()

            watcher = await client.watch(name, prefix=True)
            rest = asyncio.create_task(_all(watcher))
            await asyncio.sleep(0.01)
        assert await rest == []  # the client is closed

    asyncio.run(main())


async def _all(watcher: aio.Watcher) -> list[object]:
    return [event async for event in watcher]


def test_keys_are_read_and_written(connect: Connect, name: str) -> None:
    from etcd_recipes.core.v3 import Compare, Op

    async def main() -> None:
        async with connect() as client:
            kv = client.kv
            assert await kv.get(name) is None
            await kv.put(f"{name}/a", "1")
            done = await kv.txn([Compare.version(f"{name}/b") == 0], [Op.put(f"{name}/b", "2")])
            assert done.succeeded
            found = await kv.range(f"{name}/", prefix=True, timeout=5)
            assert [entry.text for entry in found.kvs] == ["1", "2"]
            pages = kv.pages(f"{name}/", prefix=True, page_size=1, timeout=5)
            assert [page.kvs[0].text async for page in pages] == ["1", "2"]
            assert pages._ctx.deadline is None  # the timeout is for each page, not for all of them
            async for entry in kv.scan(f"{name}/", prefix=True, page_size=1):
                assert entry.text == "1"
                break  # it may be left
            with pytest.raises(ValueError, match="page_size"):  # now, not at the first step
                kv.scan(name, page_size=0)
            pages = kv.pages(name, timeout=0)  # each page has this time
            with pytest.raises(DeadlineExceeded):
                await anext(pages)
            assert (await kv.delete(f"{name}/", prefix=True)).deleted == 2

            ours = (
                kv.when(Compare.version(name) == 0).then(Op.put(name, "x")).otherwise(Op.get(name))
            )
            assert (await ours.commit(timeout=5)).succeeded
            again = await ours.commit()
            assert not again.succeeded
            assert again.responses[0].kvs[0].text == "x"
            async with client.lock(name) as hold:
                assert (await kv.when(hold.guard).then(Op.delete(name)).commit()).succeeded
            with pytest.raises(FutureRevision):
                await kv.compact(again.revision + 1000)

    asyncio.run(main())
