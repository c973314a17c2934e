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
    return PAGE.read_text().partition(marker(module))[2].partition(_END)[0]


def write(module: str, text: str) -> None:
    """Put `text` where a module's part is."""
    head, begin, rest = PAGE.read_text().partition(marker(module))
    _, end, tail = rest.partition(_END)
    assert end, f"{PAGE} has lost its markers"
    PAGE.write_text(f"{head}{begin}\n{text.strip()}\n{end}{tail}")
