"""The figures of the documentation: ``python docs/figures/draw.py`` writes them, as SVG, beside this file.

Pages include them as they are (``{raw} html``), so that text and lines take the page's own colour, light or dark;
the other colours are readable on both.
"""

from __future__ import annotations

from pathlib import Path
from xml.sax.saxutils import escape

HERE = Path(__file__).parent
GREEN, AMBER, RED, BLUE = "#2f9e63", "#c98500", "#d9483b", "#4a86d8"


def text(
    x: float, y: float, words: str, *, anchor: str = "middle", size: int = 13, **more: str
) -> str:
    extra = "".join(f' {name.replace("_", "-")}="{value}"' for name, value in more.items())
    return (
        f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" font-size="{size}" '
        f'fill="currentColor"{extra}>{escape(words)}</text>'
    )


def box(x: float, y: float, width: float, height: float, colour: str, *words: str) -> str:
    drawn = (
        f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="5" '
        f'fill="{colour}" fill-opacity="0.18" stroke="{colour}" stroke-width="1.5"/>'
    )
    top = y + height / 2 + 5 - 8 * (len(words) - 1)
    return drawn + "".join(text(x + width / 2, top + 16 * i, each) for i, each in enumerate(words))


def line(
    x1: float, y1: float, x2: float, y2: float, *, colour: str = "currentColor", **more: str
) -> str:
    extra = "".join(f' {name.replace("_", "-")}="{value}"' for name, value in more.items())
    return (
        f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" stroke="{colour}" '
        f'stroke-width="1.5"{extra}/>'
    )


def arrow(
    x1: float, y1: float, x2: float, y2: float, *, colour: str = "currentColor", **more: str
) -> str:
    """Draw a horizontal or vertical arrow; its head is a triangle, for markers share ids on a page."""
    if y1 == y2:
        back = -8 if x2 > x1 else 8
        head = f"{x2:g},{y2:g} {x2 + back:g},{y2 - 4.5:g} {x2 + back:g},{y2 + 4.5:g}"
    else:
        back = -8 if y2 > y1 else 8
        head = f"{x2:g},{y2:g} {x2 - 4.5:g},{y2 + back:g} {x2 + 4.5:g},{y2 + back:g}"
    shaft = line(x1, y1, x2, y2, colour=colour, **more)
    return f'{shaft}<polygon points="{head}" fill="{colour}"/>'


def cross(x: float, y: float) -> str:
    return line(x - 6, y - 6, x + 6, y + 6, colour=RED, stroke_linecap="round") + line(
        x - 6, y + 6, x + 6, y - 6, colour=RED, stroke_linecap="round"
    )


def picture(width: float, height: float, title: str, *parts: str) -> str:
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" role="img" '
        f'aria-label="{escape(title)}" style="width:100%;max-width:{width:g}px;height:auto" '
        f'font-family="system-ui, sans-serif">\n<title>{escape(title)}</title>\n{body}\n</svg>\n'
    )


def write(name: str, width: int, height: int, title: str, *parts: str) -> None:
    (HERE / f"{name}.svg").write_text(picture(width, height, title, *parts))


def the_line() -> None:
    places = [
        (20, GREEN, "…/51e6a203", "created at 41", "holds"),
        (265, AMBER, "…/7a0c12b8", "created at 43", "waits"),
        (510, AMBER, "…/10f4e09d", "created at 47", "waits"),
    ]
    parts = [
        text(20, 24, "Keys below jobs/nightly/, oldest first", anchor="start", font_weight="bold")
    ]
    for x, colour, key, created, role in places:
        parts.append(box(x, 42, 170, 62, colour, key, created))
        parts.append(text(x + 85, 126, role, font_weight="bold"))
        parts.append(line(x + 85, 138, x + 85, 160, stroke_dasharray="3 3"))
        parts.append(box(x + 20, 160, 130, 30, BLUE, "lease"))
        parts.append(text(x + 85, 210, "one client's, renewed", size=12))
    for x in (265, 510):
        parts.append(arrow(x, 73, x - 75, 73))
        parts.append(text(x - 37, 64, "watches", size=12))
    write("line", 700, 222, "Each waiter watches the one place ahead of it", *parts)


