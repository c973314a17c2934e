"""What is run again when it fails: a test that was too slow, and no other."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEST = """
import itertools, subprocess
from tests.core.calls import Call, within
from tests.tools import eventually, in_time

tries = itertools.count(1)

def test_it():
    nth = next(tries)
    {body}
"""


def outcome(folder: Path, body: str) -> str:
    """Run a test of its own by the settings of this project; gives the last line."""
    file = folder / "test_it.py"
    file.write_text(TEST.format(body=body))
    settings = ["-c", str(ROOT / "pyproject.toml"), "-n0", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", *settings, str(file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip().splitlines()[-1].strip("= ").rpartition(" in ")[0]


@pytest.mark.parametrize(
    "body",
    [
        "in_time(4 - nth, 2)",
        "eventually(lambda: nth == 3, 0.01)",
        "Call(lambda: eventually(lambda: nth == 3)).result(0.1)",
        "with within(0.1): eventually(lambda: nth == 3 or None, 0.2)",
        "subprocess.run(['sleep', '0' if nth == 3 else '9'], timeout=0.5)",
    ],
)
def test_what_was_too_slow_twice_may_be_in_time_then(tmp_path: Path, body: str) -> None:
    assert outcome(tmp_path, body) == "1 passed, 2 rerun"


def test_what_is_always_too_slow_fails(tmp_path: Path) -> None:
    assert outcome(tmp_path, "in_time(3, 2)") == "1 failed, 2 rerun"


@pytest.mark.parametrize(
    "body", ["assert nth > 1", "in_time(nth, 9, at_least=2)", "nth / (nth - 1)"]
)
def test_no_other_failure_is_run_again(tmp_path: Path, body: str) -> None:
    assert outcome(tmp_path, body) == "1 failed"
