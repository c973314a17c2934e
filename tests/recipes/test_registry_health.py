"""Checks: while one fails, raises or hangs, its instance is not listed; forks."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from etcd_recipes import Client, Context, DeadlineExceeded
from etcd_recipes.core.log import event_logger
from etcd_recipes.recipes.registry.health import Health
from etcd_recipes.testing import EtcdProcess
from tests.recipes.test_registry import addresses
from tests.tools import child, eventually, in_time


class Check:
    """A check that passes, fails, raises or hangs, as it is told, and counts how many run at a time."""

    def __init__(self, mood: str = "pass") -> None:
        self.mood = mood
        self.runs = self.together = self.most = 0
        self.release = threading.Event()

    def __call__(self) -> bool:
        self.runs += 1
        self.together += 1
        self.most = max(self.most, self.together)
        try:
            if self.mood == "hang":
                self.release.wait(30)
            if self.mood == "raise":
                raise OSError("no answer")
            if self.mood == "exit":
                raise SystemExit
            return self.mood != "fail"
        finally:
            self.together -= 1


@pytest.fixture
def check() -> Iterator[Check]:
    check = Check()
    yield check
    check.release.set()


def test_runs_never_overlap_and_a_verdict_counts_for_a_ttl(check: Check) -> None:
    health = Health(check, 60.0, event_logger("test"))
    assert not health.passing
    health.probe(Context(5))
    assert health.passing
    health.ttl = 0.0  # what it said is too old from now on
    assert not health.passing
    check.mood = "hang"
    for _ in range(3):
        health.probe(Context(5), 0.01)
    with pytest.raises(DeadlineExceeded):
        health.probe(Context(0.01))
    assert (check.runs, check.most, health.passing) == (2, 1, False)
    check.mood = "pass"
    check.release.set()
    health.ttl = 60.0
    eventually(lambda: health.passing)


def test_a_check_that_hangs_is_a_failing_one_until_it_comes_back(
    client: Client, other: Client, name: str, api: str, check: Check
) -> None:
    reader = other.registry(name)
    registration = client.registry(name).register("api", "a", ttl=0.6, check=check)
    assert addresses(reader) == ["a"]
    check.mood = "hang"
    eventually(lambda: check.together)
    hung = time.monotonic()
    eventually(lambda: addresses(reader) == [], 5, "the withdrawal")
    in_time(time.monotonic() - hung, 0.6 + 1)
    assert registration.update(weight=4) is False, (
        "it is not listed, and etcd has confirmed nothing"
    )
    runs = check.runs
    check.mood = "pass"
    check.release.set()
    eventually(lambda: addresses(reader) == ["a"], 5, "the return")
    assert (check.runs >= runs, check.most) == (True, 1)
    assert reader.instances("api")[0].weight == 4
    for mood in ("raise", "fail"):
        check.mood = mood
        eventually(lambda: addresses(reader) == [], 5)
        check.mood = "pass"
        eventually(lambda: addresses(reader) == ["a"], 5)
    check.mood = "hang"
    check.release.clear()
    eventually(lambda: check.together)
    begun = time.monotonic()
    assert registration.close()
    in_time(time.monotonic() - begun, 1)
    assert addresses(reader) == []
    check.mood = "pass"
    check.release.set()
    eventually(lambda: not any(t.name == "etcd-recipes-health" for t in threading.enumerate()))
    assert addresses(reader) == [], "what comes back after the end changes nothing"


def test_a_check_that_hangs_from_the_start_holds_nobody_up(
    client: Client, other: Client, name: str, api: str, check: Check
) -> None:
    check.mood = "hang"
    begun = time.monotonic()
    registration = client.registry(name).register("api", "a", ttl=0.6, check=check, timeout=0.3)
    in_time(time.monotonic() - begun, 1)
    assert not registration.is_published
    check.mood = "pass"
    check.release.set()
    eventually(lambda: addresses(other.registry(name)) == ["a"], 5)
    assert check.most == 1


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_check_that_ends_its_thread_fails_and_is_run_again(
    client: Client, name: str, api: str, check: Check
) -> None:
    check.mood = "exit"
    with client.registry(name).register("api", "a", ttl=0.6, check=check) as registration:
        assert not registration.is_published
        check.mood = "pass"
        eventually(lambda: registration.is_published)


def test_a_forked_child_has_no_registration_and_its_parents_goes_on(
    client: Client, etcd: EtcdProcess, name: str, api: str
) -> None:
    source = """
        import json, os, sys, warnings
        warnings.simplefilter("ignore", DeprecationWarning)  # about forks of programs with threads
        from etcd_recipes import Client, NotHeld, RecipeError
        registry = Client(sys.argv[1], api=sys.argv[-1]).registry(sys.argv[2])
        mine = registry.register("api", "parent", id="one", ttl=2, check=lambda: True)
        view = registry.follow("api")
        view.wait_for(1, 5)
        read, write = os.pipe()
        view._lock.__enter__(); mine._lock.__enter__()   # as if other threads were in the middle
        if (pid := os.fork()) == 0:
            said = [mine.is_published, mine.close()]
            for call in (lambda: mine.update(weight=7), lambda: view.wait_for(2, 5)):
                try:
                    call()
                except (NotHeld, RecipeError) as error:
                    said.append(str(error))
            said += [view.stale, view.pick().address, list(view.events())]
            with registry.register("api", "child", ttl=2), registry.follow("api") as own:
                said.append(sorted(i.address for i in own.wait_for(2, 5)))
            os.write(write, json.dumps(said).encode())
            os._exit(0)
        view._lock.__exit__(None, None, None); mine._lock.__exit__(None, None, None)
        os.waitpid(pid, 0)
        print(os.read(read, 9000).decode(), flush=True)
        print(json.dumps([mine.update(weight=2), mine.is_published, view.stale]), flush=True)
        sys.stdin.readline()
    """
    with child(source, etcd.endpoint, name, api) as process:
        published, closed, held, over, *rest = process.read()
        assert (published, closed) == (False, True)
        assert "closed" in held
        assert "closed" in over
        assert rest == [True, "parent", [], ["child", "parent"]]
        assert process.read() == [True, True, False]
        assert [(i.address, i.weight) for i in client.registry(name).instances("api")] == [
            ("parent", 2)
        ]
