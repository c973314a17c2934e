"""The virtual environments of the peers: `.bench/<peer>`, made by pip with the versions that `peers.py` has.

Rules of this file
* A peer that cannot be had is left out, and it is said why; that never fails a run.
* An environment is made anew when its pins have changed; a broken one is never taken for a whole one.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from benchmarks.peers import Peer
from benchmarks.servers import has_v2, why_no_zookeeper

__all__ = ["FOLDER", "Missing", "available", "python_of"]

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / ".bench"
_PATIENCE = 600.0

Run = Callable[[Sequence[str | Path]], str]
"""Runs a command and gives its output; Missing if it fails."""


class Missing(Exception):
    """This peer is not here; the words say why."""


def python_of(peer: Peer, folder: Path = FOLDER) -> Path:
    """Give the interpreter that runs the peer's worker."""
    if not peer.is_foreign:
        return Path(sys.executable)
    return folder / peer.name / "bin" / "python"


def available(
    peers: Iterable[Peer], *, install: bool, folder: Path = FOLDER
) -> tuple[list[Peer], dict[str, str]]:
    """Give the peers that can be measured here, and why each of the others cannot."""
    there, missing = [], {}
    for peer in peers:
        try:
            _check(peer, install, folder)
            there.append(peer)
        except Missing as error:
            missing[peer.name] = str(error)
    return there, missing


def _check(peer: Peer, install: bool, folder: Path) -> None:
    if peer.store == "zookeeper" and (why := why_no_zookeeper()):
        raise Missing(why)
    if peer.store == "v2" and not has_v2():
        raise Missing("this etcd has no v2 API")
    if not peer.is_foreign or _is_made(peer, folder):
        return
    if not install:
        raise Missing("not installed, and a quick run installs nothing: see `make bench`")
    make(peer, folder)


def _is_made(peer: Peer, folder: Path) -> bool:
    mark = folder / peer.name / "pins"
    return mark.is_file() and mark.read_text() == _pins(peer)


def _pins(peer: Peer) -> str:
    return "\n".join(peer.pins) + "\n"


def run(command: Sequence[str | Path]) -> str:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_PATIENCE, check=False, cwd=ROOT
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise Missing(f"{type(error).__name__}: {error}") from error
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        errors = [line for line in said if "error" in line.lower()] or said or ["it said nothing"]
        raise Missing(f"it cannot be installed here: {errors[-1].strip()[:200]}")
    return done.stdout


def make(peer: Peer, folder: Path = FOLDER, run: Run = run) -> None:
    """Make the environment of this peer; Missing if that cannot be done."""
    place = folder / peer.name
    shutil.rmtree(place, ignore_errors=True)
    run([sys.executable, "-m", "venv", place])
    run([place / "bin" / "python", "-m", "pip", "install", "--quiet", *peer.pins])
    (place / "pins").write_text(_pins(peer))
