"""The house rules that a program can check; `pyproject.toml` has the rules between the floors."""

from __future__ import annotations

import ast
import importlib
import inspect
import subprocess
import sys
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "etcd_recipes"
MODULES = sorted(PACKAGE.rglob("*.py"))

# `core/runtime.py` is the one door to clocks and threads. A module that implements it, as the simulated
# scheduler does, is named here.
IMPLEMENTS_THE_RUNTIME = {"core/runtime.py"}
CLOCKS_AND_THREADS = {"threading", "_thread", "time"}

# What they decide must not depend on when, or on what the network does.
DECIDING = [
    "coordination/contenders.py",
    "core/http/action.py",
    "core/http/curl.py",
    "core/http/endpoints.py",
    "core/http/framing.py",
    "core/http/redirects.py",
    "core/v2/admin.py",
    "core/v2/admin_replies.py",
    "core/v2/replies.py",
    "core/v2/requests.py",
    "core/v3/admin/replies.py",
    "core/v3/admin/requests.py",
    "core/v3/assembly.py",
    "core/v3/frames.py",
    "core/v3/replies.py",
    "core/v3/requests.py",
    "core/v3/txn.py",
    "core/v3/values.py",
    "settings.py",
]
NOT_FOR_DECIDING = {"etcd_recipes.core.runtime", "socket", "threading", "_thread", "time"}


def imports(source: str) -> set[str]:
    """Give the modules that a source imports, wherever in it, with their parents."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return {parent for name in found for parent in accumulate(name.split("."), "{}.{}".format)}


def who_imports(names: set[str]) -> set[str]:
    """Give the modules of the package, as paths below it, that import one of `names`."""
    return {
        module.relative_to(PACKAGE).as_posix()
        for module in MODULES
        if names & imports(module.read_text())
    }


def test_an_import_is_found_wherever_it_hides() -> None:
    hidden = "def f():\n    if x:\n        from time import sleep as s\n"
    assert imports(hidden) == {"time", "time.sleep"}
    assert imports("import a.b.c as d, e") == {"a", "a.b", "a.b.c", "e"}
    assert "etcd_recipes.core.runtime" in imports("from etcd_recipes.core import runtime")


def test_clocks_and_threads_come_through_the_runtime_only() -> None:
    assert who_imports(CLOCKS_AND_THREADS) <= IMPLEMENTS_THE_RUNTIME


def test_requests_is_spoken_to_in_one_place() -> None:
    speakers = who_imports({"requests"})
    # ... and in the integration with requests itself.
    speakers.discard("contrib/requests.py")
    assert all(name.startswith("core/http/wire") for name in speakers), speakers


@pytest.mark.parametrize("name", DECIDING)
def test_modules_that_decide_see_no_clock_thread_or_socket(name: str) -> None:
    module = PACKAGE / name
    if module.exists():
        assert imports(module.read_text()) & NOT_FOR_DECIDING == set()


def test_imports_run_downwards_only() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


# -- what is exported -------------------------------------------------------------------------------


def public_names(module: ModuleType) -> set[str]:
    """Give the names in a module that a user would take for public."""
    return {
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and not inspect.ismodule(value)
        and type(value).__module__ != "__future__"  # `annotations` is not ours
    }


def undocumented(name: str, thing: Any) -> Iterator[str]:
    """Give the names of what has no docstring: the thing, or a public part of it if it is a class."""
    if not (inspect.isclass(thing) or inspect.isfunction(thing)):
        return
    # A dataclass without a docstring gets one that only repeats its fields.
    if not thing.__doc__ or thing.__doc__.startswith(f"{thing.__name__}("):
        yield name
    if inspect.isclass(thing):
        for part, value in vars(thing).items():
            is_code = inspect.isroutine(value) or isinstance(value, property)
            if is_code and not part.startswith("_") and not value.__doc__:
                yield f"{name}.{part}"


def test_the_package_exports_its_public_names_and_nothing_else() -> None:
    package = importlib.import_module("etcd_recipes")
    for name in package.__all__:
        getattr(package, name)  # which imports it
    assert public_names(package) <= set(package.__all__)


@pytest.mark.parametrize("name", ["", ".aio", ".testing", ".core.v2", ".core.v3"])
def test_what_is_exported_is_documented(name: str) -> None:
    module = importlib.import_module(f"etcd_recipes{name}")
    exported = {each: getattr(module, each) for each in getattr(module, "__all__", ())}
    missing = [each for name, thing in exported.items() for each in undocumented(name, thing)]
    assert missing == []


def test_a_missing_docstring_is_noticed() -> None:
    class Bare:
        def method(self) -> None: ...

        @property
        def part(self) -> None: ...

    assert list(undocumented("Bare", Bare)) == ["Bare", "Bare.method", "Bare.part"]
