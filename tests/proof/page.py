"""The page that the proofs write their figures into, each between markers of its own."""

from __future__ import annotations

from pathlib import Path

from docs import parts
from docs.parts import inside, replaced

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "faults.md"


def marker(module: str) -> str:
    """Give the line after which a module's part begins; it says how the part is made."""
    return parts.marker(f"python -m {module} --write")


def part(module: str) -> str:
    """Give what a module has written."""
    return inside(PAGE.read_text(), marker(module))


def write(module: str, text: str) -> None:
    """Put `text` where a module's part is."""
    PAGE.write_text(replaced(PAGE.read_text(), marker(module), text))
