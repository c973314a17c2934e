"""Private folders for a member's data and log.

Rules of this file
1. Only this user can look inside (mode 0700).
2. Memory is used only where there is enough: a member sets 128 MB aside for its log of writes, and the
   usual /dev/shm of a container has 64.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

__all__ = ["new_folder"]

_MEMORY = Path("/dev/shm")  # noqa: S108 (mkdtemp makes the folder, with mode 0700)
_ROOM = 256 * 1024 * 1024


def new_folder(*, memory: bool, members: int = 1) -> Path:
    """Make an empty folder, memory-backed if wanted and there is room for `members` of its kind."""
    parent = _MEMORY if memory and _has_room(members) else None
    return Path(tempfile.mkdtemp(prefix="etcd-recipes-", dir=parent))


def _has_room(members: int) -> bool:
    return _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free >= members * _ROOM
