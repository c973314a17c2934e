"""The watcher against real servers: every event once, in order; and what ends a wait."""

from __future__ import annotations

import threading

import pytest

from etcd_recipes import (
    Cancelled,
    Client,
    Context,
    DeadlineExceeded,
    EventIndexCleared,
)
from etcd_recipes.core.v2 import watcher as module
from etcd_recipes.core.v2.keys import Keys
from etcd_recipes.testing import EtcdProcess
from tests.core.calls import FOREVER, SOON, Call, within
from tests.tools import child, eventually
from tests.v2.figures import say
from tests.v2.watching import settle, values, waiting


def test_events_come_once_and_in_order(keys: Keys, name: str) -> None:
    start = keys.set(name, "0").index
    with keys.watcher(name, after_index=start) as watcher:
        for number in range(1, 51):
            keys.set(name, str(number))
        assert values(watcher, 50) == [str(number) for number in range(1, 51)]
        call = waiting(watcher)
        keys.delete(name)
        event = call.result()
    assert event.action == "delete"
    assert event.prev_node.value == "50"


def test_from_now_begins_at_the_first_contact_and_loses_nothing_then(keys: Keys, name: str) -> None:
    keys.set(name, "before")
    with keys.watcher(name) as watcher:
        settle(watcher)
        watcher._drop()  # the poll breaks, and in the gap there are changes
        for number in range(20):
            keys.set(name, str(number))
        assert values(watcher, 20) == [str(number) for number in range(20)]


def test_all_kinds_of_change(keys: Keys, name: str) -> None:
    with keys.watcher(name, after_index=keys.set(f"{name}/x", "").index, recursive=True) as watcher:
        keys.create(f"{name}/a", "1")
        keys.update(f"{name}/a", "2")
        keys.set(f"{name}/a", "3", prev_value="2")
        keys.delete(f"{name}/a", prev_value="3")
        keys.set(f"{name}/b", "4", ttl=1)
        keys.set(f"{name}/_hidden", "5")
        seen = [watcher.next(timeout=FOREVER) for _ in range(6)]
    assert [event.action for event in seen] == [
        "create",
        "update",
        "compareAndSwap",
        "compareAndDelete",
        "set",
        "expire",
    ]
    assert seen[-1].prev_node is not None


def test_a_watcher_of_a_child_hears_of_its_parents_end_and_not_of_its_neighbours(
    keys: Keys, name: str
) -> None:
    keys.set(f"{name}/dd/x", "1")
    start = keys.set(f"{name}/ddother/x", "1").index
    keys.delete(f"{name}/dd", recursive=True)
    keys.delete(f"{name}/ddother", recursive=True)
    with keys.watcher(f"{name}/ddother/x", after_index=start) as watcher:
        event = watcher.next(timeout=FOREVER)
    assert (event.action, event.node.key) == ("delete", f"{name}/ddother")


@pytest.mark.parametrize("pause", [0.0, 0.001])
def test_two_thousand_changes_and_a_slow_reader(keys: Keys, name: str, pause: float) -> None:
    """Either every event once and in order, or a clear error; never a gap."""
    start = keys.get("/").index
    done = threading.Event()

    def write() -> None:
        for number in range(2000):
            keys.set(name, str(number))
        done.set()

    writer = Call(write)
    seen: list[int] = []
    cleared_at = 0
    with keys.watcher(name, after_index=start) as watcher:
        try:
            for event in watcher:
                seen.append(int(event.node.value))
                done.wait(pause)
                if len(seen) == 2000:
                    break
        except EventIndexCleared as error:
            cleared_at = error.resume_from
    writer.result()
    assert seen == list(range(len(seen)))
    assert len(seen) == 2000 or cleared_at > start + len(seen) + 1000
    say(f"with pauses of {pause * 1000:g} ms: {len(seen)} of 2000 events; {cleared_at=}")


def test_a_reader_that_comes_too_late_is_told_where_to_go_on(keys: Keys, name: str) -> None:
    for number in range(1010):
        keys.set(name, str(number))
    with keys.watcher(name, after_index=1) as watcher:
        for _ in range(2):  # it stays so: nothing is skipped in silence
            with pytest.raises(EventIndexCleared) as raised:
                watcher.next(timeout=FOREVER)
        assert raised.value.code == 401
    now = keys.get(name)
    assert raised.value.resume_from == now.index
    with keys.watcher(name, after_index=now.index) as watcher:
        keys.set(name, "next")
        assert values(watcher, 1) == ["next"]


def test_a_quiet_key_among_many_changes_is_not_cleared(
    keys: Keys, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its poll is older than what the server keeps; as long as it is open, nothing is lost."""
    monkeypatch.setattr(module, "QUIET", 0.05)
    with keys.watcher(f"{name}/quiet") as watcher:
        settle(watcher)
        for number in range(1010):
            keys.set(f"{name}/busy", str(number))
        with pytest.raises(DeadlineExceeded):
            watcher.next(timeout=0.5)
        keys.set(f"{name}/quiet", "x")
        assert values(watcher, 1) == ["x"]


def test_close_from_another_thread_ends_a_wait_and_the_iteration(keys: Keys, name: str) -> None:
    watcher = keys.watcher(name)
    call = waiting(watcher)
    with within(SOON):
        watcher.close()
        assert isinstance(call.error(), Cancelled)
    with pytest.raises(Cancelled):
        watcher.next()
    assert list(watcher) == []
    watcher.close()


def test_the_end_of_the_client_ends_its_watchers(keys: Keys, client: Client, name: str) -> None:
    call = waiting(keys.watcher(name))
    with within(SOON):
        client.close()
        assert isinstance(call.error(), Cancelled)


def test_a_cancel_and_a_timeout_end_one_wait_and_lose_nothing(keys: Keys, name: str) -> None:
    with keys.watcher(name) as watcher:
        settle(watcher)
        for _ in range(3):
            with within(SOON), pytest.raises(DeadlineExceeded):
                watcher.next(timeout=0.05)
        ctx = Context()
        call = Call(lambda: watcher.next(ctx=ctx))
        eventually(lambda: watcher._call, what="the wait")
        with within(SOON):
            ctx.cancel()
            assert isinstance(call.error(), Cancelled)
        keys.set(name, "x")
        assert values(watcher, 1) == ["x"]


def test_a_forked_child_leaves_the_poll_to_its_parent(server: EtcdProcess, name: str) -> None:
    script = """
        import json, os, sys
        from etcd_recipes import Client
        client = Client(sys.argv[1])
        watcher = client.v2.keys.watcher(sys.argv[2], recursive=True)
        while watcher._poll is None:
            try:
                watcher.next(timeout=0.1)
            except TimeoutError:
                pass
        pid = os.fork()
        seen = lambda: [watcher.next(timeout=5.0).node.value for _ in range(2)]
        if pid == 0:
            client.v2.keys.set(sys.argv[2] + "/a", "child")
            client.v2.keys.set(sys.argv[2] + "/b", "again")
            os._exit(seen() != ["child", "again"])
        print(json.dumps([seen(), os.waitpid(pid, 0)[1]]), flush=True)
        client.close()
    """
    with child(script, server.endpoint, name) as process:
        assert process.read() == [["child", "again"], 0]
        assert process.wait() == 0


def test_one_thread_at_a_time(keys: Keys, name: str) -> None:
    with keys.watcher(name) as watcher:
        call = waiting(watcher)
        with pytest.raises(RuntimeError, match="one thread"):
            watcher.next(timeout=1.0)
        keys.set(name, "x")
        call.result()
