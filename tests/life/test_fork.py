"""A forked child holds nothing and says so, can work, and takes nothing away from its parent.

Programs of their own, for a test runner has threads that a fork would cut in half.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from etcd_recipes import Client
from etcd_recipes.testing import EtcdProcess
from tests.life.certificates import Authority
from tests.tools import child

PROGRAM = """
    import json, os, sys, threading, time, warnings
    warnings.simplefilter("ignore", DeprecationWarning)  # about forks of programs with threads
    from etcd_recipes import Client, Context, LockLost, SessionLost

    endpoint, name, files = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    client = Client(endpoint, **files)

    def say(what):
        print(json.dumps(what), flush=True)

    def in_child(work):
        '''Run the work in a child that ends as programs do; give its exit status and what it said.'''
        read, write = os.pipe()
        if (pid := os.fork()) == 0:
            os.dup2(write, 1)
            os.close(read)
            try:
                work()
            except SystemExit:
                raise
            except BaseException as error:
                say(repr(error))
                sys.exit(99)
            sys.exit(0)
        os.close(write)
        return pid, read

    def outcome(child):
        pid, read = child
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        with os.fdopen(read) as said:
            return [status, *map(json.loads, said)]

    def sockets():
        routes = client._cluster._wire._routes.values()
        return [c.sock.getsockname() for route in routes for c in route._idle]
"""


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def mutual(authority: Authority) -> Iterator[EtcdProcess]:
    with EtcdProcess(tls=authority.server(client_auth=True)) as server:
        yield server


@pytest.fixture(params=["plain", "tls"])
def place(request: pytest.FixtureRequest) -> tuple[str, dict[str, str]]:
    """An endpoint, and the files that it takes."""
    if request.param == "plain":
        return request.getfixturevalue("etcd").endpoint, {}
    authority: Authority = request.getfixturevalue("authority")
    cert, key = authority.issue("client")
    endpoint = request.getfixturevalue("mutual").endpoint
    return endpoint, {"ca": authority.ca, "cert": cert, "key": key}


def told(program: str, endpoint: str, name: str, files: dict[str, str] | None = None) -> Any:
    """Give what the program says, which must end well."""
    with child(PROGRAM + program, endpoint, name, json.dumps(files or {})) as process:
        said = process.read()
        assert process.wait(20.0) == 0
    return said


def test_the_parent_keeps_its_lock_and_its_connections(
    place: tuple[str, dict[str, str]],
) -> None:
    """Over TLS a child that closed what it inherited would say goodbye on its parent's connection."""
    said = told(
        """
    lock = client.lock(name, ttl=2)
    hold = lock.acquire()
    client.v3.kv.put("a", "b")
    before = sockets()

    def work():
        say([hold.is_held, hold.lost.is_set(), hold.remaining()])
        try:
            hold.check()
        except LockLost as error:
            say(str(error))
        say(hold.release())
        say(lock.acquire(blocking=False) is None)
        with client.lock(name + "-child", ttl=2) as mine:
            mine.sleep(2.5)               # renewed by a thread of the child's own
            say(mine.is_held)
        client.close()

    children = [outcome(in_child(work)), outcome(in_child(lambda: None))]
    client.v3.kv.put("a", "b")
    after = sockets()
    hold.check()
    say([children, before == after, len(after), lock.holder().token == hold.token])
    """,
        *(place[0], "fork-keeps", place[1]),
    )
    (work, idle), same, count, holds = said
    assert work[:2] == [0, [False, True, 0.0]]
    assert "this process is a forked child; its parent holds it" in work[2]
    assert work[3:] == [True, True, True]
    assert idle == [0]
    assert (same, holds) == (True, True)
    assert count >= 1


ENDS = {
    "sys.exit(3)": 3,
    "os._exit(3)": 3,
    "raise RuntimeError('a defect')": 99,
    "pass": 0,
    "client.close()": 0,
}
"""How a child may end, and its status then."""


def test_a_child_that_ends_takes_no_lease_with_it(etcd: EtcdProcess) -> None:
    said = told(
        f"""
    lock, session = client.lock(name, ttl=30), client.session(25.0)
    hold = lock.acquire()
    registration = client.registry(name).register("api", "10.0.0.7:80", ttl=20)
    found = {{}}
    for end in {list(ENDS)}:
        status, *_ = outcome(in_child(lambda: exec(end)))
        leases = {{lease.id if hasattr(lease, "id") else lease for lease in client.v3.lease.list()}} \\
            if hasattr(client.v3.lease, "list") else {{session.id, hold.session.id}}
        found[end] = [
            status,
            hold.session.id in leases and session.id in leases,
            lock.holder().token == hold.token,
            len(client.registry(name).instances("api")),
        ]
    say(found)
    """,
        *(etcd.endpoint, "fork-ends"),
    )
    assert said == {end: [status, True, True, 1] for end, status in ENDS.items()}


