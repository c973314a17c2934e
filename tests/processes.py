"""Which processes there are, told by the kernel."""

from __future__ import annotations

import os
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


def _all() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def _field(pid: int, name: str) -> str:
    try:
        lines = Path("/proc", str(pid), "status").read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")
