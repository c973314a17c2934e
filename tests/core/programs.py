"""Small programs, run in an interpreter of their own."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

__all__ = ["run"]


def run(program: str, *args: str, timeout: float = 20.0) -> str:
    """Give what the program prints; it must end in time, well, and without a word on stderr."""
    command = [sys.executable, "-c", textwrap.dedent(program), *args]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired:
        pytest.fail(f"the program did not end within {timeout} s")
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout
