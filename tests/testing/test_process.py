from __future__ import annotations

import gc
import os
import signal
import socket
import stat
import subprocess
import sys
import textwrap
import urllib.error
from pathlib import Path

import pytest

from etcd_recipes.core import runtime
from etcd_recipes.core.context import Context
from etcd_recipes.core.errors import Cancelled
from etcd_recipes.testing import EtcdProcess, EtcdStartFailed, process
from tests.processes import children, exists, is_stopped, servers
from tests.testing.gateway import call, get, put
from tests.tools import in_time

REFUSED = (ConnectionRefusedError, urllib.error.URLError)


@pytest.fixture
def server():
    """A server of this test's own, to be hurt."""
    with EtcdProcess() as server:
        yield server


# -- a life -----------------------------------------------------------------------------------------


def test_started_means_that_writes_are_answered(server: EtcdProcess) -> None:
    put(server.endpoint, "k", "v")
    assert get(server.endpoint, "k") == "v"
    assert server.alive
    assert exists(server.pid)


def test_start_of_a_running_server_changes_nothing(server: EtcdProcess) -> None:
    pid = server.pid
    server.start()
    assert server.pid == pid


def test_killed_means_gone(server: EtcdProcess) -> None:
    pid = server.pid
    server.kill()
    assert not server.alive
    assert server.pid is None
    assert not exists(pid)
    with pytest.raises(REFUSED):
        call(server.endpoint, "/v3/maintenance/status", {})


def test_a_server_that_crashed_is_noticed_and_leaves_no_zombie(server: EtcdProcess) -> None:
    pid = server.pid
    os.kill(pid, signal.SIGKILL)
    assert process.wait_until(lambda: not server.alive or None, Context(5.0))
    assert not exists(pid)


def test_restart_keeps_address_and_data(server: EtcdProcess) -> None:
    endpoint, pid = server.endpoint, server.pid
    put(endpoint, "k", "kept")
    server.restart()
    assert server.endpoint == endpoint
    assert server.pid != pid
    assert get(endpoint, "k") == "kept"


def test_a_killed_server_starts_again_with_its_data(server: EtcdProcess) -> None:
    put(server.endpoint, "k", "kept")
    server.kill()
    server.start()
    assert get(server.endpoint, "k") == "kept"


def test_a_paused_server_accepts_and_stays_silent_until_it_is_resumed(server: EtcdProcess) -> None:
    server.pause()
    assert server.alive
    assert server.paused
    assert is_stopped(server.pid)
    before = runtime.now()
    assert server.status() is None  # and nobody waits for a server that is known to be silent
    in_time(runtime.now() - before, 0.5)
    with pytest.raises(TimeoutError):
        call(server.endpoint, "/v3/maintenance/status", {}, timeout=0.3)
    server.resume()
    assert not server.paused
    put(server.endpoint, "k", "v")


def test_stop_ends_a_paused_server_politely(server: EtcdProcess) -> None:
    server.pause()
    before = runtime.now()
    server.stop()
    assert not server.alive
    in_time(runtime.now() - before, 5.0)


def test_stop_kills_a_server_that_does_not_listen(tmp_path: Path) -> None:
    deaf = tmp_path / "etcd"
    deaf.write_text(
        textwrap.dedent(f"""\
        #!{sys.executable}
        import signal, sys
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print("etcd Version: 3.5.1", flush=True)
        while "--version" not in sys.argv:
            signal.pause()
        """)
    )
    deaf.chmod(0o700)
    server = EtcdProcess(binary=deaf)
    try:
        server.start(wait=False)
        assert process.wait_until(lambda: server.log_tail() or None, Context(5.0))
        server.stop(timeout=0.2)
        assert not server.alive
    finally:
        server.close()


def test_v2_answers_only_when_it_is_switched_on() -> None:
    with EtcdProcess() as server, pytest.raises(urllib.error.HTTPError, match="404"):
        call(server.endpoint, "/v2/keys/k?value=v", {})
    with EtcdProcess(enable_v2=True) as server:
        assert call(server.endpoint, "/v2/keys/queue?value=v", {})["action"] == "create"


# -- its place --------------------------------------------------------------------------------------


def test_the_folder_is_private_and_in_memory_where_there_is_room(server: EtcdProcess) -> None:
    assert stat.S_IMODE(server.folder.stat().st_mode) == 0o700
    assert (server.folder / "data").is_dir()
    if process.new_folder.__globals__["_has_room"](1):
        assert server.folder.is_relative_to("/dev/shm")


def test_the_folder_is_on_disk_when_memory_is_short_or_not_wanted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    on_disk = EtcdProcess(memory=False)
    assert not on_disk.folder.is_relative_to("/dev/shm")
    on_disk.close()
    monkeypatch.setitem(process.new_folder.__globals__, "_ROOM", 1 << 60)
    no_room = EtcdProcess()
    assert not no_room.folder.is_relative_to("/dev/shm")
    no_room.close()


