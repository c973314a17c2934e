"""Every example in the documentation runs, against a real server."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from sybil import Example, Sybil
from sybil.parsers.markdown import CodeBlockParser

from etcd_recipes import Client
from etcd_recipes.testing import EtcdProcess

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    if "_build" not in path.parts and "```python" in path.read_text()
)
WRITTEN = "http://127.0.0.1:2379"


@pytest.mark.parametrize("page", PAGES)
def test_the_examples_of_a_page_run(page: str, etcd: EtcdProcess) -> None:
    def run(example: Example) -> None:
        source = "\n" * (example.line - 1) + example.parsed.replace(WRITTEN, etcd.endpoint)
        exec(compile(source, page, "exec"), example.namespace)

    document = Sybil(parsers=[CodeBlockParser("python", run)]).parse(ROOT / page)
    examples = list(document.examples())
    assert examples
    for example in examples:
        example.evaluate()
    for value in document.namespace.values():
        if isinstance(value, Client | sqlite3.Connection):
            value.close()


def test_the_readme_has_examples() -> None:
    assert "README.md" in PAGES
