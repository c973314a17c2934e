"""The names of log events are API: the page has every one that the source logs, at its level, and no other."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reference" / "events.md"
LEVELS = {
    "debug": "debug",
    "info": "info",
    "warning": "warning",
    "error": "error",
    "exception": "error",
    "critical": "critical",
}
_ROW = re.compile(r"^\| (`.+?`) \| ([a-z, ]+) \|", re.MULTILINE)


def logged(source: str) -> Iterator[tuple[str, str]]:
    """Give the name and the level of each event that a source logs; a name that is no literal as ""."""
    for node in ast.walk(ast.parse(source)):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in LEVELS
            and "log" in ast.unparse(node.func.value)
        ):
            first = node.args[0] if node.args else None
            literal = isinstance(first, ast.Constant) and isinstance(first.value, str)
            yield (first.value if literal else "", LEVELS[node.func.attr])  # type: ignore[union-attr]


def in_the_source() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for module in (ROOT / "etcd_recipes").rglob("*.py"):
        for event, level in logged(module.read_text()):
            assert re.fullmatch(r"[a-z0-9_]+\.[a-z0-9_]+", event), f"{module}: {event!r} is no name"
            found.setdefault(event, set()).add(level)
    return found


def on_the_page(text: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for names, levels in _ROW.findall(text):
        events = re.findall(r"`(.+?)`", names)
        each = levels.strip().split(", ")
        for event, level in zip(
            events, each * len(events) if len(each) == 1 else each, strict=True
        ):
            assert event not in found, f"{event} stands there twice"
            found[event] = {level}
    return found


def test_the_page_has_every_event_at_its_level_and_no_other() -> None:
    assert on_the_page(PAGE.read_text()) == in_the_source()


def test_an_event_is_found_wherever_it_is_logged() -> None:
    source = """
        def f(self):
            self._log.warning("a.one", error=1)
            event_logger("x").bind(key=1).exception("a.two")
            call(on_failure=lambda e: log.info("a.three"))
            log.error(f"a.{e}")
            parser.error("no event")
    """
    assert list(logged("if 1:" + source)) == [
        ("a.one", "warning"),
        ("a.two", "error"),
        ("", "error"),
        ("a.three", "info"),
    ]


def test_a_row_may_have_several_events_with_one_level_or_one_each() -> None:
    page = (
        "| event | level | when |\n| --- | --- | --- |\n"
        "| `a.b`, `c.d` | info | x |\n| `e.f`, `g.h` | info, error | |\n"
    )
    assert on_the_page(page) == {
        "a.b": {"info"},
        "c.d": {"info"},
        "e.f": {"info"},
        "g.h": {"error"},
    }
