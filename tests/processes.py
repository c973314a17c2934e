"""Which processes there are, told by the kernel."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def children(of: int | None = None) -> set[int]:
    """Give the ids of the children of a process (None: this one), zombies included."""
    parent = os.getpid() if of is None else of
    return {pid for pid in _all() if _field(pid, "PPid") == str(parent)}


def servers() -> set[int]:
    """Give the ids of the etcd servers among this process's children."""
    return {pid for pid in children() if _field(pid, "Name") == "etcd"}


def exists(pid: int) -> bool:
    """Tell whether there is such a process, dead ones that nobody has waited for included."""
    return Path("/proc", str(pid)).exists()


def is_dead(pid: int) -> bool:
    """Tell whether the process has ended, whether or not anybody has waited for it."""
    return _field(pid, "State")[:1] in ("", "Z", "X")


def is_stopped(pid: int) -> bool:
    """Tell whether SIGSTOP has stopped the process."""
    return _field(pid, "State").startswith("T")


def tree(pid: int) -> Iterator[int]:
    """Give the id of a process, and those of all that it has started."""
    yield pid
    for child in children(pid):
        yield from tree(child)


def listening(pid: int) -> set[str]:
    """Give where a process and those that it has started listen, as the kernel writes it: address and port."""
    found: set[str] = set()
    for number in tree(pid):
        process = Path("/proc", str(number))
        try:
            sockets = {_target(link) for link in (process / "fd").iterdir()}
            for table in ("tcp", "tcp6"):
                for line in (process / "net" / table).read_text().splitlines()[1:]:
                    fields = line.split()
                    if fields[3] == _LISTEN and f"socket:[{fields[9]}]" in sockets:
                        found.add(fields[1])
        except OSError:
            continue  # it has ended
    return found


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:
        return ""  # closed meanwhile


def only_on_loopback(places: set[str]) -> bool:
    """Tell whether they listen, and can be reached from this machine alone."""
    return bool(places) and {place.partition(":")[0] for place in places} <= _LOOPBACK


_LISTEN = "0A"
_LOOPBACK = {"0100007F", "00000000000000000000000001000000"}


def _all() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def _field(pid: int, name: str) -> str:
    try:
        lines = Path("/proc", str(pid), "status").read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")
