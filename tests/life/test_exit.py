"""However a program ends, the next one has its lock soon; and etcd's troubles do not hold up its end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from etcd_recipes import Client
from etcd_recipes.testing import EtcdProcess
from tests.tools import QUICK, Job, child, eventually, in_time

PROGRAM = """
    import atexit, json, os, sys, threading, time

    def say(what):
        print(json.dumps(what), flush=True)

    atexit.register(lambda: say(time.monotonic()))  # the first one: it is called when the library has done its part
    from etcd_recipes import Client
    endpoint, api, name = sys.argv[1:4]
    client = Client(endpoint, api=api, session_ttl=30.0)
    hold = client.lock(name).acquire()

    say("holds")
    sys.stdin.readline()
"""

ENDS = {
    "its last line": "pass",
    "an exception": "raise RuntimeError('a defect')",
    "sys.exit": "sys.exit(3)",
    "an exception in a with block": "with client.lock(name + '-other'): raise RuntimeError('a defect')",
    "a session that is open": "client.session(20.0); client.session(25.0)",
    "a thread that goes on": "threading.Thread(target=time.sleep, args=(60,), daemon=True).start()",
    "a lock in another thread": (
        "t = threading.Thread(target=lambda: client.lock(name + '-other').acquire()); t.start(); t.join()"
    ),
    "the client forgotten": "del client, hold",
}


@pytest.fixture
def client(etcd: EtcdProcess, api: str) -> Iterator[Client]:
    with Client(etcd.endpoint, api=api) as client:  # type: ignore[arg-type]
        yield client


CASES = [(end, "v3") for end in ENDS] + [("sys.exit", "v2")]


@pytest.mark.parametrize(("end", "api"), CASES, ids=[f"{end}-{api}" for end, api in CASES])
def test_the_next_one_has_the_lock_within_a_second(
    end: str, client: Client, etcd: EtcdProcess, api: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Of the program's last instruction, not of the end of its interpreter: the next one stands in line already."""
    name = f"exit-{api}-{list(ENDS).index(end)}"

    def take_over() -> None:
        for each in (name, f"{name}-other"):
            assert client.lock(each).acquire(timeout=10)

    last = "say(time.monotonic())"  # one clock for all processes
    with child(f"{PROGRAM}\n    {last}\n    {ENDS[end]}\n", etcd.endpoint, api, name) as process:
        process.read()
        next_one = Job(take_over)
        eventually(lambda: client.lock(name).waiters())
        process.say()
        ended = process.read()
        process.wait(5.0)
        next_one.result()
        assert next_one.ended_at is not None
        in_time(next_one.ended_at - ended, 1.0)
    said = [line for line in capfd.readouterr().err.splitlines() if not line.startswith(" ")]
    assert said in ([], ["Traceback (most recent call last):", "RuntimeError: a defect"])


@pytest.mark.parametrize(
    ("trouble", "sessions", "api"),
    [("kill", 5, "v3"), ("pause", 1, "v3"), ("pause", 5, "v3"), ("pause", 2, "v2")],
)
def test_the_end_waits_for_etcd_for_two_seconds_at_most(
    trouble: str, sessions: int, api: str
) -> None:
    """However many sessions there are to revoke, and whether etcd is dead or only silent."""
    program = f"""{PROGRAM}
    for number in range({sessions - 1}):
        client.session(20.0 + number)
    say("ready")
    sys.stdin.readline()
    say(time.monotonic())
    """
    with (
        EtcdProcess(enable_v2=True, **QUICK) as server,
        child(program, server.endpoint, api, "jobs") as process,
    ):
        process.read()
        process.say()
        process.read()
        getattr(server, trouble)()
        process.say()
        ended = process.read()
        in_time(process.read() - ended, 2.0 + 0.5)  # one clock, and no interpreter's own end in it
        assert process.wait(10.0) == 0
