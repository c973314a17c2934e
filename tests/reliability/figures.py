"""The pictures of the report, as SVG, from its figures alone. They take the page's own colour.

timeline    every fault of a run, by kind, and under it the longest write of each second
close_up    half a minute of it: faults, who held one line when and with which token, the longest writes
outages     the longest gap of each client around each fault, by kind, both servers
takeovers   how long after the death of a holder the next one held, in ttls
planted     how many seeds it took to find each planted bug
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from math import ceil
from statistics import median

from docs.figures.chart import (
    AMBER,
    BLUE,
    GREEN,
    GREY,
    RED,
    Axis,
    bar,
    dots,
    legend,
    line,
    packed,
    picture,
    shape,
    text,
    tick,
    width_of,
)
from tests.reliability.report import Report, Run
from tests.reliability.tables import WHO_DIED
from tests.torture.result import Fault, Holding

__all__ = ["draw_all"]

WIDTH = 760
LEFT = 210
RIGHT = WIDTH - 24
ROW = 15
SMALL = 11

ENDS = {"released": GREEN, "lost": RED, "killed": GREY}
FAULT = AMBER


def draw_all(report: Report) -> dict[str, str]:
    """Give each picture of the report by the name of its file."""
    drawn = {}
    for run in report.torture:
        drawn[f"timeline-{run.result.etcd}.svg"] = timeline(run)
        drawn[f"close-up-{run.result.etcd}.svg"] = close_up(run)
    if report.torture:
        drawn["outages.svg"] = outages(report.torture)
        drawn["takeovers.svg"] = takeovers(report.torture)
    if any(each.seeds is not None for each in report.planted):
        drawn["planted.svg"] = planted(report)
    return drawn


def label(y: float, words: str, *, bold: bool = False) -> str:
    more = {"font_weight": "bold"} if bold else {}
    return text(LEFT - 12, y, words, anchor="end", size=SMALL, **more)


# -- one run -----------------------------------------------------------------------------------------------------


def timeline(run: Run) -> str:
    """Draw every fault of a run, a row for each kind."""
    result = run.result
    kinds = list(dict.fromkeys(fault.kind for fault in sorted(result.faults, key=lambda f: f.kind)))
    axis = Axis(LEFT, RIGHT, 0.0, result.seconds)
    parts = [
        text(
            LEFT,
            18,
            f"etcd {result.etcd}: {len(result.faults)} faults",
            anchor="start",
            font_weight="bold",
        )
    ]
    top = 30
    since, until = axis.at(run.since), axis.at(run.until)
    bottom = top + ROW * len(kinds) + 12
    parts.append(bar(since, top, until - since, bottom - top + 72, BLUE, opacity=0.12))
    for number, kind in enumerate(kinds):
        y = top + ROW * number
        parts.append(label(y + 11, kind))
        parts.append(line(LEFT, y + 7.5, RIGHT, y + 7.5, stroke_opacity="0.1"))
        parts += [_fault(axis, each, y + 3) for each in result.faults if each.kind == kind]
    parts += _writes(run, axis, bottom)
    parts += axis.draw(top, bottom + 72, " s")
    parts.append(text(RIGHT, 18, "shaded: the close-up", anchor="end", size=SMALL))
    return picture(WIDTH, bottom + 96, f"Faults and slow writes, etcd {result.etcd}", *parts)


def _fault(axis: Axis, fault: Fault, y: float, height: float = 9) -> str:
    start, end = axis.at(fault.start), axis.at(fault.end)
    words = f"{fault.kind}: {fault.target}, {fault.start:.1f} to {fault.end:.1f} s"
    return bar(start, y, end - start, height, FAULT, words)


def _writes(run: Run, axis: Axis, top: float, height: float = 64) -> Iterator[str]:
    """Draw the longest write of each second: a bar from the second's begin to its end."""
    shown = [each for each in run.result.latencies if axis.low <= each.second < axis.high]
    scale = max(1.0, ceil(max((each.longest for each in shown), default=0.0)))
    bottom = top + 72
    for number, words in enumerate(("longest write", "that ended in", "each second")):
        yield text(LEFT - 46, top + 24 + 14 * number, words, anchor="end", size=SMALL)
    for value in (0.5 * scale, scale):
        y = bottom - height * value / scale
        yield line(LEFT, y, RIGHT, y, stroke_opacity="0.12")
        yield text(LEFT - 6, y + 4, f"{value:g} s", anchor="end", size=SMALL - 1)
    places = [
        (axis.at(each.second), axis.at(each.second + 1), bottom - height * each.longest / scale)
        for each in shown
    ]
    yield shape(
        "".join(f"M{a:.1f} {bottom:g}V{y:.1f}H{b:.1f}V{bottom:g}Z" for a, b, y in places), BLUE
    )


