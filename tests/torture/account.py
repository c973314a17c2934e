"""The figures of a run: pure, from its story."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import pairwise
from statistics import median

from tests.properties.history import Wish
from tests.properties.subjects import SUBJECTS
from tests.torture.checks import logs_of
from tests.torture.notebook import Line
from tests.torture.plan import CLIENTS
from tests.torture.result import Fault, Gaps, Holding, Latency, Operations, Takeover, Watching
from tests.torture.story import Act, Story

__all__ = [
    "faults_of",
    "gaps_of",
    "holdings_of",
    "late_writes_refused",
    "latencies_of",
    "operations_of",
    "overlaps_of",
    "takeovers_of",
    "watching_of",
]

AFTERMATH = 3.0
"""Seconds behind the end of a fault that still count as its doing."""


def faults_of(story: Story, begun: float) -> tuple[Fault, ...]:
    return tuple(
        Fault(
            line["kind"], line["target"], _since(line["begun"], begun), _since(line["end"], begun)
        )
        for line in story.by("fault")
    )


def _since(at: float, begun: float) -> float:
    return round(at - begun, 3)


# -- operations --------------------------------------------------------------------------------------------------


def operations_of(story: Story) -> dict[str, Operations]:
    """Give the outcomes by recipe and store, of writes to the resources, and of the numbered writes."""
    made: dict[str, Counter[str]] = defaultdict(Counter)
    for line, visits in story.visits.items():
        for visit in visits:
            made[line]["ok" if visit.granted is not None else "refused"] += 1
    lines = {began["visit"]: began["line"] for began in story.by("began")}
    for gave_up in story.by("gave_up"):
        if gave_up["outcome"] == "unknown":
            made[lines[gave_up["visit"]]].update({"refused": -1, "unknown": 1})
    there = _applied(story)
    for act in story.acts:
        what = act.on if "gate" in act.more else f"{act.kind}"
        made[what].update(_outcome(act, there))
    seen = _seen(story)
    for put in story.by("put"):
        made["numbered writes"][put["outcome"]] += 1
        if put["outcome"] == "unknown":
            made["numbered writes"]["applied"] += (put["key"], str(put["n"])) in seen
    return {what: Operations(**counts) for what, counts in sorted(made.items())}


def _applied(story: Story) -> set[str]:
    etcd = {element for elements in story.final.elements.values() for element in elements}
    return etcd.union(*story.final.outside.values())


def _seen(story: Story) -> set[tuple[str, str]]:
    """Give the numbered values that were seen by a watcher, or are there at the end."""
    seen = {(key, text) for line in story.by("seen") for key, text, _, _ in line["events"]}
    return seen | {(key, text) for key, (_, text) in story.final.watched.items()}


def _outcome(act: Act, there: set[str]) -> dict[str, int]:
    if act.outcome == "ok":
        return {"ok": 1}
    if act.outcome == "unknown":
        return {"unknown": 1, "applied": int(act.id in there)}
    return {"refused": 1}


def late_writes_refused(story: Story) -> int:
    return sum(act.outcome == "fenced" for act in story.acts)


# -- who held when -----------------------------------------------------------------------------------------------


def holdings_of(story: Story, begun: float) -> tuple[Holding, ...]:
    """Give all holds of one who is alone, in the order of time."""
    wishes = {line["visit"]: (line["line"], Wish(**line["wish"])) for line in story.by("began")}
    ends = _ends(story)
    made = []
    for line in story.by("granted"):
        name, wish = wishes[line["visit"]]
        subject = name.partition("/")[2]
        if subject == "semaphore" or SUBJECTS[subject].may([wish, wish]):
            continue
        stop, end = ends.get(line["visit"], (story.ended, "killed"))
        made.append(
            Holding(
                name,
                line["w"],
                line["token"],
                _since(line["t"], begun),
                _since(stop, begun),
                end,
            )
        )
    return tuple(made)


def _ends(story: Story) -> dict[str, tuple[float, str]]:
    ends: dict[str, tuple[float, str]] = {}
    for visits in story.visits.values():
        for visit in visits:
            if visit.killed is not None:
                ends[visit.who] = visit.killed, "killed"
    for line in story.by("leaving"):
        ends[line["visit"]] = line["t"], "lost" if line["lost"] else "released"
    return ends


def overlaps_of(holdings: Iterable[Holding]) -> dict[str, int]:
    """Count, by line, who was still busy inside when another one came in: what no lock can prevent."""
    made: Counter[str] = Counter()
    inside: dict[str, list[Holding]] = defaultdict(list)
    for holding in sorted(holdings, key=lambda h: h.start):
        made[holding.line] += sum(holding.start < h.stop for h in inside[holding.line])
        inside[holding.line] = [] if holding.end == "killed" else [holding]
    return dict(made)


def takeovers_of(story: Story, begun: float) -> tuple[Takeover, ...]:
    """Give how long after the death of a holder the next one held."""
    lines = {line["visit"]: line["line"] for line in story.by("began")}
    granted = [(line["t"], lines[line["visit"]]) for line in story.by("granted")]
    with_leader = [f for f in story.by("fault") if f["kind"] == "holder killed with the leader"]
    calm = [f for f in story.by("fault") if f["kind"] == "holder killed"]
    made = []
    for strike in story.by("strikes"):
        if strike["order"] != "die":
            continue
        at, line = strike["t"], strike["line"]
        following = min((t for t, name in granted if name == line and t > at), default=None)
        how = "with a leader kill" if _within(at, with_leader) else "calm"
        if following is not None and (how != "calm" or _within(at, calm)):
            made.append(Takeover(how, _since(at, begun), round(following - at, 3)))
    return tuple(made)


def _within(at: float, faults: Iterable[dict[str, float]]) -> bool:
    return any(fault["begun"] <= at <= fault["end"] for fault in faults)


# -- what the writers felt ---------------------------------------------------------------------------------------


ON_ITS_WAY = ("replies lost", "late replies", "late requests", "late release", "client cut off")
"""What happens to the way of one client, which is the only one to be asked about it."""


def gaps_of(story: Story) -> tuple[Gaps, ...]:
    """Give, for each kind, the longest gap of the writers around each of its faults, until the next one begins.

    A fault of the servers concerns all but those to whom something else happens at the same time. What
    concerns no single writer, and comes with a fault of the servers, is not asked about.
    """
    times: dict[str, list[float]] = defaultdict(list)
    for put in story.by("put"):
        if put["outcome"] == "ok":
            times[put["w"]].append(put["t"])
    faults = story.by("fault")
    samples: dict[str, list[float]] = defaultdict(list)
    for fault in faults:
        beside = [f for f in faults if f is not fault and _meet(f, fault)]
        behind = [f["begun"] for f in faults if f["begun"] > fault["end"]]
        until = min([fault["end"] + AFTERMATH, *behind])
        for who, at in times.items():
            if _is_asked(who, fault, beside):
                gap = _gap(at, fault["begun"], until)
                samples[fault["kind"]] += [] if gap is None else [round(gap, 3)]
    return tuple(
        Gaps(kind, round(median(found), 3), max(found), tuple(found))
        for kind, found in sorted(samples.items())
        if found
    )


def _is_asked(who: str, fault: Line, beside: list[Line]) -> bool:
    if fault["kind"] in ON_ITS_WAY:
        return who in fault["target"]
    if fault["kind"] in CLIENTS and beside:
        return False
    own = [fault, *beside]
    return not any(who in f["target"] for f in own)


def _meet(one: Line, other: Line) -> bool:
    return bool(one["begun"] < other["end"] and other["begun"] < one["end"])


def _gap(times: list[float], since: float, until: float) -> float | None:
    """Give the longest time between two successes of which most lies in here; None if there is none."""
    found = [
        b - a
        for a, b in pairwise(times)
        if b > since and a < until and min(b, until) - max(a, since) >= (b - a) / 2
    ]
    return max(found, default=None)


def latencies_of(story: Story, begun: float) -> tuple[Latency, ...]:
    seconds: dict[int, list[float]] = defaultdict(list)
    for put in story.by("put"):
        if put["outcome"] == "ok":
            seconds[int(put["t"] - begun)].append(put["t"] - put["called"])
    return tuple(
        Latency(second, len(found), round(max(found), 4))
        for second, found in sorted(seconds.items())
    )


def watching_of(story: Story) -> Watching:
    logs = logs_of(story)
    repeated, missing = sum(log.repeated for log in logs), sum(log.missing for log in logs)
    delivered = sum(len(line["events"]) for line in story.by("seen"))
    return Watching(
        watchers=len(logs),
        expected=delivered - repeated + missing,
        delivered=delivered,
        repeated=repeated,
        missing=missing,
        out_of_order=sum(log.out_of_order for log in logs),
        resyncs=sum(log.resyncs for log in logs),
    )
