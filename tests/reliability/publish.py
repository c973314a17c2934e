"""The report on paper: its JSON, its page and its pictures, in one folder.

The page's prose is written by hand; each part that has figures stands between markers of its own.
"""

from __future__ import annotations

from pathlib import Path

from docs.parts import marker, replaced
from tests.reliability.figures import draw_all
from tests.reliability.report import Report, load, store
from tests.reliability.tables import PARTS

__all__ = ["FOLDER", "page", "read", "write"]

FOLDER = Path(__file__).parents[2] / "docs" / "reliability"
PAGE, JSON = "report.md", "report.json"


def read(folder: Path = FOLDER) -> Report:
    """Give the report of this folder; an empty one, if there is none."""
    path = folder / JSON
    return load(path.read_text()) if path.exists() else Report()


def page(report: Report, before: str) -> str:
    """Give the page `before` with the figures of this report."""
    for name, write_part in PARTS.items():
        before = replaced(before, marker(name), write_part(report))
    return before


def write(report: Report, folder: Path = FOLDER) -> None:
    """Write everything; pictures that the report does not draw any more go."""
    folder.mkdir(parents=True, exist_ok=True)
    pictures = draw_all(report)
    for old in set(folder.glob("*.svg")) - {folder / name for name in pictures}:
        old.unlink()
    for name, drawn in pictures.items():
        (folder / name).write_text(drawn)
    (folder / PAGE).write_text(page(report, (FOLDER / PAGE).read_text()))
    (folder / JSON).write_text(store(report))