def close_up(run: Run) -> str:
    """Draw half a minute: what went wrong, who held, what a writer felt, on one axis of time."""
    result = run.result
    axis = Axis(LEFT, RIGHT, run.since, run.until)
    title = f"etcd {result.etcd}: who held {run.line}, with which token"
    parts = [text(LEFT, 18, title, anchor="start", font_weight="bold")]
    top = 32.0
    faults = [f for f in result.faults if f.start < run.until and f.end > run.since]
    faults.sort(key=lambda f: f.start)
    drawn, bottom = _labelled(axis, faults, top)
    parts += [label(top + 10, "what goes wrong", bold=True), *drawn]
    holders = bottom + 14
    drawn, bottom = _holders(axis, run, holders)
    parts += drawn
    parts += _writes(run, axis, bottom + 10)
    parts += axis.draw(top, bottom + 82, " s")
    parts += legend(
        LEFT,
        bottom + 118,
        {
            "released": ENDS["released"],
            "lost: told so on waking, or while inside": ENDS["lost"],
            "killed": ENDS["killed"],
            "a fault": FAULT,
        },
    )
    return picture(WIDTH, bottom + 128, title, *parts)


def _labelled(axis: Axis, faults: list[Fault], top: float) -> tuple[list[str], float]:
    """Draw faults with their names in them or behind them, in as few rows as that takes."""
    rows = packed(
        (_name_at(axis, f) - 4, max(axis.at(f.end), _name_at(axis, f) + width_of(f.kind)) + 6)
        for f in faults
    )
    parts = []
    for fault, row in zip(faults, rows, strict=True):
        y = top + row * (ROW + 3)
        parts.append(_fault(axis, fault, y, ROW))
        parts.append(text(_name_at(axis, fault), y + 11, fault.kind, anchor="start", size=SMALL))
    return parts, top + (max(rows, default=0) + 1) * (ROW + 3)


def _name_at(axis: Axis, fault: Fault) -> float:
    """Give where a fault's name begins: in its bar, or before that if it would run out of the picture."""
    return min(axis.at(fault.start) + 4, axis.right - width_of(fault.kind))


def _holders(axis: Axis, run: Run, top: float) -> tuple[list[str], float]:
    """Draw a row for each worker's place in the crew; who died is replaced in its place."""
    by_slot: dict[str, list[Holding]] = defaultdict(list)
    for holding in run.result.holdings:
        by_slot[holding.worker.partition(".")[0]].append(holding)
    parts = [label(top + 12, "who holds", bold=True)]
    top, high = top + ROW + 5, ROW + 5
    for number, (slot, holdings) in enumerate(sorted(by_slot.items())):
        y = top + number * high
        parts.append(label(y + 12, f"worker {slot}"))
        parts.append(line(LEFT, y + 8, RIGHT, y + 8, stroke_opacity="0.1"))
        ends = [axis.at(each.start) for each in holdings[1:]] + [axis.right + 30]
        parts += [_hold(axis, h, y, room) for h, room in zip(holdings, ends, strict=True)]
    return parts, top + max(1, len(by_slot)) * high


def _hold(axis: Axis, holding: Holding, y: float, until: float) -> str:
    """Draw one hold; its token in it, or behind it if there is room until the next one."""
    start, stop = axis.at(holding.start), axis.at(holding.stop)
    token = str(holding.token)
    words = f"{holding.worker}, token {token}, {holding.start:.3f} to {holding.stop:.3f} s, {holding.end}"
    drawn = bar(start, y, stop - start, ROW, ENDS.get(holding.end, GREY), words)
    wide = width_of(token, SMALL - 1)
    if stop - start > wide + 4:
        return drawn + text((start + stop) / 2, y + 12, token, size=SMALL)
    if until - stop > wide + 6:
        return drawn + text(
            stop + 3, y + 12, token, anchor="start", size=SMALL - 1, fill_opacity="0.75"
        )
    return drawn


# -- both servers ------------------------------------------------------------------------------------------------


