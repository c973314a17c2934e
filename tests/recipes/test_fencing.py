"""Fencing: what a fence lets through and refuses, in memory, in a file, in SQL; and a holder that was stopped."""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import signal
import sqlite3
import stat
import threading
from pathlib import Path

import pytest

from etcd_recipes import (
    Cancelled,
    Client,
    Context,
    DeadlineExceeded,
    Fence,
    FileFence,
    RecipeError,
    StaleToken,
    require_one_row,
)
from etcd_recipes.testing import EtcdProcess
from tests.tools import Job, child, eventually


@pytest.fixture(params=["memory", "file"])
def fence(request: pytest.FixtureRequest, tmp_path: Path) -> Fence:
    return Fence() if request.param == "memory" else FileFence(tmp_path / "fence")


# -- what passes -------------------------------------------------------------------------------------


def test_a_lower_token_is_refused_and_the_same_or_a_higher_one_passes(fence: Fence) -> None:
    assert fence.highest() == 0
    for token in (5, 5, 7):
        fence.check(token)
    with pytest.raises(
        StaleToken, match=r"token 6 is stale: the resource has seen 7.*acquire"
    ) as refused:
        fence.check(6)
    assert (refused.value.token, refused.value.highest, refused.value.resource) == (6, 7, "")
    assert fence.highest() == 7


def test_resources_are_fenced_one_by_one(fence: Fence) -> None:
    fence.check(9, "invoice/7")
    fence.check(3, "invoice/8")
    with pytest.raises(StaleToken, match="invoice/7") as refused:
        fence.check(8, "invoice/7")
    assert refused.value.resource == "invoice/7"
    assert (fence.highest("invoice/7"), fence.highest("invoice/8"), fence.highest()) == (9, 3, 0)


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (True, TypeError),
        ("7", TypeError),
        (7.0, TypeError),
        (None, TypeError),
        (0, ValueError),
        (-1, ValueError),
    ],
)
def test_what_is_no_token_is_refused_and_not_remembered(
    fence: Fence, bad: int, error: type
) -> None:
    with pytest.raises(error, match=r"token is .*hold\.token.*" + str(bad)):
        fence.check(bad)
    assert fence.highest() == 0


def test_a_resource_is_named_by_a_str(fence: Fence) -> None:
    with pytest.raises(TypeError, match="resource is named by a str, not 7"):
        fence.check(1, 7)  # type: ignore[arg-type]


# -- look and write are one step ---------------------------------------------------------------------


def test_nobody_comes_in_between_the_look_and_the_write(fence: Fence) -> None:
    written: list[int] = []

    def overtake() -> None:
        with fence.writing(2, timeout=5):
            written.append(2)

    with fence.writing(1):
        newer = Job(overtake)
        eventually(lambda: len(fence._queue._queues.get("", ())) == 2)
        assert newer.running
        assert fence.highest() == 1
        written.append(1)
    newer.result()
    assert written == [1, 2]
    with pytest.raises(StaleToken), fence.writing(1):
        pytest.fail("the body of a stale token ran")


def test_a_token_is_remembered_before_the_write_and_stays_when_that_fails(fence: Fence) -> None:
    with pytest.raises(OSError, match="disk full"), fence.writing(4):
        assert fence.highest() == 4
        raise OSError("disk full")
    fence.check(4)
    with pytest.raises(StaleToken):
        fence.check(3)


def test_waiting_for_a_writer_ends_by_its_limits(fence: Fence) -> None:
    ctx = Context()
    with fence.writing(1):
        late = Job(lambda: fence.check(2, timeout=0.05))
        with pytest.raises(DeadlineExceeded):
            late.result()
        waiting = Job(lambda: fence.check(2, ctx=ctx))
        eventually(lambda: len(fence._queue._queues.get("", ())) == 2)
        ctx.cancel()
        with pytest.raises(Cancelled):
            waiting.result()
        with pytest.raises(RecipeError, match="already"):
            fence.check(1, timeout=1)  # not a wait for oneself
    assert fence.highest() == 1


