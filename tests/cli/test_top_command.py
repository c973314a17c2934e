"""``top`` on a real terminal: a pty, whose settings must be as before."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("rich")

from etcd_recipes import Client
from etcd_recipes.testing import EtcdProcess, FaultProxy
from tests.cli.looking import Cli
from tests.cli.running import ME, environment
from tests.tools import eventually, in_time

INSIDE, OUTSIDE = "\x1b[?1049h", "\x1b[?1049l"


class OnTerminal:
    """A command line whose terminal we are."""

    def __init__(self, endpoint: str, arguments: tuple[str, ...], width: int) -> None:
        self.master, self.slave = pty.openpty()
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
        self.before = termios.tcgetattr(self.slave)
        self.text = ""
        self.pid = os.posix_spawnp(
            ME[0],
            [*ME, *arguments],
            {**environment(endpoint), "TERM": "xterm", "COLUMNS": "", "LINES": ""},
            file_actions=[(os.POSIX_SPAWN_DUP2, self.slave, n) for n in (0, 1, 2)],
            setsid=True,
        )
        self.status: int | None = None

    def read(self) -> str:
        while select.select([self.master], [], [], 0)[0]:
            self.text += os.read(self.master, 65536).decode()
        return self.text

    def see(self, part: str) -> None:
        """Wait until `part` is on the page."""
        colours = re.compile(r"\x1b\[[0-9;]*m")
        eventually(lambda: part in colours.sub("", self.read()), 15, f"{part!r} on the page")

    def forget(self) -> None:
        """Forget what was written until now."""
        self.read()
        self.text = ""

    def see_anew(self, part: str) -> None:
        self.forget()
        self.see(part)

    def type(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def state(self) -> str:
        return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0]

    def settings_are(self, same: bool) -> bool:
        return (termios.tcgetattr(self.slave) == self.before) == same

    def end(self) -> int:
        def ended() -> bool:
            self.read()
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
            return bool(pid)

        eventually(ended, 15, "its end")
        self.read()
        assert self.status is not None
        return self.status

    def close(self) -> None:
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.master)
        os.close(self.slave)


@contextmanager
def on_terminal(endpoint: str, *arguments: str, width: int = 80) -> Iterator[OnTerminal]:
    terminal = OnTerminal(endpoint, arguments, width)
    try:
        yield terminal
    finally:
        terminal.close()


def as_before(terminal: OnTerminal) -> None:
    assert terminal.settings_are(True)
    assert terminal.text.endswith(OUTSIDE) or OUTSIDE in terminal.text[-200:]
    assert terminal.text.rfind("\x1b[?25h") > terminal.text.rfind("\x1b[?25l")


def test_it_lives_is_stopped_goes_on_and_quits(
    etcd: EtcdProcess, client: Client, name: str
) -> None:
    client.lock(f"{name}/a").acquire()
    with FaultProxy(etcd.endpoint) as proxy:
        with on_terminal(proxy.endpoint, "top", name, "--interval", "0.1") as terminal:
            terminal.see("up to date")
            terminal.see("/15")  # what is left of the lease
            before = proxy.requests.get("/v3/kv/range", 0)
            hold = client.lock(f"{name}/b").acquire()
            terminal.see("* lock")
            hold.release()
            terminal.see("free")
            assert proxy.requests.get("/v3/kv/range", 0) == before  # nothing is polled
            assert terminal.settings_are(False)

            terminal.signal(signal.SIGTSTP)
            eventually(lambda: terminal.state() == "T")
            terminal.read()
            as_before(terminal)
            terminal.forget()
            terminal.signal(signal.SIGCONT)
            terminal.see(INSIDE)

            proxy.refuse()
            terminal.see("s old: no etcd endpoint answered")
            proxy.heal()
            terminal.see_anew("up to date")
            terminal.type("q")
            assert terminal.end() == 0
            as_before(terminal)


def by_ctrl_c(terminal: OnTerminal) -> None:
    terminal.signal(signal.SIGINT)


def by_sigterm(terminal: OnTerminal) -> None:
    terminal.signal(signal.SIGTERM)


@pytest.mark.parametrize(("how", "status"), [(by_ctrl_c, 0), (by_sigterm, 143)])
def test_a_signal_ends_it_and_the_terminal_is_as_before(
    etcd: EtcdProcess, name: str, how: Callable[[OnTerminal], None], status: int
) -> None:
    with on_terminal(etcd.endpoint, "top", name, width=40) as terminal:
        terminal.see("nothing is held")
        began = time.monotonic()
        how(terminal)
        assert terminal.end() == status
        in_time(time.monotonic() - began, 5)
        as_before(terminal)


def test_a_crash_gives_the_terminal_back(
    etcd: EtcdProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this process, so that something can be made to fail; its stdin is then a pty."""
    from rich.console import Console

    from etcd_recipes import Context
    from etcd_recipes.cli.view.keyboard import Terminal

    master, slave = pty.openpty()
    try:
        before = termios.tcgetattr(slave)
        with (
            os.fdopen(os.dup(slave), "r+b", buffering=0) as raw,
            os.fdopen(os.dup(slave), "w") as file,
        ):
            monkeypatch.setattr("sys.stdin", raw)
            handlers = signal.getsignal(signal.SIGTSTP)
            with pytest.raises(ZeroDivisionError):
                with Terminal(Console(file=file, force_terminal=True), Context()):
                    assert termios.tcgetattr(slave) != before
                    raise ZeroDivisionError
        assert termios.tcgetattr(slave) == before
        assert signal.getsignal(signal.SIGTSTP) == handlers
    finally:
        os.close(master)
        os.close(slave)


def test_without_a_terminal_it_is_one_look(client: Client, cli: Cli, name: str) -> None:
    client.lock(name).acquire()
    ended = cli("top", name)
    assert (ended.status, "there is no terminal" in ended.err) == (0, True)
    assert re.search(rf"lock +{name} +held", ended.out)


@pytest.mark.parametrize("width", [80, 120])
def test_other_screens_fit(etcd: EtcdProcess, client: Client, name: str, width: int) -> None:
    client.lock(f"{name}/{'long-' * 12}").acquire()
    with on_terminal(etcd.endpoint, "locks", name, width=width) as terminal:
        assert terminal.end() == 0
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", terminal.text)
    assert max(map(len, plain.splitlines())) <= width
    assert plain.replace("\r", "").count("long-") >= 8
