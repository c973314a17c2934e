"""EtcdProcess: one real etcd server, to start, stop, kill and pause.

Rules of this file
1. A call returns when what it promises is so: started means that it serves, killed means that it is gone.
2. An address is kept for life once the member has served, so that clients find it again after a restart.
3. The member's process and folder are removed at the end, whatever happened: by `close`, by the end of
   the ``with`` block, when the object is forgotten, and when the interpreter ends.
"""

from __future__ import annotations

import os
import secrets
import shutil
import weakref
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from etcd_recipes.core.context import Context, limit
from etcd_recipes.core.errors import Cancelled, EtcdRecipesError
from etcd_recipes.testing import probe
from etcd_recipes.testing.belongings import Belongings
from etcd_recipes.testing.binary import etcd_version, find_etcd
from etcd_recipes.testing.command import Options, Seat, Tls, arguments, environment
from etcd_recipes.testing.folder import new_folder
from etcd_recipes.testing.ports import free_ports
from etcd_recipes.testing.probe import MemberStatus
from etcd_recipes.testing.waiting import wait_until

__all__ = ["EtcdProcess", "EtcdStartFailed", "PortTaken"]

START_TIMEOUT = 30.0
STOP_TIMEOUT = 15.0


class EtcdStartFailed(EtcdRecipesError):
    """The server ended while it started, or did not serve in time; the message has its last lines."""


class PortTaken(EtcdStartFailed):
    """Somebody else took the port between the choice and the start."""


