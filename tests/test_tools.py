"""What is run again when it fails: a test that was a little too slow, and no other."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAD = """
import itertools
from tests.core.calls import Call, within
from tests.tools import child, eventually, in_time
"""
TEST = """
tries_{number} = itertools.count(1)

def test_{number}():
    nth = next(tries_{number})
    {body}
"""
IN_TIME_THEN = [
    "in_time(4 - nth, 2)",
    "eventually(lambda: nth == 3, 0.01)",
    "Call(lambda: eventually(lambda: nth == 3)).result(0.1)",
    "with within(0.1): eventually(lambda: nth == 3 or None, 0.2)",
    "with child('' if nth == 3 else 'input()') as it: it.wait(9 if nth == 3 else 0.2)",
]
NEVER_IN_TIME = ["in_time(3, 2)"]
WRONG = [
    "assert nth > 1",
    "in_time(nth, 9, at_least=2)",
    "nth / (nth - 1)",
    "in_time(6, 2)",  # what hangs
    "eventually(lambda: False, 3)",
]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Run them all by the settings of this project; gives what came of each try, by the test's body."""
    bodies = [*IN_TIME_THEN, *NEVER_IN_TIME, *WRONG]
    file = tmp_path_factory.mktemp("again") / "test_it.py"
    tests = (TEST.format(number=number, body=body) for number, body in enumerate(bodies))
    file.write_text(HEAD + "".join(tests))
    settings = [
        "-c",
        str(ROOT / "pyproject.toml"),
        "-n0",
        "-v",
        "-r",
        "N",
        "-p",
        "no:cacheprovider",
    ]
    command = [sys.executable, "-m", "pytest", *settings, str(file)]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout
    came: dict[str, list[str]] = {body: [] for body in bodies}
    for number, outcome in re.findall(r"::test_(\d+) (RERUN|PASSED|FAILED)", said):
        came[bodies[int(number)]].append(outcome)
    return came


@pytest.mark.parametrize("body", IN_TIME_THEN)
def test_what_was_too_slow_twice_may_be_in_time_then(
    outcomes: dict[str, list[str]], body: str
) -> None:
    assert outcomes[body] == ["RERUN", "RERUN", "PASSED"]


@pytest.mark.parametrize("body", NEVER_IN_TIME)
def test_what_is_always_too_slow_fails(outcomes: dict[str, list[str]], body: str) -> None:
    assert outcomes[body] == ["RERUN", "RERUN", "FAILED"]


@pytest.mark.parametrize("body", WRONG)
def test_no_other_failure_is_run_again(outcomes: dict[str, list[str]], body: str) -> None:
    assert outcomes[body] == ["FAILED"]
