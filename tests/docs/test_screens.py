"""The pictures of screens: their form, that pages show them, and that no command is without one."""

from __future__ import annotations

import re
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree as ET

import click
import pytest

pytest.importorskip("rich")

from etcd_recipes.cli.main import cli

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PICTURES = sorted((DOCS / "figures" / "screens").glob("*.svg"))
REFERENCE = "".join(
    (DOCS / "reference" / f"{page}.md").read_text() for page in ("cli", "cli-views")
)


@pytest.fixture(scope="module")
def screens() -> ModuleType:
    spec = spec_from_file_location("screens", DOCS / "figures" / "screens.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def texts(svg: str) -> list[dict[str, str]]:
    root = ET.fromstring(svg)
    return [
        {"text": each.text or "", **each.attrib}
        for each in root.iter("{http://www.w3.org/2000/svg}text")
    ]


def test_a_screen_keeps_its_text_its_columns_and_its_styles(screens: ModuleType) -> None:
    shown = "a \x1b[1m\x1b[31mb <&\x1b[0m\n\x1b[2m夜 x\n  y\x1b[0m\n"
    plain, red, dim, still_dim = texts(screens.picture("title", shown, 80))
    assert [each["text"] for each in (plain, red, dim, still_dim)] == ["a", "b <&", "夜 x", "y"]
    assert ("class" in plain, red["class"], dim["class"], still_dim["class"]) == (
        False, "b red", "d", "d",
    )  # fmt: skip
    columns = [
        (float(each["x"]) - screens.EDGE) / screens.COLUMN for each in (plain, red, still_dim)
    ]
    assert columns == pytest.approx([0, 2, 2], abs=0.01)
    assert float(dim["textLength"]) == pytest.approx(
        4 * screens.COLUMN, abs=0.1
    )  # one of them is wide


@pytest.mark.parametrize("picture", PICTURES, ids=lambda path: path.stem)
def test_a_picture_is_small_takes_its_pages_colour_and_stands_in_one(picture: Path) -> None:
    source = picture.read_text()
    assert len(source) < 10_000
    assert all(float(each["textLength"]) > 0 for each in texts(source))
    colours = set(re.findall(r"#[0-9a-f]{6}", source.partition("@media")[2].partition("}}")[2]))
    assert colours <= {"#d64234", "#1f8a4c"}  # all other text takes the page's
    assert not re.search(r"href|url\(|@import|@font-face|<script|<image", source)
    assert source.count("http") == source.count("http://127.0.0.1:") + 1  # the namespace
    pages = [*DOCS.rglob("*.md")]
    assert any(f"figures/screens/{picture.name}\n" in page.read_text() for page in pages)


@pytest.mark.parametrize("command", cli.list_commands(click.Context(cli)))
def test_every_command_has_a_picture_or_a_text_from_a_run(command: str) -> None:
    (section,) = re.findall(
        rf"^## {command}\n(.*?)(?=^## |\Z)", REFERENCE, re.MULTILINE | re.DOTALL
    )
    shown = re.search(r"^```\{raw\} html\n:file: .*screens/", section, re.MULTILINE)
    text = re.search(rf"^\$ etcd-recipes {command}.*\n[^$`]", section, re.MULTILINE)
    assert shown or text