def outages(runs: tuple[Run, ...]) -> str:
    """Draw each client's longest gap around each fault, kinds with the worst gap first."""
    gaps = {
        (gap.kind, run.result.etcd): gap for run in runs for gap in run.result.gaps if gap.samples
    }
    worst: dict[str, float] = defaultdict(float)
    for (kind, _), gap in gaps.items():
        worst[kind] = max(worst[kind], gap.worst)
    rows = {
        kind: {
            run.result.etcd: gaps[kind, run.result.etcd].samples
            for run in runs
            if (kind, run.result.etcd) in gaps
        }
        for kind in sorted(worst, key=lambda k: -worst[k])
    }
    return _strips("The longest gap between two writes of a client", rows, runs, " s")


def takeovers(runs: tuple[Run, ...]) -> str:
    """Draw how long after a holder's death the next one held, as multiples of the ttl."""
    rows: dict[str, dict[str, tuple[float, ...]]] = {}
    for how in sorted({each.how for run in runs for each in run.result.takeovers}):
        rows[WHO_DIED.get(how, how)] = {
            run.result.etcd: tuple(
                each.seconds / run.result.ttl for each in run.result.takeovers if each.how == how
            )
            for run in runs
        }
    return _strips("From a death to the next one's hold; who died", rows, runs, " ttl")


def _strips(
    title: str,
    rows: dict[str, dict[str, tuple[float, ...]]],
    runs: tuple[Run, ...],
    unit: str,
) -> str:
    """Draw a strip for each kind and server: a dot for each sample, a stroke at the median, the worst told."""
    colours = dict(zip((run.result.etcd for run in runs), (BLUE, AMBER, GREEN), strict=False))
    high = max((v for row in rows.values() for samples in row.values() for v in samples), default=1)
    axis = Axis(LEFT, RIGHT - 36, 0.0, high * 1.02)
    parts = [text(LEFT, 18, title, anchor="start", font_weight="bold")]
    y = top = 34.0
    for kind, row in rows.items():
        parts.append(label(y + 5 + 6.5 * (len(row) - 1), kind))
        for etcd, samples in row.items():
            parts.append(line(LEFT, y, axis.right, y, stroke_opacity="0.1"))
            if not samples:
                continue
            colour, worst = colours[etcd], max(samples)
            parts.append(dots((axis.at(v) for v in samples), y, colour))
            parts.append(tick(axis.at(median(samples)), y, colour))
            parts.append(
                text(axis.at(worst) + 8, y + 4, f"{worst:.2f}", anchor="start", size=SMALL - 1)
            )
            y += 13
        y += 9
    parts += axis.draw(top - 10, y, unit)
    parts += legend(LEFT, y + 38, {f"etcd {etcd}": colour for etcd, colour in colours.items()})
    parts.append(
        text(
            axis.right,
            y + 38,
            "dot: one; stroke: the median; number: the worst",
            anchor="end",
            size=SMALL,
        )
    )
    return picture(WIDTH, y + 48, title, *parts)


def planted(report: Report) -> str:
    """Draw how many seeds it took to find each planted bug, those that hid longest first."""
    found = [each for each in report.planted if each.seeds is not None]
    found.sort(key=lambda each: -(each.seeds or 0))
    high = 10.0 ** max(1, ceil(max(len(str(ceil(each.seeds or 1))) for each in found)))
    axis = Axis(LEFT + 60, RIGHT - 50, 1.0, high, log=True)
    title = "Simulated seeds until a planted bug was found (median)"
    parts = [text(LEFT, 18, title, anchor="start", font_weight="bold")]
    top = 32
    for number, each in enumerate(found):
        y, seeds = top + number * (ROW + 5), each.seeds or 1.0
        parts.append(
            text(axis.left - 10, y + 11, each.name.replace("_", " "), anchor="end", size=SMALL)
        )
        words = f"{each.name}: found by {', '.join(each.by)}"
        parts.append(bar(axis.left, y, max(3.0, axis.at(seeds) - axis.left), ROW, GREEN, words))
        parts.append(
            text(
                max(axis.at(seeds), axis.left + 3) + 6,
                y + 11,
                f"{seeds:g}",
                anchor="start",
                size=SMALL,
            )
        )
    bottom = top + len(found) * (ROW + 5) + 4
    parts += axis.draw(top, bottom, "")
    return picture(WIDTH, bottom + 26, title, *parts)
