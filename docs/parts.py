"""Parts of pages that programs write: each between markers of its own, the prose around them by hand."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["inside", "picture_of", "replaced", "table"]

_END = "<!-- end -->"


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