def test_a_child_forked_while_another_thread_writes_is_not_kept_out(fence: Fence) -> None:
    leave = Context()

    def write() -> None:
        with fence.writing(1):
            leave.wait(10)

    job = Job(write)
    eventually(lambda: fence.highest() == 1)
    keeps_out = isinstance(
        fence, FileFence
    )  # the parent still writes; a fence in memory is the child's own
    read, write_end = os.pipe()
    if (pid := os.fork()) == 0:
        try:
            fence.check(2, timeout=0.1)
            os.write(write_end, b"passed")
        except BaseException as error:
            os.write(write_end, type(error).__name__.encode())
        os._exit(0)
    os.waitpid(pid, 0)
    assert os.read(read, 100).decode() == ("DeadlineExceeded" if keeps_out else "passed")
    leave.cancel()
    job.result()


# -- in a file ---------------------------------------------------------------------------------------


def test_a_file_is_remembered_over_restarts_private_and_leaves_nothing_half_written(
    tmp_path: Path,
) -> None:
    path = tmp_path / "deep.fence"
    FileFence(path).check(7, "räport")
    (tmp_path / "link").symlink_to(path)
    with pytest.raises(StaleToken):
        FileFence(tmp_path / "link").check(6, "räport")
    assert json.loads(path.read_text()) == {"räport": 7}
    files = {each.name: stat.S_IMODE(each.lstat().st_mode) for each in tmp_path.iterdir()}
    files.pop("link")
    assert files == {"deep.fence": 0o600}


def test_a_fence_keeps_its_file_when_the_program_changes_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    fence = FileFence("fence")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    fence.check(3)
    assert (tmp_path / "fence").exists()


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"a": "7"}', '{"a": true}', '{"a": -1}', "[" * 99999]
)
def test_a_file_that_is_something_else_lets_nothing_through(tmp_path: Path, text: str) -> None:
    path = tmp_path / "fence"
    path.write_text(text)
    with pytest.raises(
        RecipeError, match=r"fence'.*nothing is let through.*remove it only while"
    ) as refused:
        FileFence(path).check(10**9)
    assert not isinstance(refused.value, StaleToken)
    assert path.read_text() == text


def test_a_file_that_cannot_be_used_lets_nothing_through(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "nowhere" / "fence", tmp_path / "file" / "fence", tmp_path):
        with pytest.raises(RecipeError, match="nothing is let through"), FileFence(path).writing(1):
            pytest.fail("the body ran")


def test_a_child_forked_during_a_write_does_not_keep_the_lock(tmp_path: Path) -> None:
    fence = FileFence(tmp_path / "fence")
    read, write = os.pipe()
    with fence.writing(1):
        if (pid := os.fork()) == 0:
            os.read(read, 1)
            os._exit(0)
    try:
        FileFence(fence.path).check(2, timeout=2)
    finally:
        os.write(write, b".")
        os.waitpid(pid, 0)
        os.close(read)
        os.close(write)


def test_a_child_forked_during_a_write_does_not_end_its_parents_lock(tmp_path: Path) -> None:
    fence, pid = FileFence(tmp_path / "fence"), 0
    try:
        with fence.writing(1):
            if (pid := os.fork()) != 0:
                os.waitpid(pid, 0)
                with pytest.raises(DeadlineExceeded):
                    FileFence(fence.path).check(2, timeout=0.05)
    finally:
        if pid == 0:
            os._exit(0)  # the child has left `writing`
    FileFence(fence.path).check(2, timeout=2)


def test_what_is_remembered_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    sync, rename = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (order.append("sync"), sync(fd))[1])
    monkeypatch.setattr(Path, "replace", lambda *to: (order.append("rename"), rename(*to))[1])
    FileFence(tmp_path / "fence").check(1)
    order.clear()
    with FileFence(tmp_path / "fence").writing(2):
        assert order == [
            "sync",
            "rename",
            "sync",
        ]  # the content, its name, the folder that has the name
    FileFence(tmp_path / "fence").check(2)
    assert len(order) == 3, "nothing new, and yet it was written"


