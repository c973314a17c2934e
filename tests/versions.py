"""The etcd versions that tests run against: the kit's own, and the one that a Debian brings."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from etcd_recipes.testing import etcd_version

SERVERS = {"3.5": None, "3.4": "etcd"}
"""The server that the kit finds by itself, and the one on PATH, which is a Debian's."""


def binary_of(version: str) -> Path | None:
    """Give the binary of that version; skips the test, saying why, where there is none."""
    if SERVERS[version] is None:
        return None
    found = shutil.which("etcd", path="/usr/bin:/usr/local/bin:/usr/sbin")
    if found is None:
        pytest.skip("there is no second etcd on this machine (apt-get install etcd-server)")
    if etcd_version(Path(found))[:2] != (3, 4):
        pytest.skip(f"{found} is not etcd 3.4")
    return Path(found)