def test_a_fork_inside_a_with_block_is_left_by_the_child_without_a_trace(
    etcd: EtcdProcess,
) -> None:
    said = told(
        """
    lock = client.lock(name, ttl=30)
    read, write = os.pipe()
    error = None
    try:
        with lock as hold:
            pid = os.fork()
            if pid:
                os.waitpid(pid, 0)
                say([os.read(read, 1000).decode(), hold.is_held, lock.holder().token == hold.token])
    except LockLost as lost:
        error = lost
    if not pid:
        os.write(write, str(error).encode())
        sys.exit()
    """,
        *(etcd.endpoint, "fork-with"),
    )
    assert "was lost while the body ran: this process is a forked child" in said[0]
    assert said[1:] == [True, True]


def test_a_preloaded_client_serves_all_workers_in_turn(place: tuple[str, dict[str, str]]) -> None:
    """As gunicorn does it with --preload: the client is made, and used, before the workers are."""
    said = told(
        """
    lock = client.lock(name, ttl=10)
    client.v3.kv.put(name + "-count", "0")
    with lock:
        pass

    def work():
        for _ in range(5):
            with lock as hold:
                count = int(client.v3.kv.get(name + "-count").text)
                hold.sleep(0.01)
                client.v3.kv.put(name + "-count", str(count + 1))

    with lock:
        workers = [in_child(work) for _ in range(4)]   # who wait for their parent first
    ends = [outcome(worker) for worker in workers]
    say([ends, client.v3.kv.get(name + "-count").text, lock.locked()])
    """,
        *(place[0], "fork-preload", place[1]),
    )
    assert said == [[[0]] * 4, "20", False]


def test_a_fork_while_other_threads_are_in_calls_leaves_a_child_that_works(
    place: tuple[str, dict[str, str]],
) -> None:
    """One waits for a lock, some read, one follows: whatever they are in the middle of stays the parent's."""
    said = told(
        """
    over = threading.Event()
    hold = client.lock(name, ttl=10).acquire()

    def read():
        while not over.wait(0.002):
            client.v3.kv.get("a")

    def wait():
        client.lock(name, ttl=10).acquire().release()

    threads = [threading.Thread(target=target) for target in (read, read, wait)]
    for thread in threads:
        thread.start()
    view = client.registry(name).follow("api")

    def work():
        client.v3.kv.put("a", "child")
        with client.lock(f"{name}-{os.getpid()}", ttl=10) as mine:
            mine.check()
        try:
            client.lock(name, ttl=10).acquire(timeout=0.1)
        finally:
            client.close()

    ends = [outcome(in_child(work)) for _ in range(4)]
    held = hold.is_held
    hold.release()
    over.set()
    for thread in threads:
        thread.join(10)
    client.registry(name).register("api", "10.0.0.7:80")
    view.wait_for(1, timeout=10)
    say([ends, held, [thread.is_alive() for thread in threads]])
    """,
        *(place[0], "fork-busy", place[1]),
    )
    assert said == [[[0]] * 4, True, [False] * 3]


def test_workers_of_multiprocessing_take_turns(etcd: EtcdProcess, tmp_path: Path) -> None:
    """A client, a lock and a hold may be globals of the program that forks."""
    said = told(
        f"""
    import multiprocessing
    lock = client.lock(name, ttl=10)
    hold = lock.acquire()

    def work(number):
        lost = not hold.is_held
        with lock as mine:
            with open({str(tmp_path / "order")!r}, "a") as file:
                file.write(f"{{mine.token}}\\n")
        return lost

    with multiprocessing.get_context("fork").Pool(3) as pool:
        results = pool.map_async(work, range(9))
        hold.sleep(0.5)
        hold.release()
        say(results.get(20))
    """,
        *(etcd.endpoint, "fork-pool"),
    )
    assert said == [True] * 9
    tokens = [int(line) for line in (tmp_path / "order").read_text().split()]
    assert tokens == sorted(set(tokens))


def test_a_child_of_a_child_and_a_session_of_before(etcd: EtcdProcess) -> None:
    said = told(
        """
    session = client.session(10.0)

    def inner():
        with client.lock(name, ttl=10) as mine:
            say(mine.is_held)

    def work():
        say([session.is_alive, session.state.value, session.remaining()])
        try:
            session.check()
        except SessionLost as error:
            say(str(error))
        say(session.close())
        with client.lock(name, ttl=10) as hold:
            said = outcome(in_child(lambda: say([hold.is_held])))
            say([said, hold.is_held])
        say(outcome(in_child(inner)))

    said = outcome(in_child(work))
    say([said, session.is_alive])
    """,
        *(etcd.endpoint, "fork-deep"),
    )
    (status, *work), alive = said
    assert status == 0
    assert alive
    assert work[0] == [False, "lost", 0.0]
    assert "forked child" in work[1]
    assert work[2:] == [True, [[0, [False]], True], [0, True]]


def test_the_lock_of_the_parent_is_the_childs_when_the_parent_lets_go(
    etcd: EtcdProcess,
) -> None:
    with Client(etcd.endpoint) as client:
        said = told(
            """
    lock = client.lock(name, ttl=30)
    hold = lock.acquire()
    worker = in_child(lambda: say(lock.acquire(timeout=10).token))
    while not lock.waiters():
        time.sleep(0.01)
    hold.release()
    say([outcome(worker), hold.token])
    """,
            *(etcd.endpoint, "fork-handover"),
        )
        (status, theirs), ours = said
        assert status == 0
        assert theirs > ours
        assert not client.lock("fork-handover").locked()  # revoked by the child at its end