class EtcdProcess:
    """One etcd member on the loopback interface; a context manager that starts it and removes it.

    `heartbeat` and `election_timeout` are milliseconds. With `memory` the data lies in memory where
    there is room for it. `enable_v2` switches the v2 API on (etcd 3.4 and 3.5 only). With `tls` clients
    are served over TLS alone, and the endpoint is https. `extra_args` are handed to the server. `binary`
    is the server to run (None: see `find_etcd`). `port` is the clients' port (None: a free one); the start
    raises PortTaken if somebody has it. `data_dir` is a folder for the data that outlives the server (None:
    one of its own, removed at the end).

    Raises EtcdNotFound if there is no server to run, ValueError if that one cannot do what is asked.
    """

    def __init__(
        self,
        *,
        name: str = "m0",
        memory: bool = True,
        heartbeat: int = 100,
        election_timeout: int = 1000,
        enable_v2: bool = False,
        tls: Tls | None = None,
        extra_args: Sequence[str] = (),
        binary: str | os.PathLike[str] | None = None,
        port: int | None = None,
        data_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        self._port = port
        self._data = Path("data") if data_dir is None else Path(data_dir).absolute()
        self._binary = find_etcd() if binary is None else _absolute(binary)
        self._options = Options(
            memory=memory,
            heartbeat=heartbeat,
            election_timeout=election_timeout,
            enable_v2=enable_v2,
            tls=tls,
            extra_args=tuple(extra_args),
        )
        self._has_served = False
        self._may_move = port is None
        self._seat = self._seat_alone(name)
        self._command()  # says now, not at the start, that the server cannot do what is asked
        self._make_folder()

    def start(
        self, *, wait: bool = True, timeout: float | None = None, ctx: Context | None = None
    ) -> None:
        """Start the server and return when it serves requests; nothing happens if it runs already.

        With ``wait=False`` return as soon as the process runs: a member of a cluster serves only when a
        majority does. `timeout` is in seconds (30 if neither it nor `ctx` is given).
        Raises EtcdStartFailed, with the server's last lines, and Cancelled.
        """
        if self.alive:
            return
        context = limit(timeout, ctx, default=START_TIMEOUT)
        try:
            self._launch()
            while wait and not self._serves(context):
                self._find_another_port(context)
                self._launch()
        except BaseException:
            self._belongings.kill()
            raise

    def wait_ready(self, timeout: float | None = None, ctx: Context | None = None) -> None:
        """Return when the server serves requests that need a leader.

        Raises EtcdStartFailed when it ends or the time (in seconds; 30 if none is given) is up, and
        Cancelled.
        """
        if not self._serves(limit(timeout, ctx, default=START_TIMEOUT)):
            raise PortTaken(self._story("found its port taken"))

    def stop(self, timeout: float = STOP_TIMEOUT) -> None:
        """End the server with SIGTERM, and with SIGKILL if it is still there after `timeout` seconds."""
        self._belongings.terminate(timeout)

    def kill(self) -> None:
        """End the server with SIGKILL, as a crash would; its data stays."""
        self._belongings.kill()

    def pause(self) -> None:
        """Stop the server with SIGSTOP: its connections stay open and silent until `resume`."""
        self._belongings.pause()

    def resume(self) -> None:
        """Let a paused server go on (SIGCONT)."""
        self._belongings.resume()

    def restart(
        self, *, wait: bool = True, timeout: float | None = None, ctx: Context | None = None
    ) -> None:
        """Stop the server if it runs, and start it again on its address and its data; see `start`."""
        self.stop()
        self.start(wait=wait, timeout=timeout, ctx=ctx)

    def close(self) -> None:
        """Kill the server and remove its folder; as often as you like."""
        self._finalizer()

    @property
    def name(self) -> str:
        """The member's name."""
        return self._seat.name

    @property
    def endpoint(self) -> str:
        """The URL for clients; it does not change once the server has served."""
        return self._seat.endpoint

    @property
    def alive(self) -> bool:
        """True while the process is there, paused or not."""
        return self.pid is not None

    @property
    def paused(self) -> bool:
        """True from `pause` to `resume`."""
        return self.alive and self._belongings.paused

    @property
    def pid(self) -> int | None:
        """The id of the server's process while it is there, else None."""
        return self._belongings.pid

    @property
    def binary(self) -> Path:
        """The server's binary."""
        return self._binary

    @property
    def version(self) -> tuple[int, int, int]:
        """The server's version, as (3, 5, 1)."""
        return etcd_version(self._binary)

    @property
    def folder(self) -> Path:
        """The private folder of the data and the log; gone after `close`."""
        return self._belongings.folder

    def log_tail(self, lines: int = 20) -> str:
        """Give the last lines that the server wrote since it was last started, the long ones cut."""
        return "\n".join(line[:300] for line in self._belongings.output().splitlines()[-lines:])

    def status(self) -> MemberStatus | None:
        """Give the member's own view of the cluster, or None if it does not answer."""
        if not self.alive or self.paused:
            return None
        return probe.status(self._seat.client_port, self._options.tls)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "paused" if self.paused else f"pid {self.pid}" if self.alive else "not running"
        return f"<EtcdProcess {self.name} {self.endpoint} ({state})>"

    def _seat_alone(self, name: str) -> Seat:
        client_port, peer_port = free_ports(2)
        client_port = self._port or client_port
        token = secrets.token_hex(8)
        return Seat(name, client_port, peer_port, ((name, peer_port),), token, self._scheme)

    @property
    def _scheme(self) -> str:
        return "http" if self._options.tls is None else "https"

    # -- starting ----------------------------------------------------------------------------------

    def _move_to(self, seat: Seat) -> None:
        """Take this place, with an empty folder; before the member has served."""
        self.close()
        self._seat = seat
        self._make_folder()

    def _sit(self, seat: Seat) -> None:
        """Take this place in a cluster, whose other members know it: no moving away from it."""
        self._move_to(seat)
        self._may_move = False

    def _make_folder(self) -> None:
        folder = new_folder(memory=self._options.memory, members=len(self._seat.cluster))
        self._belongings = Belongings(folder)
        self._finalizer = weakref.finalize(self, self._belongings.dispose)

    def _command(self) -> list[str]:
        # A relative path lies below the folder, in which the server runs.
        flags = arguments(self._options, self._seat, self._data, self.version)
        return [str(self._binary), *flags]

    def _launch(self) -> None:
        if not self._finalizer.alive:
            raise EtcdStartFailed(f"{self.name} was closed; its data is gone")
        self._belongings.launch(self._command(), environment(os.environ))

    def _serves(self, context: Context) -> bool:
        """Wait for the server: True when it serves, False when its port is taken; raises else."""
        serves = wait_until(self._look, context)
        if serves:
            self._has_served = True
            return True
        if serves is None:
            if isinstance(error := context.error, Cancelled):
                raise error
            raise EtcdStartFailed(self._story("did not serve in time"))
        if "address already in use" in self._belongings.output():
            return False
        raise EtcdStartFailed(self._story(f"ended with status {self._belongings.exit_status}"))

    def _look(self) -> bool | None:
        """True: it serves. False: it has ended. None: not yet."""
        if not self.alive:
            return False
        port, tls = self._seat.client_port, self._options.tls
        if not probe.is_healthy(port, tls):
            return None
        # While our server is finding out that its port is taken, the one that took it may answer.
        # Data of an earlier run name the peer URL of that run.
        known = self._has_served or self._data.is_absolute()
        if known or self._seat.peer_url in probe.peer_urls(port, tls):
            return True
        return None

    def _find_another_port(self, context: Context) -> None:
        taken = PortTaken(self._story("found its port taken"))
        if self._has_served:
            context.wait(0.05)  # the address is known to clients: wait for it to become free
        elif self._may_move:
            self._move_to(self._seat_alone(self.name))
        else:
            raise taken
        if context.done:
            raise taken

    def _story(self, what: str) -> str:
        lines = self.log_tail(25) or "(it wrote nothing)"
        return f"etcd {self.name} ({self._binary}, {self.endpoint}) {what}:\n{lines}"


def _absolute(binary: str | os.PathLike[str]) -> Path:
    return Path(shutil.which(binary) or binary).absolute()
