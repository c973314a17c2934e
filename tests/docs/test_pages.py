"""What pages say of the source is so: the tests they cite are there, tables follow from their formula."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from sybil import Sybil
from sybil.parsers.markdown import CodeBlockParser

from etcd_recipes import Client
from etcd_recipes.cli.main import cli
from etcd_recipes.cli.options import Settings
from etcd_recipes.testing import EtcdProcess
from tests.docs.programs import programs, terminals

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(path for path in DOCS.rglob("*.md") if "_build" not in path.parts)
CITED = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")
FIGURES = sorted((DOCS / "figures").glob("*.svg"))


def cited() -> Iterator[tuple[str, str]]:
    for page in PAGES:
        yield from CITED.findall(page.read_text())


def test_every_test_that_a_page_cites_is_there() -> None:
    found = set(cited())
    assert len(found) > 20
    for path, name in found:
        assert (ROOT / path).is_file(), path
        names = {getattr(node, "name", "") for node in ast.parse((ROOT / path).read_text()).body}
        assert name in names | {""}, f"{path} has no {name}"


def test_every_guarantee_cites_a_test() -> None:
    numbered = re.split(
        r"^## (?=\d)", (DOCS / "reference" / "guarantees.md").read_text(), flags=re.MULTILINE
    )
    assert len(numbered) == 12
    for section in numbered[1:]:
        assert CITED.search(section.partition("\n## ")[0]), section


def test_every_recipe_leads_to_an_explanation_and_every_explanation_is_led_to() -> None:
    pages = {page.name: page.read_text() for page in (DOCS / "recipes").glob("*.md")}
    led_to = {
        name: set(re.findall(r"\]\(\.\./explanation/(.+?\.md)", text))
        for name, text in pages.items()
    }
    assert all(led_to.values()), led_to
    there = {page.name for page in (DOCS / "explanation").glob("*.md")}
    assert set.union(*led_to.values()) == there


def test_the_ttl_table_follows_from_its_formula() -> None:
    page = DOCS / "howto" / "ttl.md"
    document = Sybil(parsers=[CodeBlockParser("python", lambda _: None)]).parse(page)
    names: dict[str, object] = {}
    for example in document.examples():
        exec(example.parsed, names)
    rows = re.findall(
        r"^\| (\d+) \| ([\d.]+) \| ([\d.]+) \| (\d+) \| (\d+) \|",
        page.read_text(),
        re.MULTILINE,
    )
    assert len(rows) == 6
    for ttl, *figures in rows:
        means = names["what_it_means"](int(ttl)).values()  # type: ignore[operator]
        assert [float(figure) for figure in figures] == [
            round(value, digits) for value, digits in zip(means, (1, 1, 0, 0), strict=True)
        ]


@pytest.mark.parametrize("page", [page for page in PAGES if programs(page)], ids=lambda p: p.stem)
def test_programs_that_are_not_run_here_are_python_and_use_names_that_exist(page: Path) -> None:
    for name, source in programs(page).items():
        tree = ast.parse(source, name)
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module == "etcd_recipes":
                exec(ast.unparse(node))
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "client":
                assert hasattr(Client, node.attr), f"{page}: Client has no {node.attr}"


def test_what_the_page_on_forks_says_of_parent_and_child(etcd: EtcdProcess, tmp_path: Path) -> None:
    """As a process of its own: a test runner has threads, which a fork would cut in half."""
    with terminals(tmp_path, etcd.endpoint) as open_terminal:
        forked = open_terminal(programs(DOCS / "howto" / "fork.md")["forked.py"])
        assert forked.wait() == 0, forked.text


def commands() -> Iterator[tuple[str, str]]:
    """Give each command line of ours in the pages, with its page: in shells, crontabs, units and pods."""
    for page in [ROOT / "README.md", *PAGES]:
        for block in re.findall(r"^```(?:console|text|ini)\n(.*?)^```$", page.read_text(), BLOCK):
            for line in re.findall(
                r"(?:^\$|\*  |[/=]\S*bin/| )\s*etcd-recipes (.+)$", block, re.MULTILINE
            ):
                yield page.name, line.partition("#")[0]
        for words in re.findall(r'\["etcd-recipes", (.*?)\]', page.read_text()):
            yield page.name, words.replace(",", " ")


BLOCK = re.MULTILINE | re.DOTALL


def test_every_command_line_in_the_pages_is_one_that_is_understood() -> None:
    found = set(commands())
    assert len(found) > 5
    for page, line in found:
        name, *arguments = shlex.split(line)
        command = cli.get_command(click.Context(cli), name)
        assert command is not None, f"{page}: no command {name}"
        command.make_context(name, arguments, obj=Settings())  # a usage error fails the test


def test_the_figures_are_those_that_the_script_draws(tmp_path: Path) -> None:
    script = tmp_path / "draw.py"
    script.write_text((DOCS / "figures" / "draw.py").read_text())
    subprocess.run([sys.executable, script], check=True, timeout=30)
    assert FIGURES
    for figure in FIGURES:
        assert (tmp_path / figure.name).read_text() == figure.read_text(), figure.name


@pytest.mark.parametrize("figure", FIGURES, ids=lambda path: path.stem)
def test_a_figure_takes_the_colour_of_its_page_and_stands_in_one(figure: Path) -> None:
    source = figure.read_text()
    assert not re.search(r'<text[^>]*fill="(?!currentColor)', source)
    assert any(f"../figures/{figure.name}" in page.read_text() for page in PAGES)
