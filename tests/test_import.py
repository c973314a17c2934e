"""Importing the package is cheap: what is heavy is loaded when it is first used."""

from __future__ import annotations

import subprocess
import sys

import pytest

import etcd_recipes
from etcd_recipes.core import v2, v3


def said_by(source: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", source], check=True, capture_output=True, text=True
    ).stdout


@pytest.mark.parametrize("package", [etcd_recipes, v2, v3], ids=lambda package: package.__name__)
def test_every_public_name_is_there(package) -> None:
    assert [name for name in package.__all__ if getattr(package, name, None) is None] == []


def test_a_name_that_there_is_not_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="Nothing"):
        etcd_recipes.Nothing  # noqa: B018


def test_importing_the_package_loads_none_of_what_is_heavy() -> None:
    heavy = {"requests", "urllib3", "http.client", "ssl", "tenacity", "structlog", "click", "rich"}
    loaded = said_by("import sys, etcd_recipes; print(*sys.modules)").split()
    assert heavy & set(loaded) == set()


def cost(source: str) -> float:
    """Seconds of the processor, as a noisy machine's clock says little; the best of three."""
    timed = f"import time\n{source}\nprint(time.process_time())"
    return min(float(said_by(timed).split()[-1]) for _ in range(3))


def test_importing_the_package_takes_less_time_than_importing_requests() -> None:
    assert cost("import etcd_recipes") < cost("import requests")


def test_the_help_of_the_command_takes_less_time_than_importing_requests() -> None:
    asked = "from etcd_recipes.cli.main import run; run(['--help'])"
    assert cost(asked) < cost("import requests")
