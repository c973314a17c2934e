"""Parts of pages that programs write, each between markers of its own, the prose around them by hand; and the
JSON that they are made from.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

__all__ = ["inside", "lines_of_json", "marker", "picture_of", "replaced", "table"]

_END = "<!-- end -->"


def marker(name: str) -> str:
    """Give the marker with which the part of this name begins."""
    return f"<!-- generated: {name} -->"


def inside(page: str, begin: str) -> str:
    """Give what stands between this marker and the next end."""
    return page.partition(begin)[2].partition(_END)[0]


def replaced(page: str, begin: str, text: str) -> str:
    """Give the page with `text` between this marker and the next end."""
    head, _, rest = page.partition(begin)
    _, end, tail = rest.partition(_END)
    assert end, f"the page has lost its marker {begin}"
    return f"{head}{begin}\n{text.strip()}\n{end}{tail}"


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """Give a table in Markdown."""
    lines = [list(head), *([str(cell) for cell in row] for row in rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join(f"| {' | '.join(row)} |" for row in lines)


def picture_of(name: str) -> str:
    """Give the lines that put an SVG into a page, as it is: it takes the page's colour."""
    return f"```{{raw}} html\n:file: {name}\n```"


def lines_of_json(value: Any, depth: int) -> str:
    """Give JSON with a line for each value that lies `depth` levels deep, so that a new run changes few lines."""
    return "".join(_lines(value, depth)) + "\n"


def _lines(value: Any, depth: int, indent: str = "") -> Iterator[str]:
    if not depth or not value or not isinstance(value, dict | list | tuple):
        yield json.dumps(value)
        return
    is_dict, inner = isinstance(value, dict), indent + " "
    between = "{\n" if is_dict else "[\n"
    for each in value:
        yield between + inner + (f"{json.dumps(each)}: " if is_dict else "")
        yield from _lines(value[each] if is_dict else each, depth - 1, inner)
        between = ",\n"
    yield f"\n{indent}{'}' if is_dict else ']'}"
