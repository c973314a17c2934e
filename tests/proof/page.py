"""The page that the proofs write their figures into, each between markers of its own."""

from __future__ import annotations

from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "faults.md"
_END = "<!-- end -->"


def marker(module: str) -> str:
    """Give the line after which a module's part begins; it says how the part is made."""
    return f"<!-- generated: python -m {module} --write -->"


def part(module: str) -> str:
    """Give what a module has written."""
    return inside(PAGE.read_text(), marker(module))


def write(module: str, text: str) -> None:
    """Put `text` where a module's part is."""
    PAGE.write_text(replaced(PAGE.read_text(), marker(module), text))


def inside(page: str, begin: str) -> str:
    """Give what stands between this marker and the next end."""
    return page.partition(begin)[2].partition(_END)[0]


def replaced(page: str, begin: str, text: str) -> str:
    """Give the page with `text` between this marker and the next end."""
    head, _, rest = page.partition(begin)
    _, end, tail = rest.partition(_END)
    assert end, f"the page has lost its marker {begin}"
    return f"{head}{begin}\n{text.strip()}\n{end}{tail}"
