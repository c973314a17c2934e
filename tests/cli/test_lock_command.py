"""``etcd-recipes lock`` as people run it: real processes, real signals, a real etcd."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from etcd_recipes import Client
from etcd_recipes.cli import main
from etcd_recipes.testing import EtcdProcess, find_etcdctl
from tests.cli.running import ME, Running, environment, fresh_name, is_running, running
from tests.processes import children
from tests.tools import QUICK, eventually, in_time

SHOW = "echo $ETCD_LOCK_NAME $ETCD_LOCK_KEY $ETCD_LOCK_REV $ETCD_LOCK_TOKEN"
# -- statuses, stdin, environment ------------------------------------------------------------------------


@pytest.mark.parametrize("api", ["v3", "v2"])
def test_the_command_runs_under_the_lock_and_its_status_is_ours(
    etcd: EtcdProcess, name: str, api: str
) -> None:
    script = f"{SHOW}; read line; echo $line; exit 7"
    with Client(etcd.endpoint, api=api) as client:
        with running(etcd.endpoint, "--api", api, "lock", name, "sh", "-c", script) as runner:
            said, key, revision, token = runner.line().split()
            holder = client.lock(name).holder()
            assert holder is not None
            assert (said, key, revision) == (name, holder.key, token)
            assert int(token) >= holder.token
            runner.say("hello\n")
            assert runner.line() == "hello"
            assert runner.wait() == 7
            assert runner.errors() == "", "it has nothing to say"
        assert client.lock(name).holder() is None
        if api == "v3":
            lease = int(key.rpartition("/")[2], 16)
            assert lease not in client.v3.lease.list(), "no lease is left behind"


def test_the_innermost_lock_is_what_a_command_sees_and_statuses_pass_through(
    etcd: EtcdProcess, name: str
) -> None:
    inner = (
        "--",
        *ME,
        "lock",
        f"{name}-inner",
        "--ttl",
        "5",
        "--",
        "sh",
        "-c",
        f"{SHOW}; kill -9 $$",
    )
    with running(etcd.endpoint, "lock", name, *inner) as runner:
        assert runner.line().startswith(f"{name}-inner {name}-inner/")
        assert runner.wait() == 137


def test_a_command_that_cannot_be_is_told_before_anything_is_begun(capsys, tmp_path) -> None:
    plain = tmp_path / "plain"
    plain.touch(0o644)
    assert main.run(["lock", "n", "nosuchcommand"]) == 127
    assert capsys.readouterr().err == "etcd-recipes: nosuchcommand: command not found\n"
    assert main.run(["lock", "n", str(plain)]) == 126
    assert "cannot be executed" in capsys.readouterr().err


def test_without_etcd_it_says_so() -> None:
    nobody = "http://127.0.0.1:1"
    with running(nobody, "lock", "n", "--command-timeout", "300ms", "true") as runner:
        assert runner.wait() == 125
        assert "connection refused; is etcd running there?" in runner.errors()


# -- who gets in -----------------------------------------------------------------------------------------


def test_who_cannot_have_it_leaves_with_a_status_and_no_trace(
    etcd: EtcdProcess, client: Client, name: str
) -> None:
    with (
        client.lock(name) as hold,
        running(etcd.endpoint, "lock", "-n", name, "true") as at_once,
        running(etcd.endpoint, "lock", "-w", "0.2", "-E", "9", name, "true") as in_time,
        running(etcd.endpoint, "lock", "-v", name, "true") as patient,
    ):
        assert at_once.wait() == 124
        assert in_time.wait() == 9
        said = patient.error_line()
        assert said.startswith(f"etcd-recipes: waiting for {name}, held by ")
        assert f"/{os.getpid()}/" in said
        eventually(client.lock(name).waiters)
        patient.signal(signal.SIGTERM)
        assert patient.wait() == 143
        assert client.lock(name).waiters() == ()
        assert hold.is_held


def test_runners_and_etcdctl_take_turns(etcd: EtcdProcess, client: Client, name: str) -> None:
    lock = client.lock(name)
    command = [str(find_etcdctl()), "lock", name, "--", "sh", "-c", "echo $ETCD_LOCK_REV"]
    env = environment(etcd.endpoint) | {"ETCDCTL_API": "3"}
    with running(etcd.endpoint, "lock", name, "sh", "-c", f"{SHOW}; cat") as first:
        token = int(first.line().split()[-1])
        with running(etcd.endpoint, "lock", name, "sh", "-c", SHOW) as second:
            eventually(lock.waiters)
            with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as foreign:
                eventually(lambda: len(lock.waiters()) == 2)
                first.end_stdin()
                assert first.wait() == 0
                next_token = int(second.line().split()[-1])
                assert second.wait() == 0
                assert token < next_token < int(foreign.communicate()[0])


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("-n", "-w", "3"), "-n does not wait"),
        (("--shared", "--slots", "2"), "two kinds of lock"),
        (("-w", "nan"), "'nan' is not a number of seconds"),
        (("--grace", "inf"), "'inf' is not a number of seconds"),
        (("--slots", "0"), "0 is not in the range"),
        (("--ttl", "-1"), "ttl"),
        (("--user", "ann"), "--user has no password"),
    ],
)
def test_what_makes_no_sense_is_a_usage_error(capsys, words, sentence: str) -> None:
    assert main.run(["lock", *words, "name", "true"]) == 2
    assert sentence in capsys.readouterr().err


def test_slots_are_permits_of_a_semaphore(etcd: EtcdProcess, client: Client, name: str) -> None:
    semaphore = client.semaphore(name, permits=2)
    command = ("cat", "/proc/self/status", "-")
    with (
        semaphore,
        running(etcd.endpoint, "lock", "--slots", "2", name, *command) as runner,
    ):
        alone = subprocess.run(command[:2], check=True, capture_output=True, text=True)
        lines = [runner.line() for _ in alone.stdout.splitlines()]
        assert semaphore.acquire(blocking=False) is None
        runner.end_stdin()
        assert runner.wait() == 0
    assert _signals(lines) == _signals(alone.stdout.splitlines())


def _signals(lines: list[str]) -> list[str]:
    """Give which signals a process blocks and ignores, by what it says of itself."""
    return [line for line in lines if line.startswith(("SigBlk", "SigIgn"))]


def test_a_shared_lock_is_shared_and_not_with_others(
    etcd: EtcdProcess, client: Client, name: str
) -> None:
    with (
        client.rwlock(name).read(),
        running(etcd.endpoint, "lock", name, "--shared", "sh", "-c", "echo in; cat") as runner,
    ):
        assert runner.line() == "in"
        assert len(client.rwlock(name).holders()) == 2
        assert client.lock(name).acquire(blocking=False) is None
        runner.end_stdin()
        assert runner.wait() == 0


def test_without_a_command_it_prints_the_key_and_holds_until_a_signal(
    etcd: EtcdProcess, client: Client, name: str
) -> None:
    with running(etcd.endpoint, "lock", name) as runner:
        key = runner.line()
        holder = client.lock(name).holder()
        assert holder is not None
        assert holder.key == key
        runner.signal(signal.SIGTERM)
        assert runner.wait() == 0
        assert client.lock(name).holder() is None


# -- signals ---------------------------------------------------------------------------------------------


def test_signals_are_the_commands_and_the_lock_goes_after_it(
    etcd: EtcdProcess, client: Client, name: str
) -> None:
    script = "trap 'echo usr1' USR1; trap 'echo term; read x; exit 3' TERM; echo ready; while :; do sleep 0.02; done"
    with running(etcd.endpoint, "lock", name, "sh", "-c", script) as runner:
        assert runner.line() == "ready"
        runner.signal(signal.SIGUSR1)
        assert runner.line() == "usr1"
        runner.signal(signal.SIGTERM)
        assert runner.line() == "term"
        assert client.lock(name).holder() is not None, "the command still runs"
        runner.say("go\n")
        assert runner.wait() == 3
        assert client.lock(name).holder() is None


TERMINAL = """
read -a stat </proc/self/stat  # the fifth is the process's group, the eighth the one in front
trap 'echo got' INT; echo ready $((stat[4] == stat[7])); read a; read b; echo $b
"""


@pytest.mark.parametrize("pipeline", [False, True], ids=["alone", "pipeline"])
def test_ctrl_c_reaches_the_command_once_and_it_can_read(
    etcd: EtcdProcess, name: str, pipeline: bool
) -> None:
    words = [*ME, "lock", name, "--", "bash", "-c", TERMINAL]
    if pipeline:
        others = """trap : INT; "$@" | (trap '' INT; cat); read c; echo and $c"""
        words = ["bash", "-c", others, "bash", *words]
    master, slave = pty.openpty()
    process = subprocess.Popen(
        ["setsid", "--ctty", *words],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=environment(etcd.endpoint),
    )
    os.close(slave)
    try:
        screen = _read_until(master, "ready 0" if pipeline else "ready 1")
        os.write(master, b"\x03")
        # When it comes just before its `read`, bash minds the trap only after it.
        screen += _read_until(master, "got", within=3)
        os.write(master, b"a line\n")
        if "got" not in screen:
            screen += _read_until(master, "got")  # or it would stand between the end and its echo
        os.write(master, b"the end\n")
        screen += _read_until(master, "the end\r\nthe end")
        assert screen.count("got") == 1
        if pipeline:
            os.write(master, b"us\n")
            _read_until(master, "and us")  # the script can read again
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
        os.close(master)


def test_a_stopped_command_gives_the_shell_its_prompt_and_goes_on_in_front(
    etcd: EtcdProcess, name: str
) -> None:
    job = f"kill -TSTP $$; {SHOW}; exit 5"
    shell = '"$@"; echo stopped $?; fg >/dev/null; echo back $?'
    master, slave = pty.openpty()
    process = subprocess.Popen(
        ["setsid", "--ctty", "bash", "-m", "-c", shell, "bash", *ME, "lock", name, "sh", "-c", job],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=environment(etcd.endpoint),
    )
    os.close(slave)
    try:
        screen = _read_until(master, "back 5")
        assert f"stopped {128 + signal.SIGTSTP}" in screen
        assert f"{name}/" in screen.partition("stopped")[2]
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
        os.close(master)


def _read_until(master: int, text: str, within: float | None = None) -> str:
    """Read until the text is there; or, with `within`, nothing has come for so many seconds."""
    screen = ""
    while text not in screen and select.select([master], [], [], within)[0]:
        screen += os.read(master, 4096).decode()
    return screen


# -- the end of a hold -----------------------------------------------------------------------------------

STUBBORN = "trap 'echo asked' TERM; sleep 600 & echo $$ $!; while :; do sleep 0.02; done"
"""A command that does not end when it is asked, with a child of its own; it prints both numbers."""


@contextmanager
def stubborn(etcd: EtcdProcess, name: str, *options: str) -> Iterator[tuple[Running, list[int]]]:
    words = ("lock", "--grace", "0.4", *options, name, "sh", "-c", STUBBORN)
    with running(etcd.endpoint, *words) as runner:
        pids = [int(pid) for pid in runner.line().split()]
        yield runner, pids
        assert not any(map(is_running, pids))


def test_when_the_lease_is_revoked_the_command_is_asked_then_killed_with_all_its_own(
    etcd: EtcdProcess, client: Client, name: str
) -> None:
    with stubborn(etcd, name, "--ttl", "3") as (runner, _):
        holder = client.lock(name).holder()
        assert holder is not None
        client.v3.lease.revoke(int(holder.key.rpartition("/")[2], 16))
        begun = time.monotonic()
        assert runner.wait() == 75
        in_time(time.monotonic() - begun, 3 / 3 + 0.4 + 1.5)  # ttl/3, the grace, and a busy machine
        assert runner.line() == "asked"
        said = runner.errors()
        assert f"{name} was lost" in said
        assert "etcd says that" in said, "it was told, and not only not told of a renewal"


def test_a_runner_that_is_stopped_does_not_leave_its_command_running_past_the_lease(
    etcd: EtcdProcess, client: Client, name: str
) -> None:
    with stubborn(etcd, name, "--ttl", "2") as (runner, pids):
        runner.signal(signal.SIGSTOP)
        with client.lock(name, timeout=15):
            # Its lease has run out. The command was dead by then, although its runner could do nothing.
            assert not any(map(is_running, pids))
        runner.signal(signal.SIGCONT)
        assert runner.wait() == 75


@pytest.mark.parametrize("victim", ["runner", "guard", "both"])
def test_kill_9_takes_the_command_along(etcd: EtcdProcess, name: str, victim: str) -> None:
    with stubborn(etcd, name, "--ttl", "60") as (runner, (command, grandchild)):
        (guard,) = children(runner.pid)
        if victim != "guard":
            os.killpg(runner.pid, signal.SIGKILL)  # the whole group, as `kill -9 %1` does
        if victim != "runner":
            os.kill(guard, signal.SIGKILL)
        eventually(lambda: not is_running(command))
        if victim == "both":
            with suppress(ProcessLookupError):
                os.kill(grandchild, signal.SIGKILL)  # most often nobody was left to do it
        eventually(lambda: not is_running(grandchild))
        eventually(lambda: not is_running(guard))
        if victim == "guard":
            assert runner.wait() == 125
            assert "the process that guards the command was killed" in runner.errors()


def test_when_etcd_is_away_the_command_is_dead_before_the_lease_can_end() -> None:
    options = ("--ttl", "3", "--grace", "1")
    with (
        EtcdProcess(**QUICK) as server,
        running(server.endpoint, "lock", *options, fresh_name(), "sh", "-c", STUBBORN) as runner,
    ):
        pids = [int(pid) for pid in runner.line().split()]
        server.pause()
        begun = time.monotonic()
        assert runner.line() == "asked"
        eventually(lambda: not any(map(is_running, pids)))
        # The lease was renewed before the pause, so it ends within its ttl; and this machine is busy.
        in_time(time.monotonic() - begun, 3.0 + 0.5)
        server.kill()
        assert runner.wait() == 75
        assert "about to run out" in runner.errors(), "it was not waited for until it had"


def test_work_that_is_handed_in_late_does_not_count(
    etcd: EtcdProcess, client: Client, name: str
) -> None:
    script = f"trap 'exit 0' TERM; {SHOW}; while :; do sleep 0.02; done"
    with running(etcd.endpoint, "lock", "--ttl", "2", name, "sh", "-c", script) as runner:
        client.v3.kv.delete(runner.line().split()[1])
        assert runner.wait() == 75, "not the 0 that it ended with"