def session() -> None:
    left, scale = 96, 25.5

    def at(second: float) -> float:
        return left + second * scale

    def band(start: float, end: float, y: float, colour: str, words: str) -> str:
        return box(at(start), y, (end - start) * scale, 34, colour, words)

    parts = [
        text(left - 12, 84, "the holder", anchor="end", font_weight="bold"),
        band(0, 10, 62, GREEN, "active"),
        band(10, 19.85, 62, AMBER, "suspended: still ours"),
        band(19.85, 24.3, 62, RED, "lost, for good"),
        text(left - 12, 174, "etcd", anchor="end", font_weight="bold"),
        band(0, 20.6, 152, BLUE, "the lease is there"),
        band(20.6, 24.3, 152, GREEN, "the next one"),
        line(at(7), 116, at(24.3), 116, colour=RED, stroke_dasharray="6 4"),
        text(at(12.5), 136, "no way through to etcd", size=12),
    ]
    for second, good in ((0, True), (5, True), (10, False), (15, False)):
        end = 150 if good else 114
        parts.append(arrow(at(second), 98, at(second), end, colour=GREEN if good else RED))
        parts.append("" if good else cross(at(second), 117))
    parts.append(text(at(2.5), 128, "renewals", size=12))
    parts.append(line(at(5), 46, at(19.85), 46))
    parts.append(line(at(5), 40, at(5), 52) + line(at(19.85), 40, at(19.85), 52))
    parts.append(text(at(12.4), 36, "the ttl, counted from when the last good renewal was sent"))
    parts.append(line(at(0), 222, at(24.3), 222))
    parts += [
        line(at(second), 218, at(second), 226) + text(at(second), 242, f"{second} s", size=12)
        for second in (0, 5, 10, 15, 20)
    ]
    write("session", 720, 252, "The three states of a session whose etcd went away", *parts)


def lifelines(columns: dict[str, tuple[float, ...]], top: float, bottom: float) -> list[str]:
    """Draw a column for each name: its place, then the heights between which its line is left out."""
    drawn = []
    for name, (x, *gaps) in columns.items():
        ends = [top + 30, *gaps, bottom]
        drawn.append(box(x - 62, top, 124, 30, BLUE, name))
        drawn += [
            line(x, start, x, end, stroke_dasharray="2 4")
            for start, end in zip(ends[::2], ends[1::2], strict=True)
        ]
    return drawn


def failover() -> None:
    client, a, b, c = 90, 290, 450, 610
    parts = [
        *lifelines(
            {"client": (client,), "member A": (a, 48, 68), "member B": (b,), "member C": (c,)},
            12,
            286,
        ),
        text(a, 62, "stopped", size=12, fill_opacity="0.9"),
        arrow(client, 92, a, 92),
        text(190, 84, "get", size=12),
        line(client - 34, 92, client - 34, 172, colour=AMBER),
        line(client - 40, 92, client - 28, 92, colour=AMBER)
        + line(client - 40, 172, client - 28, 172, colour=AMBER),
        text(client - 44, 136, "1 s", anchor="end", size=12),
        text(190, 122, "header_timeout:", size=12),
        text(190, 138, "silence", size=12),
        cross(a, 132),
        arrow(client, 172, b, 172),
        text(370, 164, "the same get", size=12),
        arrow(b, 202, client, 202, colour=GREEN),
        text(370, 194, "answer", size=12),
        arrow(client, 246, b, 246),
        text(370, 238, "the next call: B first", size=12),
        arrow(b, 270, client, 270, colour=GREEN),
        text(370, 306, "A is asked again when B and C fail, or is the last one left", size=12),
    ]
    write("failover", 700, 334, "A stopped member costs one header_timeout, once", *parts)


def fencing() -> None:
    one, two, base = 110, 350, 590
    parts = [
        *lifelines(
            {"worker 1": (one, 56, 84, 120, 252), "worker 2": (two, 136, 164), "database": (base,)},
            12,
            330,
        ),
        box(one - 62, 56, 124, 28, GREEN, "token 33"),
        arrow(one, 104, base, 104, colour=GREEN),
        text(230, 97, "write, 33", size=12),
        text(base + 12, 108, "highest: 33", anchor="start", size=12),
        box(one - 62, 120, 124, 104, AMBER, "stopped:", "its lease ends,", "it cannot know"),
        box(two - 62, 136, 124, 28, GREEN, "token 34"),
        arrow(two, 188, base, 188, colour=GREEN),
        text(470, 181, "write, 34", size=12),
        text(base + 12, 192, "highest: 34", anchor="start", size=12),
        text(one, 246, "wakes in the middle", size=12),
        arrow(one, 266, base, 266, colour=RED),
        text(230, 259, "write, 33", size=12),
        text(base + 12, 270, "33 < 34", anchor="start", size=12),
        arrow(base, 302, one, 302, colour=RED),
        text(470, 295, "refused", size=12, font_weight="bold"),
    ]
    write(
        "fencing",
        700,
        342,
        "The database refuses a token lower than the highest it has seen",
        *parts,
    )


if __name__ == "__main__":
    the_line()
    session()
    failover()
    fencing()
