"""The page on performance: its figures, its pictures and its text, in one folder.

The prose is written by hand; each part that has figures stands between markers of its own, and follows from
`figures.json` alone.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks import tables
from benchmarks.figures import FIGURES
from benchmarks.pictures import draw_all, name_of
from benchmarks.results import Results, load, store
from benchmarks.stage import Figure
from docs.parts import marker, picture_of, replaced

__all__ = ["FOLDER", "page", "read", "write"]

FOLDER = Path(__file__).parents[1] / "docs" / "performance"
PAGE, JSON = "index.md", "figures.json"


def read(folder: Path = FOLDER) -> Results:
    """Give the figures of this folder; none, if there are none."""
    path = folder / JSON
    return load(path.read_text()) if path.exists() else Results()


def page(results: Results, before: str) -> str:
    """Give the page `before` with these figures."""
    parts = {"aims": tables.aims(results), "how it was made": tables.provenance(results)}
    parts |= {name: part(figure, results) for name, figure in FIGURES.items()}
    for name, words in parts.items():
        before = replaced(before, marker(name), words)
    return before


def part(figure: Figure, results: Results) -> str:
    """Give the part of one figure: its title and rule, its pictures and its table."""
    measured = results.figures.get(figure.name)
    drawn = [c for c in figure.columns if c.head in figure.drawn and measured is not None]
    return "\n\n".join(
        [
            f"## {figure.title}",
            figure.about,
            *(picture_of(name_of(figure, column)) for column in drawn),
            tables.figure(figure, measured),
        ]
    )


def write(results: Results, folder: Path = FOLDER) -> None:
    """Write everything; pictures that are not drawn any more go."""
    folder.mkdir(parents=True, exist_ok=True)
    pictures = draw_all(results)
    for old in set(folder.glob("*.svg")) - {folder / name for name in pictures}:
        old.unlink()
    for name, drawn in pictures.items():
        (folder / name).write_text(drawn)
    (folder / PAGE).write_text(page(results, (FOLDER / PAGE).read_text()))
    (folder / JSON).write_text(store(results))