def test_what_is_swept_away_beside_a_fence_lets_nobody_else_in(tmp_path: Path) -> None:
    # A cleaner of old files: with a lock file, the next writer would lock a new one, and write at the same time.
    path = tmp_path / "fence"
    with FileFence(path).writing(1):
        for each in tmp_path.iterdir():
            if each != path:
                each.unlink()
        with pytest.raises(DeadlineExceeded):
            FileFence(path).check(2, timeout=0.05)
    FileFence(path).check(2, timeout=2)


def test_a_writer_whose_fence_is_removed_hears_of_it(tmp_path: Path) -> None:
    fence = FileFence(tmp_path / "fence")
    with (
        pytest.raises(
            RecipeError, match=r"fence' was removed or replaced.*others may have been let in"
        ),
        fence.writing(1),
    ):
        fence.path.unlink()
        FileFence(fence.path).check(2, timeout=2)
    fence.check(2)


def test_who_has_opened_a_file_that_is_replaced_does_not_pass_by_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The one opens the file; the other replaces it, and writes; what the one has opened is nobody's lock any more.
    path, flock = tmp_path / "fence", fcntl.flock
    opened, replaced = threading.Event(), threading.Event()
    FileFence(path).check(1)

    def late(file: int, how: int) -> None:
        if how & fcntl.LOCK_EX and not opened.is_set():
            opened.set()
            assert replaced.wait(5)
        flock(file, how)

    monkeypatch.setattr(fcntl, "flock", late)
    job = Job(lambda: FileFence(path).check(3, timeout=0.3))
    assert opened.wait(5)
    with FileFence(path).writing(2):
        replaced.set()
        with pytest.raises(DeadlineExceeded):
            job.result()


def test_a_crash_in_the_middle_leaves_nothing_in_the_way(tmp_path: Path) -> None:
    # Of one that was killed while it wrote anew; a child of his, which lives, has that file locked.
    left = tmp_path / "fence.new"
    left.write_text("{")
    with left.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        FileFence(tmp_path / "fence").check(1, timeout=1)
    assert FileFence(tmp_path / "fence").highest() == 1
    assert not left.exists()


def test_processes_that_write_through_one_file_never_meet_and_never_go_back(tmp_path: Path) -> None:
    # Each adds a line with its token; whoever is refused takes a higher one. One is killed on the way.
    source = """
        import json, sys
        from pathlib import Path
        from etcd_recipes import FileFence, StaleToken
        fence, ledger = FileFence(sys.argv[1]), Path(sys.argv[2])
        print(json.dumps("ready"), flush=True); sys.stdin.readline()
        token = int(sys.argv[3])
        for turn in range(40):
            try:
                with fence.writing(token, "ledger", timeout=20):
                    size = ledger.stat().st_size
                    with ledger.open("a") as file:
                        file.write(f"{token}\\n")
                    assert ledger.stat().st_size == size + len(f"{token}\\n"), "somebody else wrote"
            except StaleToken as stale:
                token += 3 * (1 + (stale.highest - token) // 3)
            else:
                token += 3
        print(json.dumps("done"), flush=True)
    """
    fence, ledger = tmp_path / "fence", tmp_path / "ledger"
    ledger.touch()
    a, b, c = (child(source, str(fence), str(ledger), str(n)) for n in (1, 2, 3))
    with a as first, b as second, c as killed:
        for each in (first, second, killed):
            assert each.read() == "ready"
        for each in (first, second, killed):
            each.say()
        eventually(lambda: len(ledger.read_text().splitlines()) > 10, 15)
        killed.signal(signal.SIGKILL)
        assert first.read() == second.read() == "done"
    tokens = [int(line) for line in ledger.read_text().splitlines()]
    assert all(x <= y for x, y in itertools.pairwise(tokens))
    assert FileFence(fence).highest("ledger") >= tokens[-1]
    assert json.loads(fence.read_text())


# -- in SQL ------------------------------------------------------------------------------------------

_TABLE = "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT, fence INTEGER NOT NULL)"
_UPDATE = "UPDATE t SET v = :v, fence = :token WHERE id = :id AND fence <= :token"