def test_etcd_settings_in_the_environment_do_not_disturb(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ETCD_NAME", "somebody")
    monkeypatch.setenv("ETCD_LISTEN_CLIENT_URLS", "http://127.0.0.1:1")
    with EtcdProcess() as server:
        put(server.endpoint, "k", "v")


@pytest.fixture
def first_choice(monkeypatch: pytest.MonkeyPatch):
    """Make the next server choose these ports first."""

    def choose(*ports: int) -> None:
        choices = iter([list(ports)])
        honest = process.free_ports
        monkeypatch.setattr(process, "free_ports", lambda n: next(choices, None) or honest(n))

    return choose


def test_a_port_that_somebody_took_is_left_for_another(first_choice) -> None:
    with socket.create_server(("127.0.0.1", 0)) as somebody:
        taken = somebody.getsockname()[1]
        first_choice(taken, process.free_ports(1)[0])
        with EtcdProcess() as server:
            assert server.endpoint != f"http://127.0.0.1:{taken}"
            put(server.endpoint, "k", "v")


def test_another_etcd_on_the_port_is_not_taken_for_ours(etcd: EtcdProcess, first_choice) -> None:
    first_choice(int(etcd.endpoint.rpartition(":")[2]), process.free_ports(1)[0])
    with EtcdProcess() as server:
        assert server.endpoint != etcd.endpoint
        put(server.endpoint, "whose", "ours")
        assert get(etcd.endpoint, "whose") is None


def test_a_known_address_is_waited_for_and_never_changed(server: EtcdProcess) -> None:
    endpoint = server.endpoint
    server.stop()
    somebody = socket.create_server(("127.0.0.1", int(endpoint.rpartition(":")[2])))
    with somebody, pytest.raises(EtcdStartFailed, match="address already in use"):
        server.start(timeout=0.5)
    server.start()
    assert server.endpoint == endpoint


# -- failures ---------------------------------------------------------------------------------------


def test_a_failed_start_tells_the_servers_own_words_and_leaves_nothing() -> None:
    before = children()
    server = EtcdProcess(extra_args=["--no-such-flag"])
    with pytest.raises(EtcdStartFailed, match="flag provided but not defined: -no-such-flag"):
        server.__enter__()
    assert children() == before
    assert not server.folder.exists()


def test_a_start_ends_by_its_timeout_and_leaves_no_process() -> None:
    before = children()
    server = EtcdProcess()
    with pytest.raises(EtcdStartFailed, match="did not serve in time"):
        server.start(timeout=0.0)
    assert server.pid is None
    assert not servers() - before
    server.close()
    assert children() == before


def test_a_start_ends_when_it_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    server = EtcdProcess()
    monkeypatch.setattr(server, "_look", lambda: None)  # it could serve before anybody asks
    ctx = Context()
    ctx.cancel()
    with pytest.raises(Cancelled):
        server.start(ctx=ctx)
    assert not server.alive
    server.close()


def test_a_closed_server_does_not_start_again(server: EtcdProcess) -> None:
    server.close()
    with pytest.raises(EtcdStartFailed, match="closed"):
        server.start()


# -- nothing is left behind -------------------------------------------------------------------------


def test_nothing_is_left_when_the_block_ends_by_an_error() -> None:
    seen = []

    def fail() -> None:
        with EtcdProcess() as server:
            seen.extend([server.pid, server.folder])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    pid, folder = seen
    assert not exists(pid)
    assert not folder.exists()


def test_a_paused_server_is_removed_too(server: EtcdProcess) -> None:
    pid, folder = server.pid, server.folder
    server.pause()
    server.close()
    server.close()
    assert not exists(pid)
    assert not folder.exists()


def test_a_forgotten_server_is_removed() -> None:
    server = EtcdProcess()
    server.start(wait=False)
    pid, folder = server.pid, server.folder
    del server
    gc.collect()
    assert not exists(pid)
    assert not folder.exists()


def run(script: str) -> list[str]:
    """Run a script that gives its server's process and folder in its first line; give the other lines."""
    done = subprocess.run(
        [sys.executable, "-c", "import os, signal, sys\n" + textwrap.dedent(script)],
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        process_group=0,
    )
    first, *others = done.stdout.splitlines()
    pid, folder = first.split()
    assert not exists(int(pid))
    assert not Path(folder).exists()
    return others


def test_a_server_that_its_owner_forgot_ends_with_the_interpreter() -> None:
    run("""
        from etcd_recipes.testing import EtcdProcess
        server = EtcdProcess()
        server.start()
        print(server.pid, server.folder)
    """)


def test_ctrl_c_reaches_the_owner_and_not_the_server() -> None:
    said = run("""
        from etcd_recipes.testing import EtcdProcess, probe
        with EtcdProcess() as server:
            print(server.pid, server.folder, flush=True)
            try:
                os.killpg(0, signal.SIGINT)
                signal.pause()
            except KeyboardInterrupt:
                print("interrupted,", "serving" if server.status() else "gone")
    """)
    assert said == ["interrupted, serving"]


def test_a_forked_child_that_ends_leaves_its_parents_server_alone() -> None:
    said = run("""
        from etcd_recipes.testing import EtcdProcess
        with EtcdProcess() as server:
            print(server.pid, server.folder, flush=True)
            if os.fork() == 0:
                server.close()
                sys.exit()
            os.wait()
            print("serving" if server.status() and server.folder.exists() else "gone")
    """)
    assert said == ["serving"]
