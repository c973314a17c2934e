"""What charts are made of: an axis, marks and legends, over the strokes that all figures are drawn with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import ceil, floor, log10
from xml.sax.saxutils import escape

from docs.figures.draw import AMBER, BLUE, GREEN, RED, line, picture, text

__all__ = [
    "AMBER",
    "BLUE",
    "GREEN",
    "GREY",
    "RED",
    "Axis",
    "bar",
    "dots",
    "legend",
    "line",
    "packed",
    "picture",
    "shape",
    "text",
    "tick",
    "width_of",
]

GREY = "#8a8f98"
SMALL = 11


@dataclass(frozen=True, slots=True)
class Axis:
    """A horizontal axis: the values from `low` to `high` between two places; `log` of a value above 0."""

    left: float
    right: float
    low: float
    high: float
    log: bool = False

    def at(self, value: float) -> float:
        low, high, value = (self._scaled(v) for v in (self.low, self.high, value))
        share = min(1.0, max(0.0, (value - low) / (high - low)))
        return self.left + share * (self.right - self.left)

    def _scaled(self, value: float) -> float:
        return log10(max(value, self.low)) if self.log else value

    def ticks(self, about: int = 7) -> list[float]:
        """Give round values, about as many as wanted."""
        if self.log:
            return [10.0**n for n in range(ceil(log10(self.low)), floor(log10(self.high)) + 1)]
        rough = (self.high - self.low) / about
        magnitude = 10.0 ** floor(log10(rough))
        step = next(s * magnitude for s in (1, 2, 5, 10) if s * magnitude >= rough)
        return [step * n for n in range(ceil(self.low / step), floor(self.high / step) + 1)]

    def draw(self, top: float, bottom: float, unit: str) -> Iterator[str]:
        """Draw the axis at `bottom`, with faint lines up to `top`."""
        yield line(self.left, bottom, self.right, bottom)
        for value in self.ticks():
            x = self.at(value)
            yield line(x, top, x, bottom, stroke_opacity="0.12")
            yield text(x, bottom + 16, f"{value:g}{unit}", size=SMALL)


def bar(
    x: float,
    y: float,
    width: float,
    height: float,
    colour: str,
    words: str = "",
    *,
    opacity: float = 0.75,
) -> str:
    """Draw a bar, at least so wide that it is seen; the words are shown when one points at it."""
    title = f"<title>{escape(words)}</title>" if words else ""
    return (
        f'<rect x="{x:.1f}" y="{y:g}" width="{max(width, 1.5):.1f}" height="{height:g}" '
        f'fill="{colour}" fill-opacity="{opacity:g}">{title}</rect>'
    )


def dots(places: Iterable[float], y: float, colour: str) -> str:
    """Draw dots in a row, as one path: there may be thousands."""
    path = "".join(f"M{x:.1f} {y:g}h0" for x in places)
    return (
        f'<path d="{path}" stroke="{colour}" stroke-width="5.5" stroke-linecap="round" '
        f'stroke-opacity="0.7" fill="none"/>'
    )


def shape(path: str, colour: str) -> str:
    return f'<path d="{path}" fill="{colour}" fill-opacity="0.75"/>'


def tick(x: float, y: float, colour: str) -> str:
    """Draw a stroke upright across a row."""
    return bar(x - 1.25, y - 6, 2.5, 12, colour, opacity=1)


def legend(x: float, y: float, entries: dict[str, str]) -> Iterator[str]:
    """Draw what the colours mean, from left to right."""
    for words, colour in entries.items():
        yield bar(x, y - 9, 10, 10, colour)
        yield text(x + 15, y, words, anchor="start", size=SMALL)
        x += 15 + width_of(words) + 18


def width_of(words: str, size: int = SMALL) -> float:
    """Give about how wide this is; no two browsers agree."""
    return len(words) * size * 0.56


def packed(spans: Iterable[tuple[float, float]]) -> list[int]:
    """Give each span a row, in which it overlaps no other one: the first that is free."""
    ends: list[float] = []
    rows = []
    for start, end in spans:
        row = next((n for n, taken in enumerate(ends) if taken <= start), len(ends))
        ends[row : row + 1] = [end]
        rows.append(row)
    return rows