def test_one_update_refuses_what_is_stale_and_what_is_not_there() -> None:
    db = sqlite3.connect(":memory:", isolation_level=None)
    db.execute(_TABLE)
    db.execute("INSERT INTO t VALUES (1, 'first', 0)")

    def update(id_: int, v: str, token: int) -> None:
        require_one_row(db.execute(_UPDATE, {"id": id_, "v": v, "token": token}), token)

    update(1, "a", 5)
    update(1, "b", 5)
    update(1, "c", 9)
    with pytest.raises(StaleToken, match="token 8 changed no row") as refused:
        update(1, "stale", 8)
    assert (refused.value.token, refused.value.highest) == (8, None)
    with pytest.raises(StaleToken, match="no such row"):
        update(2, "nobody", 10)
    assert db.execute("SELECT v, fence FROM t").fetchall() == [("c", 9)]
    db.close()


@pytest.mark.parametrize("rows", [-1, 2])
def test_a_count_that_proves_nothing_is_an_error(rows: int) -> None:
    class Cursor:
        rowcount = rows

    with pytest.raises(RecipeError, match=rf"changed {rows} rows.*roll back"):
        require_one_row(Cursor(), 7)
    with pytest.raises(TypeError, match="token"):
        require_one_row(Cursor(), True)


# -- a holder that was stopped past its ttl ------------------------------------------------------------

_STOPPED = """
    import json, mmap, sqlite3, sys
    from etcd_recipes import Client, LockLost, StaleToken, require_one_row
    endpoint, name, path, woken, api = sys.argv[1:]
    client = Client(endpoint, api=api)
    holds = [
        client.lock(name, ttl=2).acquire(),
        client.election(name + "-term", ttl=2).campaign("old"),
    ]
    db = sqlite3.connect(path, isolation_level=None)
    update = "UPDATE t SET v = :v, fence = :token WHERE id = :id AND fence <= :token"

    def write(id, hold):
        row = {"v": "old", "id": id, "token": hold.token}
        require_one_row(db.execute(update, row), hold.token)

    def after(id, hold):
        try:
            write(id, hold)
        except StaleToken as stale:
            said = str(stale)
        try:
            hold.check()
        except LockLost:
            return [hold.lost.is_set(), hold.remaining(), said]

    for id, hold in enumerate(holds):
        write(id, hold)
    with open(woken, "r+b") as file:
        flag = mmap.mmap(file.fileno(), 1)
    print(json.dumps([hold.token for hold in holds]), flush=True)
    while not flag[0]:                 # nothing here waits, not even for a thread of the library
        pass
    held = [hold.is_held for hold in holds]
    print(json.dumps([held, [after(id, hold) for id, hold in enumerate(holds)]]), flush=True)
"""


def test_a_holder_stopped_past_its_ttl_knows_it_on_waking_and_its_next_write_is_refused(
    client: Client, etcd: EtcdProcess, name: str, api: str, tmp_path: Path
) -> None:
    db = sqlite3.connect(tmp_path / "db", isolation_level=None)
    db.execute(_TABLE)
    db.execute("INSERT INTO t VALUES (0, '', 0), (1, '', 0)")
    woken = tmp_path / "woken"
    woken.write_bytes(b"\0")
    with child(_STOPPED, etcd.endpoint, name, str(tmp_path / "db"), str(woken), api) as stopped:
        old = stopped.read()
        stopped.signal(signal.SIGSTOP)
        lock = client.lock(name, ttl=60).acquire(timeout=20)
        assert lock is not None
        new = [lock, client.election(f"{name}-term", ttl=60).campaign("new", timeout=20)]
        for id_, hold in enumerate(new):
            assert hold.token > old[id_]
            row = {"v": "new", "id": id_, "token": hold.token}
            require_one_row(db.execute(_UPDATE, row), hold.token)
        with woken.open("r+b") as flag:  # the same file, for it is mapped
            flag.write(b"\1")
        stopped.signal(signal.SIGCONT)
        held, after = stopped.read()
        assert held == [False, False]
        for (lost, remaining, said), token in zip(after, old, strict=True):
            assert (lost, remaining) == (True, 0.0)
            assert said.startswith(f"token {token} changed no row")
    assert all(hold.is_held for hold in new)
    rows = db.execute("SELECT v, fence FROM t ORDER BY id").fetchall()
    assert rows == [("new", hold.token) for hold in new]
    for hold in new:
        hold.release()
    db.close()
